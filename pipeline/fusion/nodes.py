"""An Ornstein–Uhlenbeck process at the days of images, given what was seen there: a tridiagonal solve, pixel by pixel.

The process is Markov, so the inverse of its covariance at K days is tridiagonal (Rue & Held 2005, Gaussian Markov random
fields, ch. 1.2). One elimination serves any number of series with the same pattern of clouds, and between two days the process
follows from its values there. All variances are in units of the variance of the process.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Place(NamedTuple):
    """Where a day lies among the nodes.

    Parameters
    ----------
    before, after : int
        The nodes on either side; the same one outside the first and the last.
    near, far : float
        Weights of the process at `before` and `after`.
    open : float
        Variance of the process that is left when it is known at both.
    """

    before: int
    after: int
    near: float
    far: float
    open: float


class Nodes:
    """The posterior of the process at the nodes.

    Parameters
    ----------
    precision : Tensor, (K, P)
        Of the observation of each node; 0 = not observed.
    days : sequence of int, (K,)
        Day numbers, increasing. K is at least 1.
    tau : float
        e-folding time of the process [days].
    """

    def __init__(self, precision: Tensor, days: Sequence[int], tau: float) -> None:
        self.precision, self.days, self.tau = precision, tuple(days), tau
        decay = [math.exp((early - late) / tau) for early, late in pairwise(self.days)]
        diagonal = [1.0] * len(self.days)
        for place, a in enumerate(decay):
            diagonal[place] += a * a / (1 - a * a)
            diagonal[place + 1] += a * a / (1 - a * a)
        inverse = precision + precision.new_tensor(diagonal)[:, None]
        # How much of a node goes over to the next when it is eliminated, and comes back when it is solved for.
        self._passed = precision.new_empty((len(decay), *precision.shape[1:]))
        for place, a in enumerate(decay):
            link = a / (1 - a * a)
            inverse[place].reciprocal_()
            torch.mul(inverse[place], link, out=self._passed[place])
            inverse[place + 1].sub_(self._passed[place], alpha=link)
        inverse[-1].reciprocal_()
        self._inverse = inverse

    def smooth(self, values: Tensor) -> Tensor:
        """Posterior mean (K, ..., P) of the process at the nodes from values (K, ..., P) seen there."""
        lead = (len(values),) + (1,) * (values.dim() - 2) + (-1,)
        precision, inverse = self.precision.view(lead), self._inverse.view(lead)
        solved = values * precision
        passed = [part.expand_as(solved[0]) for part in self._passed]
        rows = solved.unbind()
        for place, share in enumerate(passed):
            rows[place + 1].addcmul_(rows[place], share)
        solved.mul_(inverse)
        for place in reversed(range(len(passed))):
            rows[place].addcmul_(rows[place + 1], passed[place])
        return solved

    def spread(self) -> tuple[Tensor, Tensor]:
        """Posterior variance (K, P) of the process at the nodes, and covariance (K − 1, P) of each with the next."""
        variance, covariance = self._inverse.clone(), self._passed.clone()
        for place in reversed(range(len(covariance))):
            covariance[place].mul_(variance[place + 1])
            variance[place].addcmul_(covariance[place], self._passed[place])
        return variance, covariance

    def place(self, day: int) -> Place:
        """How the process on a day follows from its nodes."""
        after = bisect_right(self.days, day)
        if after == 0 or after == len(self.days):
            end = min(after, len(self.days) - 1)
            a = math.exp(-abs(day - self.days[end]) / self.tau)
            return Place(end, end, a, 0.0, 1.0 - a * a)
        a, b = (math.exp(-abs(day - self.days[node]) / self.tau) for node in (after - 1, after))
        rest = 1.0 - (a * b) ** 2
        near, far = a * (1 - b * b) / rest, b * (1 - a * a) / rest
        return Place(after - 1, after, near, far, max(1.0 - near * a - far * b, 0.0))
