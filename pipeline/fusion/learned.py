"""What methods share that correct a prediction by a network: the network's place, the way of a day, and how σ is calibrated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.errors import ConfigurationError
from pipeline.fusion.evidence import (
    Coarse,
    Evidence,
    Side,
    Sides,
    contrast_in,
    contrast_of,
    evidence,
    joined,
    offset_of,
    told_of_day,
    told_of_references,
)
from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.networks.refiner import Corrector
from pipeline.fusion.networks.tiles import apply_to_any
from pipeline.fusion.networks.weights import Weights, into, load, shipped
from pipeline.fusion.options import COARSE_LOOK, NetworkOptions
from pipeline.fusion.references import References
from pipeline.fusion.withheld import ONE_SIGMA, sigma_factor, withheld_images

Prior = TypeVar("Prior")

_TILE, _BATCH = 832, 1
"""Edge of a tile at most [fine pixels], and tiles at once: a block of 512 with its halo is one tile, and bands follow each other.

Measured by `benchmarks/inference.py`: halos cost more than small tiles save in caches, and bands at once are slower than one by one.
"""

_MIN_IMAGES = 4
"""Images below which σ is left as it is."""


def weights_of(name: str, path: str) -> Weights:
    """The weights at a path, or those shipped under a name."""
    return load(Path(path)) if path else shipped(name)


def named(weights: Weights | None) -> dict[str, str]:
    """The parameter that names weights: its digest enters every day."""
    return {} if weights is None else {"weights": weights.digest}


def checked(weights: Weights | None, parameters: Mapping[str, Any]) -> None:
    """Make sure that parameters were learnt with these weights.

    Raises
    ------
    ConfigurationError
        If they were learnt with others.
    """
    learnt = parameters.get("weights")
    if weights is not None and learnt is not None and learnt != weights.digest:
        raise ConfigurationError(
            f"the parameters were learnt with the weights {learnt[:16]}…, but the file holds {weights.digest[:16]}…",
            "put the weights back, or learn new parameters: landfuse refit AREA, then --pin",
        )


@dataclass
class State(Generic[Prior]):
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
    contrast, std_scale : Tensor, (B,)
    coarse : callable
        The coarse series that the network is told of.
    sides : Sides
    prior
        What the first prediction is made from.
    network : Corrector
    encoded : tuple
        The mosaics that were encoded last, and what became of them.
    """

    references: References
    contrast: Tensor
    std_scale: Tensor
    coarse: Coarse
    sides: Sides
    prior: Prior
    network: Corrector
    encoded: tuple[Side, Side, Tensor] | None = field(default=None)


@dataclass(frozen=True)
class Told:
    """What a network is told of a day, and what it corrects.

    Parameters
    ----------
    references : Tensor, (B, C, y, x)
    day : Tensor, (B, C, y, x)
    mean, std : Tensor, (B, y, x)
        The first prediction; NaN where nothing is known.
    source : Tensor, (y, x) uint8
    given : Evidence
    """

    references: Tensor
    day: Tensor
    mean: Tensor
    std: Tensor
    source: Tensor
    given: Evidence


class LearnedMethod(ABC, Generic[Prior]):
    """A first prediction, corrected by a `Refiner`: subclasses say where the first prediction comes from.

    Parameters
    ----------
    options : NetworkOptions
    network : Corrector, optional
        In place of the weights that the options name, when it is being trained.
    """

    name: str

    def __init__(self, options: NetworkOptions, network: Corrector | None = None) -> None:
        self.options = options
        self._network: Corrector | None = None
        self._weights: Weights | None = None
        if network is not None:
            self.given(network)

    @staticmethod
    @abstractmethod
    def untrained() -> Corrector:
        """The network."""

    @abstractmethod
    def learnt(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Parameters of the first prediction."""

    @abstractmethod
    def based_on(
        self, block: FusionInput, references: References, parameters: Mapping[str, Any], network: Corrector
    ) -> tuple[Coarse, Prior]:
        """The coarse series that the network is told of, and what first predictions are made from."""

    @abstractmethod
    def first(self, state: State[Prior], given: Evidence, target: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and σ (B, y, x) and source (y, x) of the first prediction."""

    def given(self, network: Corrector) -> None:
        """Use another network than the one that the options name; it does not learn here."""
        self._network = network.requires_grad_(False)

    def _loaded(self) -> Weights | None:
        """The weights, put into the network; None for a network that was given."""
        if self._network is None:
            self._weights = weights_of(self.name, self.options.weights)
            self.given(into(self.untrained(), self._weights).eval())
        return self._weights

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn the contrast of the bands, what the coarse lacks of them, and how large σ has to be; name the weights."""
        known = {**self.learnt(samples), "contrast": contrast_of(samples), "offset": offset_of(samples), **named(self._loaded())}
        with torch.inference_mode():
            scale = self._calibration(samples, known)
        return {**known, **({"sigma": scale} if scale else {})}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State[Prior]:
        references = References.of(joined(block), device, parameters)
        checked(self._loaded(), parameters)
        assert self._network is not None
        network = self._network.to(device)
        like = references.block.coarse
        series, prior = self.based_on(block, references, parameters, network)
        offset = like.new_tensor(parameters.get("offset") or [0.0] * like.shape[1])[:, None, None]

        def coarse(day: int) -> tuple[Tensor, Tensor]:
            mean, std = series(day)
            return mean + offset, std

        scale = like.new_tensor(parameters.get("sigma", [1.0] * like.shape[1]))
        return State(references, contrast_in(parameters, like), scale, coarse, Sides(references, coarse), prior, network)

    def days(self, state: State[Prior], targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            told = self.told(state, target)
            correction, factor = self._corrected(state, told)
            unit = state.contrast[:, None, None]
            mean = told.mean + correction * unit
            std = told.std * factor.exp() * state.std_scale[:, None, None]
            yield DayPrediction(target, mean, std + 0.0 * mean, told.source)

    def told(self, state: State[Prior], target: int) -> Told:
        """What the network is told of a day."""
        block = state.references.block
        given = evidence(state.sides, target, self.options.days - COARSE_LOOK)
        mean, std, source = self.first(state, given, target)
        references = told_of_references(given, state.contrast, block.layers.get("ndvi_median"))
        known = torch.nan_to_num(mean), torch.nan_to_num(std)
        day = told_of_day(given, *known, state.coarse(target), state.contrast, block.scale)
        return Told(references, day, mean, std, source, given)

    def _corrected(self, state: State[Prior], told: Told) -> tuple[Tensor, Tensor]:
        refiner = state.network.refiner
        sides = told.given.before, told.given.after
        if state.encoded is None or state.encoded[0] is not sides[0] or state.encoded[1] is not sides[1]:
            state.encoded = None  # Not two at a time.
            (features,) = apply_to_any(refiner.encode, [told.references], reach=2, multiple=refiner.multiple, tile=_TILE, batch=_BATCH)
            state.encoded = (*sides, features)
        inputs = [state.encoded[2], told.day]
        correction, factor = apply_to_any(refiner, inputs, reach=refiner.reach, multiple=refiner.multiple, tile=_TILE, batch=_BATCH)
        return correction, factor

    def _calibration(self, samples: Sequence[FusionInput], known: Mapping[str, Any]) -> list[float]:
        """The factors of σ with which as many errors at withheld images stay below it as should; none where too few can be withheld."""
        errors: list[list[Tensor]] = []
        for sample in samples:
            state = self.prepare(sample, known, torch.device("cpu"))
            chosen = withheld_images(len(sample.fine_days))
            for index, day in zip(chosen, self.days(state, [sample.fine_days[index] for index in chosen]), strict=True):
                error = day.mean - sample.fine[index]
                seen = torch.isfinite(error).all(dim=0)
                if bool(seen.any()):
                    step = max(int(seen.sum()) // (1 << 13), 1)
                    noise = sample.measured(index).expand_as(error)
                    errors.append([part[:, seen][:, ::step] for part in (error, day.std, noise)])
        if len(errors) < _MIN_IMAGES:
            return []
        error, std, noise = (torch.cat(parts, dim=1) for parts in zip(*errors, strict=True))
        # At most half of the best predicted errors is noise of the withheld images themselves.
        best = std.mean(dim=0) <= std.mean(dim=0).quantile(0.125)
        typical = error[:, best].abs().quantile(ONE_SIGMA, dim=1, keepdim=True)
        variance = torch.minimum(noise.square(), typical.square() / 2)
        return [round(value, 4) for value in sigma_factor(error.square(), std.square(), variance).flatten().tolist()]
