"""The six controls: trivial predictions that every score stands beside. All work pixel by pixel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.options import ControlOptions, HarmonicOptions
from pipeline.fusion.references import References, provenance
from pipeline.operators.resample import lift

_CHANGE = 0.04
"""1 σ of the change of reflectance over a long time, from which controls without a model of their error make one."""
_CHANGE_DAYS = 30.0
_COARSE_DETAIL = 0.04
"""1 σ of the detail inside coarse cells."""


@dataclass
class Side:
    """The nearest clear observation of each pixel on one side of a target, or on both.

    Parameters
    ----------
    value : Tensor, (B, y, x)
        NaN where there is none.
    age : Tensor, (y, x)
        Days to it; infinite where there is none.
    std : Tensor, (B, y, x)
        Its 1 σ.
    index : Tensor, (y, x) long
        Its fine image; −1 where there is none.
    """

    value: Tensor
    age: Tensor
    std: Tensor
    index: Tensor

    @property
    def found(self) -> Tensor:
        return self.index >= 0


def nearest_clear(state: References, target: int, indices: Sequence[int]) -> Side:
    """The nearest clear of some fine images, pixel by pixel; of two equally near the earlier."""
    bands, height, width = state.shape
    fine = state.block.fine
    side = Side(
        fine.new_full((bands, height, width), torch.nan),
        fine.new_full((height, width), torch.inf),
        fine.new_zeros((bands, height, width)),
        torch.full((height, width), -1, dtype=torch.long, device=fine.device),
    )
    days = state.block.fine_days
    for index in sorted(indices, key=lambda item: (abs(days[item] - target), days[item])):
        take = state.clear[index] & ~side.found
        side.value = torch.where(take, fine[index], side.value)
        side.std = torch.where(take, state.block.measured(index), side.std)
        side.age = side.age.masked_fill(take, abs(days[index] - target))
        side.index = side.index.masked_fill(take, index)
        if bool(side.found.all()):
            break
    return side


class Control(ABC):
    """A control: prepares nothing, learns nothing, and falls back on the lifted coarse where it sees no fine image."""

    def __init__(self, options: ControlOptions) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        return {}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> References:
        return References.of(block, device)

    def days(self, state: References, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            mean, std, before, after = self.predict(state, target)
            coarse, coarse_std = (lift(part, state.block.scale) for part in state.coarse_of(target))
            gap = torch.isnan(mean)
            mean = torch.where(gap, coarse, mean)
            fallback = torch.sqrt(torch.nan_to_num(coarse_std).square() + _COARSE_DETAIL**2)
            known = torch.isfinite(mean)
            std = torch.where(known, torch.where(gap, fallback, std), torch.nan)
            yield DayPrediction(target, mean, std, provenance(before, after, known.any(dim=0)))

    @abstractmethod
    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and std (B, y, x), NaN where the control has nothing to say, and whether it used an image before, after (y, x)."""

    def around(self, state: References, target: int) -> tuple[list[int], list[int]]:
        """Fine images before and after the target."""
        indices = state.around(target, *self.options.support())
        days = state.block.fine_days
        return [item for item in indices if days[item] < target], [item for item in indices if days[item] > target]


class Nearest(Control):
    """The nearest clear observation of each pixel."""

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        before, after = self.around(state, target)
        side = nearest_clear(state, target, before + after)
        nothing = torch.zeros_like(side.found)
        return side.value, _aged(side), side.found, nothing


class Linear(Control):
    """Linear in time between the nearest clear observations before and after."""

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _both_sides(*(nearest_clear(state, target, indices) for indices in self.around(state, target)))


class Coarse(Control):
    """The lifted restored coarse."""

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        unknown = state.block.coarse.new_full(state.shape, torch.nan)
        nothing = torch.zeros(state.shape[1:], dtype=torch.bool, device=unknown.device)
        return unknown, unknown, nothing, nothing


class Delta(Control):
    """The nearest clear observation moved by the lifted coarse change since then."""

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        before, after = self.around(state, target)
        side = _moved(state, target, nearest_clear(state, target, before + after))
        return side.value, _aged(side), side.found, torch.zeros_like(side.found)


class Delta2(Control):
    """`Delta` from both sides, weighted linearly in time."""

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _both_sides(*(_moved(state, target, nearest_clear(state, target, indices)) for indices in self.around(state, target)))


class Harmonic(Control):
    """Annual harmonics fitted to the clear observations of each pixel by ridge regression, shrunk towards their mean."""

    options: HarmonicOptions

    def predict(self, state: References, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        before, after = self.around(state, target)
        bands, height, width = state.shape
        fine = state.block.fine
        size = 1 + 2 * self.options.terms
        normal = fine.new_zeros((height, width, size, size))
        right = fine.new_zeros((height, width, size, bands))
        squares = fine.new_zeros((bands, height, width))
        for index in before + after:
            row = fine.new_tensor(self._row(state.block.fine_days[index] - target))
            clear = state.clear[index]
            value = torch.where(clear, fine[index], 0.0)
            normal += clear[..., None, None] * torch.outer(row, row)
            right += row[:, None] * value.permute(1, 2, 0)[:, :, None, :]
            squares += value.square()
        count = normal[..., 0, 0]
        some = count > 0
        ridge = fine.new_full((size,), self.options.ridge)
        ridge[0] = 0.0
        system = normal + torch.diag(ridge)
        system[..., 0, 0] = system[..., 0, 0].where(some, 1.0)
        # The target is at time 0, where every cosine is 1 and every sine 0.
        solution = torch.linalg.solve(system, right)
        reading = fine.new_tensor(self._row(0))
        mean = torch.einsum("s,yxsb->byx", reading, solution)
        explained = (solution * right).sum(dim=2).permute(2, 0, 1)
        scatter = ((squares - explained).clamp(min=0) + _CHANGE**2) / (count + 1)
        gone = ~some
        return (
            mean.masked_fill(gone, torch.nan),
            scatter.sqrt().masked_fill(gone, torch.nan),
            _any(state.clear, before, some),
            _any(state.clear, after, some),
        )

    def _row(self, days: int) -> list[float]:
        phases = [2 * math.pi * term * days / 365.25 for term in range(1, self.options.terms + 1)]
        return [1.0, *(wave(phase) for phase in phases for wave in (math.cos, math.sin))]


def _any(clear: Tensor, indices: Sequence[int], like: Tensor) -> Tensor:
    return clear[list(indices)].any(dim=0) if indices else torch.zeros_like(like)


def _aged(side: Side) -> Tensor:
    """1 σ of an old observation: its own, and the change since."""
    return torch.sqrt(side.std.square() + _CHANGE**2 * (1 - torch.exp(-side.age / _CHANGE_DAYS)))


def _moved(state: References, target: int, side: Side) -> Side:
    """Add the lifted coarse change; where it is unknown, none."""
    today = state.coarse_of(target)[0]
    value = side.value
    for index in torch.unique(side.index).tolist():
        if index >= 0:
            change = torch.nan_to_num(today - state.coarse_of(state.block.fine_days[index])[0])
            value = torch.where(side.index == index, value + lift(change, state.block.scale), value)
    return Side(value, side.age, side.std, side.index)


def _both_sides(before: Side, after: Side) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weight two sides linearly in time; one of them alone where the other is missing."""
    share = torch.where(before.found & after.found, before.age / (before.age + after.age), after.found.to(before.age.dtype))
    mean = torch.where(before.found, before.value, 0.0) * (1 - share) + torch.where(after.found, after.value, 0.0) * share
    variance = torch.where(before.found, _aged(before).square() * (1 - share).square(), 0.0)
    variance = variance + torch.where(after.found, _aged(after).square() * share.square(), 0.0)
    gone = ~(before.found | after.found)
    return mean.masked_fill(gone, torch.nan), variance.sqrt().masked_fill(gone, torch.nan), before.found, after.found
