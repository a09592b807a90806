"""A standard deviation for methods that have none: how large their errors were at withheld observations, by time to the nearest ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput, Method

_MEMORY = 30.0
"""e-folding time of what an observation says [days]."""

_IMAGES = 6
"""Images of a sample that are withheld, one after the other: enough for two numbers per band."""

_CLIP = 5.0
"""Errors above so many robust σ are missed clouds rather than errors of the method."""


@dataclass(frozen=True)
class ErrorModel:
    """Variance of the error of a prediction: one that is always there, and one that grows with the time to what was observed.

    Parameters
    ----------
    floor, change : tuple of float, one per band or one for all
        1 σ beside an observation, and what is added far away from any [reflectance].
    """

    floor: tuple[float, ...] = (0.01,)
    change: tuple[float, ...] = (0.03,)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> ErrorModel:
        """Read what `withheld_errors` wrote; defaults where it wrote nothing."""
        return cls(**{name: tuple(parameters.get(name, default)) for name, default in asdict(cls()).items()})

    def std(self, gap: Tensor, bands: int) -> Tensor:
        """1 σ (B, y, x) of a prediction.

        Parameters
        ----------
        gap : Tensor, (y, x)
            As `gap_between` gives it; infinite where nothing was observed.
        bands : int
        """
        floor, change = (gap.new_tensor(value).square().expand(bands)[:, None, None] for value in (self.floor, self.change))
        return torch.addcmul(floor, change, _grown(gap)).sqrt_()


def gap_between(before: Tensor, after: Tensor) -> Tensor:
    """Days that count for the error between two observations: those to the only one, and as the variance of a Brownian bridge between two.

    Parameters
    ----------
    before, after : Tensor
        Days to the nearest observation on either side; infinite where there is none.
    """
    return 1.0 / (1.0 / before + 1.0 / after)


def withheld_errors(
    method: Method, samples: Sequence[FusionInput], gaps: Callable[[Any, int], Tensor], parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Predict the days of fine images, which a method never looks at, and learn an `ErrorModel` from its errors.

    Parameters
    ----------
    method : Method
    samples : sequence of FusionInput
        Images of the area.
    gaps : callable
        Gives the gap (y, x) of a target from the prepared sample and the target.
    parameters : mapping, optional
        What else the method has learnt.

    Returns
    -------
    dict
        Parameters of `ErrorModel`; ``{}`` where nothing could be withheld.
    """
    normal: Tensor | None = None
    for sample in samples:
        state = method.prepare(sample, parameters or {}, torch.device("cpu"))
        chosen = withheld_images(len(sample.fine_days))
        days = method.days(state, [sample.fine_days[index] for index in chosen])
        for index, day in zip(chosen, days, strict=True):
            sums = _sums(day.mean - sample.fine[index], gaps(state, day.day), sample.fine_std[index])
            normal = sums if normal is None else normal + sums
    if normal is None or not bool((normal[:, 0] > 0).all()):
        return {}
    floor, change = _two_variances(normal)
    return {"floor": [round(value, 5) for value in floor.sqrt().tolist()], "change": [round(value, 5) for value in change.sqrt().tolist()]}


def withheld_images(count: int) -> range:
    """Of so many fine images those that are withheld, spread over all."""
    return range(0, count, max(-(-count // _IMAGES), 1))


def _grown(gap: Tensor) -> Tensor:
    return 1.0 - torch.exp(-gap / _MEMORY)


def _sums(error: Tensor, gap: Tensor, noise: Tensor) -> Tensor:
    """(B, 5): count, Σg, Σg², Σe², Σg·e² of the clear pixels within reach of an observation; e² without the noise of the observation."""
    seen = torch.isfinite(error).all(dim=0) & torch.isfinite(gap)
    values, growth = error[:, seen].double(), _grown(gap[seen]).double()
    if not values.shape[1]:
        return error.new_zeros((len(error), 5), dtype=torch.float64)
    squares = without_missed_clouds(values).square_() - noise.double()[:, None].square()
    ones = torch.ones_like(growth)
    design = torch.stack([ones, growth, growth.square()]).sum(dim=1).expand(len(error), 3)
    return torch.cat([design, squares.sum(dim=1, keepdim=True), (squares * growth).sum(dim=1, keepdim=True)], dim=1)


def without_missed_clouds(errors: Tensor) -> Tensor:
    """Errors (..., n) with those above some robust σ cut down to that."""
    limit = _CLIP * 1.4826 * errors.abs().median(dim=-1, keepdim=True).values
    return torch.maximum(torch.minimum(errors, limit), -limit)


def _two_variances(normal: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of e² on 1 and g; where one variance would be negative it is zero and the other is fitted alone."""
    count, first, second, right, cross = normal.unbind(dim=1)
    determinant = (count * second - first.square()).clamp(min=1e-12)
    floor = (second * right - first * cross) / determinant
    change = (count * cross - first * right) / determinant
    alone = (right / count).clamp(min=1e-8)
    steady = change <= 0
    rising = (floor <= 0) & ~steady
    floor = torch.where(steady, alone, torch.where(rising, 1e-8, floor))
    change = torch.where(steady, 0.0, torch.where(rising, cross / second.clamp(min=1e-12), change))
    return floor, change
