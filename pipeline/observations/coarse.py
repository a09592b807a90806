"""Coarse products on the coarse cells: nearest on a finer lattice, masked, then averaged per cell.

Coarse cells are cut into equal sub-pixels anchored to the CRS, each of which takes the
native pixel at its centre. A cell then is the mean of its own sub-pixels, whatever
block or area it is computed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date

import numpy as np

from pipeline.catalog.scene import Scene
from pipeline.grid import Grid, Window
from pipeline.normalisation.adjustment import Directions
from pipeline.observations.masking import Limits, doubt, flags, physical
from pipeline.observations.warp import Lattice, native_cells
from pipeline.sensors.product import Band, DayLayer, Product
from pipeline.sensors.qa import band_quality
from pipeline.vocabulary import Reason

SUBDIVISION = 4
"""Sub-pixels along the edge of a cell for native pixels of the size of a cell and above."""
INFLATION = 2.0
"""σ of a value whose quality layer says that it is less certain, relative to the others."""
LARGEST_INFLATION = 4.0
"""σ of a cell of which only a small share was observed, relative to a whole one."""
DAILY_CHANGE = 0.002
"""1 σ of the change of reflectance in a day, for values whose instant is not known: 0.1 in the seven weeks of a green-up."""
NO_DAY = -128
"""Stored where the day of a cell is not known: it is that of the centre of the product's support."""


def subdivision(grid: Grid, scene: Scene) -> int:
    """Sub-pixels along the edge of a coarse cell: not coarser than the native pixels, where they are square metres."""
    cell = grid.resolution * grid.scale
    return max(SUBDIVISION, min(math.ceil(cell / scene.transform[0] - 1e-6), grid.scale))


def sub_grid(grid: Grid, cells: Window, parts: int) -> Grid:
    """The sub-pixels of a window of coarse cells, `parts` along the edge of a cell."""
    cell = grid.resolution * grid.scale
    return Grid(
        crs=grid.crs,
        west=grid.west + cells.col * cell,
        north=grid.north - cells.row * cell,
        resolution=cell / parts,
        height=cells.height * parts,
        width=cells.width * parts,
        scale=parts,
    )


def cell_values(
    numbers: np.ndarray,
    hidden: np.ndarray,
    quality: np.ndarray | None,
    band: Band,
    std: float | np.ndarray,
    limits: Limits,
    parts: int,
    factor: float | np.ndarray = 1.0,
    signed: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, 1 σ and observed share of the coarse cells in one band.

    ``σ = mean(std · (INFLATION where quality is low)) · min(1/√share, LARGEST_INFLATION)`` over the observed
    sub-pixels. The value is judged as it was measured, and averaged in the published geometry.

    Parameters
    ----------
    numbers : ndarray, (Y · parts, X · parts)
        Raw numbers of the sub-pixels.
    hidden : ndarray, (Y · parts, X · parts) bool
        Sub-pixels that the QA of the scene takes out.
    quality : ndarray, (Y · parts, X · parts), or None
        The band's own quality layer.
    band : Band
    std : float, or ndarray (Y · parts, X · parts)
        1 σ of one native value.
    limits : (float, float)
        Reflectance outside is no observation.
    parts : int
        Sub-pixels along the edge of a cell.
    factor : float, or ndarray (Y · parts, X · parts)
        From the reflectance measured to that in the published geometry.
    signed : bool
        Values below zero are observations like others, as those of an index.

    Returns
    -------
    mean, std : ndarray, (Y, X) float32
        NaN where nothing was observed.
    share : ndarray, (Y, X) float32
        0–1.
    """
    found = flags(numbers, band, limits)
    seen = ~hidden & ((found & ~np.uint16(Reason.NEGATIVE) if signed else found) == 0)
    doubtful = np.zeros(seen.shape, bool)
    if quality is not None:
        drop, doubtful = band_quality(band, quality)
        seen &= ~drop
    count = _cell_sum(seen, parts)
    known = count > 0
    divisor = np.where(known, count, 1.0)
    mean = _cell_sum(np.where(seen, physical(numbers, band) * factor, 0.0), parts) / divisor
    share = count / parts**2
    spread = 1.0 / np.sqrt(np.where(known, share, 1.0))
    own = np.where(seen, std * np.where(doubtful, INFLATION, 1.0), 0.0)
    sigma = _cell_sum(own, parts) / divisor * np.minimum(spread, LARGEST_INFLATION)
    nothing = np.float32(np.nan)
    return np.where(known, mean, nothing).astype(np.float32), np.where(known, sigma, nothing).astype(np.float32), share.astype(np.float32)


def coarse_std(product: Product, reasons: np.ndarray, dated: bool) -> np.ndarray:
    """1 σ of native values, of the shape of `reasons`.

    Parameters
    ----------
    product : Product
    reasons : ndarray of uint16
        States that cast doubt make it larger.
    dated : bool
        The day of each value is known; otherwise what reflectance may change in ``support.time_std`` days is added.
    """
    std = math.hypot(product.std, 0.0 if dated else DAILY_CHANGE * product.support.time_std)
    factor = doubt(reasons)
    return np.full(reasons.shape, std, np.float32) if factor is None else factor * np.float32(std)


def directions_of(product: Product, layers: Mapping[str, np.ndarray]) -> Directions | None:
    """Directions of sun and view of native pixels, from a product's angle layers; None when a scene does not have them.

    Parameters
    ----------
    product : Product
    layers : mapping of str to integer ndarray, (y, x)
        Raw numbers by asset key.
    """
    known = product.angles
    if known is None or not all(asset in layers for asset in known.assets):
        return None

    def degrees(asset: str) -> np.ndarray:
        raw = layers[asset]
        return np.where(raw == known.nodata, np.nan, raw * known.scale)

    if known.relative_azimuth is not None:
        azimuth = degrees(known.relative_azimuth)
    else:
        assert known.view_azimuth is not None
        assert known.sun_azimuth is not None
        azimuth = degrees(known.view_azimuth) - degrees(known.sun_azimuth)
    return Directions(degrees(known.sun_zenith), degrees(known.view_zenith), azimuth)


def cell_days(numbers: np.ndarray, seen: np.ndarray, layer: DayLayer, nominal: date, parts: int) -> np.ndarray:
    """Days from the nominal day to that on which each coarse cell was observed, from a layer of days of the year.

    Parameters
    ----------
    numbers : ndarray, (Y · parts, X · parts)
        Day of the year of the sub-pixels.
    seen : ndarray, (Y · parts, X · parts) bool
        Sub-pixels that are not hidden.
    layer : DayLayer
        Its ``nodata``.
    nominal : date
        The day that the product names; a composite that begins in December ends in January.
    parts : int
        Sub-pixels along the edge of a cell.

    Returns
    -------
    ndarray, (Y, X) int8
        The mean of the sub-pixels, rounded; NO_DAY where none is known, or beyond ±126 days.
    """
    first = nominal.timetuple().tm_yday
    length = (date(nominal.year + 1, 1, 1) - date(nominal.year, 1, 1)).days
    offset = (numbers.astype(np.int64) - first + length // 2) % length - length // 2
    known = seen & (numbers != layer.nodata) & (numbers >= 1) & (numbers <= 366) & (np.abs(offset) <= 126)
    count = _cell_sum(known, parts)
    mean = np.rint(_cell_sum(np.where(known, offset, 0), parts) / np.maximum(count, 1))
    return np.where(count > 0, mean, NO_DAY).astype(np.int8)


def _cell_sum(values: np.ndarray, parts: int) -> np.ndarray:
    """Sums over cells in one fixed order, so that the shape of the window does not decide the rounding."""
    total = np.zeros((values.shape[0] // parts, values.shape[1] // parts))
    for row in range(parts):
        for col in range(parts):
            total += values[row::parts, col::parts]
    return total


def native_index(grid: Grid, scene: Scene, cells: Window) -> np.ndarray:
    """Index of the native pixel at the centre of each coarse cell, (Y, X) int64; tiles of a product share the numbering."""
    size = grid.resolution * grid.scale
    return native_cells(Lattice(grid.crs, grid.west, grid.north, size, size), cells, Lattice.of(scene.crs, scene.transform))
