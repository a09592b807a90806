"""The grid of an area: fine pixels, coarse cells, blocks, and the rule that says which day an instant belongs to.

Value types and index arithmetic only: nothing here reads or writes. Rows grow
southwards, columns eastwards; a window is always given as (row, column) first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels.

    Parameters
    ----------
    row, col : int
        First row and column; negative values lie outside the grid.
    height, width : int
        Size in pixels.
    """

    row: int
    col: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def padded(self, margin: int) -> Window:
        """The window grown by `margin` pixels on every side."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def clipped(self, height: int, width: int) -> Window:
        """The part of the window inside a raster of `height` × `width` pixels."""
        top, left = max(self.row, 0), max(self.col, 0)
        bottom, right = min(self.row + self.height, height), min(self.col + self.width, width)
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def relative_to(self, other: Window) -> Window:
        """The same window in the indices of `other`."""
        return Window(self.row - other.row, self.col - other.col, self.height, self.width)

    def intersects(self, other: Window) -> bool:
        return (
            self.row < other.row + other.height
            and other.row < self.row + self.height
            and self.col < other.col + other.width
            and other.col < self.col + self.width
        )

    def coarse(self, scale: int) -> Window:
        """The window in coarse cells.

        Raises
        ------
        ValueError
            If an edge does not lie on a coarse cell edge.
        """
        if any(value % scale for value in (self.row, self.col, self.height, self.width)):
            raise ValueError(f"{self} does not lie on whole coarse cells of {scale} fine pixels")
        return Window(self.row // scale, self.col // scale, self.height // scale, self.width // scale)

    def fine(self, scale: int) -> Window:
        """A window of coarse cells in fine pixels."""
        return Window(self.row * scale, self.col * scale, self.height * scale, self.width * scale)


@dataclass(frozen=True)
class Block:
    """The unit of work: one square of the grid, cut off at its southern and eastern edge.

    Parameters
    ----------
    row, col : int
        Position in the array of blocks (not in pixels).
    window : Window
        Its fine pixels.
    """

    row: int
    col: int
    window: Window


@dataclass(frozen=True)
class Grid:
    """A projected grid of fine pixels whose edges lie on whole coarse cells.

    Coarse cells are anchored to the CRS, not to the area: the cell edges lie at
    ``anchor + k · scale · resolution``, so neighbouring areas share their cells.
    The default anchor with 30 m pixels keeps the native edges of Landsat
    Collection 2 (see `landsat_anchor`), so scenes of the own zone are never
    resampled.

    Parameters
    ----------
    crs : str
        ``"EPSG:32633"`` or WKT; projected, in metres.
    west, north : float
        Outer corner of the first pixel [m].
    resolution : float
        Edge of a fine pixel [m].
    height, width : int
        Size in fine pixels; multiples of `scale`.
    scale : int
        Fine pixels along the edge of a coarse cell.

    Examples
    --------
    >>> grid = Grid.from_bounds("EPSG:32633", (500000, 4900000, 507680, 4907680))
    >>> grid.west % 240, grid.shape
    (15.0, (264, 264))
    """

    crs: str
    west: float
    north: float
    resolution: float
    height: int
    width: int
    scale: int = 8

    @classmethod
    def from_bounds(
        cls,
        crs: str,
        bounds: tuple[float, float, float, float],
        resolution: float = 30.0,
        scale: int = 8,
        anchor: tuple[float, float] | None = None,
    ) -> Grid:
        """The smallest grid of whole coarse cells that covers `bounds` (west, south, east, north) [m].

        `anchor` is a corner of the lattice of coarse cells, by default `landsat_anchor`.

        Raises
        ------
        ValueError
            If the CRS is unknown or geographic, or the bounds are empty.
        """
        try:
            system = CRS.from_user_input(crs)
        except CRSError as error:
            raise ValueError(f"crs {crs!r} is not known; give EPSG:n or WKT") from error
        if system.is_geographic:
            raise ValueError(f"crs {crs!r} is in degrees; give a projected CRS in metres, such as the UTM zone of the area")
        west, south, east, north = bounds
        if not (west < east and south < north):
            raise ValueError(f"bounds {bounds} are empty; expected west < east and south < north")
        anchor = landsat_anchor(system) if anchor is None else anchor
        cell = resolution * scale
        slack = 1e-6 * cell
        left = math.floor((west - anchor[0] + slack) / cell)
        right = math.ceil((east - anchor[0] - slack) / cell)
        bottom = math.floor((south - anchor[1] + slack) / cell)
        top = math.ceil((north - anchor[1] - slack) / cell)
        return cls(
            crs=crs,
            west=anchor[0] + left * cell,
            north=anchor[1] + top * cell,
            resolution=float(resolution),
            height=(top - bottom) * scale,
            width=(right - left) * scale,
            scale=scale,
        )

    def __post_init__(self) -> None:
        if self.height % self.scale or self.width % self.scale:
            raise ValueError(f"grid of {self.height} × {self.width} pixels is not a whole number of cells of {self.scale}")

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in fine pixels."""
        return self.height, self.width

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """(height, width) in coarse cells."""
        return self.height // self.scale, self.width // self.scale

    @property
    def window(self) -> Window:
        """All fine pixels."""
        return Window(0, 0, self.height, self.width)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) [m]."""
        return (
            self.west,
            self.north - self.height * self.resolution,
            self.west + self.width * self.resolution,
            self.north,
        )

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f) of the fine pixels, as rasterio orders them."""
        return self.resolution, 0.0, self.west, 0.0, -self.resolution, self.north

    @property
    def x(self) -> np.ndarray:
        """Pixel-centre eastings [m], shape (width,)."""
        return self.west + (np.arange(self.width) + 0.5) * self.resolution

    @property
    def y(self) -> np.ndarray:
        """Pixel-centre northings [m], shape (height,), decreasing."""
        return self.north - (np.arange(self.height) + 0.5) * self.resolution

    @property
    def lonlat_bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) [degrees] of a box around the grid."""
        to_lonlat = Transformer.from_crs(self.crs, "OGC:CRS84", always_xy=True)
        return to_lonlat.transform_bounds(*self.bounds, densify_pts=21)

    @property
    def longitude(self) -> float:
        """Longitude of the centre [degrees]: the meridian of the day rule."""
        west, south, east, north = self.bounds
        to_lonlat = Transformer.from_crs(self.crs, "OGC:CRS84", always_xy=True)
        return float(to_lonlat.transform((west + east) / 2, (south + north) / 2)[0])

    @property
    def lonlat(self) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude [degrees] of the pixel centres, (height, width) each. Not to be written to: they are shared."""
        return _lonlat(self)

    def window_bounds(self, window: Window) -> tuple[float, float, float, float]:
        """(west, south, east, north) [m] of a window of fine pixels."""
        west = self.west + window.col * self.resolution
        north = self.north - window.row * self.resolution
        return west, north - window.height * self.resolution, west + window.width * self.resolution, north

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """The fine pixels touched by `bounds` (west, south, east, north) [m], clipped to the grid."""
        west, south, east, north = bounds
        left = math.floor((west - self.west) / self.resolution)
        right = math.ceil((east - self.west) / self.resolution)
        top = math.floor((self.north - north) / self.resolution)
        bottom = math.ceil((self.north - south) / self.resolution)
        return Window(top, left, bottom - top, right - left).clipped(self.height, self.width)

    def project_bounds(self, bounds: tuple[float, float, float, float], crs: str) -> tuple[float, float, float, float]:
        """Bounds given in another CRS as a box (west, south, east, north) [m] around them in this one."""
        if crs == self.crs:
            return bounds
        return _transformer(crs, self.crs).transform_bounds(*bounds, densify_pts=21)

    def block_shape(self, size: int) -> tuple[int, int]:
        """(rows, columns) of the array of blocks of `size` fine pixels."""
        if size % self.scale:
            raise ValueError(f"block of {size} pixels is not a multiple of the scale {self.scale}")
        return -(-self.height // size), -(-self.width // size)

    def blocks(self, size: int) -> Iterator[Block]:
        """All blocks of `size` fine pixels, row by row; blocks at the southern and eastern edge are smaller."""
        rows, cols = self.block_shape(size)
        for row in range(rows):
            for col in range(cols):
                whole = Window(row * size, col * size, size, size)
                yield Block(row, col, whole.clipped(self.height, self.width))


def landsat_anchor(system: CRS) -> tuple[float, float]:
    """A corner of the pixels of Landsat Collection 2 in a CRS [m].

    Their edges lie at 15 mod 30 m in the northern CRS of every UTM zone, in which scenes of the south are given
    as well; the southern one counts northings from 10 000 000 m.
    """
    southern = (system.utm_zone or "").endswith("S")
    return 15.0, 10_000_015.0 if southern else 15.0


@lru_cache(maxsize=4)
def _lonlat(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    longitude, latitude = _transformer(grid.crs, "OGC:CRS84").transform(*np.meshgrid(grid.x, grid.y))
    longitude.flags.writeable = latitude.flags.writeable = False
    return longitude, latitude


@cache
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def halo_cells(metres: float, resolution: float, scale: int) -> int:
    """Coarse cells of halo that hold `metres`, plus the one cell that bilinear lifting needs."""
    return math.ceil(metres / (resolution * scale)) + 1


def day_of(instant: datetime, longitude: float) -> date:
    """The solar-local calendar day of an instant: the date of UTC + longitude / 15 h.

    Parameters
    ----------
    instant : datetime
        Aware, or naive in UTC.
    longitude : float
        Degrees east of the area's centre.
    """
    utc = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return (utc + timedelta(hours=longitude / 15.0)).date()


def day_number(day: date) -> int:
    """Days since 1970-01-01, the encoding of every time axis."""
    return (day - EPOCH).days


def day_from_number(number: int) -> date:
    """The inverse of `day_number`."""
    return EPOCH + timedelta(days=int(number))


def days_between(first: date, last: date) -> list[date]:
    """All days from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Increasing numbers as runs of consecutive ones, (first, last) each.

    Examples
    --------
    >>> runs_of([3, 4, 5, 9])
    [(3, 5), (9, 9)]
    """
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
