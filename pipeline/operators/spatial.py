"""Masked means and distances of finite reach, so that a block with its halo agrees with the whole image."""

from __future__ import annotations

import torch
from torch import Tensor


def box_sum(values: Tensor, radius: int) -> Tensor:
    """Sum over the square of ``2 radius + 1`` pixels around each pixel; nothing lies outside the raster.

    Parameters
    ----------
    values : Tensor, (..., y, x) float
        Finite.
    radius : int
        Reach in pixels.

    Returns
    -------
    Tensor, (..., y, x) float64
        Double, because running sums in single precision would depend on the position in the raster.
    """
    return _box_along(_box_along(values.double(), radius, -1), radius, -2)


def tent_mean(values: Tensor, weight: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Weighted mean under a tent (a box convolved with itself) that ends `radius` pixels away.

    Parameters
    ----------
    values : Tensor, (..., y, x) float
        Read only where `weight` is above zero (elsewhere they may be NaN).
    weight : Tensor, (..., y, x) or (y, x) float
        0 = masked.
    radius : int
        Reach in pixels, rounded down to an even number; the box has half of it.

    Returns
    -------
    mean : Tensor, (..., y, x)
        0 where there is no weight within reach.
    share : Tensor, shape of `weight`
        Weight within reach over the weight of an unmasked tent: 0–1 for weights in 0–1. Outside the raster counts as masked.
    """
    half = max(radius // 2, 1)
    weight = weight.to(values.dtype)
    full = float((2 * half + 1) ** 4)
    within = box_sum(box_sum(weight, half), half)
    # One plane after the other: doubles of all bands at once would leave the cache.
    planes = torch.where(weight > 0, values * weight, 0.0).reshape(-1, *values.shape[-2:])
    total = torch.stack([box_sum(box_sum(plane, half), half) for plane in planes]).reshape(values.shape)
    # Running sums of nothing leave rounding dust; half a pixel at the tip of the tent is 0.5.
    known = within > 1e-6
    mean = torch.where(known, total / within.where(known, 1.0), 0.0)
    share = torch.where(known, within / full, 0.0)
    return mean.to(values.dtype), share.to(values.dtype)


def distance_to(mask: Tensor, reach: int) -> Tensor:
    """Euclidean distance [pixels] to the nearest pixel of `mask`, no farther than `reach` + 1.

    Parameters
    ----------
    mask : Tensor, (..., y, x) bool
    reach : int
        Distances above it are returned as ``reach + 1``.

    Returns
    -------
    Tensor, (..., y, x) float32
        0 inside the mask.
    """
    far = float(reach + 1)
    along = torch.where(mask, 0.0, far)
    for _ in range(reach):
        along[..., 1:] = torch.minimum(along[..., 1:], along[..., :-1] + 1)
        along[..., :-1] = torch.minimum(along[..., :-1], along[..., 1:] + 1)
    squared = along.square()
    nearest = squared.clone()
    for step in range(1, reach + 1):
        nearest[..., step:, :] = torch.minimum(nearest[..., step:, :], squared[..., :-step, :] + step**2)
        nearest[..., :-step, :] = torch.minimum(nearest[..., :-step, :], squared[..., step:, :] + step**2)
    return nearest.sqrt().clamp(max=far)


def _box_along(values: Tensor, radius: int, axis: int) -> Tensor:
    """Sums of ``2 radius + 1`` neighbours along one axis, as differences of a running sum."""
    length = values.shape[axis]
    shape = list(values.shape)
    shape[axis] = length + 2 * radius + 1
    running = values.new_empty(shape)
    running.narrow(axis, 0, radius + 1).zero_()
    torch.cumsum(values, axis, out=running.narrow(axis, radius + 1, length))
    running.narrow(axis, radius + 1 + length, radius).copy_(running.narrow(axis, radius + length, 1))
    return running.narrow(axis, 2 * radius + 1, length) - running.narrow(axis, 0, length)
