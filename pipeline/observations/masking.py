"""From raw numbers and QA to reflectance and reasons: arithmetic on arrays, nothing is read here."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.sensors.product import Band, Product
from pipeline.sensors.qa import reasons as qa_reasons
from pipeline.store.encoding import FILL, encode_reflectance
from pipeline.vocabulary import DOUBT, Reason, Surface

QA_TYPE = np.dtype(np.int32)
"""Type that QA layers are read as: it holds every bit field of 8 and 16 bits."""

WIDE_QA_TYPE = np.dtype(np.int64)
"""Type of layers with numbers of 32 bits (QC of MOD09)."""

Limits = tuple[float, float]


def raw_type(band: Band) -> tuple[np.dtype[Any], float]:
    """The type a band is read as, and the number that stands for no data.

    Whole numbers need both a declared type and a nodata value; otherwise float32 is read,
    which holds every 16-bit number exactly, and NaN is no data.
    """
    if band.dtype is None or band.nodata is None:
        return np.dtype(np.float32), np.nan
    return np.dtype(band.dtype), band.nodata


def physical(numbers: np.ndarray, band: Band) -> np.ndarray:
    """Reflectance of raw numbers, float64; NaN where they are fill, kept where they are only out of range."""
    values = numbers.astype(np.float64)
    if band.nodata is not None:
        values[numbers == band.nodata] = np.nan
    return values * band.scale + band.offset


def flags(numbers: np.ndarray, band: Band, limits: Limits) -> np.ndarray:
    """FILL, RANGE and NEGATIVE of raw numbers, uint16.

    Parameters
    ----------
    numbers : ndarray
        Raw numbers of one band.
    band : Band
        Its ``nodata``, and ``valid`` in raw numbers.
    limits : (float, float)
        Reflectance outside is no observation.
    """
    values = physical(numbers, band)
    fill = np.isnan(values)
    beyond = (values < limits[0]) | (values > limits[1])
    if band.valid is not None:
        beyond |= (numbers < band.valid[0]) | (numbers > band.valid[1])
    found = np.where(beyond, np.uint16(Reason.RANGE), np.where(values < 0, np.uint16(Reason.NEGATIVE), np.uint16(0)))
    return np.where(fill, np.uint16(Reason.FILL), found)


def encode_band(numbers: np.ndarray, band: Band, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Raw numbers as stored reflectance (int16) and `flags`."""
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize <= 2:
        values, bits = _tables(band, numbers.dtype.str, limits)
        index = numbers.view(f"u{numbers.dtype.itemsize}")
        return values.take(index), bits.take(index)
    return encode_reflectance(physical(numbers, band)), flags(numbers, band, limits)


@lru_cache(maxsize=64)
def _tables(band: Band, dtype: str, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Stored reflectance and flags of every number a 16-bit type has: the arithmetic is done once per number, not per pixel."""
    kind = np.dtype(dtype)
    numbers = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}").view(kind)
    return encode_reflectance(physical(numbers, band)), flags(numbers, band, limits)


def doubt(reasons: np.ndarray) -> np.ndarray | None:
    """Factor of the 1 σ of each pixel with these reasons, float32; None when it is 1 everywhere."""
    some = int(functools.reduce(operator.or_, DOUBT))
    if not (reasons & some).any():
        return None
    factor = np.ones(reasons.shape, np.float32)
    for state, times in DOUBT.items():
        factor[reasons & int(state) != 0] *= np.float32(times)
    return factor


def surface(reasons: np.ndarray) -> np.ndarray | None:
    """`Surface` codes (uint8) of pixels with these reasons; None when all show land."""
    if not (reasons & (Reason.SNOW | Reason.WATER)).any():
        return None
    codes = np.where(reasons & Reason.WATER, np.uint8(Surface.WATER), np.uint8(Surface.LAND))
    codes[reasons & Reason.SNOW != 0] = Surface.SNOW
    return codes


def mask_scene(
    product: Product,
    bands: Mapping[str, np.ndarray],
    layers: Mapping[str, np.ndarray],
    platform: str,
    order: tuple[str, ...],
    limits: Limits,
    radius: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Stored reflectance and reasons of a fine scene.

    A pixel is FILL where every band is; RANGE where any band is out of range, NEGATIVE where one that is used lies below zero.
    Cloud and shadow are grown.

    Parameters
    ----------
    product : Product
    bands : mapping of str to ndarray, (y, x)
        Raw numbers by common name.
    layers : mapping of str to ndarray, (y, x)
        Raw QA by asset key.
    platform : str
        Of the scene.
    order : tuple of str
        Bands of the result; one that the product does not have is left empty.
    limits : (float, float)
        Reflectance outside is no observation.
    radius : float
        Cloud and shadow are grown by so many pixels.

    Returns
    -------
    values : ndarray, (B, y, x) int16
        Kept wherever there is a number, whatever the mask says.
    reasons : ndarray, (y, x) uint16
    """
    shape = next(iter(bands.values())).shape
    values = np.full((len(order), *shape), FILL, np.int16)
    any_flag, all_flags = np.zeros(shape, np.uint16), np.full(shape, 0xFFFF, np.uint16)
    for at, name in enumerate(order):
        if name in bands:
            values[at], found = encode_band(bands[name], product.bands[name], limits)
            any_flag |= found
            all_flags &= found
    found = qa_reasons(product, layers, platform) | (any_flag & (Reason.RANGE | Reason.NEGATIVE)) | (all_flags & Reason.FILL)
    reasons = np.broadcast_to(found, shape).astype(np.uint16)
    fill = (reasons & Reason.FILL) != 0
    seeds = ((reasons & (Reason.CLOUD | Reason.SHADOW)) != 0) & ~fill
    reasons[grow(seeds, radius) & ~seeds & ~fill] |= np.uint16(Reason.DILATED)
    return values, reasons


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """All pixels whose centre lies within `radius` [pixels] of one of `mask`: dilation with a disc.

    Parameters
    ----------
    mask : ndarray, (y, x) bool
    radius : float
        Pixels; below 1 nothing grows.

    Returns
    -------
    ndarray, (y, x) bool
    """
    grown = mask.copy()
    if radius < 1 or not mask.any():
        return grown
    height, width = mask.shape
    wide, half = mask.copy(), 0
    # From the narrow top of the disc to its wide middle: the copy widened so far is used again.
    for offset in range(int(radius), -1, -1):
        while half < math.floor(math.sqrt(radius**2 - offset**2)):
            half += 1
            if half < width:
                wide[:, half:] |= mask[:, :-half]
                wide[:, :-half] |= mask[:, half:]
        if offset == 0:
            grown |= wide
        elif offset < height:
            grown[offset:] |= wide[:-offset]
            grown[:-offset] |= wide[offset:]
    return grown
