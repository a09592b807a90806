"""The parameters of the smoother: those under which observations that were left out are most likely.

Every clear value of a lattice of pixels is predicted from all others (in closed form: Rasmussen & Williams 2006, eq. 5.12) and
held against what was observed, under a Student t distribution, so that missed clouds and sudden changes do not decide.
One parameter after the other takes the best of its candidates; what it does not clearly win, it does not take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.references import References
from pipeline.fusion.smoother import Parameters, Smoother, bare_precision, calibrated, condition
from pipeline.fusion.withheld import ONE_SIGMA, sigma_factor
from pipeline.operators.resample import lift

_PIXELS = 1024
"""Pixels of the lattice of a sample."""

_MIN_IMAGES, _MIN_VALUES = 4, 200
"""Images, and clear values, below which the defaults stand."""

_FREEDOM = 4.0
"""Degrees of freedom of the Student t distribution that errors are judged by."""

_WORTH = 0.004
"""Smallest mean gain in log-likelihood for which a parameter leaves its value."""

_MEDIAN_CHI2 = 0.455
"""Median of the square of a standard normal variable."""

_PARTS = 8
"""Parts of the left-out values, from the best predicted ones to the worst, that the power of the std is read off."""

_CANDIDATES: tuple[tuple[dict[str, Any], ...], ...] = (
    tuple({"tau": tau, "noise": noise} for tau in (15.0, 30.0, 60.0, 120.0) for noise in (0.003, 0.01, 0.03, 0.1, 0.3)),
    tuple({"level": level, "season": season} for level in (0.5, 2.0, 6.0) for season in (0.0, 0.5, 2.0)),
    tuple({"gain_std": value} for value in (0.0, 0.1, 0.2, 0.4, 0.7)),
    tuple({"freedom": value} for value in (3.0, 10.0, 30.0, 1000.0)),
)
"""What is tried, in this order; time and noise go together, because one makes up for the other."""

_GAINS = (0.9, 1.0, 1.1)
"""Lower gains win where the coarse series hardly moves, by what its noise is worth, and lose all that once snow, floods or autumn come."""


@dataclass(frozen=True)
class Series:
    """The pixels of a lattice.

    Parameters
    ----------
    days : tuple of int, (K,)
    trust : Tensor, (K, P)
        Precision of each observation in units of 1 / noise; 0 where not clear.
    fine, anomaly : Tensor, (K, B, P)
        What was seen less the mean coarse, and the coarse anomaly of the day; 0 where not clear.
    measured : Tensor, (B,)
        1 σ of one fine value, as its product states it.
    """

    days: tuple[int, ...]
    trust: Tensor
    fine: Tensor
    anomaly: Tensor
    measured: Tensor


@dataclass(frozen=True)
class Left:
    """Observations that were left out.

    Parameters
    ----------
    error : Tensor, (B, n)
        Of their prediction.
    variance : Tensor, (B, n)
        Predicted variance, in units of the process variance.
    noise : Tensor, (n,)
        That of the observations themselves.
    image : Tensor, (n,)
        Which image each belongs to.
    """

    error: Tensor
    variance: Tensor
    noise: Tensor
    image: Tensor


def fitted(method: Smoother, samples: Sequence[FusionInput]) -> dict[str, Any]:
    """Parameters of an area as a JSON-ready mapping; ``{}`` when too little was seen to learn from.

    Parameters
    ----------
    method : Smoother
        Its options say how observations near hidden pixels are trusted.
    samples : sequence of FusionInput
        Typical blocks of the area with their series.
    """
    series = [found for sample in samples if (found := _series(method, sample)) is not None]
    if not series:
        return {}
    known, score = _sized(Parameters.of({}, series[0].fine.shape[1]), series)
    known, score = _followed(known, score, series)
    for candidates in _CANDIDATES:
        tried = [_sized(replace(known, **changes), series) for changes in candidates]
        best = max(tried, key=lambda other: float(other[1].nanmean()))
        if _believed((best[1] - score).nanmean(dim=0)):
            known, score = best
    known, score = _followed(known, score, series)
    known = _calibrated(known, series)
    return {key: [round(v, 6) for v in value] if isinstance(value, tuple) else round(value, 6) for key, value in asdict(known).items()}


def _series(method: Smoother, sample: FusionInput) -> Series | None:
    """The lattice of a sample, or None when it says too little."""
    references = References.of(sample, torch.device("cpu"))
    height, width = references.shape[1:]
    step = max(math.isqrt(height * width // _PIXELS), 1)
    lattice = (..., slice(step // 2, None, step), slice(step // 2, None, step))
    coarse = torch.stack([lift(references.coarse_of(day)[0], sample.scale)[lattice].flatten(1) for day in sample.fine_days])
    trust = torch.stack(
        [bare_precision(references, index, 1.0, method.options)[lattice].flatten() for index in range(len(references.clear))]
    )
    trust *= torch.isfinite(coarse).all(dim=1)
    use = (trust > 0).sum(dim=0) >= 3
    if len(sample.fine_days) < _MIN_IMAGES or int((trust[:, use] > 0).sum()) < _MIN_VALUES:
        return None
    trust, coarse, fine = trust[:, use], coarse[..., use], sample.fine[lattice].flatten(2)[..., use]
    centre = coarse.nanmean(dim=0)
    measured = sample.fine_std.mean(dim=0)
    return Series(tuple(sample.fine_days), trust, (fine - centre).nan_to_num_(), (coarse - centre).nan_to_num_(), measured)


def _left_out(known: Parameters, series: Sequence[Series]) -> Left:
    """Every observation predicted from all others of its pixel."""
    parts, first = [], 0
    for one in series:
        prior = known.prior(one.fine)
        precision = one.trust / known.noise
        gain = one.fine.new_tensor(known.coarse_gain)[:, None]
        residual = (one.fine - gain * one.anomaly) * (precision > 0)[:, None]
        posterior = condition(prior, one.days, precision, residual, one.anomaly)
        used = posterior.nodes.precision
        for place, day in enumerate(one.days):
            seen = used[place] > 0
            if not bool(seen.any()):
                continue
            mean, variance = posterior.at(day, one.anomaly[place])
            # `at` scales the variance by what the pixel itself shows; the algebra of leaving out is that of the model.
            inner = (variance / posterior.scale)[:, seen]
            rest = (1.0 - used[place, seen] * inner).clamp(min=1e-4)
            error = (mean - residual[place])[:, seen] / rest
            noise = 1.0 / precision[place, seen]
            parts.append((error, inner / rest * posterior.scale[seen], noise, torch.full_like(seen[seen], first + place, dtype=torch.long)))
        first += len(one.days)
    return Left(
        error=torch.cat([part[0] for part in parts], dim=1),
        variance=torch.cat([part[1] for part in parts], dim=1),
        noise=torch.cat([part[2] for part in parts]),
        image=torch.cat([part[3] for part in parts]),
    )


def _sized(known: Parameters, series: Sequence[Series]) -> tuple[Parameters, Tensor]:
    """With the process whose predicted variance equals the typical squared error, band by band; and how likely that makes what was seen.

    Returns
    -------
    known : Parameters
    score : Tensor, (B, images)
        Mean log-likelihood of the left-out values by band and image; NaN for images without a clear value.
    """
    left = _left_out(known, series)
    process = left.error.new_tensor(known.process)[:, None]
    square = (left.error / process).square() / (left.variance + left.noise)
    process = process * (square.median(dim=1, keepdim=True).values / _MEDIAN_CHI2).sqrt().clamp_(min=1e-3)
    width = process.square() * (left.variance + left.noise)
    density = -0.5 * width.log() - 0.5 * (_FREEDOM + 1) * torch.log1p((left.error.square() / width) / _FREEDOM)
    images = sum(len(one.days) for one in series)
    count = torch.bincount(left.image, minlength=images)
    total = density.new_zeros((len(density), images)).index_add_(1, left.image, density)
    return replace(known, process=tuple(process.flatten().tolist())), total / count.where(count > 0, torch.nan)


def _followed(known: Parameters, score: Tensor, series: Sequence[Series]) -> tuple[Parameters, Tensor]:
    """With the share of the coarse anomaly that pixels follow, band by band."""
    scores = torch.stack([_sized(replace(known, coarse_gain=(gain,) * len(known.process)), series)[1] for gain in _GAINS])
    chosen = []
    for band, old in enumerate(known.coarse_gain):
        best = int(scores[:, band].nanmean(dim=1).argmax())
        chosen.append(_GAINS[best] if _believed(scores[best, band] - score[band]) else old)
    return _sized(replace(known, coarse_gain=tuple(chosen)), series)


def _believed(gain: Tensor) -> bool:
    """Whether a gain by image exceeds its own standard error: pixels of one image are no independent witnesses."""
    gain = gain[torch.isfinite(gain)]
    return len(gain) >= _MIN_IMAGES and float(gain.mean()) > max(float(gain.std()) / math.sqrt(len(gain)), _WORTH)


def _calibrated(known: Parameters, series: Sequence[Series]) -> Parameters:
    """The power and the factors that let as many errors against the surface stay below their σ as a normal distribution does.

    What was left out is no truth. Two observations that predict each other well differ by the noise of both: half of what the best
    predicted ones are off by is noise of the observation, at most what its product states.
    """
    left = _left_out(known, series)
    process = left.error.new_tensor(known.process)[:, None]
    square = (left.error / process).square()
    variance = left.variance.mean(dim=0)
    parts = variance.argsort().chunk(_PARTS)
    typical = [square[:, part].quantile(ONE_SIGMA, dim=1, keepdim=True) for part in parts]
    stated = (torch.stack([one.measured for one in series]).mean(dim=0)[:, None] / process).square()
    noise = torch.minimum(typical[0] / 2, stated)
    means, needed = [], []
    for part, errors in zip(parts, typical, strict=True):
        rest = float((errors - noise).mean())
        if rest > 0:
            means.append(float(variance[part].log().mean()))
            needed.append(math.log(rest))
    power = _slope(means, needed) - 1.0 if len(means) >= 4 else 0.0
    known = replace(known, std_power=max(min(power, 0.2), -0.7))
    inner = calibrated(left.variance, known.std_power)
    return replace(known, std_scale=tuple(float(value) for value in sigma_factor(square, inner, noise).flatten()))


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line through some points."""
    middle, level = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - middle) ** 2 for a in x)
    return sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / spread if spread > 1e-6 else 1.0
