"""What an assessment leaves behind: tables and figures of each experiment in a folder, and one HTML page of all."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from pipeline.assessment import figures
from pipeline.assessment.assess import ALL, TILE, Answer, Progress
from pipeline.assessment.scoring import Difference, Row
from pipeline.assessment.tables import FULL, csv_text, differences_markdown, headings, json_text, markdown, occasions, row_cells
from pipeline.grid import day_from_number
from pipeline.products.drawing import png_bytes

_MAPPED = 2
"""Targets of an experiment that error maps are drawn of."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; background: #fafaf8; margin: 2rem auto; max-width: 1240px; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #d6d6d2; padding-top: 1rem }
h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums }
table { display: block; overflow-x: auto; white-space: nowrap }
th, td { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid #e6e6e2 } th { font-weight: 600; text-align: right }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
tr.control { color: #6c6e74; font-style: italic } tr.best td:nth-child(2), tr.best td:nth-child(3) { font-weight: 700 }
.loses { color: #a4372b } .note { color: #6c6e74 } .row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
figure { margin: 0 } figcaption { font-size: 12.5px; color: #6c6e74; max-width: 40rem } img { max-width: 100% } details { margin: .6rem 0 }
nav a { display: block }
"""


def write(answer: Answer, folder: Path, cache: Path, progress: Progress) -> str:
    """Write the tables and figures of an experiment and return its part of the page.

    Parameters
    ----------
    folder : Path
        Of this experiment; made when it is not there.
    cache : Path
        Where the predictions behind series are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage = f"{answer.experiment.name}: figures"
    progress(stage, 0, 5)
    texts = {
        "scores.md": summary(answer),
        "scores.csv": csv_text(answer.rows),
        "scores.json": json_text(answer.rows),
        "differences.csv": _differences_csv(answer.differences),
        "experiment.json": json.dumps(_described(answer), indent=1, default=str) + "\n",
    }
    for name, words in texts.items():
        (folder / name).write_text(words, encoding="utf-8")
    pictures: list[tuple[str, bytes, str]] = []
    targets = [target for case in answer.cases for target in case.targets]
    if answer.methods:
        for target in targets[:_MAPPED]:
            pictures.append((f"errors-{day_from_number(target)}.png", png_bytes(figures.error_maps(answer, target)), "Errors"))
        progress(stage, 1, 5)
        pictures.append(("scatter.png", png_bytes(figures.scatter(answer)), "Predicted against true"))
        progress(stage, 2, 5)
    drawn = [
        ("performance.svg", figures.performance(answer), figures.performance.__doc__ or ""),
        ("reliability.svg", figures.reliability(answer), figures.reliability.__doc__ or ""),
    ]
    progress(stage, 3, 5)
    courses = figures.series(answer, cache)
    progress(stage, 4, 5)
    for number, (title, svg) in enumerate(courses, start=1):
        drawn.append((f"series-{number}.svg", svg, title))
    for name, content, _ in pictures:
        (folder / name).write_bytes(content)
    for name, svg, _ in drawn:
        (folder / name).write_text(svg, encoding="utf-8")
    progress(stage, 5, 5)
    return _section(answer, pictures, drawn)


def page(sections: Sequence[tuple[str, str, str]]) -> str:
    """One HTML page without anything to load.

    Parameters
    ----------
    sections : sequence of (str, str, str)
        Name and title of each experiment, and its part of the page.
    """
    links = "".join(f'<a href="#{escape(name)}">{escape(title)}</a>' for name, title, _ in sections)
    parts = "".join(part for _, _, part in sections)
    head = f'<meta charset="utf-8"><title>landfuse: assessment</title><style>{_STYLE}</style>'
    said = (
        "Every image on the same pixels, the withheld one in nothing. Controls in italics; intervals hold 95 % of draws of dates and "
        f"of tiles of {TILE / 1000:g} km. Definitions: docs/assessment.md."
    )
    body = f"<h1>Assessment</h1><p>{said}</p><nav>{links}</nav>{parts}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def summary(answer: Answer) -> str:
    """An experiment as Markdown: what was done, the verdicts, rows and differences."""
    lines = [f"## {answer.experiment.title}", "", *(f"- {sentence}" for sentence in _sentences(answer)), ""]
    lines += [markdown(answer.rows, FULL), differences_markdown([found for found in answer.differences if found.stratum == ALL])]
    return "\n".join(lines)


def _sentences(answer: Answer) -> list[str]:
    days = sorted({target for case in answer.cases for target in case.targets})
    shown = ", ".join(day_from_number(day).isoformat() for day in days[:8]) + (" …" if len(days) > 8 else "")
    said = [f"Withheld: {shown} ({occasions(len(days))}). Set: {answer.archive.name}, {len(answer.archive.bands)} bands."]
    said += [answer.experiment.note] if answer.experiment.note else []
    said += answer.verdicts()
    said += [f"{label} FAILED and has no row: {why}" for label, why in answer.failed.items()]
    return said


def _section(answer: Answer, pictures: Sequence[tuple[str, bytes, str]], drawn: Sequence[tuple[str, str, str]]) -> str:
    strata = list(dict.fromkeys(row.stratum for row in answer.rows))
    others = "".join(
        f"<details><summary>{escape(stratum)}</summary>{_table([row for row in answer.rows if row.stratum == stratum])}</details>"
        for stratum in strata
        if stratum != ALL
    )
    said = "".join(f"<li{' class=loses' if _bad(words) else ''}>{escape(words)}</li>" for words in _sentences(answer))
    seconds = ", ".join(f"{label} {answer.seconds(label):.1f} s" for label in answer.methods)
    images = "".join(
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(content).decode()}"></figure>'
        for _, content, title in pictures
    )
    charts = "".join(f"<figure>{svg}<figcaption>{escape(_flat(title))}</figcaption></figure>" for _, svg, title in drawn)
    return (
        f'<h2 id="{escape(answer.experiment.name)}">{escape(answer.experiment.title)}</h2><ul>{said}</ul>'
        f"<h3>All pixels</h3>{_table([row for row in answer.rows if row.stratum == ALL])}"
        f'<p class="note">Time of estimate, prepare and predict when made: {escape(seconds)}.</p>'
        f"<h3>Paired differences of RMSE, all pixels</h3>{_differences([found for found in answer.differences if found.stratum == ALL])}"
        f'<h3>Strata</h3>{others}<h3>Figures</h3>{figures.key(answer)}<div class="row">{charts}</div>{images}'
    )


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in headings(FULL))
    body = "".join(
        f'<tr class="{"control" if row.control else ""}{" best" if number == 0 else ""}">'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row_cells(row, FULL))}</tr>"
        for number, row in enumerate(rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _differences(differences: Sequence[Difference]) -> str:
    rows = []
    for found in differences:
        value = f"<b>{found.rmse:+.5f}</b>" if found.decided else f"{found.rmse:+.5f}"
        cells = [escape(found.name), f"less {escape(found.other)}", value, f"{found.low:+.5f} to {found.high:+.5f}", occasions(found.days)]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><tbody>{''.join(rows)}</tbody></table><p class='note'>Bold: zero lies outside the 95 % interval.</p>"


def _differences_csv(differences: Sequence[Difference]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["name", "other", "stratum", "rmse", "low", "high", "days"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(found) for found in differences)
    return buffer.getvalue()


def _described(answer: Answer) -> dict[str, object]:
    return {
        "experiment": answer.experiment.model_dump(mode="json"),
        "methods": {entrant.label: {"method": entrant.method, "options": dict(entrant.options)} for entrant in answer.line},
        "seconds": {entrant.label: answer.seconds(entrant.label) for entrant in answer.line},
        "verdicts": answer.verdicts(),
        "failed": dict(answer.failed),
    }


def _bad(sentence: str) -> bool:
    return any(words in sentence for words in ("DOES NOT", "NOT DECIDED", "FAILED"))


def _flat(words: str) -> str:
    return " ".join(words.split()).replace("*", "")
