"""The method of residuals: every reference moved to the target day by the lifted coarse change, and smoothed in time per pixel.

What is left between the moved references and the coarse of the day is modelled as a level
plus an Ornstein–Uhlenbeck process, seen with noise (`Bridge`), and a gain of its own by
which a pixel follows the coarse change. References that contradict the others (missed
clouds and shadows) lose their weight, those beside hidden pixels some of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.bridge import Bridge
from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.options import ResidualOptions
from pipeline.fusion.references import References, provenance
from pipeline.operators.resample import lift, lift_rows
from pipeline.operators.spatial import distance_to

_PIXELS_AT_ONCE = 16384
"""Pixels of a strip on the CPU: what is worked on stays in the cache."""

_OUTLIER = 5.0
"""An observation so many σ from what the others say keeps half of its precision."""

_FADE_DAYS = 8
"""References fade out over the last days of the support, so that no day jumps when one leaves it."""

_UNKNOWN_CHANGE = 4.0
"""Variance, in process variances, of a reference whose coarse change to the target is unknown."""

_GAIN_LIMIT = 0.7
"""Largest deviation of the gain of a pixel."""


@dataclass(frozen=True)
class Parameters:
    """What the method knows of an area.

    Parameters
    ----------
    tau : float
        e-folding time of the process [days].
    noise, level : float
        Variance of the noise of an observation and of the level, in units of the process variance.
    gain_std : float
        Prior 1 σ of the deviation of the gain of a pixel; 0 = all pixels follow alike.
    process, coarse_gain, std_scale : tuple of float, one per band
        1 σ of the process [reflectance], share of the coarse change that pixels follow, and the
        factor that makes the std of left-out observations right.
    """

    tau: float = 45.0
    noise: float = 0.15
    level: float = 2.0
    gain_std: float = 0.2
    process: tuple[float, ...] = (0.02,)
    coarse_gain: tuple[float, ...] = (0.9,)
    std_scale: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, mapping: Mapping[str, Any], bands: int) -> Parameters:
        """Read the mapping of `Residual.estimate`; what is missing takes its default, single values serve all bands."""
        given = {**asdict(cls()), **mapping}
        spread = {name: tuple(given[name]) * (bands if len(given[name]) == 1 else 1) for name in _PER_BAND}
        scalars = {name: float(given[name]) for name in _SCALARS}
        return cls(**scalars, **spread)  # type: ignore[arg-type]


_PER_BAND = ("process", "coarse_gain", "std_scale")
_SCALARS = ("tau", "noise", "level", "gain_std")


@dataclass(frozen=True)
class State:
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
        Images and coarse series.
    parameters : Parameters
    precision : Tensor, (K, y, x)
        Of each observation, in units of the process variance; 0 where not clear.
    """

    references: References
    parameters: Parameters
    precision: Tensor


@dataclass(frozen=True)
class Smoothed:
    """A target on some pixels, before the coarse uncertainty of the day is added.

    Parameters
    ----------
    mean : Tensor, (B, ...)
        Relative to the prior.
    variance : Tensor, (B, ...) or (...)
        In units of the process variance.
    share : Tensor, (...)
        Sum of the weights of the observations, 0–1.
    """

    mean: Tensor
    variance: Tensor
    share: Tensor


def smooth(
    residuals: Sequence[Tensor], changes: Sequence[Tensor], precision: Sequence[Tensor], offsets: Sequence[int], known: Parameters
) -> Smoothed:
    """Predict the residual of a target from those of the references around it.

    Parameters
    ----------
    residuals : sequence of Tensor, K of shape (B, ...)
        Moved references minus the prior of the target; finite, 0 where not clear.
    changes : sequence of Tensor, K of shape (B, ...)
        Lifted coarse change from each reference to the target.
    precision : sequence of Tensor, K of shape (...)
        0 where not clear.
    offsets : sequence of int, (K,)
        Days from the target, increasing.
    known : Parameters
    """
    process = torch.as_tensor(known.process, dtype=residuals[0].dtype, device=residuals[0].device)
    blend = (1.0 / process / len(process)).reshape(1, -1)
    # A cloud lifts and a shadow lowers all bands together: their normalised mean is what gives them away.
    tell = [(blend @ residual.reshape(len(process), -1)).reshape(residual.shape[1:]) for residual in residuals]
    for _ in range(2):
        bridge = Bridge(precision, offsets, known.tau, known.level)
        strange = [
            error.square() / information.clamp(min=1e-12)
            for error, information in zip(bridge.whiten(tell), bridge.information(), strict=True)
        ]
        trusted = [p / (1.0 + (s / _OUTLIER**2).square()) for p, s in zip(precision, strange, strict=True)]
    bridge = Bridge(trusted, offsets, known.tau, known.level)

    share = sum(bridge.weights[1:], bridge.weights[0].clone())
    mean = bridge.weights[0] * residuals[0]
    for weight, residual in zip(bridge.weights[1:], residuals[1:], strict=True):
        mean.addcmul_(weight, residual)
    variance = bridge.variance
    if known.gain_std > 0:
        whitened = bridge.whiten(changes)
        evidence = whitened[0] * residuals[0]
        certainty = whitened[0] * changes[0]
        lever = bridge.weights[0] * changes[0]
        for white, residual, change, weight in zip(whitened[1:], residuals[1:], changes[1:], bridge.weights[1:], strict=True):
            evidence.addcmul_(white, residual)
            certainty.addcmul_(white, change)
            lever.addcmul_(weight, change)
        prior = (process / known.gain_std).square().reshape(-1, *[1] * (mean.dim() - 1))
        certainty += prior
        # A pixel of gain g leaves −g · change in its residuals.
        gain = (-evidence / certainty).clamp(-_GAIN_LIMIT, _GAIN_LIMIT)
        mean.addcmul_(gain, lever)
        variance = variance + lever.square() / certainty
    return Smoothed(mean, variance, share)


class Residual:
    """The method of residuals."""

    def __init__(self, options: ResidualOptions) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Find the parameters that predict left-out references best; see `pipeline.fusion.calibration`."""
        from pipeline.fusion.calibration import calibrate

        return calibrate(self, samples)

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State:
        references = References.of(block, device)
        known = Parameters.of(parameters, references.shape[0])
        precision = references.clear.to(torch.float32)
        reach = math.ceil(self.options.cloud_reach / block.resolution)
        for plane, clear in zip(precision, references.clear, strict=True):
            noise = torch.full_like(plane, known.noise)
            if reach and self.options.cloud_noise:
                near = torch.exp(distance_to(~clear, reach) * (-3.0 / reach))
                noise += known.noise * self.options.cloud_noise * near
            plane /= noise
        return State(references, known, precision)

    def days(self, state: State, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            yield self._day(state, target)

    def _day(self, state: State, target: int) -> DayPrediction:
        references, block = state.references, state.references.block
        _, height, width = references.shape
        indices = references.around(target, *self.options.support())
        coarse, coarse_std = references.coarse_of(target)
        moves = [Move.between(references.coarse_of(block.fine_days[index])[0], coarse) for index in indices]
        prior, prior_std = lift(coarse, block.scale), lift(coarse_std, block.scale)
        mean, variance = torch.empty_like(prior), torch.empty_like(prior)
        cells = height // block.scale
        step = cells if prior.is_cuda else max(_PIXELS_AT_ONCE // (width * block.scale), 1)
        for first in range(0, cells, step):
            last = min(first + step, cells)
            rows = slice(first * block.scale, last * block.scale)
            mean[:, rows], variance[:, rows] = self._strip(state, target, indices, moves, prior[:, rows], first, last)

        days = block.fine_days
        before = self._any_clear(references, [item for item in indices if days[item] < target])
        after = self._any_clear(references, [item for item in indices if days[item] > target])
        known = torch.isfinite(mean)
        per_band = {name: prior.new_tensor(getattr(state.parameters, name)).reshape(-1, 1, 1) for name in _PER_BAND}
        spread = per_band["process"].square() * variance + (per_band["coarse_gain"] * torch.nan_to_num(prior_std)).square()
        std = torch.where(known, per_band["std_scale"] * spread.sqrt(), torch.nan)
        return DayPrediction(target, mean, std, provenance(before, after, known.any(dim=0)))

    def _strip(
        self, state: State, target: int, indices: Sequence[int], moves: Sequence[Move], prior: Tensor, first: int, last: int
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, rows, x) of the cell rows `first` to `last`."""
        known, block = state.parameters, state.references.block
        rows = slice(first * block.scale, last * block.scale)
        widest = 1.0 + known.level
        if not indices:
            return prior, torch.full_like(prior, widest)
        dark = torch.isnan(prior)
        base = torch.where(dark, 0.0, prior)
        gain = prior.new_tensor(known.coarse_gain).reshape(-1, 1, 1)
        offsets = [block.fine_days[index] - target for index in indices]
        residuals, changes, precision = [], [], []
        for index, offset, move in zip(indices, offsets, moves, strict=True):
            change = lift_rows(move.change, block.scale, first, last)
            clear = state.references.clear[index, rows]
            residual = torch.addcmul(block.fine[index, :, rows] - base, gain, change)
            residuals.append(torch.where(clear, residual, 0.0))
            changes.append(change)
            precision.append(self._faded(state, index, offset, move, first, last))
        smoothed = smooth(residuals, changes, precision, offsets, known)
        # Without coarse the prior says nothing: what was observed must add up to one.
        alone = torch.where(smoothed.share > 1e-3, smoothed.mean / smoothed.share.clamp(min=1e-3), torch.nan)
        return torch.where(dark, alone, base + smoothed.mean), smoothed.variance.expand_as(prior)

    def _faded(self, state: State, index: int, offset: int, move: Move, first: int, last: int) -> Tensor:
        """Precision of a reference as seen from a target."""
        block = state.references.block
        precision = state.precision[index, first * block.scale : last * block.scale]
        left = (self.options.days + 1 - abs(offset)) / _FADE_DAYS
        if left < 1:
            precision = precision * left**3
        if move.unknown is not None:
            doubt = _UNKNOWN_CHANGE * lift_rows(move.unknown, block.scale, first, last)
            precision = precision / (1.0 + precision * doubt)
        return precision

    @staticmethod
    def _any_clear(references: References, indices: Sequence[int]) -> Tensor:
        if not indices:
            return torch.zeros(references.shape[1:], dtype=torch.bool, device=references.clear.device)
        return references.clear[indices].any(dim=0)


@dataclass(frozen=True)
class Move:
    """The coarse change from a reference to a target.

    Parameters
    ----------
    change : Tensor, (B, Y, X)
        0 where it is unknown.
    unknown : Tensor, (Y, X), or None
        1 where a band is unknown; None when all are known.
    """

    change: Tensor
    unknown: Tensor | None

    @classmethod
    def between(cls, then: Tensor, now: Tensor) -> Move:
        change = now - then
        lost = torch.isnan(change)
        if not bool(lost.any()):
            return cls(change, None)
        return cls(torch.where(lost, 0.0, change), lost.any(dim=0).to(change.dtype))
