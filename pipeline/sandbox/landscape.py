"""What stays in place: relief, rivers, land cover, fields and stands, and the texture of the ground.

The landscape is endless and anchored to the CRS; a `Landscape` is the part of it under one canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.grid import Grid
from pipeline.sandbox.noise import Array, bits, field, fractal, gauss, key_of, uniform

PARISH_SIZE = 2300.0
"""Mean distance of the seeds of parishes [m]: neighbouring fields that share direction, size and farming."""

_STRIP = 64


class LandCover(IntEnum):
    """Codes of `Landscape.cover`."""

    FIELD = 1
    BROADLEAF_FOREST = 2
    NEEDLE_FOREST = 3
    WATER = 4
    TOWN = 5
    BRIGHT_GROUND = 6


@dataclass(frozen=True)
class Canvas:
    """A piece of the plane cut into square pixels; unlike a `Grid` it may have any size.

    Parameters
    ----------
    west, north : float
        Outer corner of the first pixel [m].
    resolution : float
        Edge of a pixel [m].
    height, width : int
        Pixels.
    """

    west: float
    north: float
    resolution: float
    height: int
    width: int

    @classmethod
    def around(cls, grid: Grid, margin: int) -> Canvas:
        """The canvas of a grid, grown by `margin` pixels on every side."""
        reach = margin * grid.resolution
        return cls(grid.west - reach, grid.north + reach, grid.resolution, grid.height + 2 * margin, grid.width + 2 * margin)

    @property
    def x(self) -> npt.NDArray[np.float64]:
        """Pixel-centre eastings [m]."""
        return np.asarray(self.west + (np.arange(self.width) + 0.5) * self.resolution, dtype=np.float64)

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Pixel-centre northings [m], decreasing."""
        return np.asarray(self.north - (np.arange(self.height) + 0.5) * self.resolution, dtype=np.float64)


@dataclass(frozen=True)
class Parcels:
    """Fields and forest stands by row of the parcel table.

    Parameters
    ----------
    name : ndarray, (n,) uint64
        The hash that identifies a parcel everywhere.
    parish : ndarray, (n,) uint64
    kind : ndarray, (n,) uint8
        `LandCover` code: FIELD, BROADLEAF_FOREST or NEEDLE_FOREST.
    """

    name: npt.NDArray[np.uint64]
    parish: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Landscape:
    """Everything of the ground that does not change with the day, on one canvas; maps are (height, width).

    Parameters
    ----------
    canvas : Canvas
    cover : ndarray of uint8
        `LandCover` codes.
    parcels : Parcels
    parcel, neighbour : ndarray of int32
        Row of the parcel table of the pixel, and of the parcel across its nearest border.
    share : ndarray of float32
        Share of the pixel that belongs to the neighbour, 0–0.5.
    road : ndarray of float32
        Share of the pixel that is a road or track.
    elevation, slope_east, slope_north : ndarray of float32
        Metres, and metres per metre.
    river : ndarray of float32
        Distance from the river axis in units of about 5 km; small on the flood plain.
    vigour, soil, texture, grain : ndarray of float32
        Persistent variability, zero mean and unit variance: of growth, of soil brightness, at the scale of pixels and of crowns and roofs.
    delay : ndarray of float32
        Days by which the growing season comes later than elsewhere in the parcel.
    """

    canvas: Canvas
    cover: npt.NDArray[np.uint8]
    parcels: Parcels
    parcel: npt.NDArray[np.int32]
    neighbour: npt.NDArray[np.int32]
    share: Array
    road: Array
    elevation: Array
    slope_east: Array
    slope_north: Array
    river: Array
    vigour: Array
    soil: Array
    texture: Array
    grain: Array
    delay: Array


def build_landscape(seed: int, canvas: Canvas) -> Landscape:
    """The part of the world of `seed` that lies under a canvas."""
    x, y, step = canvas.x, canvas.y, canvas.resolution
    ring_x = np.concatenate([[x[0] - step], x, [x[-1] + step]])
    ring_y = np.concatenate([[y[0] + step], y, [y[-1] - step]])

    river = np.abs(fractal(key_of(seed, "river"), ring_x, ring_y, (9000.0, 3500.0, 1300.0, 500.0), (1, 0.5, 0.2, 0.05)))
    relief = fractal(key_of(seed, "relief"), ring_x, ring_y, (14000.0, 6000.0, 2500.0, 900.0), (1, 0.7, 0.25, 0.08))
    elevation = 260 + 150 * np.minimum(river, 1.5) + 130 * relief * np.minimum(river + 0.15, 1)
    slope_east = (elevation[1:-1, 2:] - elevation[1:-1, :-2]) / np.float32(2 * step)
    slope_north = (elevation[:-2, 1:-1] - elevation[2:, 1:-1]) / np.float32(2 * step)
    elevation, river = elevation[1:-1, 1:-1].copy(), river[1:-1, 1:-1].copy()

    cover = _land_cover(seed, canvas, elevation, river)
    name, other, parish, border, parish_border = _parcels(seed, canvas)
    parcels, parcel, neighbour = _parcel_table(cover, name, other, parish)

    share = np.clip(0.5 - border / step, 0, 0.5).astype(np.float32)
    share[(cover == LandCover.WATER) | (cover == LandCover.TOWN) | (cover == LandCover.BRIGHT_GROUND)] = 0
    track = (parish_border < 0.6 * step) & (cover != LandCover.WATER)
    road = np.where(track, np.float32(0.45), np.float32(0)) * (0.5 + 0.5 * uniform(key_of(seed, "road"), parish))

    rows, cols = _pixel_numbers(canvas)
    white = gauss(key_of(seed, "texture"), rows[:, None], cols[None, :])
    crowns = gauss(key_of(seed, "grain"), rows[:, None], cols[None, :])
    return Landscape(
        canvas=canvas,
        cover=cover,
        parcels=parcels,
        parcel=parcel,
        neighbour=neighbour,
        share=share,
        road=road.astype(np.float32),
        elevation=elevation,
        slope_east=slope_east,
        slope_north=slope_north,
        river=river,
        vigour=fractal(key_of(seed, "vigour"), x, y, (700.0, 300.0, 110.0), (1, 1, 0.7)),
        soil=fractal(key_of(seed, "soil"), x, y, (9000.0, 2200.0, 600.0, 180.0, 80.0), (0.8, 0.8, 0.9, 0.7, 0.4)),
        texture=0.75 * white + 0.66 * field(key_of(seed, "texture smooth"), x, y, 70.0),
        grain=0.8 * crowns + 0.6 * field(key_of(seed, "grain smooth"), x, y, 100.0),
        delay=2.5 * fractal(key_of(seed, "delay"), x, y, (5000.0, 900.0, 200.0)) + np.float32(0.03) * (elevation - 350),
    )


def _pixel_numbers(canvas: Canvas) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of the canvas's pixel rows and columns in the plane."""
    return np.floor(canvas.y / canvas.resolution).astype(np.int64), np.floor(canvas.x / canvas.resolution).astype(np.int64)


def _land_cover(seed: int, canvas: Canvas, elevation: Array, river: Array) -> npt.NDArray[np.uint8]:
    x, y = canvas.x, canvas.y
    wooded = (elevation - 400) / 130 + 0.9 * fractal(key_of(seed, "forest"), x, y, (4500.0, 1500.0, 500.0, 160.0), (1, 0.8, 0.45, 0.25))
    needles = fractal(key_of(seed, "needles"), x, y, (3000.0, 700.0, 200.0)) + (elevation - 450) / 150
    built = fractal(key_of(seed, "town"), x, y, (5000.0, 1500.0, 400.0, 120.0), (1, 0.6, 0.3, 0.15))
    bare = fractal(key_of(seed, "bright ground"), x, y, (3500.0, 900.0, 250.0))
    lake = fractal(key_of(seed, "lake"), x, y, (4000.0, 1200.0, 400.0), (1, 0.4, 0.15))
    cover = np.full(elevation.shape, LandCover.FIELD, dtype=np.uint8)
    cover[wooded > 0.75] = LandCover.BROADLEAF_FOREST
    cover[(wooded > 0.75) & (needles > 0.4)] = LandCover.NEEDLE_FOREST
    cover[bare > 2.1] = LandCover.BRIGHT_GROUND
    cover[(built > 1.55) & (river > 0.03)] = LandCover.TOWN
    cover[(lake > 2.0) & (elevation < 420)] = LandCover.WATER
    cover[river < 0.011] = LandCover.WATER
    return cover


def _nearest_two(
    key: npt.NDArray[np.uint64] | np.uint64,
    u: npt.NDArray[np.float64],
    v: npt.NDArray[np.float64],
    jitter: Array | float,
    along_u: Array | float,
    along_v: Array | float,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Nearest and second nearest seed of a jittered unit lattice, and the distance from the border between them.

    `along_u`, `along_v` are metres per unit; the distance comes in metres.
    """
    column, row = np.floor(u), np.floor(v)
    fu, fv = (u - column).astype(np.float32), (v - row).astype(np.float32)
    column, row = column.astype(np.int64), row.astype(np.int64)
    spread_ = np.asarray(jitter, dtype=np.float32)
    shape = np.broadcast(u, v).shape
    best, second = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    best_name, second_name = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    best_u, best_v, second_u, second_v = (np.zeros(shape, np.float32) for _ in range(4))
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            name = bits(np.uint64(1), key, column + dc, row + dr)
            half_u = (name & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
            half_v = ((name >> np.uint64(24)) & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
            seed_u = np.float32(dc + 0.5) + half_u * spread_
            seed_v = np.float32(dr + 0.5) + half_v * spread_
            distance = (fu - seed_u) ** 2 + (fv - seed_v) ** 2
            first = distance < best
            runner_up = ~first & (distance < second)
            for old_best, old_second, new in (
                (best, second, distance),
                (best_name, second_name, name),
                (best_u, second_u, seed_u),
                (best_v, second_v, seed_v),
            ):
                np.copyto(old_second, old_best, where=first)
                np.copyto(old_best, new, where=first)
                np.copyto(old_second, new, where=runner_up)
    gradient = 2 * np.hypot((second_u - best_u) / along_u, (second_v - best_v) / along_v)
    return best_name, second_name, ((second - best) / gradient).astype(np.float32)


def _parcels(seed: int, canvas: Canvas) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64], Array, Array]:
    """Names of the parcel and of the one across its border, name of the parish, distances from both borders [m]."""
    x, y = canvas.x, canvas.y
    bend_x = 55 * fractal(key_of(seed, "bend x"), x, y, (1500.0, 500.0))
    bend_y = 55 * fractal(key_of(seed, "bend y"), x, y, (1500.0, 500.0))
    strips = []
    parish_key, parcel_key = key_of(seed, "parish"), key_of(seed, "parcel")
    for start in range(0, canvas.height, _STRIP):
        rows = slice(start, start + _STRIP)
        px = x[None, :] + bend_x[rows]
        py = y[rows, None] + bend_y[rows]
        parish, _, parish_border = _nearest_two(parish_key, px / PARISH_SIZE, py / PARISH_SIZE, 0.9, PARISH_SIZE, PARISH_SIZE)
        direction = uniform(key_of(seed, "direction"), parish) * np.float32(np.pi)
        size = 130 * np.exp(1.3 * uniform(key_of(seed, "size"), parish))
        aspect = np.sqrt(1 + 2.2 * uniform(key_of(seed, "aspect"), parish))
        along, across = size * aspect, size / aspect
        cosine, sine = np.cos(direction), np.sin(direction)
        u = (px * cosine + py * sine) / along
        v = (py * cosine - px * sine) / across
        name, other, border = _nearest_two(parish ^ parcel_key, u, v, 0.45 + 0.4 * uniform(key_of(seed, "order"), parish), along, across)
        strips.append((name, other, parish, border, parish_border))
    name, other, parish, border, parish_border = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    return name, other, parish, border, parish_border


def _parcel_table(
    cover: npt.NDArray[np.uint8], name: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64], parish: npt.NDArray[np.uint64]
) -> tuple[Parcels, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Number the parcels; a parcel that lies in field and in forest is two."""
    kind = np.where(cover > LandCover.NEEDLE_FOREST, LandCover.FIELD, cover).astype(np.uint64)
    both = np.concatenate([((part & ~np.uint64(3)) | kind).ravel() for part in (name, other)])
    unique, first, rows = np.unique(both, return_index=True, return_inverse=True)
    table = Parcels(
        name=unique,
        parish=parish.ravel()[first % name.size],
        kind=(unique & np.uint64(3)).astype(np.uint8),
    )
    numbers = rows.astype(np.int32).reshape(2, *cover.shape)
    return table, numbers[0], numbers[1]
