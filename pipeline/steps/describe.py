"""Describe: the quick-looks, the contact sheet and the report of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.config import Area
from pipeline.steps.plan import load_plan
from pipeline.steps.report import Report, day_outcomes, load_report, published_days, registration_table, screening_table
from pipeline.steps.runs import Progress, run_folder, save, silent
from pipeline.store.check import Check
from pipeline.vocabulary import Maturity, Outcome

if TYPE_CHECKING:
    from pipeline.products.picture import DayPicture


REGISTRATION = "Coarse products against the fine images"
SCREENING = "Fine images screened in this run"


def describe(area: Area, run_id: str, progress: Progress = silent) -> str:
    """Quick-looks, a contact sheet and the report of a run.

    Returns
    -------
    str
        The report in Markdown.
    """
    from pipeline.products.contact_sheet import contact_sheet_png

    visible = set(published_days(area))
    made = [day for day, outcome, _ in day_outcomes(area, run_id) if outcome in (Outcome.PUBLISHED, Outcome.DEGRADED) and day in visible]
    pictures = _draw(area, made, progress) if area.runtime.quicklooks else []
    report = load_report(area, run_id)
    save(area, run_id, "report", report.to_dict())
    folder = run_folder(area, run_id)
    sheet = b""
    if pictures:
        sheet = contact_sheet_png(pictures, area.title or area.name, f"run {run_id} · {made[0]} to {made[-1]}")
        (folder / "contact-sheet.png").write_bytes(sheet)
        (area.runtime.root / "contact-sheet.png").write_bytes(sheet)
    (folder / "report.html").write_text(_html(area, report, pictures, sheet), encoding="utf-8")
    markdown = report_markdown(area, report)
    (folder / "report.md").write_text(markdown, encoding="utf-8")
    return markdown


def _draw(area: Area, days: Sequence[date], progress: Progress) -> list[DayPicture]:
    """Write the quick-look of every day; what is kept of each is small."""
    from pipeline.products.picture import read_picture, thumbnail
    from pipeline.products.quicklook import draw_quicklook
    from pipeline.products.stac import Layout

    small = []
    for done, day in enumerate(days, start=1):
        picture = read_picture(area.cube_path, (day - area.science.start).days)
        target = area.runtime.root / Layout().quicklook(area.name, day)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(draw_quicklook(picture, title=area.name))
        small.append(thumbnail(picture))
        progress("describe", done, len(days))
    return small


def _html(area: Area, report: Report, pictures: Sequence[DayPicture], sheet: bytes) -> str:
    from pipeline.products.report import ReportDay, RunReport, report_html

    shares = {picture.day: picture.shares for picture in pictures}
    planned = {day.day: day for day in load_plan(area, report.run_id).days}
    checks = run_folder(area, report.run_id) / "checks.json"
    table = registration_table(report.registration)
    tables = [(REGISTRATION, table), (SCREENING, screening_table(report.screening))]
    return report_html(
        RunReport(
            title=area.title or area.name,
            run_id=report.run_id,
            outcome=report.outcome,
            facts={
                "method": area.science.method.name,
                "grid": f"{area.grid.height} × {area.grid.width} pixels of {area.grid.resolution:g} m, {area.science.grid.crs}",
                "software": f"landfuse {__version__}",
                "check": report.message or "no clear pixel to check against",
                **({} if table else {"registration": "not looked for"}),
            },
            days=[
                ReportDay(day, outcome, planned[day].maturity if day in planned else Maturity.NONE, shares.get(day, {}), reason)
                for day, outcome, reason in report.days
            ],
            seconds=report.seconds,
            checks=[Check(**check) for check in json.loads(checks.read_text(encoding="utf-8"))] if checks.exists() else [],
            contact_sheet=sheet,
            tables=[(heading, table) for heading, table in tables if table],
        )
    )


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
        "",
        f"{REGISTRATION}:",
        "",
        registration_table(report.registration) or "not looked for",
        "",
        f"{SCREENING}:",
        "",
        screening_table(report.screening) or "none",
    ]
    return "\n".join(lines) + "\n"
