"""Networks on pairs as methods: the rivals of RealFusion, each with the same pairs, masks and σ.

Clouded pixels of a pair are filled as for every method on pairs here (`pipeline.fusion.pairs`): with the nearest clear observations in
time, moved by the lifted coarse change. Networks whose spectra are of fixed bands take others on the nearest of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.learned import checked, named, weights_of
from pipeline.fusion.networks.tiles import apply_to_any
from pipeline.fusion.networks.weights import Weights, into
from pipeline.fusion.options import PairNetworkOptions
from pipeline.fusion.pairs import Pair, PairMethod, State
from pipeline.fusion.references import References
from pipeline.operators.resample import lift
from pipeline.vocabulary import BANDS

_TILE, _BATCH = 256, 1
"""Edge of a tile [fine pixels], and tiles at once: the widest networks take gigabytes for more."""

_HALOS = 4
"""Edge of a tile, at least, in reaches of the network: with their halos, tiles then see every pixel three times at most."""


@dataclass(frozen=True)
class Told:
    """What networks are told of the pairs.

    Parameters
    ----------
    fine, then : Tensor, (R, B, y, x)
        Reference images, filled, and the coarse of their days.
    """

    fine: Tensor
    then: Tensor


class PairNetwork(PairMethod[Told]):
    """A method whose prediction is what a network makes of pairs and of the coarse of the day.

    Parameters
    ----------
    options : PairNetworkOptions
    network : Module, optional
        In place of the weights that the options name, when it is being trained.
    """

    name: str
    """Registry name."""

    target: str
    """``"module:Class"`` of the network."""

    def __init__(self, options: PairNetworkOptions, network: nn.Module | None = None) -> None:
        super().__init__(options)
        self.options: PairNetworkOptions = options
        self._network = network
        self._weights: Weights | None = None
        self.two_sided = network_class(self.target).most_pairs == 2

    @classmethod
    def untrained(cls) -> Any:
        """The network: a module with `most_pairs`, `reach` and `multiple`."""
        return network_class(cls.target)(len(BANDS))

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn how large the errors are at withheld observations, and name the weights."""
        self._loaded()
        with torch.inference_mode():
            return self.with_errors(samples, named(self._weights))

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State[Told]:
        self._loaded().to(device)
        checked(self._weights, parameters)
        return super().prepare(block, parameters, device)

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Told:
        return told_of_pairs(pairs, network_class(self.target).most_pairs)

    def predict(self, references: References, analysis: Told, target: int) -> Tensor:
        now = torch.nan_to_num(lift(references.coarse_of(target)[0], references.block.scale))
        places = slots(references.block.bands, len(now))
        network = self._loaded()

        def run(fine: Tensor, then: Tensor, now: Tensor) -> tuple[Tensor]:
            return (network(fine, then, now),)

        inputs = [analysis.fine[None, :, places], analysis.then[None, :, places], now[None, places]]
        (made,) = apply_to_any(run, inputs, reach=network.reach, multiple=network.multiple, tile=_tile(network), batch=_BATCH)
        return made[0, [places.index(band) for band in range(len(now))]]

    def _loaded(self) -> Any:
        if self._network is None:
            self._weights = weights_of(self.name, self.options.weights)
            # Convolutions are up to 1.8 times as fast with channels last in memory (benchmarks/inference.py).
            self._network = into(self.untrained(), self._weights).eval().to(memory_format=torch.channels_last)
        return self._network


def _tile(network: Any) -> int:
    """Edge of a tile [fine pixels], at most."""
    return math.ceil(max(_TILE, _HALOS * network.reach) / network.multiple) * network.multiple


def told_of_pairs(pairs: Sequence[Pair], count: int) -> Told:
    """What a network on so many pairs is told; one pair stands for two where there is no other."""
    chosen = [pairs[min(place, len(pairs) - 1)] for place in range(count)]
    then = [torch.nan_to_num(pair.lifted) for pair in chosen]
    fine = [torch.where(pair.valid, pair.fine, coarse) for pair, coarse in zip(chosen, then, strict=True)]
    return Told(torch.stack(fine), torch.stack(then))


def slots(bands: Sequence[str], count: int) -> list[int]:
    """Which of an area's bands stands for each band of `BANDS`: its own, otherwise the nearest in their order.

    Where a name is not known, as of an index, bands take turns.
    """
    places = [BANDS.index(band) for band in bands if band in BANDS]
    if len(places) == count and count:
        return [min(range(count), key=lambda band: (abs(places[band] - slot), band)) for slot in range(len(BANDS))]
    return [slot % count for slot in range(len(BANDS))]


def network_class(target: str) -> Any:
    """The class of a network from ``"module:Class"``."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


class BiaStf(PairNetwork):
    """BiaSTF."""

    name, target = "biastf", "pipeline.fusion.networks.biastf:BiaStf"


class Stfdcnn(PairNetwork):
    """STFDCNN."""

    name, target = "stfdcnn", "pipeline.fusion.networks.stfdcnn:Stfdcnn"


class Edcstfn(PairNetwork):
    """EDCSTFN."""

    name, target = "edcstfn", "pipeline.fusion.networks.edcstfn:Edcstfn"


class GanStfm(PairNetwork):
    """GAN-STFM."""

    name, target = "ganstfm", "pipeline.fusion.networks.ganstfm:GanStfm"


class MlffGan(PairNetwork):
    """MLFF-GAN."""

    name, target = "mlffgan", "pipeline.fusion.networks.mlffgan:MlffGan"
