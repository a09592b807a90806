"""Methods that look at all fine images of their support at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.fusion.frame import Frame
from pipeline.fusion.interface import DayPrediction, FusionInput, MethodOptions
from pipeline.fusion.references import References
from pipeline.fusion.withheld import Circumstances, withheld_errors

Analysis = TypeVar("Analysis")


@dataclass(frozen=True)
class State(Generic[Analysis]):
    """A block ready for any number of targets.

    Parameters
    ----------
    frame : Frame
    analysis
        What the method found out about the references.
    """

    frame: Frame
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

        def circumstances(state: State[Analysis], target: int) -> Circumstances:
            return state.frame.around(self._around(state.frame.references, target), target).circumstances

        return withheld_errors(self, samples, circumstances)

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State[Analysis]:
        frame = Frame.of(block, parameters, device)
        return State(frame, self.analyse(frame.references))

    def days(self, state: State[Analysis], targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            yield self._day(state, target)

    def _day(self, state: State[Analysis], target: int) -> DayPrediction:
        references = state.frame.references
        indices = self._around(references, target)
        predicted = self.predict(references, state.analysis, indices, target) if indices else None
        return state.frame.complete(target, predicted, state.frame.around(indices, target))

    def _around(self, references: References, target: int) -> list[int]:
        return references.around(target, *self.options.support())
