"""Closed-form smoothing in time: a level plus an Ornstein–Uhlenbeck process, seen with noise at some days.

The process x at K observations and one target is Markov, so its precision Q is
tridiagonal; with the precision P of the observations everything below is a tridiagonal
solve with Q + P, pixel by pixel, whatever the pattern of clouds (Rasmussen & Williams
2006, eq. 2.25–2.26 with constant and linear basis functions, eq. 2.41–2.42). All
variances are in units of the process variance, so one solution serves all bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


class Bridge:
    """The posterior of level + process at a target day, given the precision of the observations around it.

    Parameters
    ----------
    precision : sequence of Tensor, K of shape (...)
        Of each observation; 0 = not observed.
    offsets : sequence of int, (K,)
        Days of the observations from the target, increasing, none of them 0.
    tau : float
        e-folding time of the process [days].
    level : float
        Prior variance of the level.
    """

    def __init__(self, precision: Sequence[Tensor], offsets: Sequence[int], tau: float, level: float) -> None:
        self.precision = list(precision)
        split = sum(offset < 0 for offset in offsets)
        nodes = [*offsets[:split], 0, *offsets[split:]]
        self._split = split
        self._order = [place for place in range(len(nodes)) if place != split]
        decay = [math.exp(-(late - early) / tau) for early, late in pairwise(nodes)]
        self._link = [a / (1 - a * a) for a in decay]
        self._diagonal = [1.0] * len(nodes)
        for place, a in enumerate(decay):
            self._diagonal[place] += a * a / (1 - a * a)
            self._diagonal[place + 1] += a * a / (1 - a * a)
        total = dict(zip(self._order, self.precision, strict=True))
        self._total = [total[place] + self._diagonal[place] if place in total else None for place in range(len(nodes))]
        # Eliminate downwards in time; inverse pivots and couplings serve every right-hand side.
        self._inverse: list[Tensor] = []
        self._coupling: list[Tensor] = []
        for place in range(len(nodes)):
            pivot = self._entry(place)
            if place:
                coupling = self._link[place - 1] * self._inverse[-1]
                self._coupling.append(coupling)
                pivot = pivot - self._link[place - 1] * coupling
            self._inverse.append(pivot.reciprocal())

        ones = self._solve(self.precision)
        self.ones = [torch.addcmul(p, p, z, value=-1) for p, z in zip(self.precision, self._observed(ones), strict=True)]
        self.level_variance = (torch.stack(self.ones).sum(dim=0) + 1.0 / level).reciprocal()
        self._open = (1 - ones[split]) * self.level_variance
        self._seen = ones[split]

    @cached_property
    def weights(self) -> list[Tensor]:
        """Weight of each observation in the mean at the target."""
        process = self._observed(self._process)
        return [torch.addcmul(p * g, s, self._open) for p, g, s in zip(self.precision, process, self.ones, strict=True)]

    @cached_property
    def variance(self) -> Tensor:
        """Posterior variance of level + process at the target."""
        return self._process[self._split] + (1 - self._seen) * self._open

    def whiten(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The inverse of the covariance of the observations times `values`, K of shape (...) or (B, ...)."""
        weighted = [p * v for p, v in zip(self.precision, values, strict=True)]
        solved = self._observed(self._solve(weighted))
        plain = [p * z for p, z in zip(self.precision, solved, strict=True)]
        plain = [torch.sub(w, z, out=z) for w, z in zip(weighted, plain, strict=True)]
        level = sum(plain[1:], plain[0].clone()) * self.level_variance
        return [torch.addcmul(v, s, level, value=-1, out=v) for v, s in zip(plain, self.ones, strict=True)]

    def information(self) -> list[Tensor]:
        """The diagonal of the inverse of the covariance of the observations."""
        count = len(self._total)
        upward: list[Tensor] = [torch.empty(0)] * count
        for place in reversed(range(count)):
            pivot = self._entry(place)
            if place + 1 < count:
                pivot = pivot - self._link[place] ** 2 / upward[place + 1]
            upward[place] = pivot
        posterior = [1.0 / (1.0 / self._inverse[place] + upward[place] - self._entry(place)) for place in self._order]
        return [
            (p - p.square() * g - s.square() * self.level_variance).clamp(min=0)
            for p, g, s in zip(self.precision, posterior, self.ones, strict=True)
        ]

    def _entry(self, place: int) -> Tensor:
        """A diagonal element of Q + P."""
        total = self._total[place]
        return torch.full_like(self.precision[0], self._diagonal[place]) if total is None else total

    def _observed(self, nodes: list[Tensor]) -> list[Tensor]:
        return [nodes[place] for place in self._order]

    def _solve(self, right: Sequence[Tensor]) -> list[Tensor]:
        """(Q + P)⁻¹ applied to values at the observations (0 at the target), returned at all nodes."""
        nodes = [*right[: self._split], torch.zeros_like(right[0]), *right[self._split :]]
        for place in range(1, len(nodes)):
            nodes[place] = torch.addcmul(nodes[place], self._coupling[place - 1], nodes[place - 1])
        return self._back(nodes)

    @cached_property
    def _process(self) -> list[Tensor]:
        """(Q + P)⁻¹ applied to the unit vector of the target."""
        zero = torch.zeros_like(self.precision[0])
        nodes = [zero] * self._split + [torch.ones_like(zero)]
        for place in range(self._split + 1, len(self._total)):
            nodes.append(self._coupling[place - 1] * nodes[place - 1])
        return self._back(nodes)

    def _back(self, nodes: list[Tensor]) -> list[Tensor]:
        nodes[-1] = nodes[-1] * self._inverse[-1]
        for place in range(len(nodes) - 2, -1, -1):
            nodes[place] = torch.addcmul(nodes[place] * self._inverse[place], self._coupling[place], nodes[place + 1])
        return nodes
