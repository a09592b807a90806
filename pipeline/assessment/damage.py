"""What befalls observations, done to good ones: clouds and stripes that hide, veils that nobody flagged, coarse images off place."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from pipeline.assessment.archives import Image, Mask
from pipeline.operators.resample import lift

CLOUD = 0.6
"""Reflectance of the cloud that a veil is made of."""

CLOUD_INDEX = 0.0
"""Value of a normalised difference over cloud, which is as bright in one band as in the other."""

_SCAN_SHEAR = 6.8
"""Columns that SLC gaps move on per row: they follow the scan, which lies some 8° off the rows. A gap then stands 36 columns wide in a row
and about five rows high, and the next follows after some 200 columns and 30 rows, as in the real rows it is made from."""


def clouds(real: Mask, shape: tuple[int, int], share: float, rng: np.random.Generator) -> Mask:
    """A piece of a real mask, its clouds grown or shrunk until they hide a share of it.

    Parameters
    ----------
    real : ndarray, (h, w) bool
        At least one pixel of either kind.
    shape : (int, int)
        Of the mask wanted; a real mask that is smaller is mirrored on.
    share : float
        0–1 of the pixels; exact but for ties.
    rng : Generator
        Chooses the piece and its orientation.
    """
    turned = np.rot90(real, int(rng.integers(4)))
    turned = turned[:, ::-1] if rng.integers(2) else turned
    edge = [max(size - have, 0) for size, have in zip(shape, turned.shape, strict=True)]
    wide = np.pad(turned, [(0, edge[0]), (0, edge[1])], mode="symmetric")
    row, col = (int(rng.integers(have - size + 1)) for have, size in zip(wide.shape, shape, strict=True))
    # Growing every cloud by one distance keeps the shapes; far outside first comes what is nearest to a cloud.
    outside = distance_transform_edt(~wide) - distance_transform_edt(wide)
    return _lowest(outside[row : row + shape[0], col : col + shape[1]], share)


def stripes(gaps: NDArray[np.bool_], shape: tuple[int, int], share: float, rng: np.random.Generator) -> Mask:
    """The SLC gaps of a real image row continued over all rows along the scan, widened or narrowed until they hide a share.

    Parameters
    ----------
    gaps : ndarray, (x,) bool
        Missing pixels of the row, some and not all.
    shape, share, rng
        As of `clouds`.
    """
    outside = distance_transform_edt(~gaps) - distance_transform_edt(gaps)
    # Mirrored ends: the row is no whole number of periods.
    ring = np.concatenate([outside, outside[::-1]])
    along = np.arange(shape[1])[None, :] + _SCAN_SHEAR * np.arange(shape[0])[:, None] + rng.uniform(0, len(ring))
    return _lowest(ring[np.floor(along).astype(int) % len(ring)] + 1e-6 * rng.random(shape), share)


def veiled(image: Image, where: Mask, opacity: float, index: bool) -> Image:
    """An image (B, y, x) through haze (low opacity) or cloud (high opacity) that no mask knows of."""
    cloud = CLOUD_INDEX if index else CLOUD
    return np.where(where, (1 - opacity) * image + opacity * cloud, image).astype(np.float32)


def displaced(coarse: Image, factor: int, down: int, right: int) -> Image:
    """Coarse images on the fine grid, moved; the rim stands for what comes in from outside.

    Parameters
    ----------
    coarse : ndarray, (N, B, Y, X)
    factor : int
        Fine pixels along the edge of a pixel of these images; they are lifted first when it is not 1.
    down, right : int
        Fine pixels; negative = up, left.
    """
    fine = lift(torch.from_numpy(coarse), factor).numpy() if factor > 1 else coarse
    height, width = fine.shape[-2:]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    cols = np.clip(np.arange(width) - right, 0, width - 1)
    return fine[..., rows[:, None], cols[None, :]]


def _lowest(values: NDArray[np.float64], share: float) -> Mask:
    """The pixels with the lowest values, as many as the share says; ties are broken by place."""
    chosen = np.zeros(values.size, bool)
    chosen[np.argsort(values, axis=None, kind="stable")[: round(share * values.size)]] = True
    return chosen.reshape(values.shape)
