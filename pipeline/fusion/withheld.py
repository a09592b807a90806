"""A standard deviation for methods that have none: how large their errors were at withheld observations, and under what circumstances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput, Method
from pipeline.operators.least_squares import non_negative
from pipeline.operators.resample import lift

_MEMORY = 30.0
"""e-folding time of what an observation says [days]."""

_IMAGES = 12
"""Images of a sample that are withheld, one after the other: with half as many a single strange one decides."""

_PIXELS = 1 << 14
"""Pixels of a sample that are looked at in each of them."""

ONE_SIGMA = 0.683
"""Share of normal errors within 1 σ."""

_FEW = 4
"""Images below which nothing is learnt of the coarse: they cannot tell what is usual from what was the case on one day."""

_CLIP = 3.0
"""Errors count up to so many σ. They have long tails, and images miss clouds: larger ones would make σ too large nearly everywhere."""

_MISSED = 5.0
"""Errors above so many robust σ are missed clouds rather than errors of a method."""

_ROUNDS = 8
"""Of fitting variances with weights that follow from them."""

_LEAST = 1e-6
"""Smallest variance: 1 σ of 0.001 reflectance."""


@dataclass(frozen=True)
class Circumstances:
    """What the error of a prediction depends on.

    Parameters
    ----------
    gap : Tensor, (y, x)
        Days that count between the observations, as `gap_between` gives them; infinite where nothing was observed.
    change, apart : Tensor, (B, Y, X)
        Of cells: square of the coarse change since the observations, and of the mean of their fine pixels minus their coarse: a cloud that
        the mask missed, or snow that the coarse did not see. 0 where unknown.
    doubt : Tensor, (B, y, x), or None
        Variance that observations in doubt have more than others.
    """

    gap: Tensor
    change: Tensor
    apart: Tensor
    doubt: Tensor | None = None

    @property
    def scale(self) -> int:
        """Fine pixels along the edge of a cell."""
        return self.gap.shape[-1] // self.change.shape[-1]


@dataclass(frozen=True)
class ErrorModel:
    """Variance of the error of a prediction: the sum of four, of which one is always there.

    Parameters
    ----------
    floor, change : tuple of float, one per band or one for all
        1 σ beside an observation, and what is added far away from any [reflectance].
    follow, apart : tuple of float
        Share of the coarse change, and of the distance between the fine and the coarse observations, that is error.
    """

    floor: tuple[float, ...] = (0.01,)
    change: tuple[float, ...] = (0.03,)
    follow: tuple[float, ...] = (0.5,)
    apart: tuple[float, ...] = (0.5,)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> ErrorModel:
        """Read what `withheld_errors` wrote; defaults where it wrote nothing."""
        return cls(**{name: tuple(parameters.get(name, default)) for name, default in asdict(cls()).items()})

    def std(self, given: Circumstances) -> Tensor:
        """1 σ (B, y, x) of a prediction."""
        floor, change, follow, apart = (given.gap.new_tensor(value).square()[:, None, None] for value in asdict(self).values())
        variance = lift((follow * given.change).addcmul_(apart, given.apart), given.scale).clamp_(min=0.0)
        variance.addcmul_(change, _grown(given.gap)).add_(floor)
        return (variance if given.doubt is None else variance.add_(given.doubt)).sqrt_()


def gap_between(before: Tensor, after: Tensor) -> Tensor:
    """Days that count for the error between two observations: those to the only one, and as the variance of a Brownian bridge between two.

    Parameters
    ----------
    before, after : Tensor
        Days to the nearest observation on either side; infinite where there is none.
    """
    return 1.0 / (1.0 / before + 1.0 / after)


def withheld_errors(
    method: Method,
    samples: Sequence[FusionInput],
    circumstances: Callable[[Any, int], Circumstances],
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict the days of fine images, which a method never looks at, and learn an `ErrorModel` from its errors.

    Nothing is taken off the errors for the noise of the withheld image: what is stated of it covers what images share,
    and can be more than all of the error.

    Parameters
    ----------
    method : Method
    samples : sequence of FusionInput
        Images of the area.
    circumstances : callable
        Gives the circumstances of a target from the prepared sample and the target.
    parameters : mapping, optional
        What else the method has learnt.

    Returns
    -------
    dict
        Parameters of `ErrorModel`; ``{}`` where nothing could be withheld.
    """
    found: list[tuple[int, Tensor, Tensor]] = []
    for sample in samples:
        state = method.prepare(sample, parameters or {}, torch.device("cpu"))
        chosen = withheld_images(len(sample.fine_days))
        days = method.days(state, [sample.fine_days[index] for index in chosen])
        for index, day in zip(chosen, days, strict=True):
            given = circumstances(state, day.day)
            error, terms = day.mean - sample.fine[index], _terms(given)
            seen = torch.isfinite(error).all(dim=0) & torch.isfinite(given.gap)
            if sample.fine_doubt is not None:
                seen &= sample.fine_doubt[index] <= 1
            # As large a part of every image, so that a few pixels between clouds count for little.
            step = max(seen.numel() // _PIXELS, 1)
            error, terms = error[:, seen][:, ::step].double(), terms[..., seen][..., ::step].double()
            if error.shape[1]:
                found.append((day.day, error, terms))
    if not found:
        return {}
    counts: dict[int, int] = {}
    for at, error, _ in found:
        counts[at] = counts.get(at, 0) + error.shape[1]
    images = sum(counts.values()) ** 2 / sum(count**2 for count in counts.values())
    few = len(counts) < _FEW
    variances = fitted(torch.cat([error for _, error, _ in found], dim=1), torch.cat([terms for *_, terms in found], dim=2), few)
    variances *= _of_another(images)
    variances[:, 0].clamp_(min=_LEAST)
    names = list(asdict(ErrorModel()))
    return {name: [round(value, 5) for value in part.sqrt().tolist()] for name, part in zip(names, variances.T, strict=True)}


def withheld_images(count: int) -> range:
    """Of so many fine images those that are withheld, spread over all."""
    return range(0, count, max(-(-count // _IMAGES), 1))


def fitted(errors: Tensor, terms: Tensor, few: bool = False) -> Tensor:
    """Variances that explain errors best, as of normal errors, by least squares with the weights that follow from them.

    Parameters
    ----------
    errors : Tensor, (B, n)
    terms : Tensor, (T, B, n)
        What each variance is multiplied by; the first is 1.
    few : bool
        Only the first two are fitted, the others are zero.

    Returns
    -------
    Tensor, (B, T)
    """
    usable = torch.ones(terms.shape[:2], dtype=torch.bool, device=errors.device)
    usable[2:] = not few
    squares = errors.square()
    middle = errors.abs().median(dim=1, keepdim=True).values
    variance = (1.4826 * middle).square().clamp(min=_LEAST).expand_as(squares)
    found = errors.new_zeros(terms.shape[:2])
    for _ in range(_ROUNDS):
        weight = variance.square().reciprocal()
        gram = torch.einsum("ibn,jbn,bn->ijb", terms, terms, weight)
        right = torch.einsum("ibn,bn->ib", terms, torch.minimum(squares, _CLIP**2 * variance) * weight)
        found = non_negative(gram, right, usable, found)
        variance = torch.einsum("ib,ibn->bn", found, terms).clamp(min=_LEAST)
    return found.T


def sigma_factor(square: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
    """The factor f of σ with which as many errors lie within √(f² · variance + noise) as of a normal distribution within 1 σ.

    Parameters
    ----------
    square : Tensor, (B, n)
        Squared errors against what was withheld.
    variance : Tensor, broadcast to (B, n)
        Stated variance of the predictions.
    noise : Tensor, broadcast to (B, n)
        Variance of what was withheld.

    Returns
    -------
    Tensor, (B, 1)
        Between 0.1 and 10.
    """
    low, high = square.new_full((len(square), 1), 0.1), square.new_full((len(square), 1), 10.0)
    for _ in range(30):
        middle = (low * high).sqrt()
        share = (square <= middle.square() * variance + noise).double().mean(dim=1, keepdim=True)
        low, high = torch.where(share < ONE_SIGMA, middle, low), torch.where(share < ONE_SIGMA, high, middle)
    return (low * high).sqrt()


def without_missed_clouds(errors: Tensor) -> Tensor:
    """Errors (..., n) with those above some robust σ cut down to that."""
    limit = _MISSED * 1.4826 * errors.abs().median(dim=-1, keepdim=True).values
    return torch.maximum(torch.minimum(errors, limit), -limit)


def _of_another(images: float) -> float:
    """Factor of a variance found in some images for another one, which is an error of its own: that of a normal sample."""
    count = max(images, 2.0)
    return (count + 1) / (count - 1)


def _grown(gap: Tensor) -> Tensor:
    return 1.0 - torch.exp(-gap / _MEMORY)


def _terms(given: Circumstances) -> Tensor:
    """What the variances of `ErrorModel` are multiplied by, (4, B, y, x)."""
    cells = lift(torch.stack([given.change, given.apart]), given.scale).clamp_(min=0.0)
    grown = _grown(given.gap).expand_as(cells[0])
    return torch.cat([torch.stack([torch.ones_like(grown), grown]), cells])
