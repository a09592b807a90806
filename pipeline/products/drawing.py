"""What quick-looks and contact sheets draw with: text, the bar of provenance shares, PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from pipeline.products.colour import NODATA_COLOUR, PROVENANCE_COLOURS, PROVENANCE_LABELS
from pipeline.vocabulary import Maturity, Provenance

PAPER = (250, 250, 248)
INK = (32, 33, 36)
FAINT_INK = (108, 110, 116)
RULE = (214, 214, 210)

MATURITY_COLOURS: Mapping[Maturity, tuple[int, int, int]] = {
    Maturity.NONE: (150, 150, 150),
    Maturity.NRT: (190, 92, 44),
    Maturity.INTERIM: (158, 124, 22),
    Maturity.FINAL: (34, 110, 72),
}


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow, so that pictures are the same on every machine."""
    return ImageFont.load_default(size)


def text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, size: int, colour: tuple[int, int, int] = INK, anchor: str = "la"
) -> None:
    draw.text(at, words, fill=colour, font=font(size), anchor=anchor)


def text_width(words: str, size: int) -> float:
    """Width of a line [pixels]."""
    return font(size).getlength(words)


def share_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], shares: Mapping[Provenance, float]) -> None:
    """A stacked bar of the provenance shares in (left, top, right, bottom), best kind first, missing last."""
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), fill=NODATA_COLOUR)
    start = float(left)
    for kind in PROVENANCE_COLOURS:
        end = start + shares.get(kind, 0.0) * (right - left)
        if round(end) > round(start):
            draw.rectangle((round(start), top, round(end) - 1, bottom - 1), fill=PROVENANCE_COLOURS[kind])
        start = end


def legend(draw: ImageDraw.ImageDraw, at: tuple[int, int], kinds: list[Provenance], size: int) -> int:
    """One line of coloured squares with their labels; returns its right edge."""
    left, top = at
    for kind in kinds:
        draw.rectangle((left, top, left + size - 1, top + size - 1), fill=PROVENANCE_COLOURS[kind])
        left += size + size // 2
        text(draw, (left, top + size / 2), PROVENANCE_LABELS[kind], size, anchor="lm")
        left += round(text_width(PROVENANCE_LABELS[kind], size)) + 2 * size
    return left


def percent(share: float) -> str:
    """A share as people read it: ``0 %`` and ``100 %`` are kept for exactly none and all.

    Examples
    --------
    >>> percent(0.9996), percent(0.002), percent(0.0)
    ('> 99 %', '< 1 %', '0 %')
    """
    if 0.0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1.0:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
