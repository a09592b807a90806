"""One PNG per day: the picture, and beside it the date, where its pixels come from, and maps of that and of the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr
from PIL import Image, ImageDraw

from pipeline.products.colour import (
    PROVENANCE_COLOURS,
    PROVENANCE_LABELS,
    STD_LIMIT,
    Stretch,
    colours,
    fixed_stretch,
    provenance_colours,
    std_colours,
)
from pipeline.products.drawing import FAINT_INK, MATURITY_COLOURS, PAPER, RULE, percent, png_bytes, share_bar, text
from pipeline.products.picture import DayPicture, read_picture
from pipeline.vocabulary import Maturity, Provenance

_PANEL = 260
_MARGIN = 16
_LEAST_HEIGHT = 620
_WORDS = 28
"""Height of the words between two maps."""


def quicklook_png(
    cube: xr.Dataset | Path | str,
    index: int,
    bands: Sequence[str] | None = None,
    size: int = 1024,
    stretch: Stretch | None = None,
    title: str = "",
    maturity: Maturity | None = None,
) -> bytes:
    """The quick-look of one day of a cube or a staging.

    Parameters
    ----------
    cube : Dataset, Path or str
    index : int
        Position on the time axis.
    bands : sequence of str, optional
        Three for a colour picture or one for a ramp; true colour where the cube can.
    size : int
        Longest edge of the picture, without the panel [pixels].
    stretch : Stretch, optional
        `fixed_stretch` of the bands when left out, so that days are comparable.
    title : str
        Name of the area.
    maturity : Maturity, optional
        Maturity of the day, when the cube itself does not hold it.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    StoreError
        If the cube lacks a band, provenance, or the day.
    """
    return draw_quicklook(read_picture(cube, index, bands, size, maturity), stretch, title)


def draw_quicklook(picture: DayPicture, stretch: Stretch | None = None, title: str = "") -> bytes:
    """The same from a picture that was already read."""
    stretch = stretch or fixed_stretch(picture.bands)
    image = Image.fromarray(colours(picture, stretch))
    # A very small area is enlarged by whole numbers, so that its pixels stay square and sharp.
    enlarge = max(1, 400 // max(image.size))
    image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (image.width + _PANEL, max(image.height, _LEAST_HEIGHT)), PAPER)
    sheet.paste(image, (0, (sheet.height - image.height) // 2))
    _panel(sheet, image.width + _MARGIN, picture, stretch, title)
    return png_bytes(sheet)


def _panel(sheet: Image.Image, left: int, picture: DayPicture, stretch: Stretch, title: str) -> None:
    draw = ImageDraw.Draw(sheet)
    right, top = sheet.width - _MARGIN, _MARGIN
    if title:
        text(draw, (left, top), title, 13, FAINT_INK)
    text(draw, (left, top + 18), picture.day.isoformat(), 26)
    text(draw, (left, top + 52), _subtitle(picture, stretch), 13, FAINT_INK)
    if picture.maturity is not None:
        text(draw, (right, top + 52), picture.maturity.name.lower(), 13, MATURITY_COLOURS[picture.maturity], anchor="ra")
    draw.line((left, top + 76, right, top + 76), fill=RULE)
    share_bar(draw, (left, top + 88, right, top + 100), picture.shares)
    line = top + 110
    for kind in PROVENANCE_COLOURS:
        share = picture.shares.get(kind, 0.0)
        if share == 0.0 and kind in (Provenance.CLIMATOLOGY, Provenance.MISSING):
            continue
        draw.rectangle((left, line + 2, left + 11, line + 13), fill=PROVENANCE_COLOURS[kind])
        text(draw, (left + 20, line), PROVENANCE_LABELS[kind], 13)
        text(draw, (right, line), percent(share), 13, FAINT_INK, anchor="ra")
        line += 20
    _maps(sheet, (left, line + 10, right, sheet.height - _MARGIN), picture)


def _subtitle(picture: DayPicture, stretch: Stretch) -> str:
    if len(picture.bands) == 3:
        return " · ".join(picture.bands)
    low, high = stretch.limits[0]
    return f"{picture.bands[0]}, brown {low:.2g} to green {high:.2g}"


def _maps(sheet: Image.Image, box: tuple[int, int, int, int], picture: DayPicture) -> None:
    """Provenance, and under it the uncertainty where the cube states it."""
    left, top, right, bottom = box
    height, width = picture.provenance.shape
    maps = [provenance_colours(picture.provenance)]
    room = bottom - top
    if picture.std is not None:
        maps.append(std_colours(picture.std))
        room = (room - _WORDS) // 2
    scale = min((right - left) / width, room / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    for number, shown in enumerate(maps):
        if number:
            text(ImageDraw.Draw(sheet), (left, top + 6), f"mean uncertainty, dark from {STD_LIMIT:g}", 13, FAINT_INK)
            top += _WORDS
        # Nearest: a mixture of two codes' colours would read as a third.
        sheet.paste(Image.fromarray(shown).resize(size, Image.Resampling.NEAREST), (left, top))
        top += size[1]
