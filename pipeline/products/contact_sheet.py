"""One sheet per run: every day as a small picture with its date, its maturity and where its pixels come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.products.colour import PROVENANCE_COLOURS, Stretch, colours, fixed_stretch
from pipeline.products.drawing import (
    FAINT_INK,
    MATURITY_COLOURS,
    PAPER,
    RULE,
    legend,
    percent,
    png_bytes,
    share_bar,
    text,
    text_width,
)
from pipeline.products.picture import DayPicture
from pipeline.vocabulary import Maturity, Provenance

_MARGIN = 28
_GAP = 14
_HEAD = 84
_WIDEST = 2200
_WORDS_FROM = 120
"""Narrower pictures have room for the date alone below them; maturity is then a coloured dot [pixels]."""


def contact_sheet_png(
    pictures: Sequence[DayPicture], title: str, subtitle: str = "", stretch: Stretch | None = None, columns: int | None = None
) -> bytes:
    """The contact sheet of a run.

    Parameters
    ----------
    pictures : sequence of DayPicture
        The days in the order they are shown, all of the same bands; `thumbnail` is plenty.
    title, subtitle : str
        Usually the area and the run.
    stretch : Stretch, optional
        `fixed_stretch` of the bands when left out.
    columns : int, optional
        7 up to five weeks of days, so that a row is a week; nearly square beyond.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        If there are no pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one day")
    stretch = stretch or fixed_stretch(pictures[0].bands)
    columns = min(columns or _columns(len(pictures)), len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].provenance.shape
    thumb_width = max(72, min(220, (_WIDEST - 2 * _MARGIN + _GAP) // columns - _GAP))
    thumb_height = max(1, round(thumb_width * height / width))
    caption = 46 if thumb_width >= _WORDS_FROM else 30
    kinds = [kind for kind in PROVENANCE_COLOURS if any(picture.shares.get(kind, 0.0) > 0 for picture in pictures)]
    body = 2 * _MARGIN + columns * (thumb_width + _GAP) - _GAP
    sheet_width = max(body, _head_width(title, subtitle, kinds))
    sheet = Image.new("RGB", (sheet_width, _MARGIN + _HEAD + rows * (thumb_height + caption + _GAP) + _MARGIN - _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, sheet_width, title, subtitle, kinds)
    if thumb_width < _WORDS_FROM:
        _maturity_legend(draw, sheet_width - _MARGIN, [picture.maturity for picture in pictures])
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        left = _MARGIN + column * (thumb_width + _GAP)
        top = _MARGIN + _HEAD + row * (thumb_height + caption + _GAP)
        thumb = Image.fromarray(colours(picture, stretch))
        sheet.paste(thumb.resize((thumb_width, thumb_height), _resampling(thumb.width, thumb_width)), (left, top))
        _caption(draw, left, top + thumb_height, thumb_width, picture)
    return png_bytes(sheet)


def _columns(days: int) -> int:
    return 7 if days <= 35 else math.ceil(math.sqrt(1.5 * days))


def _resampling(source: int, target: int) -> Image.Resampling:
    return Image.Resampling.BOX if source >= target else Image.Resampling.NEAREST


def _head(draw: ImageDraw.ImageDraw, width: int, title: str, subtitle: str, kinds: list[Provenance]) -> None:
    text(draw, (_MARGIN, _MARGIN), title, 24)
    text(draw, (_MARGIN + text_width(title, 24) + 16, _MARGIN + 8), subtitle, 15, FAINT_INK)
    legend(draw, (_MARGIN, _MARGIN + 40), kinds, 13)
    draw.line((_MARGIN, _MARGIN + 66, width - _MARGIN, _MARGIN + 66), fill=RULE)


def _head_width(title: str, subtitle: str, kinds: list[Provenance]) -> int:
    scratch = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines = _MARGIN + text_width(title, 24) + 16 + text_width(subtitle, 15), legend(scratch, (_MARGIN, 0), kinds, 13)
    return math.ceil(max(lines)) + _MARGIN


def _maturity_legend(draw: ImageDraw.ImageDraw, right: int, seen: Sequence[Maturity | None]) -> None:
    top = _MARGIN + 40
    for maturity in sorted({maturity for maturity in seen if maturity is not None}):
        word = maturity.name.lower()
        text(draw, (right, top), word, 13, anchor="ra")
        right -= round(text_width(word, 13)) + 8
        _dot(draw, right, top + 7, MATURITY_COLOURS[maturity])
        right -= 20


def _dot(draw: ImageDraw.ImageDraw, x: int, y: int, colour: tuple[int, int, int]) -> None:
    draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)


def _caption(draw: ImageDraw.ImageDraw, left: int, top: int, width: int, picture: DayPicture) -> None:
    share_bar(draw, (left, top + 3, left + width, top + 9), picture.shares)
    colour = MATURITY_COLOURS[picture.maturity] if picture.maturity is not None else FAINT_INK
    if width < _WORDS_FROM:
        text(draw, (left, top + 13), picture.day.strftime("%d %b"), 12)
        if picture.maturity is not None:
            _dot(draw, left + width - 5, top + 20, colour)
        return
    text(draw, (left, top + 14), picture.day.isoformat(), 15)
    if picture.maturity is not None:
        text(draw, (left + width, top + 15), picture.maturity.name.lower(), 13, colour, anchor="ra")
    text(draw, (left, top + 32), f"{percent(picture.shares.get(Provenance.OBSERVED, 0.0))} observed", 12, FAINT_INK)
