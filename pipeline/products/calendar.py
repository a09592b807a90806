"""A calendar of what catalogs hold: one row per source, platform and year, one cell per day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from PIL import Image, ImageDraw

from pipeline.grid import days_between
from pipeline.products.drawing import FAINT_INK, PAPER, RULE, png_bytes, text, text_width


class Found(StrEnum):
    """What is known of one scene on one day."""

    CLEAR = "clear"
    PARTLY = "partly-cloudy"
    CLOUDY = "cloudy"
    UNTOLD = "cloud-not-told"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSING = "missing"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"


USABLE = (Found.CLEAR, Found.PARTLY, Found.CLOUDY, Found.UNTOLD)
EXTRA = (Found.SUPERSEDED, Found.DUPLICATE)
"""Copies of scenes that are there: marks on a cell, no share of it."""

COLOURS: Mapping[Found, tuple[int, int, int]] = {
    Found.CLEAR: (30, 92, 158),
    Found.PARTLY: (122, 168, 208),
    Found.CLOUDY: (190, 198, 206),
    Found.UNTOLD: (67, 160, 129),
    Found.FAILED: (158, 26, 44),
    Found.SKIPPED: (214, 96, 104),
    Found.MISSING: (240, 160, 60),
    Found.SUPERSEDED: (170, 130, 200),
    Found.DUPLICATE: (92, 40, 130),
}
LABELS: Mapping[Found, str] = {
    Found.CLEAR: "clear, up to 30 % cloud",
    Found.PARTLY: "partly cloudy",
    Found.CLOUDY: "cloudy, from 70 %",
    Found.UNTOLD: "found, cloud not told",
    Found.FAILED: "file cannot be used",
    Found.SKIPPED: "item cannot be used",
    Found.MISSING: "missing",
    Found.SUPERSEDED: "older processing too",
    Found.DUPLICATE: "in another source too",
}

_MARGIN = 28
_HEAD = 90
_MONTHS = 22
_ROW = 22
_GAP = 4
_TITLE = 36
_WIDEST_CELL, _NARROWEST_CELL = 26, 5
_BODY = 1830
"""Width that the days of a whole year fill [pixels]."""
_BLANK = (236, 236, 231)
"""A day of the period on which nothing was found and nothing expected."""
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class CalendarRow:
    """The scenes of one platform in one source.

    Parameters
    ----------
    source, platform : str
    days : mapping
        Day → what was found → number of scenes.
    """

    source: str
    platform: str
    days: Mapping[date, Mapping[Found, int]]


def calendar_png(rows: Sequence[CalendarRow], first: date, last: date, title: str, subtitle: str = "") -> bytes:
    """The calendar of a period.

    A cell is divided from top to bottom among the scenes of its day. Years stand below each other, day above day.

    Parameters
    ----------
    rows : sequence of CalendarRow
        In the order they are shown; rows of one source together.
    first, last : date
        Of the period, both included.
    title, subtitle : str

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError("a calendar needs at least one row")
    axis = _axis(first, last)
    cell = max(_NARROWEST_CELL, min(_WIDEST_CELL, _BODY // len(axis)))
    years = range(first.year, last.year + 1)
    sources = list(dict.fromkeys(row.source for row in rows))
    kinds = [kind for kind in Found if any(counts.get(kind) for row in rows for counts in row.days.values())]
    label = round(max(text_width(row.platform or "–", 14) for row in rows)) + 52 + 16
    tail = 120
    head_width = max(_legend(None, 0, 0, kinds), round(text_width(title, 24) + 16 + text_width(subtitle, 15)))
    width = _MARGIN + max(label + len(axis) * cell + tail, head_width) + _MARGIN
    height = _HEAD + len(sources) * (_TITLE + _MONTHS) + len(rows) * len(years) * (_ROW + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    text(draw, (_MARGIN, _MARGIN - 6), title, 24)
    text(draw, (_MARGIN + text_width(title, 24) + 16, _MARGIN + 2), subtitle, 15, FAINT_INK)
    _legend(draw, _MARGIN, _MARGIN + 36, kinds)
    left, top = _MARGIN + label, _HEAD
    for source in sources:
        text(draw, (_MARGIN, top + 12), source, 16)
        top += _TITLE
        _months(draw, axis, left, top, cell)
        top += _MONTHS
        for row in rows:
            if row.source != source:
                continue
            for year in years:
                if year == first.year:
                    text(draw, (_MARGIN, top + _ROW / 2), row.platform or "–", 14, anchor="lm")
                text(draw, (left - 16, top + _ROW / 2), str(year), 14, FAINT_INK, anchor="rm")
                _row(draw, row.days, year, (first, last), axis, (left, top), cell)
                text(draw, (left + len(axis) * cell + 12, top + _ROW / 2), _share(row.days, year), 13, FAINT_INK, anchor="lm")
                top += _ROW + _GAP
    return png_bytes(sheet)


def _axis(first: date, last: date) -> list[tuple[int, int]]:
    """(month, day) of each column: the months of a period within one year, all of a leap year otherwise."""
    year, begin, end = (first.year, first.month, last.month) if first.year == last.year else (2000, 1, 12)
    after = (date(year, end, 28) + timedelta(days=4)).replace(day=1)
    return [(day.month, day.day) for day in days_between(date(year, begin, 1), after - timedelta(days=1))]


def _months(draw: ImageDraw.ImageDraw, axis: Sequence[tuple[int, int]], left: int, top: int, cell: int) -> None:
    """Names of months above their first day, and of days where there is room."""
    for column, (month, day) in enumerate(axis):
        x = left + column * cell
        if day == 1:
            draw.line((x - 1, top + 2, x - 1, top + _MONTHS - 4), fill=RULE)
            text(draw, (x + 4, top + 1), _NAMES[month - 1], 14, FAINT_INK)
        elif cell >= 8 and day in (10, 20):
            text(draw, (x + cell / 2, top + 3), str(day), 12, FAINT_INK, anchor="ma")


def _row(
    draw: ImageDraw.ImageDraw,
    days: Mapping[date, Mapping[Found, int]],
    year: int,
    period: tuple[date, date],
    axis: Sequence[tuple[int, int]],
    at: tuple[int, int],
    cell: int,
) -> None:
    left, top = at
    columns = {key: column for column, key in enumerate(axis)}
    for day in days_between(max(period[0], date(year, 1, 1)), min(period[1], date(year, 12, 31))):
        x = left + columns[day.month, day.day] * cell
        _cell(draw, days.get(day, {}), (x, top, x + cell - 2, top + _ROW - 1))


def _cell(draw: ImageDraw.ImageDraw, counts: Mapping[Found, int], box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=_BLANK)
    parts = [(kind, counts.get(kind, 0)) for kind in Found if kind not in EXTRA]
    scenes = sum(count for _, count in parts)
    start = 0
    for kind, count in parts:
        if count:
            begin, end = (top + round((bottom + 1 - top) * part / scenes) for part in (start, start + count))
            draw.rectangle((left, begin, right, end - 1), fill=COLOURS[kind])
            start += count
    extra = next((kind for kind in EXTRA if counts.get(kind)), None)
    if extra is not None:
        draw.rectangle((left, bottom - 4, right, bottom), fill=PAPER)
        draw.rectangle((left, bottom - 3, right, bottom), fill=COLOURS[extra])


def _share(days: Mapping[date, Mapping[Found, int]], year: int) -> str:
    """``found of expected``, short enough for the end of a row."""
    total: Counter[Found] = Counter()
    for day, counts in days.items():
        if day.year == year:
            total.update(counts)
    found = sum(total[kind] for kind in USABLE)
    lost = total[Found.MISSING] + total[Found.FAILED] + total[Found.SKIPPED]
    return f"{found} of {found + lost}" if lost else str(found)


def _legend(draw: ImageDraw.ImageDraw | None, left: int, top: int, kinds: Sequence[Found]) -> int:
    """One line of coloured squares with their names; its right edge. Without `draw` it is only measured."""
    for kind in kinds:
        if draw is not None:
            # A copy looks as in a cell: a bar below.
            draw.rectangle((left, top + (10 if kind in EXTRA else 0), left + 13, top + 13), fill=COLOURS[kind])
            text(draw, (left + 20, top + 7), LABELS[kind], 14, anchor="lm")
        left += 20 + round(text_width(LABELS[kind], 14)) + 28
    return left
