"""What MODIS delivers: single views of every day on the sinusoidal grid, and the daily NBAR product (MCD43A4) made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer
from scipy.ndimage import gaussian_filter1d, map_coordinates, maximum_filter

from pipeline.grid import Grid, day_number
from pipeline.sandbox.landscape import Canvas, LandCover
from pipeline.sandbox.noise import Array, field, gauss, key_of, uniform
from pipeline.sandbox.sky import CLOUD, HAZE, SHADE, Sky
from pipeline.sandbox.sun import anisotropy, kernels, sun_position, vegetation_of
from pipeline.sandbox.world import TRUTH_HOUR, Scenery

RADIUS = 6371007.181
CELL = 2 * math.pi * RADIUS / 86400
"""Edge of a 500 m cell [m]: 463.3127."""

TILE_CELLS = 2400
SINUSOIDAL = (
    'PROJCS["unnamed",GEOGCS["Unknown datum based upon the custom spheroid",DATUM["Not specified (based on custom spheroid)",'
    f'SPHEROID["Custom spheroid",{RADIUS},0]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Sinusoidal"],'
    'PARAMETER["longitude_of_center",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["Meter",1]]'
)
MARGIN = 3
"""Cells of ground around the area."""

HOURS = (10 + 35 / 60, 13 + 30 / 60)
"""Local solar time of Terra and Aqua [h]."""

BEFORE, AFTER = 8, 7
"""Days before and after the nominal day that go into MCD43A4."""

FILL = 32767
QUALITY_FILL = 255

_STEP = 2
_BLOCK = 4
"""The ground is sampled at every second fine pixel and averaged to four fine pixels before the footprint is applied."""

# Bandpass of MODIS against OLI, by band: gain and offset on bare ground, and the change from there to full vegetation.
_GAIN = np.array([1.03, 0.985, 0.975, 0.99, 1.02, 0.975], dtype=np.float32)
_OFFSET = np.array([-0.004, 0.002, 0.001, 0.004, -0.003, 0.002], dtype=np.float32)
_GREEN = np.array([0.003, 0.006, 0.004, -0.018, -0.007, 0.006], dtype=np.float32)


@dataclass(frozen=True)
class Lattice:
    """The cells of one sinusoidal tile around an area.

    Parameters
    ----------
    horizontal, vertical : int
        Tile numbers.
    row, col, height, width : int
        Cells within the tile.
    parts : int
        Cells along the edge of a 500 m cell: 1, or 2 for the cells of 250 m.
    """

    horizontal: int
    vertical: int
    row: int
    col: int
    height: int
    width: int
    parts: int = 1

    @property
    def cell(self) -> float:
        """Edge of a cell [m]."""
        return CELL / self.parts

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients of the cells [m]."""
        west = (self.horizontal - 18) * TILE_CELLS * CELL + self.col * self.cell
        north = (9 - self.vertical) * TILE_CELLS * CELL - self.row * self.cell
        return self.cell, 0.0, west, 0.0, -self.cell, north

    def divided(self, parts: int) -> Lattice:
        """The same ground in cells of which `parts` lie along the edge of one of these."""
        numbers = (number * parts for number in (self.row, self.col, self.height, self.width, self.parts))
        return Lattice(self.horizontal, self.vertical, *numbers)


@lru_cache(maxsize=16)
def cell_centres(place: Lattice, crs: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres of the cells of a lattice in `crs`: x and y, each (height, width)."""
    _, _, west, _, _, north = place.transform
    x = west + (np.arange(place.width) + 0.5) * place.cell
    y = north - (np.arange(place.height) + 0.5) * place.cell
    to_crs = Transformer.from_crs(CRS.from_wkt(SINUSOIDAL), crs, always_xy=True)
    return to_crs.transform(*np.meshgrid(x, y))


def lattices(grid: Grid) -> list[Lattice]:
    """The cells of every tile that the area touches, with a margin of `MARGIN` cells."""
    to_sinusoidal = Transformer.from_crs(grid.crs, CRS.from_wkt(SINUSOIDAL), always_xy=True)
    west, south, east, north = to_sinusoidal.transform_bounds(*grid.bounds, densify_pts=21)
    first_col = math.floor(west / CELL) - MARGIN + 18 * TILE_CELLS
    last_col = math.ceil(east / CELL) + MARGIN + 18 * TILE_CELLS
    first_row = math.floor(-north / CELL) - MARGIN + 9 * TILE_CELLS
    last_row = math.ceil(-south / CELL) + MARGIN + 9 * TILE_CELLS
    found = []
    for vertical in range(first_row // TILE_CELLS, (last_row - 1) // TILE_CELLS + 1):
        for horizontal in range(first_col // TILE_CELLS, (last_col - 1) // TILE_CELLS + 1):
            top, left = max(first_row - vertical * TILE_CELLS, 0), max(first_col - horizontal * TILE_CELLS, 0)
            bottom = min(last_row - vertical * TILE_CELLS, TILE_CELLS)
            right = min(last_col - horizontal * TILE_CELLS, TILE_CELLS)
            found.append(Lattice(horizontal, vertical, top, left, bottom - top, right - left))
    return found


@dataclass(frozen=True)
class Look:
    """One MODIS sensor on one day, on one lattice.

    Parameters
    ----------
    reflectance : ndarray, (6, y, x) float32
        Not normalised for geometry.
    clear : ndarray of bool
        What the cloud mask calls clear; it errs.
    angles : tuple of float
        Sun zenith, view zenith, relative azimuth [degrees].
    """

    reflectance: Array
    clear: npt.NDArray[np.bool_]
    angles: tuple[float, float, float]


def view_angles(day: date, aqua: bool) -> tuple[float, float]:
    """View zenith and relative azimuth [degrees] at one place: they repeat after 16 days.

    Successive tracks jump to and fro across the place, so that near-nadir and oblique days alternate.
    """
    position = ((day_number(day) * 7 + (5 if aqua else 0)) % 16 - 7.5) / 7.5
    return 64.0 * abs(position) ** 0.85, 35.0 if (position > 0) != aqua else 145.0


@dataclass(frozen=True)
class View:
    """What one MODIS sensor has before it on one day, in pixels that are finer than its footprint.

    Parameters
    ----------
    aqua : bool
    number : int
        Day number.
    canvas : Canvas
        Where the pixels lie.
    reflectance : ndarray, (6, y, x) float32
        Of the ground under haze, shadow and cloud, not normalised for geometry.
    opacity, shade, snow : ndarray, (y, x) float32
        Shares of the light from clouds, of direct sunlight taken by them, and of ground under snow.
    angles : tuple of float
        Sun zenith, view zenith, relative azimuth [degrees].
    """

    aqua: bool
    number: int
    canvas: Canvas
    reflectance: Array
    opacity: Array
    shade: Array
    snow: Array
    angles: tuple[float, float, float]


def views(scenery: Scenery, sky: Sky, day: date) -> list[View]:
    """What lies before Terra and Aqua on a day; nothing where a sensor is out of order.

    Parameters
    ----------
    scenery : Scenery
        Its canvas reaches beyond the lattices by the footprint of an oblique view.
    sky : Sky
    day : date
    """
    canvas, number = scenery.canvas, day_number(day)
    # All four ways to take every second pixel follow each other, so that no pixel is left out in the long run.
    phase = divmod(number % 4, 2)
    surface = scenery.surface(day, step=_STEP, phase=phase)
    share = _BLOCK // _STEP
    ground = _block_mean(surface.reflectance, share)
    snow = _block_mean(surface.snow[None], share)[0]
    coarse = Canvas(
        canvas.west + (phase[1] - 0.5) * canvas.resolution,
        canvas.north - (phase[0] - 0.5) * canvas.resolution,
        canvas.resolution * _BLOCK,
        ground.shape[1],
        ground.shape[2],
    )
    trees = _tree_share(scenery, phase, share, coarse)
    vegetation = vegetation_of(ground)
    found = []
    for aqua, hour in enumerate(HOURS):
        if _out_of_order(scenery.seed, number, aqua):
            continue
        key = key_of(scenery.seed, "look", aqua, number)
        view_zenith, relative_azimuth = view_angles(day, bool(aqua))
        sun_zenith, _ = sun_position(day, scenery.latitude, hour)
        reference, _ = sun_position(day, scenery.latitude, TRUTH_HOUR)
        seen = ground * anisotropy(vegetation, min(sun_zenith, 75), view_zenith, relative_azimuth, min(reference, 75))
        seen = seen * _GAIN[:, None, None] + (_OFFSET[:, None, None] + _GREEN[:, None, None] * vegetation)
        seen[3] *= 1 - 0.05 * trees
        seen += HAZE[:, None, None] * (sky.haze(day, coarse.x, coarse.y) + np.float32(0.004) * field(key, coarse.x, coarse.y, 9000.0))
        opacity = sky.opacity(day, hour, coarse.x, coarse.y)
        shade = sky.shadow(day, hour, coarse.x, coarse.y) * (1 - opacity)
        seen *= 1 - shade * (1 - SHADE[:, None, None])
        seen += opacity * (CLOUD[:, None, None] - seen)
        found.append(View(bool(aqua), number, coarse, seen, opacity, shade, snow, (sun_zenith, view_zenith, relative_azimuth)))
    return found


def pointing(seed: int, view: View, wide: float, tall: float) -> tuple[float, float]:
    """By how much a whole view is displaced [m], east and north, for a footprint of these standard deviations [m]."""
    east, north = gauss(key_of(seed, "look", int(view.aqua), view.number), np.arange(1, 3)) * np.array([45 + 0.12 * wide, 45 + 0.12 * tall])
    return float(east), float(north)


def through_footprint(layers: Array, view: View, wide: float, tall: float) -> Array:
    """Layers (n, y, x) of a view under a footprint of these standard deviations [m] along scan and along track."""
    layers = gaussian_filter1d(layers, wide / view.canvas.resolution, axis=2, mode="nearest", truncate=2.5)
    return np.asarray(gaussian_filter1d(layers, tall / view.canvas.resolution, axis=1, mode="nearest", truncate=2.5))


def at_places(layers: Array, canvas: Canvas, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Array:
    """Layers (n, rows, columns) of a canvas at places (height, width), by bilinear interpolation: (n, height, width)."""
    px, py = (x - canvas.west) / canvas.resolution - 0.5, (canvas.north - y) / canvas.resolution - 0.5
    return np.stack([map_coordinates(layer, [py, px], order=1, mode="nearest") for layer in layers])


def looks(seen: list[View], seed: int, grid: Grid, places: list[Lattice]) -> list[list[Look]]:
    """The views of a day on the 500 m cells of every lattice.

    Parameters
    ----------
    seen : list of View
    seed : int
    grid : Grid
        The area: its CRS.
    places : list of Lattice
    """
    centres = [cell_centres(place, grid.crs) for place in places]
    found: list[list[Look]] = [[] for _ in places]
    for view in seen:
        footprint = _footprint(view.angles[1])
        layers = through_footprint(np.concatenate([view.reflectance, view.opacity[None]]), view, *footprint)
        east, north = pointing(seed, view, *footprint)
        for index, (x, y) in enumerate(centres):
            # A cell takes a footprint that lies somewhere over it, not at its middle.
            cell = np.arange(x.size).reshape(x.shape)
            shift = gauss(key_of(seed, "gridding", int(view.aqua), view.number, index), np.arange(2)[:, None, None], cell)
            cells = at_places(layers, view.canvas, x + east + 90 * shift[0], y + north - 90 * shift[1])
            found[index].append(_detect(cells, key_of(seed, "detector", int(view.aqua), view.number, index), view.angles))
    return found


def _block_mean(layers: Array, share: int) -> Array:
    """Means of blocks of `share` × `share` pixels."""
    rows, cols = layers.shape[1] // share, layers.shape[2] // share
    blocks = layers[:, : rows * share, : cols * share].reshape(len(layers), rows, share, cols, share)
    return np.asarray(blocks.mean(axis=(2, 4)))


def _tree_share(scenery: Scenery, phase: tuple[int, int], share: int, coarse: Canvas) -> Array:
    cover = scenery.landscape.cover[phase[0] :: _STEP, phase[1] :: _STEP][: coarse.height * share, : coarse.width * share]
    forest = ((cover == LandCover.BROADLEAF_FOREST) | (cover == LandCover.NEEDLE_FOREST)).astype(np.float32)
    return forest.reshape(coarse.height, share, coarse.width, share).mean(axis=(1, 3))


def _footprint(view_zenith: float) -> tuple[float, float]:
    """Standard deviation of the footprint along scan and along track [m]; it grows with the view zenith."""
    slant = 1 / math.cos(math.radians(0.87 * view_zenith))
    return 210 * slant**1.6, 175 * slant**0.7


def _out_of_order(seed: int, number: int, aqua: int) -> bool:
    """Single lost days, and now and then some days in a row."""
    single = uniform(key_of(seed, "lost day", aqua), number)[0] < 0.02
    spell = uniform(key_of(seed, "lost days", aqua), number // 6)[0] < 0.03
    return bool(single or spell)


def _detect(cells: Array, key: np.uint64, angles: tuple[float, float, float]) -> Look:
    """Noise, rounding and the cloud mask with its errors."""
    values, opacity = cells[:6], cells[6]
    noise = gauss(key, np.arange(6)[:, None, None], np.arange(opacity.size).reshape(opacity.shape))
    values = values + noise * (0.0015 + 0.010 * values)
    doubt = uniform(key, 9, np.arange(opacity.size).reshape(opacity.shape))
    near = maximum_filter(opacity, size=3)
    missed = (doubt < 0.03) & (opacity < 0.35)
    mistaken = (doubt > 0.97) | ((values[0] > 0.18) & (doubt > 0.8))
    return Look(values.astype(np.float32), ((near < 0.03) | missed) & ~mistaken, angles)


@dataclass(frozen=True)
class Nbar:
    """MCD43A4 of one day and lattice.

    Parameters
    ----------
    values : ndarray, (6, y, x) int16
        Reflectance · 10000 in the order of `vocabulary.BANDS`; 32767 = fill.
    quality : ndarray, (6, y, x) uint8
        0 full inversion, 1 magnitude inversion, 255 fill.
    """

    values: npt.NDArray[np.int16]
    quality: npt.NDArray[np.uint8]


def missing_day(seed: int, day: date) -> bool:
    """Whether the archive holds no MCD43A4 of a day at all."""
    return bool(uniform(key_of(seed, "missing product"), day_number(day))[0] < 0.012)


def compose(by_day: Mapping[date, list[Look]], day: date, latitude: float) -> Nbar | None:
    """Nadir reflectance at local solar noon from the looks of 16 days, weighted towards the nominal day.

    A Ross-Li model is fitted per cell and band by weighted least squares (Schaaf et al. 2002); with fewer than
    seven clear looks the shape is taken as known and only its magnitude is fitted, with fewer than two there is no value.

    Returns
    -------
    Nbar, or None when there was not one look.
    """
    used = [
        (look, math.exp(-abs(offset) / 4.0))
        for offset in range(-BEFORE, AFTER + 1)
        for look in by_day.get(day + timedelta(days=offset), [])
    ]
    if not used:
        return None
    shape = used[0][0].clear.shape
    design = np.array([[1.0, *kernels(min(look.angles[0], 75), *look.angles[1:])] for look, _ in used])
    weights = np.array([weight for _, weight in used])
    clear = np.stack([look.clear.ravel() for look, _ in used], axis=1)
    values = np.stack([look.reflectance.reshape(6, -1) for look, _ in used])
    count = clear.sum(axis=1)
    at_noon = np.array([1.0, *kernels(min(sun_position(day, latitude, 12.0)[0], 75), 0.0, 0.0)])

    weighted = clear * weights
    normal = (weighted @ np.einsum("di,dj->dij", design, design).reshape(len(used), 9)).reshape(-1, 3, 3)
    right = np.einsum("cd,di,dbc->cib", weighted, design, values, optimize=True)
    damping = np.diag([1e-6, 0.02, 0.02]) + 0 * normal
    full = np.einsum("i,cib->bc", at_noon, np.linalg.solve(normal + damping, right))

    typical = np.array([1.0, 0.30, 0.12])
    expected = design @ typical
    magnitude = np.einsum("cd,d,dbc->bc", weighted, expected, values, optimize=True) / np.maximum(weighted @ expected**2, 1e-9)
    fitted = np.where(count >= 7, full, magnitude * (at_noon @ typical))
    good = (count >= 2) & np.isfinite(fitted) & (fitted > 0) & (fitted < 1.6)
    dn = np.where(good, np.clip(np.rint(fitted * 1e4), 0, 32766), FILL).astype(np.int16)
    quality = np.where(good, np.where(count >= 7, 0, 1), QUALITY_FILL).astype(np.uint8)
    return Nbar(dn.reshape(6, *shape), quality.reshape(6, *shape))
