"""Rows of scores as tables for people and machines, and the sentence that says whether a method was worth it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.assessment.listing import amount
from pipeline.assessment.scoring import Difference, Row

Columns = Sequence[tuple[str, str, str]]
"""Figure, title and format."""

BRIEF: Columns = (
    ("rmse", "RMSE", ".4f"),
    ("mae", "MAE", ".4f"),
    ("bias", "bias", "+.4f"),
    ("cc", "CC", ".3f"),
    ("sam", "SAM", ".4f"),
    ("ergas", "ERGAS", ".3f"),
)

FULL: Columns = (
    ("rmse", "RMSE", ".4f"),
    ("mae", "MAE", ".4f"),
    ("bias", "bias", "+.4f"),
    ("cc", "CC", ".3f"),
    ("r2", "R²", ".3f"),
    ("psnr", "PSNR", ".1f"),
    ("ssim", "SSIM", ".3f"),
    ("ssim_range", "SSIM 1–99 %", ".3f"),
    ("uiqi", "UIQI", ".3f"),
    ("sam", "SAM", ".4f"),
    ("ergas", "ERGAS", ".3f"),
    ("edge", "EDGE", "+.3f"),
    ("lbp", "LBP", "+.3f"),
    ("change_cc", "change CC", ".2f"),
    ("change_slope", "change slope", ".2f"),
    ("roughness", "roughness", ".5f"),
    ("z2", "mean z²", ".2f"),
    ("cover68", "in 1 σ", ".0%"),
    ("cover95", "in 95 %", ".0%"),
    ("crps", "CRPS", ".4f"),
)


EFFORT = ("image", "parameters", "multiply-adds / pixel", "s / megapixel·band·day")
"""Titles of the cells of `effort_cells`."""


@dataclass(frozen=True)
class Effort:
    """What an image took.

    Parameters
    ----------
    name : str
    control : bool
    parameters : int, optional
        Of its network; None where there is none.
    multiply_adds : int, optional
        Of its network, for a fine pixel of six bands.
    seconds : float
        For a megapixel of one band of one day, by the clock when it was made, with all that was learnt for it.
    """

    name: str
    control: bool
    parameters: int | None
    multiply_adds: int | None
    seconds: float


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Rows without the strata that say what an earlier one has said: of a nowcast all pixels are seen from one side."""
    said: dict[tuple[tuple[str, int, float], ...], str] = {}
    for stratum in _strata(rows):
        said.setdefault(tuple((row.name, row.pixels, row.rmse) for row in rows if row.stratum == stratum), stratum)
    return [row for row in rows if row.stratum in said.values()]


def rich_table(rows: Sequence[Row], title: str = "") -> Table:
    """For a terminal of 80 columns: controls dim, a line between strata, the best RMSE of each stratum bold.

    Spectral angle, ERGAS and coverage are left to the other forms; of a stratum without pixels only that is said.
    """
    table = Table(
        title=title or None,
        title_justify="left",
        caption="errors in the unit of the bands (reflectance or index), means over bands; CC: correlation",
        caption_justify="left",
    )
    for name in ("pixels are", "image"):
        table.add_column(name)
    for name in ("RMSE", "MAE", "bias", "CC", "pixels"):
        table.add_column(name, justify="right")
    for stratum in _strata(rows):
        inside = [row for row in rows if row.stratum == stratum]
        if not any(row.pixels for row in inside):
            table.add_row(stratum, Text("none on these days", "dim"), *[""] * 4, "0", end_section=True)
            continue
        best = min(_sortable(row.rmse) for row in inside)
        for number, row in enumerate(inside, start=1):
            _, name, rmse, mae, bias, cc, *_, pixels, _ = row_cells(replace(row, rmse_low=math.nan), BRIEF)
            style = "bold" if row.rmse == best else "dim" if row.control else ""
            table.add_row(stratum, name, rmse, mae, bias, cc, pixels, style=style, end_section=number == len(inside))
    return table


def markdown(rows: Sequence[Row], columns: Columns = BRIEF) -> str:
    """A Markdown table; controls in italics, the interval of the RMSE beside it where there is one."""
    titles = headings(columns)
    lines = [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    for row in rows:
        stratum, name, *cells = row_cells(row, columns)
        lines.append(f"| {' | '.join([stratum, f'*{name}*' if row.control else name, *cells])} |")
    return "\n".join(lines) + "\n"


def headings(columns: Columns) -> tuple[str, ...]:
    """Titles of the cells of `row_cells`."""
    return ("stratum", "image", *(title for _, title, _ in columns), "pixels", "coverage")


def row_cells(row: Row, columns: Columns) -> list[str]:
    """A row as words."""
    figures = [_number(getattr(row, name), form) for name, _, form in columns]
    if not math.isnan(row.rmse_low):
        figures[0] += f" [{row.rmse_low:.4f}–{row.rmse_high:.4f}]"
    return [row.stratum, row.name, *figures, f"{row.pixels:,}", _number(row.coverage, ".1%")]


def effort_cells(effort: Effort) -> list[str]:
    """What an image took, as words."""
    counts = [amount(count) for count in (effort.parameters, effort.multiply_adds)]
    return [effort.name, *counts, f"{effort.seconds:.2g}" if effort.seconds < 10 else f"{effort.seconds:.0f}"]


def efforts_markdown(efforts: Sequence[Effort]) -> str:
    """A Markdown table of what each image took; controls in italics."""
    lines = [f"| {' | '.join(EFFORT)} |", "|---|" + "---:|" * (len(EFFORT) - 1)]
    for effort in efforts:
        name, *cells = effort_cells(effort)
        lines.append(f"| {' | '.join([f'*{name}*' if effort.control else name, *cells])} |")
    return "\n".join(lines) + "\n"


def differences_markdown(differences: Sequence[Difference]) -> str:
    """A Markdown table of paired differences; bold where zero lies outside the interval."""
    lines = ["| stratum | image | less | RMSE | 95 % | drawn from |", "|---|---|---|---:|---:|---|"]
    for found in differences:
        value = f"{found.rmse:+.5f}"
        cells = [
            found.stratum,
            found.name,
            found.other,
            f"**{value}**" if found.decided else value,
            f"{found.low:+.5f} to {found.high:+.5f}",
        ]
        lines.append(f"| {' | '.join([*cells, occasions(found.days)])} |")
    return "\n".join(lines) + "\n"


def occasions(days: int) -> str:
    """What an interval was drawn from: with one date it says nothing of others."""
    return "this date only" if days == 1 else f"{days} dates"


def csv_text(rows: Sequence[Row], efforts: Sequence[Effort] = ()) -> str:
    """Comma-separated, all figures at full precision; the RMSE of bands in columns ``rmse_1``, ``rmse_2`` …

    With `efforts`, what an image took stands in each of its rows.
    """
    took = _took(efforts)
    records = [{**_flat(row), **took.get(row.name, {})} for row in rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def json_text(rows: Sequence[Row], efforts: Sequence[Effort] = ()) -> str:
    """A JSON array of objects; a figure that is not defined is ``null``. `efforts` as for `csv_text`."""
    took = _took(efforts)
    return json.dumps([_nullable({**asdict(row), **took.get(row.name, {})}) for row in rows], indent=1) + "\n"


def verdict(rows: Sequence[Row], method: str, controls: Sequence[str], stratum: str) -> str:
    """One sentence: does the method beat every control by RMSE in this stratum, and if not, which control is better.

    Parameters
    ----------
    rows : sequence of Row
    method : str
        Name of the row that is judged.
    controls : sequence of str
        Names it is judged by; at least one.
    stratum : str

    Raises
    ------
    ValueError
        If a row is missing: a verdict without all controls would be none.
    """
    errors = {row.name: row.rmse for row in rows if row.stratum == stratum}
    missing = [name for name in (method, *controls) if name not in errors]
    if missing or not controls:
        raise ValueError(
            f"no rows of {', '.join(missing) or 'any control'} for {stratum}; the rows are of {', '.join(errors) or 'nothing'}"
        )
    if any(math.isnan(errors[name]) for name in (method, *controls)):
        return f"On {stratum} pixels {method} cannot be judged: no pixel is valid in the truth and in every image."
    best = min(controls, key=lambda name: errors[name])
    figures = f"RMSE {errors[method]:.4f} against {errors[best]:.4f}"
    if errors[method] < errors[best]:
        return f"On {stratum} pixels {method} beats every control: {figures} of {best}, {1 - errors[method] / errors[best]:.1%} less."
    better = [name for name in controls if errors[name] <= errors[method]]
    others = f" ({', '.join(better)} are all at least as good)" if len(better) > 1 else ""
    return f"On {stratum} pixels {method} DOES NOT beat the control {best}: {figures}{others}."


def _took(efforts: Sequence[Effort]) -> dict[str, dict[str, Any]]:
    return {
        effort.name: {"parameters": effort.parameters, "multiply_adds": effort.multiply_adds, "seconds": effort.seconds}
        for effort in efforts
    }


def _strata(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.stratum for row in rows))


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _flat(row: Row) -> dict[str, Any]:
    record = asdict(row)
    bands = record.pop("band_rmse")
    return {**record, **{f"rmse_{number}": value for number, value in enumerate(bands, start=1)}}


def _nullable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nullable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nullable(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
