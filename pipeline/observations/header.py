"""Whether the header of a file says what its item says: where the pixels lie, how many, and of what type."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.errors import ReadError
from pipeline.observations.asset import Asset
from pipeline.observations.warp import Lattice, shift

_LARGEST_SIDE = 500_000
"""Pixels; a global raster at 100 m has 400 000."""
_LARGEST_BLOCK = 1 << 28
"""Bytes of one compressed block once decoded: more is no image but an attack or an accident."""
_CLOSE = 0.01
"""Pixels by which header and item may differ."""

_Transform = tuple[float, float, float, float, float, float]


def checked(dataset: Any, asset: Asset, dtype: np.dtype[Any]) -> Lattice:
    """The lattice of the pixels of an open file, once its header agrees with the item.

    Header and item are compared as places: a southern UTM zone written as the northern one with negative
    northings, or the sphere of MODIS under another name, is the same place.

    Parameters
    ----------
    dataset : rasterio dataset
    asset : Asset
    dtype : dtype
        Must hold every number of the file.

    Raises
    ------
    ReadError
        If they disagree, or the file is too large to be an image; every contradiction is named with both sides.
    """
    problems: list[str] = []
    height, width = dataset.shape
    band = asset.part.band
    if max(height, width) > _LARGEST_SIDE:
        problems.append(f"its size {height} × {width} is absurd; expected at most {_LARGEST_SIDE} pixels along a side")
    if not 1 <= band <= dataset.count:
        raise ReadError(f"{asset} has {dataset.count} bands; expected band {band}", "mend the item, or say which band is meant")
    stored = np.dtype(dataset.dtypes[band - 1])
    if math.prod(dataset.block_shapes[band - 1]) * stored.itemsize > _LARGEST_BLOCK:
        rows, columns = dataset.block_shapes[band - 1]
        problems.append(f"its blocks of {rows} × {columns} pixels are absurd; expected at most {_LARGEST_BLOCK >> 20} MiB in one")
    if not np.can_cast(stored, dtype):
        problems.append(f"its numbers are {stored}; expected a type that {dtype} holds")
    # A quality layer may be coarser or finer than the bands of its scene by a whole number, on the same footprint.
    ratio = asset.shape[0] / height
    if asset.shape[1] / width != ratio or not (ratio.is_integer() or (1 / ratio).is_integer()):
        problems.append(f"its shape is {dataset.shape}; the item says {asset.shape}")
    a, b, west, d, e, north = asset.transform
    transform = (a * ratio, b, west, d, e * ratio, north)
    if not asset.assigned:
        header: _Transform = tuple(dataset.transform)[:6]
        if dataset.crs is None:
            problems.append("it has no CRS; the item says " + _short(asset.crs))
        elif not _same_place(dataset.crs.to_wkt(), asset.crs, header, transform, dataset.shape):
            if not _same_numbers(header, transform, dataset.shape):
                problems.append(f"its transform is {tuple(round(value, 6) for value in header)}; the item says {transform}")
            if shift(dataset.crs.to_wkt(), asset.crs) != (0.0, 0.0):
                problems.append(f"its CRS is {_short(dataset.crs.to_string())}; the item says {_short(asset.crs)}")
    if problems:
        raise ReadError(
            f"{asset} is not what its item says: " + "; ".join(problems),
            "mend the item or the file; its pixels are not used as long as they disagree",
        )
    return Lattice.of(asset.crs, transform)


@lru_cache(maxsize=1024)
def _same_place(header_crs: str, crs: str, header: _Transform, transform: _Transform, shape: tuple[int, int]) -> bool:
    """Whether header and item put the raster at one place, whatever names and numbers they use for it."""
    moved = shift(header_crs, crs)
    if moved is not None:
        a, b, west, d, e, north = header
        return _same_numbers((a, b, west + moved[0], d, e, north + moved[1]), transform, shape)
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    there, here = _points(header, shape), _points(transform, shape)
    try:
        found = np.stack(Transformer.from_crs(header_crs, crs, always_xy=True).transform(*there))
    except ProjError:
        return False
    # The corners of a sinusoidal tile may lie off the Earth; the other points then decide.
    known = np.isfinite(found).all(axis=0)
    distance = np.hypot(*(found - here))[known]
    return bool(distance.size and distance.max() <= _CLOSE * abs(transform[0]))


def _same_numbers(header: _Transform, transform: _Transform, shape: tuple[int, int]) -> bool:
    distance = np.hypot(*(_points(header, shape) - _points(transform, shape)))
    return bool(distance.max() <= _CLOSE * abs(transform[0]))


def _points(transform: _Transform, shape: tuple[int, int]) -> np.ndarray:
    """Coordinates of the four corners and the centre of a raster, (2, 5)."""
    a, b, west, d, e, north = transform
    columns = np.array([0.0, 0.5, 1.0, 0.0, 1.0]) * shape[1]
    rows = np.array([0.0, 0.5, 0.0, 1.0, 1.0]) * shape[0]
    return np.stack([west + a * columns + b * rows, north + d * columns + e * rows])


def _short(crs: str) -> str:
    return crs if len(crs) <= 80 else crs[:77] + "…"
