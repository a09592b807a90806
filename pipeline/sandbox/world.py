"""The simulated world: what the ground really reflects, every pixel of every day."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.grid import Grid, Window, day_number
from pipeline.sandbox.landscape import Canvas, LandCover, build_landscape
from pipeline.sandbox.noise import Array, field, fractal, key_of, uniform
from pipeline.sandbox.seasons import Calendar, ParcelTable
from pipeline.sandbox.spectra import CHAR, ROAD, SNOW, SPECTRA, Material
from pipeline.sandbox.sun import sun_position
from pipeline.sandbox.weather import Weather

TRUTH_HOUR = 10 + 10 / 60
"""Local solar time of the truth [h]."""

_STRIP = 64
_FIRE_CELL = 9000.0
_PARCEL_COLUMNS = tuple(column.name for column in fields(ParcelTable) if column.name != "age")


@dataclass(frozen=True)
class Surface:
    """The ground on one day; maps (y, x).

    Parameters
    ----------
    reflectance : ndarray, (6, y, x) float32
        Bands of `vocabulary.BANDS`, nadir view, sun at 10:10 local solar time.
    snow : ndarray of float32
        Share covered by snow.
    water : ndarray of bool
        Rivers, lakes and floods.
    """

    reflectance: Array
    snow: Array
    water: npt.NDArray[np.bool_]


class Scenery:
    """The world under one canvas.

    Parameters
    ----------
    seed : int
    canvas : Canvas
    latitude : float
        Degrees, of the middle of the area; sets sun and climate.
    """

    def __init__(self, seed: int, canvas: Canvas, latitude: float) -> None:
        self.seed = seed
        self.canvas = canvas
        self.latitude = latitude
        self.weather = Weather(seed, latitude)
        self.landscape = build_landscape(seed, canvas)
        self._calendar = Calendar(seed, self.landscape.parcels, southern=latitude < 0)
        self._table = lru_cache(maxsize=2)(self._calendar.table)

    def surface(self, day: date, window: Window | None = None, step: int = 1, phase: tuple[int, int] = (0, 0)) -> Surface:
        """The ground on a day.

        Parameters
        ----------
        day : date
        window : Window, optional
            Pixels of the canvas; all by default.
        step : int
            Only every `step`-th pixel along both axes.
        phase : tuple of int
            Row and column of the first pixel taken, below `step`.
        """
        whole = window or Window(0, 0, self.canvas.height, self.canvas.width)
        rows = slice(whole.row + phase[0], whole.row + whole.height, step)
        cols = slice(whole.col + phase[1], whole.col + whole.width, step)
        land = self.landscape
        x, y = self.canvas.x[cols], self.canvas.y[rows]
        flux = self._flux(day, x, y)
        wet = self.weather.wetness(day, x, y)
        table = self._table(day)
        columns = np.stack([getattr(table, name) for name in _PARCEL_COLUMNS])
        reflectance = np.empty((6, y.size, x.size), dtype=np.float32)
        parcel, neighbour, share = land.parcel[rows, cols], land.neighbour[rows, cols], land.share[rows, cols]
        vigour, soil, delay = land.vigour[rows, cols], land.soil[rows, cols], land.delay[rows, cols]
        for start in range(0, y.size, _STRIP):
            strip = slice(start, start + _STRIP)
            ground = (vigour[strip].ravel(), soil[strip].ravel(), delay[strip].ravel(), flux[strip].ravel(), wet[strip].ravel())
            mixed = _mix(columns, parcel[strip].ravel(), *ground)
            edge = np.flatnonzero(share[strip])
            if edge.size:
                across = _mix(columns, neighbour[strip].ravel()[edge], *(part[edge] for part in ground))
                weight = share[strip].ravel()[edge]
                mixed[:, edge] += weight * (across - mixed[:, edge])
            reflectance[:, strip] = mixed.reshape(6, -1, x.size)
        water = self._other_covers(reflectance, day, rows, cols, wet)
        self._burn(reflectance, day, rows, cols)
        reflectance *= self._light(day, rows, cols)
        snow = self.snow(day, rows, cols)
        if snow.any():
            reflectance += snow * (SNOW[:, None, None] * self._snow_age(day) - reflectance)
        return Surface(np.clip(reflectance, 0.001, 1.0, out=reflectance), snow, water)

    def abrupt(self, day: date, within: int) -> npt.NDArray[np.bool_]:
        """Pixels of the canvas changed abruptly in the `within` days that end with `day`."""
        land = self.landscape
        table = self._table(day)
        everywhere = (slice(None), slice(None))
        parcelled = (land.cover <= LandCover.NEEDLE_FOREST) & (table.age < within)[land.parcel]
        changed = parcelled | (self._fires(day, *everywhere, youngest=within)[0] > 0)
        for before in range(1, within + 1):
            changed |= self._flooded(day, *everywhere) != self._flooded(day - timedelta(days=before), *everywhere)
        return np.asarray(changed)

    def _flux(self, day: date, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Array:
        """Fine variability that comes and goes: unit variance, correlated over about three weeks."""
        knot, offset = divmod(day_number(day), 20)
        weight = 0.5 - 0.5 * np.cos(np.pi * offset / 20)
        before = field(key_of(self.seed, "flux", knot), x, y, 140.0)
        after = field(key_of(self.seed, "flux", knot + 1), x, y, 140.0)
        scale = np.hypot(weight, 1 - weight)
        before *= np.float32((1 - weight) / scale)
        before += after * np.float32(weight / scale)
        return before

    def _other_covers(self, reflectance: Array, day: date, rows: slice, cols: slice, wet: Array) -> npt.NDArray[np.bool_]:
        """Paint roads, towns, bright ground and water; returns where water is."""
        land = self.landscape
        cover, grain = land.cover[rows, cols], land.grain[rows, cols]
        soil = land.soil[rows, cols]
        road = land.road[rows, cols]
        track = road > 0
        reflectance[:, track] += road[track] * (ROAD[:, None] - reflectance[:, track])

        town = cover == LandCover.TOWN
        roof = np.clip(0.32 + 0.24 * grain[town], 0, 0.9)
        garden = np.clip(0.30 - 0.14 * grain[town] + 0.12 * soil[town], 0, 1 - roof)
        leaves = garden * (0.65 + 0.3 * self.weather.season(day))
        rest = 1 - roof - leaves
        reflectance[:, town] = SPECTRA[Material.ROOF][:, None] * roof + SPECTRA[Material.GRASS][:, None] * leaves
        reflectance[:, town] += SPECTRA[Material.ASPHALT][:, None] * rest

        bright = cover == LandCover.BRIGHT_GROUND
        reflectance[:, bright] = SPECTRA[Material.BRIGHT_GROUND][:, None] * (1 + 0.10 * soil[bright] - 0.25 * wet[bright])

        water = (cover == LandCover.WATER) | self._flooded(day, rows, cols)
        turbid = np.clip(0.15 + 0.25 * soil[water] + 0.6 * wet[water], 0, 1)
        turbid[cover[water] != LandCover.WATER] = 0.85
        clear, muddy = SPECTRA[Material.CLEAR_WATER][:, None], SPECTRA[Material.TURBID_WATER][:, None]
        reflectance[:, water] = clear + turbid * (muddy - clear)
        return np.asarray(water)

    def _flooded(self, day: date, rows: slice, cols: slice) -> npt.NDArray[np.bool_]:
        """Dry land under flood water."""
        land = self.landscape
        level = self._flood_level(day)
        if level <= 0:
            return np.zeros(land.cover[rows, cols].shape, dtype=bool)
        return (land.river[rows, cols] * (1 + 0.25 * land.vigour[rows, cols]) < level) & (land.cover[rows, cols] != LandCover.TOWN)

    def _flood_level(self, day: date) -> float:
        """How far the rivers have left their beds, in units of `Landscape.river`."""
        today, level = day_number(day), 0.0
        for year in (day.year - 1, day.year):
            for number in range(2):
                key = key_of(self.seed, "flood", year, number)
                happens, when, height, length = uniform(key, np.arange(4))
                peak = day_number(date(year, 1, 1)) + (45 + 90 * when if number == 0 else 250 + 100 * when)
                since = today - float(peak)
                if happens < 0.7 and 0 <= since <= 10 + 12 * length:
                    level = max(level, 0.05 + 0.06 * float(height) - 0.0035 * since)
        return level

    def _fires(self, day: date, rows: slice, cols: slice, youngest: int | None = None) -> tuple[Array, Array]:
        """Share burnt and days since the fire; with `youngest`, only fires of fewer days ago."""
        land = self.landscape
        x, y = self.canvas.x[cols], self.canvas.y[rows]
        burnt = np.zeros((y.size, x.size), dtype=np.float32)
        since = np.full(burnt.shape, 999, dtype=np.float32)
        cell_cols = range(int(x.min() // _FIRE_CELL) - 1, int(x.max() // _FIRE_CELL) + 2)
        cell_rows = range(int(y.min() // _FIRE_CELL) - 1, int(y.max() // _FIRE_CELL) + 2)
        today = day_number(day) + (182 if self.latitude < 0 else 0)
        limit = 400 if youngest is None else youngest
        for year in (day.year - 1, day.year, day.year + 1):
            for row in cell_rows:
                for col in cell_cols:
                    happens, when, east, north, size = uniform(key_of(self.seed, "fire", year, row, col), np.arange(5))
                    age = today - int(day_number(date(year, 1, 1)) + 85 + 190 * when)
                    if happens > 0.55 or not 0 <= age < limit:
                        continue
                    dx = x - (col + float(east)) * _FIRE_CELL
                    dy = y - (row + float(north)) * _FIRE_CELL
                    radius = 350 + 1100 * float(size)
                    near_x = np.flatnonzero(np.abs(dx) < 1.9 * radius)
                    near_y = np.flatnonzero(np.abs(dy) < 1.9 * radius)
                    if not (near_x.size and near_y.size):
                        continue
                    part = slice(near_y[0], near_y[-1] + 1), slice(near_x[0], near_x[-1] + 1)
                    shape = fractal(key_of(self.seed, "fire shape", year), x[part[1]], y[part[0]], (600.0, 250.0, 100.0), (1, 0.6, 0.4))
                    distance = np.hypot(dx[part[1]][None, :], dy[part[0]][:, None]) / radius + 0.3 * shape
                    inside = (distance < 1) & (land.cover[rows, cols][part] <= LandCover.NEEDLE_FOREST)
                    severity = np.clip(0.9 + 0.12 * shape, 0.4, 0.97) * np.exp(-age / 90)
                    burnt[part] = np.where(inside, np.maximum(burnt[part], severity), burnt[part])
                    since[part] = np.where(inside, np.minimum(since[part], age), since[part])
        return burnt, since

    def _burn(self, reflectance: Array, day: date, rows: slice, cols: slice) -> None:
        burnt, _ = self._fires(day, rows, cols)
        where = burnt > 0
        reflectance[:, where] += burnt[where] * (CHAR[:, None] - reflectance[:, where])

    def _light(self, day: date, rows: slice, cols: slice) -> Array:
        """Relief and texture as a factor of brightness."""
        land = self.landscape
        zenith, azimuth = np.deg2rad(sun_position(day, self.latitude, TRUTH_HOUR))
        facing = land.slope_east[rows, cols] * np.float32(np.sin(azimuth)) + land.slope_north[rows, cols] * np.float32(np.cos(azimuth))
        light = 1 - np.float32(0.6 * np.tan(min(zenith, 1.2))) * facing
        cover = land.cover[rows, cols]
        strength = _TEXTURE[cover]
        light *= 1 + strength * land.texture[rows, cols]
        return np.clip(light, 0.45, 1.6)

    def snow(self, day: date, rows: slice, cols: slice) -> Array:
        """Share of the pixels of a part of the canvas that snow covers."""
        land = self.landscape
        elevation = land.elevation[rows, cols]
        if not self.weather.snow_water(day, np.array([elevation.min(), elevation.max()])).any():
            return np.zeros_like(elevation)
        held = self.weather.snow_water(day, elevation + 60 * land.soil[rows, cols])
        cover = np.clip(held / 6 * (1 + 0.25 * land.vigour[rows, cols]), 0, 1) * np.float32(0.95)
        return np.asarray(cover * _SNOW_SEEN[land.cover[rows, cols]], dtype=np.float32)

    def _snow_age(self, day: date) -> float:
        """Fresh snow is bright, old snow dull."""
        return 0.72 + 0.28 / (1 + float(np.exp(-2 * (max(self.weather.unsettled(day - timedelta(days=lag)) for lag in range(4)) - 0.6))))


_TEXTURE = np.zeros(8, dtype=np.float32)
_TEXTURE[LandCover.FIELD] = 0.028
_TEXTURE[LandCover.BROADLEAF_FOREST] = 0.065
_TEXTURE[LandCover.NEEDLE_FOREST] = 0.10
_TEXTURE[LandCover.WATER] = 0.03
_TEXTURE[LandCover.TOWN] = 0.06
_TEXTURE[LandCover.BRIGHT_GROUND] = 0.05

_SNOW_SEEN = np.zeros(8, dtype=np.float32)
_SNOW_SEEN[LandCover.FIELD] = 1.0
_SNOW_SEEN[LandCover.BROADLEAF_FOREST] = 0.5
_SNOW_SEEN[LandCover.NEEDLE_FOREST] = 0.22
_SNOW_SEEN[LandCover.TOWN] = 0.55
_SNOW_SEEN[LandCover.BRIGHT_GROUND] = 1.0


def _logistic(phase: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * phase), dtype=np.float32)


def _mix(columns: Array, parcel: npt.NDArray[np.int32], vigour: Array, soil: Array, delay: Array, flux: Array, wet: Array) -> Array:
    """Reflectance (6, n) of vegetated pixels: a linear mixture of materials by cover."""
    state = dict(zip(_PARCEL_COLUMNS, np.take(columns, parcel, axis=1, mode="clip"), strict=True))
    grown = _logistic(state["growth"] - delay * state["growth_speed"])
    faded = _logistic(state["ripening"] - delay * state["ripening_speed"])
    field_like = 1 - state["wood"]
    strength = 1 + (0.10 * vigour + 0.085 * flux) * (0.25 + 0.75 * field_like)
    canopy = (state["start"] + (state["peak"] - state["start"]) * grown) * strength
    canopy = np.clip(canopy, 0, 0.99)
    green = state["floor"] + (canopy - state["floor"]) * (1 - faded)
    green = np.clip(green, 0, canopy) * state["kept"]
    straw = np.minimum(0.8 * (canopy - green) * field_like + state["residue"] * (1 - green), 1 - green)
    bare = 1 - green - straw
    blossom = np.minimum(state["blossom"], 0.6) * green
    leaf = green - blossom
    litter = bare * state["wood"]
    open_soil = bare * field_like
    damp = np.clip(0.8 * wet + 0.05 * flux, 0, 1)
    bright = np.clip(0.42 + 0.16 * soil + 0.16 * state["soil"], 0, 1)
    trees = state["broadleaf"] + state["needle"]
    mixture = np.zeros((len(Material), parcel.size), dtype=np.float32)
    mixture[Material.BRIGHT_SOIL] = open_soil * (1 - damp) * bright
    mixture[Material.DARK_SOIL] = open_soil * (1 - damp) * (1 - bright)
    mixture[Material.WET_SOIL] = open_soil * damp
    mixture[Material.GRASS] = leaf * state["grass"]
    mixture[Material.CROP] = leaf * (1 - state["grass"]) * (1 - trees)
    mixture[Material.BROADLEAF] = leaf * state["broadleaf"]
    mixture[Material.NEEDLE] = leaf * state["needle"]
    mixture[Material.WOOD] = litter
    mixture[Material.STRAW] = straw * (1 - 0.35 * wet)
    mixture[Material.BLOSSOM] = blossom
    return np.asarray(SPECTRA.T @ mixture)


@dataclass(frozen=True)
class World:
    """A region of the simulated world with its daily truth.

    The truth of a day depends on seed, place and day only: not on the period, nor on the size of the grid.

    Parameters
    ----------
    seed : int
    grid : Grid
        The area.
    first_day, last_day : date
        The period of interest; `truth` answers for any day.

    Examples
    --------
    >>> world = World(1, grid, date(2022, 4, 1), date(2022, 8, 31))
    >>> world.truth(date(2022, 6, 1)).shape
    (6, 264, 264)
    """

    seed: int
    grid: Grid
    first_day: date
    last_day: date

    @cached_property
    def latitude(self) -> float:
        """Latitude of the middle of the area, rounded to whole degrees: neighbouring areas share sun and climate."""
        _, south, _, north = self.grid.lonlat_bounds
        return float(round((south + north) / 2))

    @cached_property
    def scenery(self) -> Scenery:
        """The world under the area, without margin."""
        return Scenery(self.seed, Canvas.around(self.grid, 0), self.latitude)

    @property
    def land_cover(self) -> npt.NDArray[np.uint8]:
        """`LandCover` codes, (height, width)."""
        return self.scenery.landscape.cover

    def truth(self, day: date) -> Array:
        """Surface reflectance (0–1) of a day, nadir view, sun at 10:10 local solar time: (6, height, width) float32.

        Bands in the order of `vocabulary.BANDS`.
        """
        return self.scenery.surface(day).reflectance

    def events(self, day: date, within: int = 8) -> npt.NDArray[np.bool_]:
        """Pixels (height, width) changed by harvest, plough, mowing, felling, fire or flood in the `within` days that end with `day`."""
        return self.scenery.abrupt(day, within)

    def snow(self, day: date) -> npt.NDArray[np.bool_]:
        """Pixels mostly covered by snow, (height, width)."""
        return self.scenery.snow(day, slice(None), slice(None)) > 0.5
