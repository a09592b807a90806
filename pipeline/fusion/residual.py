"""The method of residuals: fine minus lifted coarse, smoothed in time per pixel, added back to the coarse of the day.

The residual of a pixel is a level plus an Ornstein–Uhlenbeck process, seen with noise at
the clear fine images. With all variances in units of the process variance one set of
weights serves all bands. The weights of the images on a target day are a row of the inverse
of a tridiagonal matrix, because the process is Markov: one sweep from each end, whatever
the pattern of clouds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.options import ResidualOptions
from pipeline.fusion.references import References, provenance
from pipeline.operators.resample import lift
from pipeline.operators.spatial import distance_to

DEFAULTS: dict[str, Any] = {"tau": 30.0, "noise": 0.1, "level": 2.0, "process": 0.02, "coarse_gain": 1.0, "std_scale": 1.0}
"""What is taken for parameters that were not estimated; `noise` and `level` are variances in units of the process variance."""


@dataclass(frozen=True)
class Parameters:
    """What the method knows of an area.

    Parameters
    ----------
    tau : float
        e-folding time of the process [days].
    noise, level : float
        Variance of an observation's noise and of the level, in units of the process variance.
    process, coarse_gain, std_scale : Tensor, (B, 1, 1)
        Per band: 1 σ of the process [reflectance], share of the coarse change that pixels follow, and the
        factor that makes the std of left-out observations right.
    """

    tau: float
    noise: float
    level: float
    process: Tensor
    coarse_gain: Tensor
    std_scale: Tensor

    @classmethod
    def of(cls, mapping: Mapping[str, Any], bands: int, device: torch.device) -> Parameters:
        """Read what `Residual.estimate` returned; missing entries take their defaults."""
        given = {**DEFAULTS, **mapping}
        per_band = {}
        for name in ("process", "coarse_gain", "std_scale"):
            values = torch.as_tensor(given[name], dtype=torch.float32, device=device).reshape(-1)
            per_band[name] = values.expand(bands).reshape(bands, 1, 1)
        return cls(float(given["tau"]), float(given["noise"]), float(given["level"]), **per_band)


@dataclass(frozen=True)
class State:
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
        Images and coarse series.
    parameters : Parameters
    residual : Tensor, (K, B, y, x)
        Fine minus the followed share of the lifted coarse of its day (0 for unknown cells); 0 where not clear.
    precision : Tensor, (K, y, x)
        Of each observation, in units of the process variance; 0 where not clear.
    """

    references: References
    parameters: Parameters
    residual: Tensor
    precision: Tensor


class Residual:
    """The method of residuals."""

    def __init__(self, options: ResidualOptions) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        return {}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State:
        references = References.of(block, device)
        known = Parameters.of(parameters, references.shape[0], device)
        count = len(block.fine_days)
        residual = block.fine.new_zeros((count, *references.shape), device=device)
        precision = block.fine.new_zeros((count, *references.shape[1:]), device=device)
        reach = math.ceil(self.options.cloud_reach / block.resolution)
        for index, day in enumerate(references.block.fine_days):
            clear = references.clear[index]
            followed = known.coarse_gain * torch.nan_to_num(references.coarse_of(day)[0])
            residual[index] = torch.where(clear, references.block.fine[index] - lift(followed, block.scale), 0.0)
            noise = torch.full_like(precision[index], known.noise)
            if reach and self.options.cloud_noise:
                near = (-distance_to(~clear, reach) * (3.0 / reach)).exp()
                noise += known.noise * self.options.cloud_noise * near
            precision[index] = clear / noise
        return State(references, known, residual, precision)

    def days(self, state: State, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            yield self._day(state, target)

    def _day(self, state: State, target: int) -> DayPrediction:
        references, known = state.references, state.parameters
        scale = references.block.scale
        days = references.block.fine_days
        indices = references.around(target, *self.options.support())
        coarse, coarse_std = references.coarse_of(target)
        held = torch.isfinite(coarse)
        base = lift(known.coarse_gain * torch.nan_to_num(coarse), scale)
        plain = lift(coarse, scale)
        unexplained = torch.where(torch.isfinite(plain), plain - base, 0.0)

        total = torch.zeros_like(base)
        share = base.new_zeros(base.shape[1:])
        variance = base.new_full(base.shape[1:], 1.0 + known.level)
        if indices:
            weights, variance = smoothing_weights(state.precision[indices], [days[item] - target for item in indices], known)
            for weight, item in zip(weights, indices, strict=True):
                total.addcmul_(weight, self._residual(state, item, coarse, held))
                share += weight
        mean = base + total + (1.0 - share) * unexplained

        before = self._any_clear(references, [item for item in indices if days[item] < target])
        after = self._any_clear(references, [item for item in indices if days[item] > target])
        nothing = torch.isnan(plain)
        # Without coarse the level is unknown: what was observed must add up to one.
        alone = nothing & (before | after)
        mean = torch.where(alone, base + total / share.clamp(min=1e-3), mean)
        mean = torch.where(nothing & ~alone, torch.nan, mean)
        coarse_variance = torch.nan_to_num(lift(coarse_std, scale)).square()
        spread = known.process.square() * variance + coarse_variance * known.coarse_gain.square()
        std = torch.where(torch.isfinite(mean), known.std_scale * spread.sqrt(), torch.nan)
        return DayPrediction(target, mean, std, provenance(before, after, torch.isfinite(mean).any(dim=0)))

    def _residual(self, state: State, index: int, coarse: Tensor, held: Tensor) -> Tensor:
        """Residual of an image as seen from a target: coarse cells unknown on either day count as unchanged."""
        references = state.references
        then = references.coarse_of(references.block.fine_days[index])[0]
        lost = held ^ torch.isfinite(then)
        if not bool(lost.any()):
            return state.residual[index]
        common = torch.where(lost, torch.nan_to_num(then) - torch.nan_to_num(coarse), 0.0)
        moved = state.residual[index] + lift(state.parameters.coarse_gain * common, references.block.scale)
        return torch.where(references.clear[index], moved, 0.0)

    @staticmethod
    def _any_clear(references: References, indices: Sequence[int]) -> Tensor:
        if not indices:
            return torch.zeros(references.shape[1:], dtype=torch.bool, device=references.clear.device)
        return references.clear[indices].any(dim=0)


def smoothing_weights(precision: Tensor, offsets: Sequence[int], known: Parameters) -> tuple[Tensor, Tensor]:
    """Weights of observations for the value at offset 0 of a level plus an Ornstein–Uhlenbeck process.

    With x the process at the observations and the target, Q its (tridiagonal) precision and P the precision of
    the observations, g = (Q + P)⁻¹ e_target and z = (Q + P)⁻¹ P 1 give the weights of the process, P g, and the
    generalised least-squares level, whose uncertainty joins the variance (Rasmussen & Williams 2006, eq. 2.41–2.42
    with one constant basis function).

    Parameters
    ----------
    precision : Tensor, (K, ...)
        Of the observations, 0 = not observed; units of 1 / process variance.
    offsets : sequence of int, (K,)
        Days from the target, increasing, none of them 0.
    known : Parameters
        `tau` and `level` are used.

    Returns
    -------
    weights : Tensor, (K, ...)
    variance : Tensor, (...)
        Posterior variance of level + process, in units of the process variance.
    """
    count = len(offsets)
    split = sum(offset < 0 for offset in offsets)
    nodes = [*offsets[:split], 0, *offsets[split:]]
    decay = [math.exp(-(late - early) / known.tau) for early, late in zip(nodes[:-1], nodes[1:], strict=True)]
    link = [a / (1 - a * a) for a in decay]
    diagonal = [1.0] * (count + 1)
    for place, a in enumerate(decay):
        diagonal[place] += a * a / (1 - a * a)
        diagonal[place + 1] += a * a / (1 - a * a)
    order = [*range(split), *range(split + 1, count + 1)]
    seen = dict(zip(order, precision, strict=True))

    # Eliminate from both ends towards the target.
    pivot: dict[int, Tensor] = {}
    ones: dict[int, Tensor] = {}
    for places in (range(split), range(count, split, -1)):
        previous: int | None = None
        for place in places:
            pivot[place] = seen[place] + diagonal[place]
            ones[place] = seen[place]
            if previous is not None:
                coupling = link[min(place, previous)] / pivot[previous]
                pivot[place] = pivot[place] - coupling * link[min(place, previous)]
                ones[place] = ones[place] + coupling * ones[previous]
            previous = place
    centre = torch.full_like(precision[0], diagonal[split])
    known_ones = torch.zeros_like(centre)
    for neighbour in (split - 1, split + 1):
        if neighbour in pivot:
            coupling = link[min(split, neighbour)] / pivot[neighbour]
            centre = centre - coupling * link[min(split, neighbour)]
            known_ones = known_ones + coupling * ones[neighbour]
    process_variance = centre.reciprocal()
    z_target = known_ones * process_variance

    # Back to both ends.
    gain: dict[int, Tensor] = {split: process_variance}
    z: dict[int, Tensor] = {split: z_target}
    for places, toward in ((range(split - 1, -1, -1), 1), (range(split + 1, count + 1), -1)):
        for place in places:
            coupling = link[min(place, place + toward)] / pivot[place]
            gain[place] = coupling * gain[place + toward]
            z[place] = ones[place] / pivot[place] + coupling * z[place + toward]
    information = torch.full_like(centre, 1.0 / known.level)
    for place in order:
        information = information + seen[place] * (1 - z[place])
    open_share = (1 - z_target) / information
    weights = torch.stack([seen[place] * (gain[place] + (1 - z[place]) * open_share) for place in order])
    return weights, process_variance + (1 - z_target) * open_share
