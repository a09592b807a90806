"""The NDVI of a series of fine images, and what is usual of it: the median of the clear days without snow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from pipeline.vocabulary import Surface

RED, NIR = "red", "nir08"
"""STAC common names of the bands it is made of."""

UNIT = 10_000
"""Counts of an NDVI of 1: values are kept in 16 bits, as everywhere in the house."""

_UNKNOWN = -32768
_AT_ONCE = 1 << 22
"""Values of which the median is taken at once: sorting needs many times their memory."""


def has_ndvi(bands: Collection[str]) -> bool:
    """Whether an NDVI can be made of these bands."""
    return RED in bands and NIR in bands


def ndvi(images: Tensor, bands: Sequence[str]) -> Tensor:
    """Normalised difference of near infrared and red (Tucker 1979, RSE 8, 127–150).

    Parameters
    ----------
    images : Tensor, (..., B, y, x)
        Reflectance; NaN = not observed.
    bands : sequence of str, (B,)

    Returns
    -------
    Tensor, (..., y, x)
        −1 to 1; NaN where either band is unknown, or their sum is not positive.
    """
    red, nir = (images.select(-3, bands.index(name)) for name in (RED, NIR))
    total = red + nir
    return ((nir - red) / total).where(total > 0, torch.nan).clamp(-1.0, 1.0)


def ndvi_median(stacks: Iterable[tuple[Tensor, Tensor | None]], bands: Sequence[str], shape: tuple[int, int]) -> Tensor:
    """The median NDVI of each pixel on the days that show it clear and without snow.

    Parameters
    ----------
    stacks : iterable of (Tensor, Tensor or None)
        Images (K, B, y, x), NaN = not observed, and their `Surface` codes (K, y, x), None where all is land. Each is dropped
        before the next is taken: of many images only their NDVI is held.
    bands : sequence of str, (B,)
        Red and near infrared are among them.
    shape : (int, int)
        (y, x), for there may be no image at all.

    Returns
    -------
    Tensor, (y, x) float32
        In steps of 10⁻⁴; of an even number of days the lower of the two in the middle; NaN where no day is left.
    """
    kept = [_counts(images, surface, bands) for images, surface in stacks]
    count = sum(map(len, kept))
    median = torch.full(shape, torch.nan)
    if not count:
        return median
    rows = max(_AT_ONCE // (count * shape[1]), 1)
    for start in range(0, shape[0], rows):
        part = torch.cat([values[:, start : start + rows] for values in kept]).float()
        median[start : start + rows] = part.where(part > _UNKNOWN, torch.nan).nanmedian(dim=0).values / UNIT
    return median


def _counts(images: Tensor, surface: Tensor | None, bands: Sequence[str]) -> Tensor:
    """NDVI (K, y, x) int16 in counts."""
    found = ndvi(images, bands)
    if surface is not None:
        found = found.where(surface != Surface.SNOW, torch.nan)
    return torch.round(found * UNIT).nan_to_num(_UNKNOWN).to(torch.int16)
