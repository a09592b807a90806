"""Fit-FC: a line from the coarse image of the pair to that of the day, fitted around every cell, applied to the fine image, then
smoothed over similar neighbours; what the line leaves of a cell is added.

Wang & Atkinson 2018, Spatio-temporal fusion for daily Sentinel-2 images (RSE 204, 31–42), eq. 1–8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.options import FitFcOptions
from pipeline.fusion.pairs import Pair, PairMethod
from pipeline.fusion.references import References
from pipeline.operators.resample import lift
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import most_similar, radius_of, weighted_sum

_FLAT = 1e-6
"""Variance of coarse cells [reflectance²] that draws a slope to one: where cells hardly differ, a line is not known."""


@dataclass(frozen=True)
class Smoother:
    """A pair, and the similar neighbours of its pixels.

    Parameters
    ----------
    pair : Pair
    index : Tensor, (y, x, n) int32
        ``row · width + column`` of each.
    weight : Tensor, (y, x, n)
        They add up to one.
    """

    pair: Pair
    index: Tensor
    weight: Tensor


class FitFc(PairMethod[Smoother]):
    """Fit-FC from the nearest image; the search for similar neighbours does not depend on the target."""

    options: FitFcOptions
    two_sided = False

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Smoother:
        (pair,) = pairs
        radius = radius_of(self.options.window, references.block.resolution)
        index, steps = most_similar(pair.fine, pair.valid, radius, self.options.similar)
        weight = steps.div_(radius + 0.5).add_(1.0).reciprocal_()
        weight /= weight.sum(dim=-1, keepdim=True).clamp_(min=1e-12)
        return Smoother(pair, index, weight)

    def predict(self, references: References, analysis: Smoother, target: int) -> Tensor:
        block, pair = references.block, analysis.pair
        radius = max(round(self.options.regression / 2 / (block.resolution * block.scale)), 1)
        slope, level, left = fitted_change(pair.coarse, references.coarse_of(target)[0], radius)
        moved = lift(slope, block.scale).mul_(pair.fine).add_(lift(level + left, block.scale))
        return weighted_sum(moved, analysis.index, analysis.weight)


def fitted_change(then: Tensor, now: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lines from one coarse image to another, fitted to the cells around every cell.

    Parameters
    ----------
    then, now : Tensor, (B, Y, X)
        NaN = unknown.
    radius : int
        Cells on either side of the middle one.

    Returns
    -------
    slope, level : Tensor, (B, Y, X)
        ``now ≈ slope · then + level``; one and zero where no cell around is known in both.
    left : Tensor, (B, Y, X)
        What the line leaves of `now`; 0 where unknown.
    """
    # Around the mean of all cells of a block rather than zero the sums would keep more digits, but depend on the block: double ones do.
    x, y = then.double(), now.double()
    known = torch.isfinite(x + y)
    x, y = torch.where(known, x, 0.0), torch.where(known, y, 0.0)
    per_count = box_sum(known.double(), radius).clamp_(min=1.0).reciprocal_()
    mean_x, mean_y, square, product = (box_sum(values, radius) * per_count for values in (x, y, x * x, x * y))
    slope = (product - mean_x * mean_y + _FLAT) / ((square - mean_x * mean_x).clamp_(min=0.0) + _FLAT)
    level = mean_y - slope * mean_x
    left = torch.where(known, y - slope * x - level, 0.0)
    return slope.float(), level.float(), left.float()
