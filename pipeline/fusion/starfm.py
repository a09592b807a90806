"""STARFM: the mean of similar neighbours moved by the coarse change, those first that the coarse sees alike and that changed little.

Gao, Masek, Schwaller & Hall 2006, On the blending of the Landsat and MODIS surface reflectance (TGRS 44, 2207–2218), eq. 5–15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.fusion.options import StarfmOptions
from pipeline.fusion.pairs import Pair, PairMethod, coarse_change
from pipeline.fusion.references import References
from pipeline.operators.resample import lift
from pipeline.operators.window import CHUNK, FAR, Floats, compiled, distances, offsets, over_rows, padded, radius_of, shifted, window_std

_SMALLEST = 1e-4
"""Added to spectral and temporal differences, which may be zero: one count of the usual storage of reflectance."""


@dataclass(frozen=True)
class Candidates:
    """A pair, and how neighbours are judged before there is a target.

    Parameters
    ----------
    pair : Pair
    tolerance : Tensor, (B, y, x)
        Neighbours that differ less from the middle pixel are similar (eq. 15).
    """

    pair: Pair
    tolerance: Tensor

    @property
    def spectral(self) -> Tensor:
        """Difference (B, y, x) between fine and coarse (eq. 7); 0 where the coarse is unknown."""
        return (self.pair.fine - self.pair.lifted).abs_().nan_to_num_()


class Starfm(PairMethod[list[Candidates]]):
    """STARFM on one pair or two."""

    options: StarfmOptions

    def analyse(self, references: References, pairs: Sequence[Pair]) -> list[Candidates]:
        radius = radius_of(self.options.window, references.block.resolution)
        tolerance = 2.0 / self.options.classes
        return [Candidates(pair, window_std(pair.fine, pair.valid, radius).mul_(tolerance)) for pair in pairs]

    def predict(self, references: References, analysis: list[Candidates], target: int) -> Tensor:
        radius = radius_of(self.options.window, references.block.resolution)
        today = references.coarse_of(target)[0]
        changes = [lift(coarse_change(item.pair.coarse, today), references.block.scale) for item in analysis]
        spectral = [item.spectral for item in analysis]
        nearness = 1.0 / distances(radius, max(radius, 1)).to(today.device)
        slack = self.options.uncertainty * 2**0.5
        predicted = torch.empty_like(changes[0])
        for band, out in enumerate(predicted):
            differences = torch.stack(
                [torch.stack([apart[band], change[band].abs()]) for apart, change in zip(spectral, changes, strict=True)]
            )
            # A neighbour must tell as much as the middle pixel does in the pair where it tells least (eq. 13, 14).
            limits = differences.amax(dim=0).add_(slack)
            sums = torch.zeros_like(limits)
            for item, change, difference in zip(analysis, changes, differences, strict=True):
                fine = item.pair.fine[band]
                certainty = (difference + _SMALLEST).prod(dim=0).reciprocal_().mul_(item.pair.valid)
                neighbours = torch.stack(
                    [
                        padded(torch.where(item.pair.valid, fine, FAR), radius, FAR),
                        *(padded(plane, radius) for plane in (*difference, certainty, fine + change[band])),
                    ]
                )
                add_similar(neighbours, torch.stack([item.tolerance[band], *limits]), nearness, sums)
            torch.div(sums[1], sums[0], out=out)
        return predicted


def add_similar(neighbours: Tensor, limits: Tensor, nearness: Tensor, sums: Tensor) -> None:
    """Add up the similar neighbours of every pixel, in one band of one pair.

    Parameters
    ----------
    neighbours : Tensor, (5, y + 2 r, x + 2 r)
        Fine value, spectral difference, temporal difference, weight without distance, predicted value.
    limits : Tensor, (3, y, x)
        Largest difference from the fine value of the middle pixel, and largest spectral and temporal difference.
    nearness : Tensor, (2 r + 1, 2 r + 1)
        Factor of the weight by place in the window.
    sums : Tensor, (2, y, x)
        The weights and the weighted predictions are added here.
    """
    if sums.device.type == "cpu":
        arrays = neighbours.numpy(), limits.numpy(), nearness.numpy(), sums.numpy()
        over_rows(lambda first, last: _add_rows(*arrays, first, last), sums.shape[1])
    else:
        _add_by_offset(neighbours, limits, nearness, sums)


@compiled
def _add_rows(neighbours: Floats, limits: Floats, nearness: Floats, sums: Floats, first: int, last: int) -> None:
    width, size = sums.shape[2], nearness.shape[0]
    middle = size // 2
    for y in range(first, last):
        for left in range(0, width, CHUNK):
            right = min(left + CHUNK, width)
            here = neighbours[0, y + middle, left + middle : right + middle]
            tolerance, spectral_limit, temporal_limit = limits[0, y, left:right], limits[1, y, left:right], limits[2, y, left:right]
            weight, total = sums[0, y, left:right], sums[1, y, left:right]
            for row in range(size):
                for col in range(size):
                    near = nearness[row, col]
                    there = neighbours[0, y + row, left + col : right + col]
                    spectral = neighbours[1, y + row, left + col : right + col]
                    temporal = neighbours[2, y + row, left + col : right + col]
                    certainty = neighbours[3, y + row, left + col : right + col]
                    value = neighbours[4, y + row, left + col : right + col]
                    for x in range(right - left):
                        candidate = abs(there[x] - here[x]) <= tolerance[x]
                        candidate &= (spectral[x] <= spectral_limit[x]) & (temporal[x] <= temporal_limit[x])
                        share = certainty[x] * near if candidate else np.float32(0)
                        weight[x] += share
                        total[x] += share * value[x]


def _add_by_offset(neighbours: Tensor, limits: Tensor, nearness: Tensor, sums: Tensor) -> None:
    radius = len(nearness) // 2
    here = shifted(neighbours[0], radius, 0, 0)
    for (row, col), near in zip(offsets(radius), nearness.flatten().tolist(), strict=True):
        there, spectral, temporal, certainty, value = shifted(neighbours, radius, row, col)
        candidate = ((there - here).abs_() <= limits[0]) & (spectral <= limits[1]) & (temporal <= limits[2])
        share = certainty * candidate * near
        sums[0] += share
        sums[1].addcmul_(share, value)
