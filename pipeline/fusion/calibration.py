"""The parameters of the method of residuals, chosen by how well they predict references that were left out.

Each fine image of the samples is predicted from the others, as if it had been clouded, on
a lattice of its clear pixels. One parameter after the other takes the value of its
candidates with the smallest error; what remains sets the size of the process and the
factor of the std.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.pixelwise import precision_of
from pipeline.fusion.references import References
from pipeline.fusion.residual import Parameters, Residual, smooth, tell_weights
from pipeline.operators.resample import lift

_PIXELS = 1024
"""Pixels of the lattice of a sample."""

_CASES = 32
"""Images left out, evenly chosen among all."""

_MIN_PIXELS = 200
"""Clear pixels needed in all cases together."""

_MIN_CASES = 4
"""Images needed before any parameter but the size of the process leaves its default."""

_WINSOR = 5.0
"""Errors count up to so many robust σ: left-out images hold missed clouds too."""

_MEDIAN_CHI2 = 0.455
"""Median of the square of a standard normal variable."""

_GAIN_PRIOR = 0.5
"""Cost, in logarithms of the mean square error, of a coarse gain one away from 1."""

_WORTH = 0.01
"""Smallest gain in the logarithm of the mean square error for which a parameter leaves its default."""

_CANDIDATES: tuple[tuple[dict[str, Any], ...], ...] = (
    tuple({"gain_std": value} for value in (0.0, 0.1, 0.2, 0.4, 0.7, 1.2)),
    tuple({"tau": tau, "noise": noise} for tau in (20.0, 45.0, 90.0) for noise in (0.003, 0.01, 0.03, 0.15, 0.5)),
    tuple({"level": value} for value in (0.5, 2.0, 6.0, 20.0)),
)
"""What is tried, in this order; time and noise go together, because one makes up for the other."""

_COARSE_GAINS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)


@dataclass(frozen=True)
class Case:
    """One left-out image on the clear pixels of the lattice.

    Parameters
    ----------
    fine, change : Tensor, (K, B, P)
        References minus the lifted coarse of the target (0 where not clear), and the lifted coarse change to the target.
    trust : Tensor, (K, P)
        Precision of each reference in units of 1 / noise; 0 where not clear.
    offsets : list of int, (K,)
        Days from the target.
    truth : Tensor, (B, P)
        The left-out image minus the lifted coarse of its day.
    measured : Tensor, (B, 1)
        1 σ of one value of it.
    """

    fine: Tensor
    change: Tensor
    trust: Tensor
    offsets: list[int]
    truth: Tensor
    measured: Tensor


@dataclass(frozen=True)
class Score:
    """Errors of all cases.

    Parameters
    ----------
    losses : Tensor, (B, cases)
        Logarithm of the mean square error of each case, so that no single image decides.
    share : Tensor, (cases,)
        Share of each case in all pixels.
    error : Tensor, (B,)
        Mean square, winsorised, free of the noise of the left-out images.
    variance : Tensor, (B,)
        Mean predicted variance.
    """

    losses: Tensor
    share: Tensor
    error: Tensor
    variance: Tensor


def calibrate(method: Residual, samples: Sequence[FusionInput]) -> dict[str, Any]:
    """Parameters of an area as a JSON-ready mapping; ``{}`` when the samples hold no two clear images near in time.

    Parameters
    ----------
    method : Residual
        Its options say how far references may lie.
    samples : sequence of FusionInput
        Typical blocks of the area with their series.
    """
    cases = _evenly([case for sample in samples for case in _cases(method, sample)], _CASES)
    if not cases or sum(case.truth.shape[1] for case in cases) < _MIN_PIXELS:
        return {}
    known = _sized(Parameters.of({}, len(cases[0].truth)), cases)
    known = _sized(_follow(known, cases), cases)
    for candidates in _CANDIDATES:
        start, *others = _scores([known, *(replace(known, **changes) for changes in candidates)], cases)
        gains = [_gain(start, other).mean(dim=0) for other in others]
        best = max(range(len(gains)), key=lambda place: float(gains[place] @ start.share))
        if bool(_believed(gains[best], start.share)):
            known = _sized(replace(known, **candidates[best]), cases)
    known = _sized(_follow(known, cases), cases)
    (final,) = _scores([known], cases)
    scale = (final.error / final.variance).sqrt().clamp(0.3, 3.0)
    mapping = asdict(replace(known, std_scale=tuple(round(float(value), 4) for value in scale)))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()}


def _cases(method: Residual, sample: FusionInput) -> Iterator[Case]:
    """Leave out each fine image of a sample in turn."""
    references = References.of(sample, torch.device("cpu"))
    block, (height, width) = references.block, references.shape[1:]
    step = max(math.isqrt(height * width // _PIXELS), 1)
    lattice = (..., slice(None, None, step), slice(None, None, step))
    fine = block.fine[lattice].flatten(2)
    trust = [precision_of(references, index, 1.0, method.options)[lattice].flatten() for index in range(len(references.clear))]
    coarse = [lift(references.coarse_of(day)[0], block.scale)[lattice].flatten(1) for day in block.fine_days]
    for left_out, target in enumerate(block.fine_days):
        indices = references.around(target, *method.options.support())
        if not indices:
            continue
        use = (trust[left_out] > 0) & torch.isfinite(coarse[left_out]).all(dim=0)
        use &= torch.stack([trust[index] > 0 for index in indices]).any(dim=0)
        for index in indices:
            use &= torch.isfinite(coarse[index]).all(dim=0)
        indices = [index for index in indices if bool((trust[index][use] > 0).any())]
        if not indices:
            continue
        prior = coarse[left_out][:, use]
        trusted = torch.stack([trust[index][use] for index in indices])
        moved = torch.stack([fine[index][:, use] - prior for index in indices])
        yield Case(
            fine=torch.where(trusted[:, None] > 0, moved, 0.0),
            change=torch.stack([prior - coarse[index][:, use] for index in indices]),
            trust=trusted,
            offsets=[block.fine_days[index] - target for index in indices],
            truth=fine[left_out][:, use] - prior,
            measured=block.fine_std[left_out][:, None],
        )


def _scores(variants: Sequence[Parameters], cases: Sequence[Case]) -> list[Score]:
    """Scores of some parameters; those of one tau are worked out together."""
    scores: dict[int, Score] = {}
    for tau in {known.tau for known in variants}:
        places = [place for place, known in enumerate(variants) if known.tau == tau]
        scores |= zip(places, _scores_of_tau(tau, [variants[place] for place in places], cases), strict=True)
    return [scores[place] for place in range(len(variants))]


def _scores_of_tau(tau: float, variants: Sequence[Parameters], cases: Sequence[Case]) -> Iterator[Score]:
    # Shapes (B, V, 1) and (V, 1): the variants lie beside each other like pixels.
    process, gain = (torch.tensor([getattr(known, name) for known in variants]).T[:, :, None] for name in ("process", "coarse_gain"))
    noise, level, gain_std = (torch.tensor([[getattr(known, name)] for known in variants]) for name in ("noise", "level", "gain_std"))
    tell = tell_weights(process)[..., 0]
    errors, variances = [], []
    for case in cases:

        def values(place: int, case: Case = case) -> Tensor:
            change = case.change[place][:, None]
            return torch.stack([change.expand(-1, len(variants), -1), torch.addcmul(case.fine[place][:, None], change, gain)])

        told = torch.einsum("bv,kbp->kvp", tell, case.fine) + torch.einsum("bv,kbp->kvp", tell * gain[..., 0], case.change)
        smoothed = smooth(told, case.trust[:, None] / noise, values, case.offsets, tau, level, (process / gain_std).square())
        square = (case.truth[:, None] - smoothed.mean).square()
        limit = _WINSOR**2 * square.median(dim=-1, keepdim=True).values / _MEDIAN_CHI2
        errors.append(torch.minimum(square, limit).mean(dim=-1))
        variances.append((process.square() * smoothed.variance).mean(dim=-1))
    counts = torch.tensor([float(case.truth.shape[1]) for case in cases])
    share = counts / counts.sum()
    measured = torch.cat([case.measured.square() for case in cases], dim=1) @ share
    for losses, variance in zip(torch.stack(errors, dim=-1).unbind(1), torch.stack(variances, dim=-1).unbind(1), strict=True):
        error = losses @ share
        yield Score(
            losses=losses.clamp(min=1e-10).log(),
            share=share,
            error=(error - measured).clamp(min=0.1 * error),
            variance=(variance @ share).clamp(min=1e-10),
        )


def _gain(start: Score, other: Score) -> Tensor:
    """How much better another score is, (B, cases)."""
    return start.losses - other.losses


def _believed(gain: Tensor, share: Tensor) -> Tensor:
    """Whether a gain (..., cases) exceeds its own standard error over the cases: pixels of one image are no independent witnesses."""
    mean = gain @ share
    if len(share) < _MIN_CASES:
        return torch.zeros_like(mean, dtype=torch.bool)
    error = ((gain - mean[..., None]).square() @ share.square()).sqrt()
    return mean > torch.clamp(error, min=_WORTH)


def _follow(known: Parameters, cases: Sequence[Case]) -> Parameters:
    """The share of the coarse change that pixels follow, band by band."""
    start, *others = _scores([known, *(replace(known, coarse_gain=(gain,) * len(known.process)) for gain in _COARSE_GAINS)], cases)
    gains = torch.stack([_gain(start, other) - _GAIN_PRIOR * (gain - 1) ** 2 for gain, other in zip(_COARSE_GAINS, others, strict=True)])
    best = (gains @ start.share).argmax(dim=0)
    chosen = []
    for band, (choice, old) in enumerate(zip(best.tolist(), known.coarse_gain, strict=True)):
        better = bool(_believed(gains[choice, band] + _GAIN_PRIOR * (old - 1) ** 2, start.share))
        chosen.append(_COARSE_GAINS[choice] if better else old)
    return replace(known, coarse_gain=tuple(chosen))


def _sized(known: Parameters, cases: Sequence[Case]) -> Parameters:
    """The size of the process that makes the predicted variance equal to the error."""
    (score,) = _scores([known], cases)
    factor = (score.error / score.variance).sqrt()
    return replace(known, process=tuple(round(float(value * size), 6) for value, size in zip(factor, known.process, strict=True)))


def _evenly(items: list[Case], count: int) -> list[Case]:
    if len(items) <= count:
        return items
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
