"""STARFM: the mean of similar neighbours moved by the coarse change, those first that the coarse sees alike and that changed little.

Gao, Masek, Schwaller & Hall 2006, On the blending of the Landsat and MODIS surface reflectance (TGRS 44, 2207–2218), eq. 5–15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    # More of them want more than 1 GB on a block of 1000 × 1000 × 6.
    at_once = 8

    def analyse(self, references: References, pairs: Sequence[Pair]) -> list[Candidates]:
        radius = radius_of(self.options.window, references.block.resolution)
        tolerance = 2.0 / self.options.classes
        return [Candidates(pair, window_std(pair.fine, pair.valid, radius).mul_(tolerance)) for pair in pairs]

    def predict(self, references: References, analysis: list[Candidates], target: int) -> Tensor:
        return next(self.predict_days(references, analysis, [target]))

    def predict_days(self, references: References, analysis: list[Candidates], targets: Sequence[int]) -> Iterator[Tensor]:
        block = references.block
        radius = radius_of(self.options.window, block.resolution)
        today = torch.stack([references.coarse_of(target)[0] for target in targets])
        changes = [coarse_change(item.pair.coarse, today) for item in analysis]
        spectral = [item.spectral for item in analysis]
        nearness = 1.0 / distances(radius, max(radius, 1)).to(today.device)
        slack = self.options.uncertainty * 2**0.5
        predicted = today.new_empty((len(targets), *references.shape))
        for band in range(predicted.shape[1]):
            moved = [lift(change[:, band], block.scale).movedim(0, -1).contiguous() for change in changes]
            # A neighbour must tell as much as the middle pixel does in the pair where it tells least (eq. 13, 14).
            alike = torch.stack([plane[band] for plane in spectral]).amax(dim=0).add_(slack)
            steady = _largest(moved).add_(slack)
            sums = steady.new_zeros((2, *steady.shape))
            for item, plane, change in zip(analysis, spectral, moved, strict=True):
                valid = item.pair.valid
                fine = padded(torch.where(valid, item.pair.fine[band], FAR), radius, FAR)
                # No neighbour is similar to a masked pixel.
                limits = torch.stack([item.tolerance[band].masked_fill(~valid, -1.0), alike])
                neighbours = torch.stack([fine, padded(plane[band], radius)])
                add_similar(neighbours, torch.nn.functional.pad(change, (0, 0, *(radius,) * 4)), limits, steady, nearness, sums)
            weight, total = sums.movedim(-1, 1)
            torch.div(total, weight, out=predicted[:, band])
        return iter(predicted)


def _largest(changes: Sequence[Tensor]) -> Tensor:
    """Largest size of changes."""
    largest = changes[0].abs()
    for change in changes[1:]:
        torch.maximum(largest, change.abs(), out=largest)
    return largest


def add_similar(neighbours: Tensor, change: Tensor, limits: Tensor, steady: Tensor, nearness: Tensor, sums: Tensor) -> None:
    """Add up the similar neighbours of every pixel, in one band of one pair.

    Parameters
    ----------
    neighbours : Tensor, (2, y + 2 r, x + 2 r)
        Fine value, `FAR` where masked, and spectral difference.
    change : Tensor, (y + 2 r, x + 2 r, N)
        Coarse change until each target.
    limits : Tensor, (2, y, x)
        Largest difference from the fine value of the middle pixel, negative where that is masked, and largest spectral difference.
    steady : Tensor, (y, x, N)
        Largest size of the coarse change.
    nearness : Tensor, (2 r + 1, 2 r + 1)
        Factor of the weight by place in the window.
    sums : Tensor, (2, y, x, N)
        The weights and the weighted predictions are added here.
    """
    if sums.device.type != "cpu":
        _add_by_offset(neighbours, change, limits, steady, nearness, sums)
        return
    if change.shape[-1] == 1:
        certainty = _certainty(neighbours[1], change[..., 0])
        single = [part.numpy() for part in (neighbours, change[..., 0], certainty, limits, steady[..., 0], nearness, sums[..., 0])]
        over_rows(lambda first, last: _add_rows_of_one(*single, first, last), sums.shape[1])
    else:
        several = [part.numpy() for part in (neighbours, change, limits, steady, nearness, sums)]
        over_rows(lambda first, last: _add_rows_of_many(*several, first, last), sums.shape[1])


def _certainty(spectral: Tensor, change: Tensor) -> Tensor:
    """Weight without distance (eq. 11)."""
    return ((spectral + _SMALLEST) * (change.abs() + _SMALLEST)).reciprocal_()


@compiled
def _add_rows_of_one(
    neighbours: Floats,
    change: Floats,
    certainty: Floats,
    limits: Floats,
    steady: Floats,
    nearness: Floats,
    sums: Floats,
    first: int,
    last: int,
) -> None:
    width, size = sums.shape[2], nearness.shape[0]
    middle = size // 2
    for y in range(first, last):
        for left in range(0, width, CHUNK):
            right = min(left + CHUNK, width)
            here = neighbours[0, y + middle, left + middle : right + middle]
            tolerance, alike, limit = limits[0, y, left:right], limits[1, y, left:right], steady[y, left:right]
            weight, total = sums[0, y, left:right], sums[1, y, left:right]
            for row in range(size):
                for col in range(size):
                    near = nearness[row, col]
                    there = neighbours[0, y + row, left + col : right + col]
                    spectral = neighbours[1, y + row, left + col : right + col]
                    move = change[y + row, left + col : right + col]
                    certain = certainty[y + row, left + col : right + col]
                    for x in range(right - left):
                        candidate = abs(there[x] - here[x]) <= tolerance[x]
                        candidate &= (spectral[x] <= alike[x]) & (abs(move[x]) <= limit[x])
                        share = certain[x] * near if candidate else np.float32(0)
                        weight[x] += share
                        total[x] += share * (there[x] + move[x])


@compiled
def _add_rows_of_many(
    neighbours: Floats, change: Floats, limits: Floats, steady: Floats, nearness: Floats, sums: Floats, first: int, last: int
) -> None:
    width, targets, size = sums.shape[2], sums.shape[3], nearness.shape[0]
    middle, smallest = size // 2, np.float32(_SMALLEST)
    similar = np.empty(CHUNK, np.uint8)
    eights = similar.view(np.uint64)
    some, places = np.empty(len(eights), np.int64), np.empty(CHUNK, np.int64)
    for y in range(first, last):
        for left in range(0, width, CHUNK):
            right = min(left + CHUNK, width)
            similar[:] = 0
            here = neighbours[0, y + middle, left + middle : right + middle]
            tolerance, alike = limits[0, y, left:right], limits[1, y, left:right]
            for row in range(size):
                for col in range(size):
                    near = nearness[row, col]
                    there = neighbours[0, y + row, left + col : right + col]
                    spectral = neighbours[1, y + row, left + col : right + col]
                    for x in range(right - left):
                        similar[x] = (abs(there[x] - here[x]) <= tolerance[x]) & (spectral[x] <= alike[x])
                    # Few neighbours are similar. They are listed without branches, which could not be foretold.
                    filled = 0
                    for eight in range(len(eights)):
                        some[filled] = eight
                        filled += eights[eight] != 0
                    found = 0
                    for place in range(filled):
                        for x in range(8 * some[place], 8 * some[place] + 8):
                            places[found] = x
                            found += similar[x]
                    for place in range(found):
                        x = places[place]
                        value, apart = there[x], spectral[x] + smallest
                        moves, limit = change[y + row, left + col + x], steady[y, left + x]
                        weight, total = sums[0, y, left + x], sums[1, y, left + x]
                        for target in range(targets):
                            move = moves[target]
                            amount = abs(move)
                            certainty = np.float32(1) / (apart * (amount + smallest))
                            share = certainty * near if amount <= limit[target] else np.float32(0)
                            weight[target] += share
                            total[target] += share * (value + move)


def _add_by_offset(neighbours: Tensor, change: Tensor, limits: Tensor, steady: Tensor, nearness: Tensor, sums: Tensor) -> None:
    radius = len(nearness) // 2
    here = shifted(neighbours[0], radius, 0, 0)
    planes = change.movedim(-1, 0)
    steady, sums = steady.movedim(-1, 0), sums.movedim(-1, 1)
    for (row, col), near in zip(offsets(radius), nearness.flatten().tolist(), strict=True):
        there, spectral = shifted(neighbours, radius, row, col)
        similar = ((there - here).abs_() <= limits[0]) & (spectral <= limits[1])
        move = shifted(planes, radius, row, col)
        share = _certainty(spectral, move) * (similar & (move.abs() <= steady)) * near
        sums[0] += share
        sums[1].addcmul_(share, there + move)
