"""RealFusion: a network restores the coarse series, another puts the detail of possibly clouded fine images on it.

After Guo, Li, Gao, Gao, Yu, Zhang & Shi 2025, RSE 321, 114689: diverse inputs, a restoration network and a fusion network, trained one
after the other. The internals of both are not public; `pipeline.fusion.networks` says what is our reading. The fusion network gets fine
images with their masks as mosaics of either side of the day, the restored coarse, and the annual median of the Landsat NDVI, and corrects
what the mosaics and the coarse change say by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.evidence import DAY_CHANNELS, REFERENCE_CHANNELS, Coarse, Evidence, contrast_in
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.learned import LearnedMethod, State
from pipeline.fusion.networks.refiner import Corrector
from pipeline.fusion.networks.restoration import OFFSETS, Restoration, told_of_cells
from pipeline.fusion.references import References, provenance
from pipeline.fusion.withheld import gap_between

_NEAR, _FAR = 0.2, 0.6
"""σ of the first prediction beside an observation and far from any, in units of the contrast."""

_USUAL = 1.0
"""Contrasts up to which a change of the coarse is usual; beyond, the restoration network counts for less, with the square."""

_MEMORY = 30.0
"""e-folding time of what an observation says [days]."""


class RealFusionNetwork(Corrector):
    """The restoration network and the fusion network."""

    def __init__(self) -> None:
        super().__init__(REFERENCE_CHANNELS, DAY_CHANNELS)
        self.restoration = Restoration()


@dataclass
class Restored:
    """The coarse series as the restoration network gives it, day by day.

    Parameters
    ----------
    references : References
    contrast : Tensor, (B,)
    network : Restoration
    made : dict
        Days that were made.
    """

    references: References
    contrast: Tensor
    network: Restoration
    made: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, day: int) -> tuple[Tensor, Tensor]:
        """Mean and std (B, Y, X) of a day; NaN = unknown."""
        if day not in self.made:
            mean, std = self.references.coarse_of(day)
            told = self.told(day)
            correction, factor = self.network(told)
            # What it hardly ever saw, such as days of melting snow, the network leaves alone.
            usual = (_USUAL / told.abs().amax(dim=1).clamp(min=_USUAL)).square()
            self.made[day] = mean + correction * usual * self.contrast[:, None, None], std * (factor * usual).exp()
        return self.made[day]

    def told(self, day: int) -> Tensor:
        """What the network is told of a day."""
        block = self.references.block
        place = day - block.coarse_days[0] if block.coarse_days else -1
        inside = 0 <= place < len(block.coarse_days)
        layers = {name: layer[place] for name, layer in block.coarse_layers.items()} if inside else {}
        series = [self.references.coarse_of(day + offset) for offset in (0, *OFFSETS)]
        return told_of_cells(series, layers, block.bands, self.contrast)


class RealFusion(LearnedMethod[None]):
    """RealFusion."""

    name = "realfusion"

    @staticmethod
    def untrained() -> Corrector:
        return RealFusionNetwork()

    def learnt(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        return {}

    def based_on(
        self, block: FusionInput, references: References, parameters: Mapping[str, Any], network: Corrector
    ) -> tuple[Coarse, None]:
        assert isinstance(network, RealFusionNetwork)
        return Restored(references, contrast_in(parameters, references.block.coarse), network.restoration), None

    def first(self, state: State[None], given: Evidence, target: int) -> tuple[Tensor, Tensor, Tensor]:
        gap = gap_between(*given.ages)
        share = 1.0 - torch.exp(-gap / _MEMORY)
        std = state.contrast[:, None, None] * (_NEAR + (_FAR - _NEAR) * share)
        known = torch.isfinite(given.mean).any(dim=0)
        return given.mean, std + 0.0 * given.mean, provenance(given.before.seen, given.after.seen, known)
