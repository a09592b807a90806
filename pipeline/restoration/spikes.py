"""Single days of the coarse series that nothing around them confirms: residual cloud, shadow, a value put in the wrong place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.operators.reach import SPIKE_REACH

SIGMAS = 4.0
"""Robust 1 σ that a value must stand off to be doubted."""

LEAST_VALUES = 2
"""Values that each side must show: composites a week apart do not judge each other."""

_CELLS_AT_ONCE = 1024
_NEIGHBOURS_AT_ONCE = 2**21


def doubted(values: Tensor, std: Tensor, days: np.ndarray | Tensor) -> Tensor:
    """Inflate the σ of values that stand off what was seen around them in time.

    The medians of the values within `SPIKE_REACH` days before and after span what is expected of a day. A value beyond them by
    more than 4 σ is doubted in all bands of its cell, unless its nearest neighbour on either side lies less than half as far
    from it. So a step is never doubted: its first day is like what follows, its last like what came before. σ is that of the
    value and the scatter of the others about the median of their side (1.4826 × the median deviation). The new σ is
    the old one × (z / 4)²: beside others the value hardly counts.

    Parameters
    ----------
    values : Tensor, (N, B, Y, X) float32
        Reflectance; NaN = not observed.
    std : Tensor, (N, B, Y, X) float32
        1 σ of each value.
    days : array, (N,) float
        Centre of weight of each value [day number]. Values of one day say nothing of each other.

    Returns
    -------
    Tensor, (N, B, Y, X) float32
        That of a value depends on what its own cell shows within `SPIKE_REACH` days of it.
    """
    count, bands = values.shape[:2]
    result = std.clone(memory_format=torch.contiguous_format)
    if not count:
        return result
    when, order = torch.as_tensor(np.asarray(days, dtype=np.float64), device=values.device).sort(stable=True)
    flat, out = values.reshape(count, bands, -1), result.view(count, bands, -1)
    for first in range(0, flat.shape[-1], _CELLS_AT_ONCE):
        cells = slice(first, first + _CELLS_AT_ONCE)
        sigma = out[:, :, cells][order]
        factor = _factor(flat[:, :, cells][order].flatten(1), sigma.flatten(1), when)
        out[order, :, cells] = sigma * factor.reshape(sigma.shape).amax(1, keepdim=True)
    return result


def _factor(values: Tensor, std: Tensor, days: Tensor) -> Tensor:
    """Factors of the σ of series (N, S) in order of time; 1 where nothing is doubted."""
    factor = torch.ones_like(values)
    lowest, highest = _nearest(values, days)
    apart = torch.maximum(values - highest, lowest - values)
    # What stands off by 4 σ unconfirmed lies 2 σ off its nearest neighbours: few values need a closer look.
    index, series = torch.nonzero(apart > SIGMAS / 2 * std, as_tuple=True)
    start, stop = torch.searchsorted(days, days - SPIKE_REACH), torch.searchsorted(days, days + SPIKE_REACH, right=True)
    width = int((stop - start).max())
    step = max(_NEIGHBOURS_AT_ONCE // width, 1)
    for at, one in zip(index.split(step), series.split(step), strict=True):
        place = start[at, None] + torch.arange(width, device=days.device)
        inside, place = place < stop[at, None], place.clamp(max=len(days) - 1)
        seen = values[place, one[:, None]].where(inside, torch.nan)
        off = _standing_off(values[at, one], std[at, one], seen, days[place] - days[at, None], apart[at, one])
        factor[at, one] = (off / SIGMAS).square().clamp(min=1)
    return factor


def _standing_off(value: Tensor, std: Tensor, seen: Tensor, offset: Tensor, apart: Tensor) -> Tensor:
    """By how many σ values (M,) stand off what was `seen` (M, W) around them; 0 where that cannot be told or is confirmed."""
    before, after = (seen.where(side, torch.nan) for side in (offset < 0, offset > 0))
    middles = before.nanmedian(1).values, after.nanmedian(1).values
    off = torch.maximum(value - torch.maximum(*middles), torch.minimum(*middles) - value)
    around = torch.cat([before - middles[0][:, None], after - middles[1][:, None]], dim=1)
    scatter = 1.4826 * around.abs().nanmedian(1).values
    told = (torch.isfinite(before).sum(1) >= LEAST_VALUES) & (torch.isfinite(after).sum(1) >= LEAST_VALUES)
    return torch.where(told & (apart > off / 2), off / torch.hypot(std, scatter), 0.0)


def _nearest(values: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest value (N, S) of the nearest days before and after that show any; infinite where a side shows none."""
    count, each = torch.unique_consecutive(days, return_inverse=True)
    shape, index = (len(count), values.shape[1]), each[:, None].expand_as(values)
    low = values.new_full(shape, torch.inf).scatter_reduce(0, index, values.nan_to_num(torch.inf), "amin")
    high = values.new_full(shape, -torch.inf).scatter_reduce(0, index, values.nan_to_num(-torch.inf), "amax")
    nowhere = torch.full((1, shape[1]), shape[0], device=values.device)
    number = torch.arange(shape[0], device=values.device)[:, None].expand(shape)
    known = low < torch.inf
    # The last row stands for no day at all.
    last = torch.where(known, number, -1).cummax(0).values
    before = torch.cat([nowhere, torch.where(last < 0, shape[0], last)[:-1]])
    after = torch.cat([torch.where(known, number, shape[0]).flip(0).cummin(0).values.flip(0)[1:], nowhere])
    low, high = torch.cat([low, low.new_full((1, shape[1]), -torch.inf)]), torch.cat([high, high.new_full((1, shape[1]), torch.inf)])
    lowest = torch.minimum(low.gather(0, before), low.gather(0, after))
    highest = torch.maximum(high.gather(0, before), high.gather(0, after))
    return lowest[each], highest[each]
