"""Describe: the quick-looks, the contact sheet and the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pipeline.config import Area
from pipeline.steps.report import Report, day_outcomes, load_report
from pipeline.steps.runs import Progress, run_folder, save, silent
from pipeline.vocabulary import Outcome


def describe(area: Area, run_id: str, progress: Progress = silent) -> str:
    """Quick-looks, a contact sheet and the report of a run.

    Returns
    -------
    str
        The report in Markdown.
    """
    made = [day for day, outcome, _ in day_outcomes(area, run_id) if outcome in (Outcome.PUBLISHED, Outcome.DEGRADED)]
    if made and area.runtime.quicklooks:
        _draw(area, run_id, made, progress)
    report = load_report(area, run_id)
    save(area, run_id, "report", report.to_dict())
    markdown = report_markdown(area, report)
    (run_folder(area, run_id) / "report.md").write_text(markdown, encoding="utf-8")
    return markdown


def _draw(area: Area, run_id: str, days: Sequence[date], progress: Progress) -> None:
    from pipeline.products.contact_sheet import contact_sheet_png
    from pipeline.products.picture import read_picture
    from pipeline.products.quicklook import draw_quicklook
    from pipeline.products.stac import Layout

    folder = area.runtime.root / Layout().quicklooks
    folder.mkdir(parents=True, exist_ok=True)
    small = []
    for done, day in enumerate(days, start=1):
        picture = read_picture(area.cube_path, (day - area.science.start).days)
        (folder / f"{day.isoformat()}.png").write_bytes(draw_quicklook(picture, title=area.name))
        small.append(picture)
        progress("describe", done, len(days))
    sheet = contact_sheet_png(small, area.title or area.name, f"run {run_id} · {days[0]} to {days[-1]}")
    (run_folder(area, run_id) / "contact-sheet.png").write_bytes(sheet)
    (area.runtime.root / "contact-sheet.png").write_bytes(sheet)


def report_markdown(area: Area, report: Report) -> str:
    """The report of a run for people: an artifact, or a file."""
    lines = [
        f"# {area.name}: {report.outcome}",
        "",
        f"run `{report.run_id}` · method `{area.science.method.name}` · cube `{area.cube_path}`",
        "",
        report.message,
        "",
        "| day | outcome | why |",
        "|---|---|---|",
        *(f"| {day} | {outcome} | {reason} |" for day, outcome, reason in report.days),
        "",
        "| part | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in report.seconds.items()),
    ]
    return "\n".join(lines) + "\n"
