"""One day of a cube reduced to the size of a picture: reflectance, provenance and the exact share of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.errors import StoreError
from pipeline.grid import day_from_number
from pipeline.vocabulary import Maturity, Provenance

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir08", "red", "green")


@dataclass(frozen=True)
class DayPicture:
    """A day reduced to the size of a picture.

    Parameters
    ----------
    day : date
    bands : tuple of str
        Names of the layers of `values`.
    values : ndarray, (B, h, w) float32
        Mean of the valid fine pixels of each picture pixel; NaN where there is none.
    provenance : ndarray, (h, w) uint8
        Provenance of the fine pixel in the middle of each picture pixel.
    shares : mapping
        Provenance → share of all fine pixels, counted at full resolution; they add up to 1.
    maturity : Maturity or None
        ``None`` when the cube does not hold it.
    std : ndarray, (h, w) float32, or None
        Mean 1 σ of the bands shown; None where the cube does not say, and in thumbnails.
    """

    day: date
    bands: tuple[str, ...]
    values: np.ndarray
    provenance: np.ndarray
    shares: Mapping[Provenance, float]
    maturity: Maturity | None = None
    std: np.ndarray | None = None


@contextmanager
def opened(cube: xr.Dataset | Path | str) -> Iterator[xr.Dataset]:
    """The cube or staging as a lazy dataset of raw numbers; a path is opened and closed again.

    Raises
    ------
    StoreError
        If there is no Zarr group at the path.
    """
    if isinstance(cube, xr.Dataset):
        yield cube
        return
    try:
        # A cube is read by its consolidated metadata, which publishing replaces at once; a staging has none.
        consolidated = "consolidated_metadata" in json.loads((Path(cube) / "zarr.json").read_bytes())
        dataset = xr.open_zarr(cube, chunks=None, mask_and_scale=False, decode_times=False, consolidated=consolidated)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise StoreError(f"no cube at {cube}: {error}", "give the folder of a published cube or of a staging") from error
    with dataset:
        yield dataset


def picture_bands(names: Sequence[str]) -> tuple[str, ...]:
    """The bands a picture of a cube shows: true colour, else false colour, else the first band alone.

    Examples
    --------
    >>> picture_bands(("blue", "green", "red", "nir08"))
    ('red', 'green', 'blue')
    >>> picture_bands(("ndvi",))
    ('ndvi',)
    """
    for choice in (TRUE_COLOUR, FALSE_COLOUR):
        if set(choice) <= set(names):
            return choice
    return (names[0],)


def band_names(dataset: xr.Dataset) -> tuple[str, ...]:
    """The bands of a cube or staging, in its order.

    Raises
    ------
    StoreError
        If it does not say which they are.
    """
    if not dataset.attrs.get("bands"):
        raise StoreError("the dataset has no attribute 'bands'", "give a cube or a staging that landfuse made")
    return tuple(dataset.attrs["bands"])


def read_picture(
    cube: xr.Dataset | Path | str,
    index: int,
    bands: Sequence[str] | None = None,
    size: int = 1024,
    maturity: Maturity | None = None,
) -> DayPicture:
    """Reduce one day to at most `size` pixels an edge, reading one block after the other.

    Parameters
    ----------
    cube : Dataset, Path or str
        A published cube or a staging, opened with ``mask_and_scale`` on or off.
    index : int
        Position on the time axis.
    bands : sequence of str, optional
        What to show; `picture_bands` of the cube when left out.
    size : int
        Longest edge of the picture [pixels].
    maturity : Maturity, optional
        Maturity of the day, when the caller knows it better than the cube's own ``maturity`` variable.

    Raises
    ------
    StoreError
        If the cube lacks a band, provenance, or the day.
    """
    with opened(cube) as dataset:
        names = tuple(bands) if bands else picture_bands(band_names(dataset))
        for name in (*names, "provenance"):
            if name not in dataset.data_vars:
                raise StoreError(f"the cube has no {name}; it holds {', '.join(map(str, dataset.data_vars))}")
        count = dataset.sizes["time"]
        if not 0 <= index < count:
            raise StoreError(f"day index {index} is not in the cube, which holds {count} days")
        height, width = dataset.sizes["y"], dataset.sizes["x"]
        factor = max(1, -(-max(height, width) // size))
        blocks = list(_blocks(dataset["provenance"], height, width))
        values = np.stack([_area_mean(dataset[name], index, factor, blocks) for name in names])
        stated = [dataset[f"uncertainty_{name}"] for name in names if f"uncertainty_{name}" in dataset.data_vars]
        std = np.mean([_area_mean(variable, index, factor, blocks) for variable in stated], axis=0) if stated else None
        provenance, counts = _provenance(dataset["provenance"], index, factor, blocks)
        if maturity is None and "maturity" in dataset.variables:
            maturity = Maturity(int(dataset["maturity"][index]))
        return DayPicture(
            day=day_at(dataset, index),
            bands=names,
            values=values,
            provenance=provenance,
            shares={kind: int(counts[kind]) / (height * width) for kind in Provenance},
            maturity=maturity,
            std=std,
        )


def thumbnail(picture: DayPicture, size: int = 256) -> DayPicture:
    """A picture reduced further, to at most `size` pixels an edge, for when many are kept. Shares stay exact."""
    factor = max(1, -(-max(picture.provenance.shape) // size))
    valid = np.isfinite(picture.values)
    total = [_binned(band, 0, 0, factor) for band in np.where(valid, picture.values, 0.0)]
    count = [_binned(band, 0, 0, factor) for band in valid.astype(np.float32)]
    values = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=np.array(count) > 0).astype(np.float32)
    rows, columns = (_middles(length, factor) for length in picture.provenance.shape)
    return replace(picture, values=values, provenance=picture.provenance[np.ix_(rows, columns)], std=None)


def day_at(dataset: xr.Dataset, index: int) -> date:
    """The date of a position on the time axis, whether times are decoded or not."""
    value = dataset["time"].values[index]
    if np.issubdtype(value.dtype, np.datetime64):
        value = value.astype("datetime64[D]").astype(int)
    return day_from_number(int(value))


def _blocks(variable: xr.DataArray, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """(first row, last row, first column, last column) of each stored chunk, so that none is decoded twice."""
    rows, columns = (variable.encoding.get("chunks") or (1, 512, 512))[-2:]
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield top, min(top + rows, height), left, min(left + columns, width)


def _area_mean(variable: xr.DataArray, index: int, factor: int, blocks: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    height, width = variable.shape[-2:]
    shape = -(-height // factor), -(-width // factor)
    total, count = np.zeros(shape, np.float64), np.zeros(shape, np.float64)
    for top, bottom, left, right in blocks:
        block = _decoded(variable, variable.isel(time=index, y=slice(top, bottom), x=slice(left, right)).values)
        valid = np.isfinite(block)
        cells = slice(top // factor, -(-bottom // factor)), slice(left // factor, -(-right // factor))
        total[cells] += _binned(np.where(valid, block, 0.0), top, left, factor)
        count[cells] += _binned(valid.astype(np.float64), top, left, factor)
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0).astype(np.float32)


def _binned(block: np.ndarray, top: int, left: int, factor: int) -> np.ndarray:
    """Sums over picture pixels, for a block that may begin and end inside one."""
    if factor == 1:
        return block
    for axis, first in enumerate((top, left)):
        cells = np.arange(first, first + block.shape[axis]) // factor
        block = np.add.reduceat(block, np.flatnonzero(np.diff(cells, prepend=-1)), axis=axis)
    return block


def _decoded(variable: xr.DataArray, block: np.ndarray) -> np.ndarray:
    """Physical values with NaN for fill, of raw or already decoded numbers."""
    if np.issubdtype(block.dtype, np.floating):
        return block
    fill = variable.attrs.get("_FillValue", variable.encoding.get("_FillValue"))
    values = block * float(variable.attrs.get("scale_factor", 1.0)) + float(variable.attrs.get("add_offset", 0.0))
    return values if fill is None else np.where(block == fill, np.nan, values)


def _provenance(
    variable: xr.DataArray, index: int, factor: int, blocks: Sequence[tuple[int, int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    height, width = variable.shape[-2:]
    rows, columns = (_middles(length, factor) for length in (height, width))
    picture = np.zeros((len(rows), len(columns)), np.uint8)
    counts = np.zeros(256, np.int64)
    for top, bottom, left, right in blocks:
        block = np.nan_to_num(variable.isel(time=index, y=slice(top, bottom), x=slice(left, right)).values).astype(np.uint8)
        counts += np.bincount(block.ravel(), minlength=256)
        inner = slice(*np.searchsorted(rows, (top, bottom))), slice(*np.searchsorted(columns, (left, right)))
        picture[inner] = block[np.ix_(rows[inner[0]] - top, columns[inner[1]] - left)]
    return picture, counts


def _middles(length: int, factor: int) -> np.ndarray:
    return np.minimum(np.arange(-(-length // factor)) * factor + factor // 2, length - 1)
