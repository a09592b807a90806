"""Where the pixels of a tile lie, from its name alone: for items that do not say it themselves.

Sources: MODIS Land sinusoidal grid (MODLAND tile grid; sphere of 6 371 007.181 m, 36 × 18 tiles); Sentinel-2 tiling grid as HLS takes
it (HLS Product User Guide 2.0, section 6.2), which is the military grid reference system (DMA TM 8358.1, chapter 3).
"""

from __future__ import annotations

import re
from typing import Literal

from pipeline.errors import CatalogError

Georeference = tuple[str, tuple[float, float, float, float, float, float], tuple[int, int]]
"""CRS, affine coefficients of the pixel edges and (rows, columns)."""

SINUSOIDAL = (
    'PROJCS["MODIS Sinusoidal",GEOGCS["Unknown datum based upon the custom spheroid",'
    'DATUM["Not specified (based on custom spheroid)",SPHEROID["Custom spheroid",6371007.181,0]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Sinusoidal"],'
    'PARAMETER["longitude_of_center",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],'
    'UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
)
_WEST, _NORTH = -20015109.354, 10007554.677
_SINUSOIDAL_TILE = -2 * _WEST / 36

_SQUARE = 100_000.0
_HLS_TILE = 109_800.0
_SNAP = 60.0
"""Corners of Sentinel-2 tiles lie on multiples of this in the northern CRS of the zone [m]: pixels of 10, 20 and 60 m share them."""
_FALSE_NORTHING = 10_000_000.0
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
"""Letters of the 100 km columns from 100 km east on, by zone modulo 3."""
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of the 100 km rows, which begin again every 2000 km; those of even zones are moved by five."""
_BANDS = {
    **dict(zip("CDEFGHJKLM", (11, 20, 28, 37, 46, 55, 64, 73, 82, 91), strict=True)),
    **dict(zip("NPQRSTUVWX", (0, 8, 17, 26, 35, 44, 53, 62, 70, 79), strict=True)),
}
"""Latitude band → lowest northing of its squares, with the false northing in the south [100 km]."""


def tile_georeference(tiling: Literal["sinusoidal", "hls"], tile: str, pixel: float) -> Georeference:
    """CRS, transform and shape of a tile.

    HLS files of the south are in the northern CRS of their zone, with negative northings, as Landsat is.

    Parameters
    ----------
    tiling : {"sinusoidal", "hls"}
    tile : str
        ``h18v04``, or ``T13TGF``.
    pixel : float
        Edge of a pixel [m]; a tile is a whole number of them.

    Raises
    ------
    CatalogError
        If there is no such tile.

    Examples
    --------
    >>> tile_georeference("hls", "T13TGF", 30.0)
    ('EPSG:32613', (30.0, 0.0, 699960.0, 0.0, -30.0, 4600020.0), (3660, 3660))
    """
    return _sinusoidal(tile, pixel) if tiling == "sinusoidal" else _hls(tile, pixel)


def _sinusoidal(tile: str, pixel: float) -> Georeference:
    match = re.fullmatch(r"h(\d\d)v(\d\d)", tile)
    column, row = (int(part) for part in match.groups()) if match else (36, 18)
    if column > 35 or row > 17:
        raise CatalogError(f"{tile!r} is no tile of the sinusoidal grid; expected h00v00 to h35v17")
    return _square(SINUSOIDAL, _WEST + column * _SINUSOIDAL_TILE, _NORTH - row * _SINUSOIDAL_TILE, _SINUSOIDAL_TILE, pixel)


def _hls(tile: str, pixel: float) -> Georeference:
    match = re.fullmatch(r"T(\d\d)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", tile)
    zone = int(match[1]) if match else 0
    if match is None or not 1 <= zone <= 60 or match[3] not in _COLUMNS[(zone - 1) % 3]:
        raise CatalogError(f"{tile!r} is no tile of the Sentinel-2 grid; expected a square such as T13TGF")
    band, column, row = match[2], match[3], match[4]
    easting = (_COLUMNS[(zone - 1) % 3].index(column) + 1) * _SQUARE
    number = (_ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % 20
    # The first row of this letter that is not below the band.
    top = (number + -((number - _BANDS[band]) // 20) * 20 + 1) * _SQUARE - (0 if band >= "N" else _FALSE_NORTHING)
    return _square(f"EPSG:326{zone:02d}", easting // _SNAP * _SNAP, -(-top // _SNAP) * _SNAP, _HLS_TILE, pixel)


def _square(crs: str, west: float, north: float, edge: float, pixel: float) -> Georeference:
    count = round(edge / pixel)
    return crs, (edge / count, 0.0, west, 0.0, -edge / count, north), (count, count)
