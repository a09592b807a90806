"""Methods that look at all fine images of their support at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.fusion.frame import ages, complete
from pipeline.fusion.interface import DayPrediction, FusionInput, MethodOptions
from pipeline.fusion.references import References
from pipeline.fusion.withheld import ErrorModel, gap_between, withheld_errors

Analysis = TypeVar("Analysis")


@dataclass(frozen=True)
class State(Generic[Analysis]):
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
    errors : ErrorModel
    analysis
        What the method found out about the references.
    """

    references: References
    errors: ErrorModel
    analysis: Analysis


class ArchiveMethod(ABC, Generic[Analysis]):
    """A method on the archive: subclasses analyse it once, and predict pixels that one of its images shows clear."""

    def __init__(self, options: MethodOptions) -> None:
        self.options = options

    @abstractmethod
    def analyse(self, references: References) -> Analysis:
        """All that does not depend on the target."""

    @abstractmethod
    def predict(self, references: References, analysis: Analysis, indices: Sequence[int], target: int) -> Tensor:
        """Reflectance (B, y, x) of a day from some fine images, finite where one of them is clear; elsewhere it is not read."""

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn how large the errors are at withheld observations."""

        def gap(state: State[Analysis], target: int) -> Tensor:
            return gap_between(*ages(state.references, self._around(state.references, target), target))

        return withheld_errors(self, samples, gap)

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State[Analysis]:
        references = References.of(block, device)
        return State(references, ErrorModel.of(parameters), self.analyse(references))

    def days(self, state: State[Analysis], targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            yield self._day(state, target)

    def _day(self, state: State[Analysis], target: int) -> DayPrediction:
        references = state.references
        indices = self._around(references, target)
        before, after = ages(references, indices, target)
        predicted = self.predict(references, state.analysis, indices, target) if indices else None
        used = torch.isfinite(before), torch.isfinite(after)
        return complete(references, state.errors, target, predicted, gap_between(before, after), used)

    def _around(self, references: References, target: int) -> list[int]:
        return references.around(target, *self.options.support())
