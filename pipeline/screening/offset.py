"""The smooth offset of an image, such as thin haze leaves: what many cells together lie off the coarse series, beside what they always do.

An image that is a little too bright everywhere is worth keeping, and its offset can be taken off. The coarse series, which is made of
many days, does not share it; what it has of its own, the footprint and the bandpass, is the same on the images before and after.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import area_mean, lift
from pipeline.operators.spatial import tent_mean

_SEEN = 0.5
"""Share of a cell that must be observed."""

_DAYS = 30.0
"""e-folding time of the weights of the images that tell what a cell always does [days]."""

_FEW = 0.1
"""Weight of other images below which they say nothing."""

_ALONE = 0.05
"""Share of the tent at which half of what a few cells say is believed."""

_MOST = 1.5
"""Largest deviation of a cell that counts, in units of the largest offset that is no contamination."""


def smooth_offset(block: FusionInput, spoilt: Tensor, limit: float, reach: int, days: int) -> Tensor:
    """By how much each image lies off what was to be expected of it.

    Parameters
    ----------
    block : FusionInput
    spoilt : Tensor, (K, y, x) bool
        Pixels that take no part.
    limit : float
        Largest smooth offset that is no contamination [reflectance]; deviations of cells are limited to 1.5 times of it.
    reach : int
        Cells within which an offset is the same.
    days : int
        Other images count within so many days.

    Returns
    -------
    Tensor, (K, B, Y, X)
        On coarse cells; 0 where it cannot be told.
    """
    off, share = block.fine.new_empty((2, *block.fine.shape[:2], *block.coarse.shape[-2:]))
    for index, (image, day) in enumerate(zip(block.fine, block.fine_days, strict=True)):
        mean, share[index] = area_mean(image.masked_fill(spoilt[index], torch.nan), block.scale)
        known = day in block.coarse_days
        off[index] = mean - block.coarse[block.coarse_days.index(day)] if known else torch.nan
    seen = (torch.isfinite(off) & (share >= _SEEN)).all(dim=1, keepdim=True)
    off = torch.where(seen, off, 0.0)
    when = off.new_tensor(block.fine_days)
    apart = (when[:, None] - when).abs()
    weight = torch.exp(-apart / _DAYS) * ((apart > 0) & (apart <= days))
    others = torch.tensordot(weight, seen.to(off.dtype), 1)
    always = torch.tensordot(weight, off, 1) / others.clamp(min=_FEW)
    known = (seen & (others > _FEW)).to(off.dtype)
    limited = (off - always).clamp_(-_MOST * limit, _MOST * limit)
    result = torch.empty_like(off)
    for index, out in enumerate(result):
        mean, tent = tent_mean(limited[index], known[index, 0], reach)
        trust = tent / (tent + _ALONE) * (others[index, 0] / (1.0 + others[index, 0]))
        torch.mul(mean, trust, out=out)
    return result


def levelled(fine: Tensor, offset: Tensor, scale: int) -> Tensor:
    """Images (K, B, y, x) less their offsets (K, B, Y, X), which lie on cells of `scale` pixels."""
    result = torch.empty_like(fine)
    for image, cells, out in zip(fine, offset, result, strict=True):
        torch.sub(image, lift(cells, scale), out=out)
    return result
