"""Closed-form smoothing in time: a level plus an Ornstein–Uhlenbeck process, seen with noise at some days.

The process x at K observations and one target is Markov, so its precision Q is
tridiagonal; with the precision P of the observations everything below is a tridiagonal
solve with Q + P, pixel by pixel, whatever the pattern of clouds (Rasmussen & Williams
2006, eq. 2.25–2.26 with constant and linear basis functions, eq. 2.41–2.42). Both ends
are eliminated towards the target, so what is wanted there is known before anything is
solved back. All variances are in units of the process variance, so one solution serves
all bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What the observations say of some quantities seen at them.

    Parameters
    ----------
    target : Tensor, (R, ...)
        Posterior mean of each quantity at the target.
    products : Tensor, (R, ...)
        Each quantity times the first one under the inverse of the covariance of the observations.
    """

    target: Tensor
    products: Tensor


@dataclass(frozen=True)
class Chain:
    """The prior precision of the process at the observations and the target.

    Parameters
    ----------
    diagonal : tuple of float, (K,)
        At the observations.
    target : float
        At the target.
    link : tuple of float, (K,)
        Minus the element between each observation and its neighbour towards the target.
    arms : tuple of tuples of (int, int or None)
        The observations before and those after the target, each from the end to the target, with their neighbours on that
        way; None = the target.
    """

    diagonal: tuple[float, ...]
    target: float
    link: tuple[float, ...]
    arms: tuple[tuple[tuple[int, int | None], ...], ...]


@lru_cache(maxsize=1024)
def _chain(offsets: tuple[int, ...], tau: float) -> Chain:
    count, split = len(offsets), sum(offset < 0 for offset in offsets)
    decay = [math.exp(-(late - early) / tau) for early, late in pairwise([*offsets[:split], 0, *offsets[split:]])]
    diagonal = [1.0] * (count + 1)
    for place, a in enumerate(decay):
        diagonal[place] += a * a / (1 - a * a)
        diagonal[place + 1] += a * a / (1 - a * a)
    arms = (range(split), range(count - 1, split - 1, -1))
    return Chain(
        diagonal=(*diagonal[:split], *diagonal[split + 1 :]),
        target=diagonal[split],
        link=tuple(a / (1 - a * a) for a in decay),
        arms=tuple(tuple(zip(arm, [*arm[1:], None], strict=True)) if arm else () for arm in arms),
    )


class Bridge:
    """The posterior of level + process at a target day, given the precision of the observations around it.

    Parameters
    ----------
    precision : Tensor, (K, ...)
        Of each observation; 0 = not observed. K is at least 1.
    offsets : sequence of int, (K,)
        Days of the observations from the target, increasing, none of them 0.
    tau : float
        e-folding time of the process [days].
    level : float or Tensor, (...)
        Prior variance of the level.
    """

    def __init__(self, precision: Tensor, offsets: Sequence[int], tau: float, level: float | Tensor) -> None:
        chain = _chain(tuple(offsets), tau)
        self._arms = chain.arms
        self._precision = precision
        self._inverse = precision + self._per_observation(chain.diagonal)
        pivots = self._inverse.unbind()
        target = torch.full_like(precision[0], chain.target)
        for arm in self._arms:
            for outer, inner in arm:
                pivots[outer].reciprocal_()
                (target if inner is None else pivots[inner]).sub_(pivots[outer], alpha=chain.link[outer] ** 2)
        self._target_variance = target.reciprocal_()
        self._coupling = self._inverse * self._per_observation(chain.link)

        self._ones, self._seen = self._reduced(precision)
        self._level_variance = (self._ones.sum(dim=0) + 1.0 / level).reciprocal_()
        self._open = (1 - self._seen) * self._level_variance

    @cached_property
    def share(self) -> Tensor:
        """Sum of the weights of all observations in the mean at the target."""
        return torch.addcmul(self._seen, self._open, self._ones.sum(dim=0))

    @cached_property
    def variance(self) -> Tensor:
        """Posterior variance of level + process at the target."""
        return torch.addcmul(self._target_variance, 1 - self._seen, self._open)

    def whiten(self, values: Tensor) -> Tensor:
        """The inverse of the covariance of the observations times `values`, both (K, ...)."""
        white, _ = self._reduced(self._precision * values)
        level = white.sum(dim=0).mul_(self._level_variance)
        return white.addcmul_(self._ones, level, value=-1)

    def information(self) -> Tensor:
        """The diagonal of the inverse of the covariance of the observations, (K, ...)."""
        posterior = self._coupling.square()
        diagonal, inverse = posterior.unbind(), self._inverse.unbind()
        for arm in self._arms:
            for outer, inner in reversed(arm):
                nearer = self._target_variance if inner is None else diagonal[inner]
                torch.addcmul(inverse[outer], diagonal[outer], nearer, out=diagonal[outer])
        known = torch.addcmul(self._precision, self._precision, posterior.mul_(self._precision), value=-1)
        return known.addcmul_(self._ones.square(), self._level_variance, value=-1).clamp_(min=0)

    def read(self, values: Callable[[int], Tensor]) -> Reading:
        """What the observations say of R quantities.

        Parameters
        ----------
        values : callable
            Gives the values (R, ..., pixels) at an observation by its place in 0 … K − 1. Each is asked for once, the
            nearest last on either side of the target, and may be overwritten by the next.
        """
        precision, inverse, coupling, ones = (part.unbind() for part in (self._precision, self._inverse, self._coupling, self._ones))
        totals: list[Tensor] = []
        for arm in self._arms:
            carried: Tensor | None = None
            carrier = 0
            for outer, inner in arm:
                value = values(outer)
                if not totals:
                    totals = [torch.zeros_like(value) for _ in range(3)]
                target, level, products = totals
                weighted = value * precision[outer]
                level.addcmul_(value, ones[outer])
                products.addcmul_(value, weighted[0])
                if carried is not None:
                    weighted.addcmul_(carried, coupling[carrier])
                products.addcmul_(weighted, weighted[0] * inverse[outer], value=-1)
                carried, carrier = weighted, outer
                if inner is None:
                    target.addcmul_(carried, coupling[outer])
        products.addcmul_(target, target[0] * self._target_variance, value=-1)
        products.addcmul_(level, level[0] * self._level_variance, value=-1)
        return Reading(target.mul_(self._target_variance).addcmul_(level, self._open), products)

    def _reduced(self, right: Tensor) -> tuple[Tensor, Tensor]:
        """``right − P (Q + P)⁻¹ right`` at the observations, and ``(Q + P)⁻¹ right`` at the target, where `right` is zero."""
        solved = right.clone()
        rows, coupling = solved.unbind(), self._coupling.unbind()
        target = torch.zeros_like(right[0])
        for arm in self._arms:
            for outer, inner in arm:
                (target if inner is None else rows[inner]).addcmul_(rows[outer], coupling[outer])
        target.mul_(self._target_variance)
        solved.mul_(self._inverse)
        for arm in self._arms:
            for outer, inner in reversed(arm):
                rows[outer].addcmul_(target if inner is None else rows[inner], coupling[outer])
        return torch.addcmul(right, self._precision, solved, value=-1, out=solved), target

    def _per_observation(self, values: Sequence[float]) -> Tensor:
        return self._precision.new_tensor(values).reshape(-1, *[1] * (self._precision.dim() - 1))
