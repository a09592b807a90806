"""What methods without an error model of their own share: how old what they saw is, and how a prediction becomes a day."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.fusion.interface import DayPrediction
from pipeline.fusion.references import References, provenance
from pipeline.fusion.withheld import ErrorModel
from pipeline.operators.resample import lift

_COARSE_DETAIL = 0.04
"""1 σ of the detail inside coarse cells."""


def ages(references: References, indices: Sequence[int], target: int) -> tuple[Tensor, Tensor]:
    """Days (y, x) to the nearest clear observation before and after a target; infinite where there is none.

    Parameters
    ----------
    references : References
    indices : sequence of int
        The fine images that are looked at.
    target : int
        Day number.
    """
    days, clear = references.block.fine_days, references.clear
    found = references.block.fine.new_full((2, *references.shape[1:]), torch.inf)
    for index in sorted(indices, key=lambda item: -abs(days[item] - target)):
        found[int(days[index] > target)].masked_fill_(clear[index], abs(days[index] - target))
    return found[0], found[1]


def complete(
    references: References, errors: ErrorModel, target: int, predicted: Tensor | None, gap: Tensor, used: tuple[Tensor, Tensor]
) -> DayPrediction:
    """A day from what a method predicted: the lifted coarse where it says nothing, its standard deviation, where it comes from.

    Parameters
    ----------
    references : References
    errors : ErrorModel
    target : int
        Day number.
    predicted : Tensor, (B, y, x), or None
        Read only where `gap` is finite.
    gap : Tensor, (y, x)
        Days that count for the error; infinite where the method says nothing.
    used : Tensor, (y, x) bool
        An observation before, after the target was used.
    """
    coarse, coarse_std = (lift(part, references.block.scale) for part in references.coarse_of(target))
    seen = torch.isfinite(gap)
    mean = coarse if predicted is None else torch.where(seen, predicted, coarse)
    fallback = torch.nan_to_num(coarse_std).square_().add_(_COARSE_DETAIL**2).sqrt_()
    std = torch.where(seen, errors.std(gap, len(mean)), fallback)
    # What is unknown has no std: 0 · NaN.
    std.add_(mean, alpha=0)
    return DayPrediction(target, mean, std, provenance(*used, torch.isfinite(mean).any(dim=0)))
