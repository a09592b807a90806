"""What is trained: how each network is told of a sample, what it is asked for, and how its error counts.

A trainee sees a sample through the same code as a run. Stages follow each other: the restoration network learns on coarse cells first, and
the fusion network then learns with what it restores.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigurationError
from pipeline.fusion.evidence import contrast_in
from pipeline.fusion.learned import LearnedMethod
from pipeline.fusion.networks.adversarial import PatchDiscriminator, ScalesDiscriminator, discriminator_loss, generator_term
from pipeline.fusion.networks.refiner import Corrector
from pipeline.fusion.pairnet import PairNetwork, slots, told_of_pairs
from pipeline.fusion.pairs import pair_of
from pipeline.fusion.realfusion import RealFusion, RealFusionNetwork, Restored
from pipeline.fusion.references import References
from pipeline.fusion.registry import class_of, options_of
from pipeline.operators.resample import area_mean, lift
from pipeline.training.losses import charbonnier, edges, laplace_likelihood, structural
from pipeline.training.samples import Sample
from pipeline.vocabulary import BANDS

CPU = torch.device("cpu")

_STRUCTURE, _EDGES = 0.1, 0.05
"""Weights of the structural and the edge loss beside that of the values."""

_LIKELIHOOD = 0.1
"""Weight of the likelihood of σ."""


@dataclass(frozen=True)
class Batch:
    """Samples as one trainee sees them, stacked.

    Parameters
    ----------
    inputs : sequence of Tensor
        What its network is told.
    first, unit : Tensor
        What it corrects, and the unit of the correction; for networks that predict, 0 and 1.
    std : Tensor
        σ of the first prediction.
    truth : Tensor
        0 where it is not known.
    mask : Tensor
        1 where it is.
    control : Tensor
        What the control says, for the skill.
    """

    inputs: Sequence[Tensor]
    first: Tensor
    unit: Tensor
    std: Tensor
    truth: Tensor
    mask: Tensor
    control: Tensor

    @classmethod
    def of(cls, parts: Sequence[Batch]) -> Batch:
        """Stack batches."""
        inputs = [torch.cat(planes) for planes in zip(*(part.inputs for part in parts), strict=True)]
        return cls(inputs, *(torch.cat([getattr(part, name) for part in parts]) for name in _PLANES))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch([part.to(device) for part in self.inputs], *(getattr(self, name).to(device) for name in _PLANES))

    def split(self, parts: int) -> list[Batch]:
        """The batch in so many parts, or in single images where there are fewer."""
        inputs = zip(*(part.chunk(parts) for part in self.inputs), strict=True)
        planes = zip(*(getattr(self, name).chunk(parts) for name in _PLANES), strict=True)
        return [Batch(list(told), *rest) for told, rest in zip(inputs, planes, strict=True)]


_PLANES = ("first", "unit", "std", "truth", "mask", "control")


class Stage(ABC):
    """One network that learns."""

    name: str
    network: nn.Module
    ideal: float = 0.5
    """Share of the samples of simulated places whose coarse is the mean of the true surface."""

    def begin(self) -> None:  # noqa: B027 (most stages need nothing)
        """Take over what earlier stages learnt, before anything is told."""

    @abstractmethod
    def told(self, sample: Sample) -> Batch:
        """A sample as the network sees it."""

    @abstractmethod
    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Prediction of the truth, and log σ where the network says it."""

    def loss(self, batch: Batch) -> Tensor:
        """Error of a batch in units of the contrast, only where the truth is known."""
        return self.error(batch, *self.predicted(batch))

    def error(self, batch: Batch, predicted: Tensor, log_std: Tensor | None) -> Tensor:
        """The same of what was predicted."""
        mask, unit = batch.mask, batch.unit
        scaled, truth = predicted / unit, batch.truth / unit
        loss = charbonnier(scaled, truth, mask)
        if min(truth.shape[-2:]) >= 32:
            # Structure within a stretch of ± 3 contrasts.
            loss = loss + _STRUCTURE * structural(scaled, truth, mask, data_range=6.0) + _EDGES * edges(scaled, truth, mask)
        if log_std is not None:
            # σ learns from the errors, which do not learn from σ: likelihood alone would give up on what is hard.
            loss = loss + _LIKELIHOOD * laplace_likelihood(scaled.detach(), truth, log_std - unit.log(), mask, beta=0.5)
        return loss


class CellStage(Stage):
    """The restoration network: cells of a day, held against the fine surface averaged over them."""

    name = "restoration"
    ideal = 0.0  # There is nothing to restore in them.
    least_share = 0.75
    """Clear share of a cell from which its fine image says what it is."""

    def __init__(self, method: RealFusion, network: RealFusionNetwork) -> None:
        # Samples are told in a thread beside the one that learns: by a network of its own, here as below.
        self.method, self.network, self._restoration = method, network.restoration, network.restoration

    def told(self, sample: Sample) -> Batch:
        place, block = sample.place, sample.block
        state = self.method.prepare(block, place.parameters, CPU)
        mean, std = state.references.coarse_of(sample.target)
        cells, share = area_mean(sample.truth, block.scale)
        mask = torch.isfinite(cells) & torch.isfinite(mean) & (share >= self.least_share)
        unit = state.contrast[:, None, None].expand_as(mean)
        told = Restored(state.references, state.contrast, self._restoration).told(sample.target)
        return _batch([told], mean, unit, std, cells, mask, mean)

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        correction, factor = self._restoration(*batch.inputs)
        return batch.first + (correction * batch.unit[:, 0])[:, None], (batch.std[:, 0].log() + factor)[:, None]


class FineStage(Stage):
    """A network that corrects a first prediction on fine pixels."""

    name = "fusion"

    def __init__(self, method: LearnedMethod[Any], network: Corrector) -> None:
        self.method, self.network, self._refiner, self._whole = method, network.refiner, network.refiner, network

    def begin(self) -> None:
        self.method.given(copy.deepcopy(self._whole).cpu().eval())

    def told(self, sample: Sample) -> Batch:
        with torch.no_grad():
            state = self.method.prepare(sample.block, sample.place.parameters, CPU)
            if sample.ideal:
                # There is nothing to restore.
                state.coarse = state.sides.coarse = state.references.coarse_of
            told = self.method.told(state, sample.target)
        mask = torch.isfinite(sample.truth) & torch.isfinite(told.mean)
        unit = state.contrast[:, None, None].expand_as(told.mean)
        return _batch([told.references, told.day], told.mean, unit, told.std, sample.truth, mask, told.given.mean)

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        references, day = batch.inputs
        correction, factor = self._refiner(self._refiner.encode(references), day)
        return batch.first + (correction * batch.unit[:, 0])[:, None], (batch.std[:, 0].log() + factor)[:, None]


class PairStage(Stage):
    """A network on pairs, which predicts reflectance."""

    name = "pairs"

    def __init__(self, method: PairNetwork, network: Any) -> None:
        self.method, self.network, self._generator = method, network, network

    def told(self, sample: Sample) -> Batch:
        block, target = sample.block, sample.target
        references = References.of(block, CPU)
        # One pair, the nearest: every network on pairs learns from the same, and those on two apply what they learnt to either.
        days = block.fine_days
        recipes = sorted(self.method.recipes(references, target), key=lambda recipe: abs(days[recipe.main] - target))[:1]
        bands = len(sample.truth)
        now = lift(references.coarse_of(target)[0], block.scale)
        known = torch.isfinite(now).all(dim=0)
        now = torch.nan_to_num(now)
        if recipes:
            told = told_of_pairs([pair_of(references, recipe) for recipe in recipes], 1)
            fine, then = told.fine, told.then
        else:
            fine = then = now[None]
        places = slots(block.bands, bands)
        unit = contrast_in(sample.place.parameters, now)[places][:, None, None].expand(len(places), *now.shape[1:])
        mask = (torch.isfinite(sample.truth).all(dim=0) & known).expand_as(sample.truth)
        control = fine[0] + now - then[0]
        zero = torch.zeros_like(unit)
        batch = _batch(
            [fine[:, places], then[:, places], now[places]], zero, unit, zero, sample.truth[places], mask[places], control[places]
        )
        # One sample is one image of all bands, not one of each.
        return Batch([part[None] for part in batch.inputs], *(getattr(batch, name)[:, 0][None] for name in _PLANES))

    def predicted(self, batch: Batch) -> tuple[Tensor, None]:
        return self._generator(*batch.inputs), None


ADVERSARIES: Mapping[str, tuple[type[nn.Module], float]] = {
    "ganstfm": (ScalesDiscriminator, 1e-3),
    "mlffgan": (PatchDiscriminator, 1e-2),
}
"""Discriminators of the rivals that have one, and the weight of their term beside the other losses, as published."""


class AdversarialStage(PairStage):
    """A network on pairs that learns to be taken for real as well, beside a discriminator that learns not to be fooled.

    Both take their steps at once, each on its own part of the loss.
    """

    name = "adversarial"

    def __init__(self, method: PairNetwork, network: Any, critic: nn.Module, weight: float) -> None:
        super().__init__(method, network)
        self._critic, self._weight = critic, weight
        self.network = nn.ModuleDict({"generator": network, "critic": critic})

    def loss(self, batch: Batch) -> Tensor:
        predicted, _ = self.predicted(batch)
        now = batch.inputs[2]
        # Of the term of the generator nothing reaches the discriminator.
        self._critic.requires_grad_(False)
        fooled = generator_term(self._critic, predicted, now)
        self._critic.requires_grad_(True)
        real = batch.truth.masked_fill(batch.mask == 0, torch.nan)
        return self.error(batch, predicted, None) + self._weight * fooled + discriminator_loss(self._critic, real, predicted, now)


def _batch(inputs: Sequence[Tensor], first: Tensor, unit: Tensor, std: Tensor, truth: Tensor, mask: Tensor, control: Tensor) -> Batch:
    """Planes (B, y, x) as images of one band each; unknown values are 0 and hidden."""

    def planes(values: Tensor) -> Tensor:
        return torch.nan_to_num(values)[:, None]

    return Batch(inputs, planes(first), planes(unit), planes(std).clamp(min=1e-4), planes(truth), mask.float()[:, None], planes(control))


def stages_of(name: str, start: Mapping[str, Tensor] | None = None, adversarial: bool = False) -> tuple[nn.Module, list[Stage]]:
    """The network of a method, untrained or with weights to start from, and its stages in order.

    Parameters
    ----------
    adversarial : bool
        Beside the discriminator of the method.

    Raises
    ------
    ConfigurationError
        If the method has no network, or no discriminator.
    """
    kind = class_of(name)
    if not (isinstance(kind, type) and issubclass(kind, (LearnedMethod, PairNetwork))):
        raise ConfigurationError(f"method {name!r} has no network to train", "choose one that needs training: landfuse methods")
    network = kind.untrained()
    if start is not None:
        network.load_state_dict(start)
    method = kind(options_of(name, {}), copy.deepcopy(network).eval())
    if adversarial and name not in ADVERSARIES:
        raise ConfigurationError(f"method {name!r} has no discriminator", f"those with one: {', '.join(ADVERSARIES)}")
    if isinstance(method, PairNetwork):
        if not adversarial:
            return network, [PairStage(method, network)]
        critic, weight = ADVERSARIES[name]
        return network, [AdversarialStage(method, network, critic(len(BANDS)), weight)]
    stages: list[Stage] = [FineStage(method, network)]
    if isinstance(method, RealFusion) and isinstance(network, RealFusionNetwork):
        stages.insert(0, CellStage(method, network))
    return network, stages
