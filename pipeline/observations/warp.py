"""From pixels of a target grid to pixels of a source raster, by exact coordinates and nearest neighbour.

GDAL's warper interpolates coordinates between control points, so that its result
depends on how the target is cut into chunks (up to 4 % of MODIS pixels differ). Here
every pixel centre is projected by itself: any window of the target gives the same pixels.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import CRS, Transformer

from pipeline.grid import Window

_DIGITS = 6
"""Decimals of a source pixel that are kept, so that centres that fall on a pixel edge are not decided by rounding noise."""


@dataclass(frozen=True)
class Lattice:
    """An infinite lattice of north-up pixels.

    Parameters
    ----------
    crs : str
        ``"EPSG:n"`` or WKT.
    west, north : float
        Outer corner of pixel (0, 0) [CRS units].
    width, height : float
        Size of a pixel [CRS units], both positive.
    """

    crs: str
    west: float
    north: float
    width: float
    height: float

    @classmethod
    def of(cls, crs: str, transform: tuple[float, float, float, float, float, float]) -> Lattice:
        """The lattice of an affine transform (a, b, c, d, e, f) without rotation."""
        a, _, west, _, e, north = transform
        return cls(crs, west, north, a, -e)

    def eastings(self, first: int, count: int) -> np.ndarray:
        """Pixel centres of columns `first` and on."""
        return self.west + (np.arange(first, first + count) + 0.5) * self.width

    def northings(self, first: int, count: int) -> np.ndarray:
        """Pixel centres of rows `first` and on."""
        return self.north - (np.arange(first, first + count) + 0.5) * self.height

    def columns(self, eastings: np.ndarray) -> np.ndarray:
        """Columns that hold the eastings, float: infinite where the coordinate is."""
        return np.floor(np.round((eastings - self.west) / self.width, _DIGITS))

    def rows(self, northings: np.ndarray) -> np.ndarray:
        """Rows that hold the northings, float: infinite where the coordinate is."""
        return np.floor(np.round((self.north - northings) / self.height, _DIGITS))

    def within(self, crs: str) -> Lattice | None:
        """The same lattice in the numbers of a CRS that differs in false origin only; None where more differs.

        So are the northern and the southern CRS of one UTM zone: Landsat is always given in the northern one.
        """
        moved = shift(self.crs, crs)
        return None if moved is None else Lattice(crs, self.west + moved[0], self.north + moved[1], self.width, self.height)


@dataclass(frozen=True)
class Gather:
    """Which source pixels a window of the target takes.

    Parameters
    ----------
    source : Window
        The smallest rectangle of the source that holds them; empty when there are none.
    flat : ndarray, (y, x) int32, or None
        Index into the raveled rectangle; where `outside`, 0. None when target and source lie
        on one lattice: then the rectangle itself fills `inside`.
    inside : Window
        The rectangle of the target window that has source pixels; all of it with `flat`.
    outside : ndarray, (y, x) bool, or None
        Target pixels without a source pixel; None when there are none.
    """

    source: Window
    flat: np.ndarray | None
    inside: Window
    outside: np.ndarray | None

    def scatter(self, pixels: np.ndarray, out: np.ndarray, fill: np.generic) -> None:
        """Write a window that has `flat` to `out`, from the pixels of `source`."""
        assert self.flat is not None
        out[...] = pixels.reshape(-1).take(self.flat)
        if self.outside is not None:
            out[self.outside] = fill


_EMPTY = Window(0, 0, 0, 0)
_LOCK = threading.Lock()


def gather(target: Lattice, window: Window, source: Lattice, shape: tuple[int, int]) -> Gather:
    """Nearest source pixels of a target window.

    Parameters
    ----------
    target : Lattice
    window : Window
        Pixels of the target; may lie anywhere.
    source : Lattice
    shape : tuple of int
        (rows, columns) of the source.
    """
    here = source.within(target.crs)
    if here is not None:
        return _gather_aligned(target, window, here, shape)
    # One thread computes while the others, which mostly want the same, wait for it.
    with _LOCK:
        return _gather_projected(target, window, source, shape)


def shift(one: str, other: str) -> tuple[float, float] | None:
    """What is added to (easting, northing) in one CRS to have them in another; None if they differ in more than false origin."""
    return (0.0, 0.0) if one == other else _shift(one, other)


@lru_cache(maxsize=256)
def _shift(one: str, other: str) -> tuple[float, float] | None:
    (bare, origin), (other_bare, other_origin) = _without_false_origin(one), _without_false_origin(other)
    if not bare.equals(other_bare, ignore_axis_order=True):
        return None
    return other_origin[0] - origin[0], other_origin[1] - origin[1]


def _without_false_origin(crs: str) -> tuple[CRS, tuple[float, float]]:
    """A CRS with its false easting and northing set to zero, and what they were [m]."""
    record = CRS.from_user_input(crs).to_json_dict()
    origin = {"False easting": 0.0, "False northing": 0.0}
    for parameter in record.get("conversion", {}).get("parameters", ()):
        if parameter["name"] in origin and parameter["unit"] == "metre":
            origin[parameter["name"]] = float(parameter["value"])
            parameter["value"] = 0
    # The code is that of the CRS as it was.
    record.pop("id", None)
    return CRS.from_json_dict(record), (origin["False easting"], origin["False northing"])


def native_cells(target: Lattice, window: Window, source: Lattice) -> np.ndarray:
    """Index of the source pixel at the centre of each pixel of a target window.

    Parameters
    ----------
    target, source : Lattice
    window : Window
        Pixels of the target.

    Returns
    -------
    ndarray, (y, x) int64
        Counted on the lattice of the source from the origin of its CRS, so that tiles of
        one product share the numbering: ``row · 2³² + column``; -1 where there is none.
    """
    eastings, northings = _project(target, window, source)
    across = source.columns(eastings) + round(source.west / source.width)
    down = source.rows(northings) - round(source.north / source.height)
    known = np.isfinite(across) & np.isfinite(down)
    across, down = np.where(known, across, 0).astype(np.int64), np.where(known, down, 0).astype(np.int64)
    # Both are counted from -2³¹, so that neither the sum nor the row is negative.
    return np.where(known, (down + 2**30) * 2**32 + (across + 2**30), -1)


def _project(target: Lattice, window: Window, source: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Source coordinates of the pixel centres of a target window, (y, x) float64 each."""
    eastings, northings = np.meshgrid(target.eastings(window.col, window.width), target.northings(window.row, window.height))
    moved = shift(target.crs, source.crs)
    if moved is not None:
        return eastings + moved[0], northings + moved[1]
    return _transformer(target.crs, source.crs).transform(eastings, northings)


@lru_cache(maxsize=8)
def _gather_aligned(target: Lattice, window: Window, source: Lattice, shape: tuple[int, int]) -> Gather:
    cols = source.columns(target.eastings(window.col, window.width)).astype(np.int64)
    rows = source.rows(target.northings(window.row, window.height)).astype(np.int64)
    inside_cols = np.flatnonzero((cols >= 0) & (cols < shape[1]))
    inside_rows = np.flatnonzero((rows >= 0) & (rows < shape[0]))
    if not inside_cols.size or not inside_rows.size:
        return Gather(_EMPTY, None, _EMPTY, None)
    # Both run on without a gap, because columns and rows grow with the pixels of the target.
    inside = Window(int(inside_rows[0]), int(inside_cols[0]), inside_rows.size, inside_cols.size)
    rows, cols = rows[inside_rows], cols[inside_cols]
    rectangle = Window(int(rows[0]), int(cols[0]), int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1)
    if rectangle.shape == inside.shape:
        return Gather(rectangle, None, inside, None)
    flat = np.zeros(window.shape, np.int32)
    flat[inside.slices] = (rows - rectangle.row)[:, None] * rectangle.width + (cols - rectangle.col)
    outside: np.ndarray | None = None
    if inside.shape != window.shape:
        outside = np.ones(window.shape, bool)
        outside[inside.slices] = False
    return Gather(rectangle, flat, Window(0, 0, *window.shape), outside)


@lru_cache(maxsize=8)
def _gather_projected(target: Lattice, window: Window, source: Lattice, shape: tuple[int, int]) -> Gather:
    cols, rows = _source_pixels(target, window, source)
    inside = (cols >= 0) & (cols < shape[1]) & (rows >= 0) & (rows < shape[0])
    if not inside.any():
        return Gather(_EMPTY, None, _EMPTY, None)
    top, left = int(rows[inside].min()), int(cols[inside].min())
    rectangle = Window(top, left, int(rows[inside].max()) - top + 1, int(cols[inside].max()) - left + 1)
    flat = np.where(inside, (rows - top) * rectangle.width + (cols - left), 0).astype(np.int32)
    return Gather(rectangle, flat, Window(0, 0, *window.shape), None if inside.all() else ~inside)


def _source_pixels(target: Lattice, window: Window, source: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of the source pixel under the exact centre of each pixel of a target window, (y, x) float64 each.

    Coordinates are interpolated between exact ones at every `_STEP`-th pixel, and computed exactly where that could
    decide: where a coordinate comes closer to the edge of a pixel than interpolation can err. So the answer is that
    of exact coordinates everywhere, and no window changes it.
    """
    down, across = _nodes(window.height), _nodes(window.width)
    nodes = _pixel_coordinates(target, source, window.row + down[:, None], window.col + across[None, :])
    # Bilinear interpolation of a smooth function errs most in the middle between its nodes.
    middle = _pixel_coordinates(
        target, source, window.row + (down[:-1, None] + down[1:, None]) / 2, window.col + (across[None, :-1] + across[None, 1:]) / 2
    )
    means = (nodes[:, :-1, :-1] + nodes[:, 1:, :-1] + nodes[:, :-1, 1:] + nodes[:, 1:, 1:]) / 4
    with np.errstate(invalid="ignore"):
        error = np.abs(middle - means).max(axis=0)
    # Also where the Earth ends, and where it is cut: there nothing is smooth.
    rough = ~(error < _ROUGH)
    margin = _SAFETY * float(error[~rough].max(initial=0.0)) + 2 * 10.0**-_DIGITS
    rows, cols = np.arange(window.height), np.arange(window.width)
    found = np.empty((2, *window.shape))
    unsure = np.repeat(np.repeat(rough, np.diff(down), axis=0), np.diff(across), axis=1)
    unsure = np.pad(unsure, ((0, window.height - unsure.shape[0]), (0, window.width - unsure.shape[1])), mode="edge")
    for axis in range(2):
        values = _between(_between(nodes[axis], down, rows).T, across, cols).T
        with np.errstate(invalid="ignore"):
            np.floor(values, out=found[axis])
            values -= np.rint(values)
            unsure |= ~(np.abs(values) > margin)
    at = np.nonzero(unsure)
    exact = _pixel_coordinates(target, source, window.row + at[0], window.col + at[1])
    found[:, at[0], at[1]] = np.floor(np.round(exact, _DIGITS))
    return found[0], found[1]


_STEP = 16
"""Target pixels between those whose coordinates are computed to be interpolated."""
_ROUGH = 0.05
"""Source pixels by which interpolation may err where it is used."""
_SAFETY = 4.0
"""Margin of the interpolation over its largest error found."""


def _nodes(count: int) -> np.ndarray:
    """Every `_STEP`-th index and the last, at least two."""
    return np.append(np.arange(0, max(count - 1, 1), _STEP), max(count - 1, 1))


def _between(values: np.ndarray, nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis."""
    left = np.minimum(np.searchsorted(nodes, wanted, side="right") - 1, len(nodes) - 2)
    share = ((wanted - nodes[left]) / (nodes[left + 1] - nodes[left]))[:, None]
    with np.errstate(invalid="ignore"):
        return values[left] + share * (values[left + 1] - values[left])


def _pixel_coordinates(target: Lattice, source: Lattice, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Column and row, with fractions, of the source under the centres of target pixels, (2, …)."""
    x, y = np.broadcast_arrays(target.west + (cols + 0.5) * target.width, target.north - (rows + 0.5) * target.height)
    eastings, northings = _transformer(target.crs, source.crs).transform(x, y)
    return np.stack([(eastings - source.west) / source.width, (source.north - northings) / source.height])


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)
