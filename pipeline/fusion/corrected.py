"""The smoother corrected by a network: what it says of neighbours and of shapes that the smoother, which asks none, cannot know.

Untrained, the network changes neither the mean nor σ of the smoother.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from pipeline.fusion.evidence import DAY_CHANNELS, REFERENCE_CHANNELS, Coarse, Evidence
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.learned import LearnedMethod
from pipeline.fusion.learned import State as LearnedState
from pipeline.fusion.networks.refiner import Corrector
from pipeline.fusion.options import SmootherOptions
from pipeline.fusion.references import References
from pipeline.fusion.smoother import Parameters, Smoother
from pipeline.fusion.smoother import State as SmootherState


class Corrected(LearnedMethod[SmootherState]):
    """The smoother corrected by a network."""

    name = "corrected"

    @staticmethod
    def untrained() -> Corrector:
        return Corrector(REFERENCE_CHANNELS, DAY_CHANNELS)

    @property
    def smoother(self) -> Smoother:
        """The smoother, which looks as far in time."""
        return Smoother(SmootherOptions(days=self.options.days))

    def learnt(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        return self.smoother.estimate(samples)

    def based_on(
        self, block: FusionInput, references: References, parameters: Mapping[str, Any], network: Corrector
    ) -> tuple[Coarse, SmootherState]:
        own = {field.name: parameters[field.name] for field in fields(Parameters) if field.name in parameters}
        return references.coarse_of, self.smoother.prepare(block, own, references.clear.device)

    def first(self, state: LearnedState[SmootherState], given: Evidence, target: int) -> tuple[Tensor, Tensor, Tensor]:
        (day,) = self.smoother.days(state.prior, [target])
        return day.mean, day.std, day.source
