"""What an assessment leaves behind: tables and figures of each experiment in a folder, and one HTML page of all."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from html import escape
from pathlib import Path

from pipeline.assessment import figures
from pipeline.assessment.assess import ALL, TILE, Answer, Progress
from pipeline.assessment.digests import digest
from pipeline.assessment.predicting import code_of
from pipeline.assessment.scoring import Difference, Row
from pipeline.assessment.tables import (
    EFFORT,
    FULL,
    Effort,
    csv_text,
    differences_markdown,
    distinct,
    effort_cells,
    efforts_markdown,
    headings,
    json_text,
    markdown,
    occasions,
    row_cells,
)
from pipeline.grid import day_from_number
from pipeline.products.drawing import png_bytes

_MAPPED = 2
"""Targets of an experiment that error maps are drawn of."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; background: #fafaf8; margin: 2rem auto; max-width: 1340px; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #d6d6d2; padding-top: 1rem }
h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums }
table { display: block; overflow-x: auto }
th, td { padding: .15rem .45rem; text-align: right; border-bottom: 1px solid #e6e6e2 } td { white-space: nowrap }
th { font-weight: 600; vertical-align: bottom } th:first-child, td:first-child, .words th, .words td { text-align: left }
td:first-child, th:first-child { position: sticky; left: 0; background: #fafaf8 }
tr.control { color: #6c6e74; font-style: italic } tr.best td:nth-child(-n+2) { font-weight: 700 }
.beats { color: #2f6b3a } .loses { color: #a4372b } .undecided { color: #8a6410 } .note { color: #6c6e74 }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; margin-bottom: 1rem }
figure { margin: 0; width: min-content } figcaption { font-size: 12.5px; color: #6c6e74; min-width: 100% }
img { max-width: calc(100vw - 2rem) }
details { margin: .4rem 0 } summary { cursor: pointer } nav a { display: block }
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
        "scores.csv": csv_text(answer.rows, answer.efforts()),
        "scores.json": json_text(answer.rows, answer.efforts()),
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
    """An experiment as Markdown: what was done, the verdicts, rows, what they took, and differences."""
    lines = [f"## {answer.experiment.title}", "", *(f"- {sentence}" for sentence in _sentences(answer)), ""]
    lines += [markdown(distinct(answer.rows), FULL), efforts_markdown(answer.efforts())]
    lines += [differences_markdown([found for found in answer.differences if found.stratum == ALL])]
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
    every = [row for row in answer.rows if row.stratum == ALL]
    shown = distinct(answer.rows)
    strata = list(dict.fromkeys(row.stratum for row in shown))
    others = "".join(_stratum([row for row in shown if row.stratum == stratum]) for stratum in strata if stratum != ALL)
    said = "".join(f'<li class="{_kind(words)}">{escape(words)}</li>' for words in _sentences(answer))
    differences = [found for found in answer.differences if found.stratum == ALL]
    to_control = [found for found in differences if found.other == answer.best_control]
    pairs = [found for found in differences if found not in to_control]
    between = f"<details><summary>of methods by pairs</summary>{_differences(pairs)}</details>" if pairs else ""
    images = "".join(
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(content).decode()}"></figure>'
        for _, content, title in pictures
    )
    charts = "".join(f"<figure>{svg}<figcaption>{escape(_flat(title))}</figcaption></figure>" for _, svg, title in drawn)
    return (
        f'<h2 id="{escape(answer.experiment.name)}">{escape(answer.experiment.title)}</h2><ul>{said}</ul>'
        f"<h3>All pixels ({every[0].pixels:,})</h3>{_table(every)}"
        f"<details><summary>Cost</summary>{_efforts(answer.efforts())}</details>"
        f"<h3>Paired differences of RMSE, all pixels</h3>{_differences(to_control)}{between}"
        f'<h3>Strata</h3>{others}<h3>Figures</h3>{figures.key(answer)}<div class="row">{charts}</div>{images}'
    )


def _stratum(rows: Sequence[Row]) -> str:
    """The table of a stratum behind a line that says what matters: how large it is, and whether its best image is a control."""
    best, control = rows[0], next((row for row in rows if row.control), rows[0])
    said = f"{best.pixels:,} pixels, best: {best.name} {best.rmse:.4f}"
    beside = "" if best.control else f"; {control.name} {control.rmse:.4f}"
    summary = f'{escape(best.stratum)} <span class="note">{escape(said + beside)}</span>'
    return f"<details><summary>{summary}</summary>{_table(rows)}</details>"


def _table(rows: Sequence[Row]) -> str:
    """Rows of one stratum: without what is said above them, figures that none of them has, and a coverage that is whole for all."""
    columns = [column for column in FULL if any(not math.isnan(getattr(row, column[0])) for row in rows)]
    left_out = {"stratum", "pixels", *(["coverage"] if all(row.coverage == 1 for row in rows) else [])}
    shown = [place for place, title in enumerate(headings(columns)) if title not in left_out]
    titles = [headings(columns)[place].replace(" %", "\u00a0%").replace(" σ", "\u00a0σ") for place in shown]
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f'<tr class="{"control" if row.control else ""}{" best" if number == 0 else ""}">'
        f"{''.join(f'<td>{escape(cells[place])}</td>' for place in shown)}</tr>"
        for number, row in enumerate(rows)
        for cells in [row_cells(row, columns)]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _efforts(efforts: Sequence[Effort]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in EFFORT)
    rows = "".join(
        f'<tr class="{"control" if effort.control else ""}">{"".join(f"<td>{escape(cell)}</td>" for cell in effort_cells(effort))}</tr>'
        for effort in efforts
    )
    note = (
        '<p class="note">Networks: parameters, and multiply-adds for a fine pixel of six bands. Seconds of estimate, prepare and predict '
        "by the clock when they were made; learning weighs the more the fewer days are predicted.</p>"
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _differences(differences: Sequence[Difference]) -> str:
    rows = []
    for found in differences:
        value = f"<b>{found.rmse:+.5f}</b>" if found.decided else f"{found.rmse:+.5f}"
        cells = [escape(found.name), escape(found.other), value, f"{found.low:+.5f} to {found.high:+.5f}", occasions(found.days)]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<tr><th>image</th><th>less</th><th>RMSE</th><th>95 %</th><th>drawn from</th></tr>"
    note = "<p class='note'>Below zero the image is better. Bold: zero lies outside the 95 % interval.</p>"
    return f"<table class='words'><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{note}"


def _differences_csv(differences: Sequence[Difference]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["name", "other", "stratum", "rmse", "low", "high", "days"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(found) for found in differences)
    return buffer.getvalue()


def _described(answer: Answer) -> dict[str, object]:
    return {
        "experiment": answer.experiment.model_dump(mode="json"),
        "measured": date.today(),
        "methods": {
            entrant.label: {"method": entrant.method, "options": dict(entrant.options), "source": digest(code_of(entrant.method))}
            for entrant in answer.line
        },
        "seconds": {entrant.label: answer.seconds(entrant.label) for entrant in answer.line},
        "verdicts": answer.verdicts(),
        "failed": dict(answer.failed),
    }


def _kind(sentence: str) -> str:
    """How a sentence is coloured: what loses or failed, what chance may have decided, what wins; nothing for other words."""
    if "DOES NOT" in sentence or "FAILED" in sentence:
        return "loses"
    if "NOT DECIDED" in sentence:
        return "undecided"
    return "beats" if "beats every control" in sentence else ""


def _flat(words: str) -> str:
    return " ".join(words.split()).replace("*", "")
