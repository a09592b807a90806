"""Methods that work on pairs: a fine and a coarse image of one day, on either side of the target or on one.

Clouded pixels of a pair are filled from the nearest clear observations in time, moved to the
day of the pair by the lifted coarse change, so that a window never mixes days. Where no image of the
support is clear, the lifted coarse of the day speaks.

An observation in doubt is taken like any other, since a pair must be of one day; its doubt makes σ larger (`pipeline.fusion.frame`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, repeat
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.fusion.frame import Frame
from pipeline.fusion.interface import DayPrediction, FusionInput, MethodOptions
from pipeline.fusion.references import References
from pipeline.fusion.withheld import Circumstances, withheld_errors
from pipeline.operators.resample import lift

Analysis = TypeVar("Analysis")


@dataclass(frozen=True)
class Pair:
    """A fine and a coarse image of one day.

    Parameters
    ----------
    day : int
    fine : Tensor, (B, y, x)
        0 where not valid.
    valid : Tensor, (y, x) bool
        Observed, or filled from another day.
    coarse : Tensor, (B, Y, X)
        NaN = unknown.
    lifted : Tensor, (B, y, x)
        The coarse on fine pixels; NaN = unknown.
    """

    day: int
    fine: Tensor
    valid: Tensor
    coarse: Tensor
    lifted: Tensor


@dataclass(frozen=True)
class Recipe:
    """Which image gives each pixel of a pair.

    Parameters
    ----------
    main : int
        The fine image whose day it is.
    used : tuple of int
        The images that give a pixel, the nearest in time first. With `main` they say all: a pixel is of the first that is clear.
    """

    main: int
    used: tuple[int, ...]


@dataclass
class State(Generic[Analysis]):
    """A block ready for any number of targets; it keeps what was found out about the pairs of the last one.

    Parameters
    ----------
    frame : Frame
    recipes : tuple of Recipe
    analysis
        What the method made of the pairs of these recipes.
    """

    frame: Frame
    recipes: tuple[Recipe, ...] = ()
    analysis: Analysis | None = field(default=None)


def recipe_of(references: References, main: int, indices: Sequence[int]) -> Recipe:
    """How the image `main` is filled from other fine images `indices`."""
    days = references.block.fine_days
    missing = ~references.clear[main]
    used = [main]
    for index in sorted(indices, key=lambda item: (abs(days[item] - days[main]), days[item])):
        if index == main:
            continue
        if not bool(missing.any()):
            break
        left = missing & ~references.clear[index]
        if not torch.equal(left, missing):
            used.append(index)
            missing = left
    return Recipe(main, tuple(used))


def pair_of(references: References, recipe: Recipe) -> Pair:
    """Make a pair."""
    block, clear = references.block, references.clear
    day = block.fine_days[recipe.main]
    coarse = references.coarse_of(day)[0]
    valid = clear[recipe.main].clone()
    fine = torch.nan_to_num(block.fine[recipe.main]).mul_(valid)
    for index in recipe.used[1:]:
        take = clear[index] & ~valid
        moved = torch.nan_to_num(block.fine[index]) + lift(
            coarse_change(references.coarse_of(block.fine_days[index])[0], coarse), block.scale
        )
        fine.addcmul_(moved, take.to(fine.dtype))
        valid |= take
    return Pair(day, fine, valid, coarse, lift(coarse, block.scale))


def coarse_change(then: Tensor, now: Tensor) -> Tensor:
    """Change of the coarse between two days; 0 where it is unknown."""
    return torch.nan_to_num(now - then)


class PairMethod(ABC, Generic[Analysis]):
    """A method on pairs: subclasses analyse pairs, once for all targets between them, and predict from that."""

    two_sided = True
    """Takes a pair on either side of a target, where there is one; otherwise the nearest one."""

    at_once = 1
    """Targets that are predicted together."""

    def __init__(self, options: MethodOptions) -> None:
        self.options = options

    @abstractmethod
    def analyse(self, references: References, pairs: Sequence[Pair]) -> Analysis:
        """All that does not depend on the target."""

    @abstractmethod
    def predict(self, references: References, analysis: Analysis, target: int) -> Tensor:
        """Reflectance (B, y, x) of a day, finite where the pairs are valid; elsewhere it is not read."""

    def predict_days(self, references: References, analysis: Analysis, targets: Sequence[int]) -> Iterator[Tensor]:
        """The same of `at_once` targets or fewer, for methods that can do more than one in less time."""
        return (self.predict(references, analysis, target) for target in targets)

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn how large the errors are at withheld observations."""
        return self.with_errors(samples, {})

    def with_errors(self, samples: Sequence[FusionInput], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters, and how large the errors with them are at withheld observations."""

        def circumstances(state: State[Analysis], target: int) -> Circumstances:
            return state.frame.around(self._around(state.frame.references, target), target).circumstances

        return {**parameters, **withheld_errors(self, samples, circumstances, parameters)}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State[Analysis]:
        """Move the block; which images make pairs is known with the first target only."""
        return State(Frame.of(block, parameters, device, self.two_sided))

    def days(self, state: State[Analysis], targets: Sequence[int]) -> Iterator[DayPrediction]:
        """Predict days; those that follow each other between the same pairs share their analysis."""
        for recipes, shared in groupby(targets, lambda target: self.recipes(state.frame.references, target)):
            while batch := list(islice(shared, self.at_once)):
                yield from self._days(state, recipes, batch)

    def _days(self, state: State[Analysis], recipes: tuple[Recipe, ...], targets: Sequence[int]) -> Iterator[DayPrediction]:
        references = state.frame.references
        predictions: Iterator[Tensor | None] = repeat(None)
        if any(bool(references.clear[index].any()) for recipe in recipes for index in recipe.used):
            if state.analysis is None or recipes != state.recipes:
                state.analysis = None  # Not two at a time.
                state.analysis = self.analyse(references, [pair_of(references, recipe) for recipe in recipes])
                state.recipes = recipes
            predictions = self.predict_days(references, state.analysis, targets)
        for target, predicted in zip(targets, predictions, strict=False):
            observed = state.frame.around(self._around(references, target), target)
            yield state.frame.complete(target, predicted, observed)

    def recipes(self, references: References, target: int) -> tuple[Recipe, ...]:
        """How the pairs of a target are made."""
        indices = self._around(references, target)
        return tuple(recipe_of(references, main, indices) for main in self._mains(references, target))

    def _around(self, references: References, target: int) -> list[int]:
        return references.around(target, *self.options.support())

    def _mains(self, references: References, target: int) -> list[int]:
        """The nearest image on either side, or the nearest of all; of two equally near the earlier."""
        days = references.block.fine_days
        indices = self._around(references, target)
        if not self.two_sided:
            return sorted(indices, key=lambda index: (abs(days[index] - target), days[index]))[:1]
        before, after = [index for index in indices if days[index] < target], [index for index in indices if days[index] > target]
        return before[-1:] + after[:1]
