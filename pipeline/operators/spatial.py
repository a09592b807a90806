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
    Tensor, (..., y, x)
        Every pixel adds up its own neighbours in the same order, so no bit depends on the position in the raster,
        as it would with running sums.
    """
    return _box_along(_box_along(values, radius, -1), radius, -2)


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
    # Half a pixel at the tip of the tent weighs 0.5; anything far below is an outlier that nothing should follow alone.
    known = within > 1e-6
    per_weight = torch.where(known, within.reciprocal(), 0.0)
    mean = torch.empty_like(values)
    # One plane after the other: all bands at once would leave the cache.
    planes = zip(values.reshape(-1, *values.shape[-2:]), mean.view(-1, *values.shape[-2:]), strict=True)
    for plane, out in planes:
        total = box_sum(box_sum(torch.nan_to_num(plane * weight), half), half)
        torch.mul(total, per_weight, out=out)
    return mean, within.mul_(known).div_(full)


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
    far = reach + 1
    # Squares of so few pixels fit in small integers, of which many are worked on at once.
    kind = torch.uint8 if far**2 + reach**2 < 256 else torch.int32
    along = (~mask).to(kind).mul_(far)
    for _ in range(reach):
        farther = along + 1
        _lower(along[..., 1:], farther[..., :-1])
        _lower(along[..., :-1], farther[..., 1:])
    squared = along.square_()
    nearest = squared.clone()
    for step in range(1, reach + 1):
        farther = squared + step**2
        _lower(nearest[..., step:, :], farther[..., :-step, :])
        _lower(nearest[..., :-step, :], farther[..., step:, :])
    return nearest.float().sqrt_().clamp_(max=far)


def _lower(values: Tensor, bound: Tensor) -> None:
    torch.minimum(values, bound, out=values)


def _box_along(values: Tensor, radius: int, axis: int) -> Tensor:
    """Sums of ``2 radius + 1`` neighbours along one axis, put together from sums of 1, 2, 4, … neighbours."""
    width, length = 2 * radius + 1, values.shape[axis]
    shape = list(values.shape)
    shape[axis] = length + 2 * radius
    power = values.new_empty(shape)
    power.narrow(axis, 0, radius).zero_()
    power.narrow(axis, radius, length).copy_(values)
    power.narrow(axis, radius + length, radius).zero_()
    total = power.narrow(axis, 0, length).clone()
    start = size = 1
    while start < width:
        span = power.shape[axis] - size
        power = power.narrow(axis, 0, span) + power.narrow(axis, size, span)
        size *= 2
        if width & size:
            total += power.narrow(axis, start, length)
            start += size
    return total
