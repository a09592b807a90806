"""The report of one run as a single HTML file that needs nothing else: words, table, contact sheet, checks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from pipeline.products.colour import PROVENANCE_COLOURS, PROVENANCE_LABELS
from pipeline.products.drawing import MATURITY_COLOURS, percent
from pipeline.store.check import Check
from pipeline.vocabulary import Maturity, Outcome, Provenance


@dataclass(frozen=True)
class ReportDay:
    """One line of the table of days.

    Parameters
    ----------
    day : date
    outcome : Outcome
    maturity : Maturity
    shares : mapping
        Provenance → share of the pixels; empty when the day was not made.
    reason : str
        Why the day was made, or was not.
    """

    day: date
    outcome: Outcome
    maturity: Maturity
    shares: Mapping[Provenance, float]
    reason: str = ""


@dataclass(frozen=True)
class RunReport:
    """What a report says.

    Parameters
    ----------
    title, run_id : str
    outcome : Outcome
        Of the run.
    facts : mapping of str to str
        Small facts beside the title: method, period, grid, software.
    days : sequence of ReportDay
    seconds : mapping of str to float
        Wall seconds per step, in the order they ran.
    checks : sequence of Check
    contact_sheet : bytes
        A PNG, or empty.
    tables : sequence of (str, str)
        More tables as (heading, Markdown table), such as scores against controls.
    """

    title: str
    run_id: str
    outcome: Outcome
    facts: Mapping[str, str]
    days: Sequence[ReportDay]
    seconds: Mapping[str, float]
    checks: Sequence[Check] = ()
    contact_sheet: bytes = b""
    tables: Sequence[tuple[str, str]] = ()


_GREEN, _AMBER, _RED = "#226e48", "#9e7c16", "#a8322a"

_GOOD = {Outcome.PUBLISHED, Outcome.UNCHANGED, Outcome.EXPECTED_EMPTY}

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; background: #fafaf8; margin: 0 auto; max-width: 1200px; padding: 28px; }
h1 { font-size: 26px; font-weight: 500; margin: 0; }
h2 { font-size: 18px; font-weight: 500; margin: 36px 0 8px; }
p.run { color: #6c6e74; margin: 4px 0 20px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }
dt { color: #6c6e74; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #e2e2de; }
th { color: #6c6e74; font-weight: 500; }
td.n, th.n { text-align: right; }
td.bar { width: 30%; }
.bar > div { display: flex; height: 10px; background: #e2e2de; }
.tag { border-radius: 3px; padding: 1px 7px; color: #fff; }
.legend span { margin-right: 18px; }
.legend i { display: inline-block; width: 11px; height: 11px; margin-right: 6px; }
img { max-width: 100%; }
"""


def report_html(report: RunReport) -> str:
    """The report as HTML. Every word that comes from outside is escaped; the page loads nothing and runs no script."""
    sections = [
        f"<h1>{escape(report.title)} {_tag(str(report.outcome), _outcome_colour(report.outcome))}</h1>",
        f'<p class="run">run {escape(report.run_id)}</p>',
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.facts.items()) + "</dl>",
        _days(report.days),
        _picture(report.contact_sheet),
        _checks(report.checks),
        *(f"<h2>{escape(heading)}</h2>{_markdown_table(table)}" for heading, table in report.tables),
        _seconds(report.seconds),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(report.title)} – {escape(report.run_id)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _days(days: Sequence[ReportDay]) -> str:
    if not days:
        return "<h2>Days</h2><p>No day was due.</p>"
    kinds = [kind for kind in PROVENANCE_COLOURS if any(day.shares.get(kind, 0.0) > 0 for day in days)]
    legend = "".join(f'<span><i style="background:{_hex(PROVENANCE_COLOURS[kind])}"></i>{PROVENANCE_LABELS[kind]}</span>' for kind in kinds)
    rows = "".join(
        f"<tr><td>{day.day.isoformat()}</td><td>{_tag(str(day.outcome), _outcome_colour(day.outcome))}</td>"
        f'<td style="color:{_hex(MATURITY_COLOURS[day.maturity])}">{day.maturity.name.lower()}</td>'
        f'<td class="bar">{_bar(day.shares)}</td>'
        f'<td class="n">{percent(day.shares.get(Provenance.OBSERVED, 0.0)) if day.shares else "–"}</td>'
        f"<td>{escape(day.reason)}</td></tr>"
        for day in days
    )
    head = (
        '<tr><th>day</th><th>outcome</th><th>maturity</th><th>where the pixels come from</th><th class="n">observed</th><th>why</th></tr>'
    )
    return f'<h2>Days</h2><p class="legend">{legend}</p><table>{head}{rows}</table>'


def _bar(shares: Mapping[Provenance, float]) -> str:
    parts = "".join(
        f'<span style="width:{100 * shares[kind]:.3f}%;background:{_hex(colour)}"'
        f' title="{PROVENANCE_LABELS[kind]} {percent(shares[kind])}"></span>'
        for kind, colour in PROVENANCE_COLOURS.items()
        if shares.get(kind, 0.0) > 0
    )
    return f"<div>{parts}</div>"


def _picture(png: bytes) -> str:
    if not png:
        return ""
    return f'<h2>Contact sheet</h2><img alt="all days of the run" src="data:image/png;base64,{b64encode(png).decode()}">'


def _checks(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = "".join(f"<tr><td>{escape(check.name)}</td><td>{_verdict(check)}</td><td>{escape(check.message)}</td></tr>" for check in checks)
    return f"<h2>Checks before publishing</h2><table><tr><th>check</th><th></th><th>found</th></tr>{rows}</table>"


def _verdict(check: Check) -> str:
    if check.passed:
        return _tag("passed", _GREEN)
    return _tag("failed", _RED) if check.severity == "error" else _tag("look", _AMBER)


def _seconds(seconds: Mapping[str, float]) -> str:
    if not seconds:
        return ""
    rows = "".join(f'<tr><td>{escape(name)}</td><td class="n">{value:.1f} s</td></tr>' for name, value in seconds.items())
    total = f'<tr><td>all</td><td class="n">{sum(seconds.values()):.1f} s</td></tr>'
    return f'<h2>Time</h2><table style="width:auto">{rows}{total}</table>'


def _markdown_table(table: str) -> str:
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]
    head, *body = [line for line in lines if not all(set(cell) <= set("-: ") for cell in line)]
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join("<tr>" + "".join(f"<td>{_emphasis(cell)}</td>" for cell in line) + "</tr>" for line in body)
    return f"<table><tr>{cells}</tr>{rows}</table>"


def _emphasis(cell: str) -> str:
    return f"<em>{escape(cell[1:-1])}</em>" if len(cell) > 2 and cell[0] == cell[-1] == "*" else escape(cell)


def _outcome_colour(outcome: Outcome) -> str:
    return _GREEN if outcome in _GOOD else _RED if outcome in (Outcome.FAILED, Outcome.REJECTED) else _AMBER


def _tag(word: str, colour: str) -> str:
    return f'<span class="tag" style="background:{colour};font-size:12px">{escape(word)}</span>'


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
