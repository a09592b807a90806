"""What methods without an error model of their own share: what was observed around a target, and how a prediction becomes a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.references import References, provenance
from pipeline.fusion.withheld import Circumstances, ErrorModel, gap_between
from pipeline.operators.resample import area_mean, lift

_COARSE_DETAIL = 0.04
"""1 σ of the detail inside coarse cells."""


@dataclass(frozen=True)
class Frame:
    """A block with what is known of errors there.

    Parameters
    ----------
    references : References
    errors : ErrorModel
    two_sided : bool
        The method looks at observations on either side of a target; otherwise at the nearest one alone.
    cells : dict
        What has been found of fine images by their index, see `cell`.
    """

    references: References
    errors: ErrorModel
    two_sided: bool = True
    cells: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, block: FusionInput, parameters: Mapping[str, Any], device: torch.device, two_sided: bool = True) -> Frame:
        """Move a block to a device."""
        return cls(References.of(block, device, parameters), ErrorModel.of(parameters), two_sided)

    def around(self, indices: Sequence[int], target: int) -> Observed:
        """What some fine images show around a target.

        Parameters
        ----------
        indices : sequence of int
            The fine images that are looked at.
        target : int
            Day number.
        """
        before, after = ages(self.references, indices, target)
        gap = gap_between(before, after) if self.two_sided else torch.minimum(before, after)
        change, apart = self._on_cells(indices, target)
        return Observed(before, after, Circumstances(gap, change, apart, self._in_doubt(indices, target)))

    def complete(self, target: int, predicted: Tensor | None, observed: Observed) -> DayPrediction:
        """A day from what a method predicted: the lifted coarse where it says nothing, its standard deviation, where it comes from.

        Parameters
        ----------
        target : int
            Day number.
        predicted : Tensor, (B, y, x), or None
            Read only where something was observed.
        observed : Observed
        """
        references = self.references
        coarse, coarse_std = (lift(part, references.block.scale) for part in references.coarse_of(target))
        before, after = torch.isfinite(observed.before), torch.isfinite(observed.after)
        seen = before | after
        mean = coarse if predicted is None else torch.where(seen, predicted, coarse)
        fallback = torch.nan_to_num(coarse_std).square_().add_(_COARSE_DETAIL**2).sqrt_()
        std = torch.where(seen, self.errors.std(observed.circumstances), fallback)
        # What is unknown has no std: 0 · NaN.
        std.add_(mean, alpha=0)
        if not self.two_sided:
            before, after = seen, torch.zeros_like(seen)
        return DayPrediction(target, mean, std, provenance(before, after, torch.isfinite(mean).any(dim=0)))

    def cell(self, index: int) -> tuple[Tensor, Tensor]:
        """Cells (Y, X) of which a fine image shows something, and by how much their mean lies off the coarse of its day, squared (B, Y, X).

        A cell counts by the share of it that is shown.
        """
        if index not in self.cells:
            block = self.references.block
            mean, share = area_mean(block.fine[index], block.scale)
            off = torch.nan_to_num(mean - self.references.coarse_of(block.fine_days[index])[0])
            self.cells[index] = (share > 0).all(dim=0), off.square_().mul_(share)
        return self.cells[index]

    def _on_cells(self, indices: Sequence[int], target: int) -> tuple[Tensor, Tensor]:
        """`change` and `apart` of `Circumstances`: means of the nearest observations, the nearer the more."""
        references, days = self.references, self.references.block.fine_days
        today = references.coarse_of(target)[0]
        age = today.new_full((2, 1, *today.shape[1:]), torch.inf)
        values = today.new_zeros((2, 2, *today.shape))
        for index in _nearest_first(indices, days, target):
            side = int(days[index] > target)
            shown, off = self.cell(index)
            new = shown & torch.isinf(age[side])
            change = torch.nan_to_num(today - references.coarse_of(days[index])[0]).square_()
            values[side] = torch.where(new, torch.stack([change, off]), values[side])
            age[side].masked_fill_(new, abs(days[index] - target))
            if not bool(torch.isinf(age).any()):
                break
        weight = age.reciprocal() if self.two_sided else (age == age.amin(dim=0)).logical_and(torch.isfinite(age)).to(age.dtype)
        weight /= weight.sum(dim=0).clamp(min=1e-6)
        change, apart = torch.einsum("skbyx,sbyx->kbyx", values, weight.expand(-1, len(today), -1, -1))
        return change, apart

    def _in_doubt(self, indices: Sequence[int], target: int) -> Tensor | None:
        """Variance (B, y, x) that the nearest observations in doubt have more than others; None where none is in doubt."""
        block, clear = self.references.block, self.references.clear
        if block.fine_doubt is None:
            return None
        excess = block.fine.new_zeros(self.references.shape)
        for index in reversed(_nearest_first(indices, block.fine_days, target)):
            more = (block.fine_doubt[index].square() - 1.0).clamp_(min=0.0) * block.fine_std[index].square()[:, None, None]
            excess = torch.where(clear[index], more, excess)
        return excess


@dataclass(frozen=True)
class Observed:
    """What was observed around a target.

    Parameters
    ----------
    before, after : Tensor, (y, x)
        Days to the nearest clear observation on either side; infinite where there is none.
    circumstances : Circumstances
    """

    before: Tensor
    after: Tensor
    circumstances: Circumstances


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
    for index in reversed(_nearest_first(indices, days, target)):
        found[int(days[index] > target)].masked_fill_(clear[index], abs(days[index] - target))
    return found[0], found[1]


def _nearest_first(indices: Iterable[int], days: Sequence[int], target: int) -> list[int]:
    return sorted(indices, key=lambda index: abs(days[index] - target))
