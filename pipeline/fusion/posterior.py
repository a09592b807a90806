"""What a pixel does in time, in closed form: an Ornstein–Uhlenbeck process on top of a level, a season and the coarse anomaly.

A Gaussian process with explicit basis functions whose weights have priors (Rasmussen & Williams 2006, eq. 2.39–2.42). Level
and season weigh the same in all bands and share one solution; the gain on the coarse anomaly belongs to a band and follows from
what they leave (Schur complement).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.nodes import Nodes, Place

_YEAR = 365.25
_GAIN_LIMIT = 0.7
"""Largest deviation of the gain of a pixel."""

_SCALE_LIMITS = 0.2, 8.0
"""Of the variance of a pixel against that of the area."""

_LAST = 0.5
"""How far the last observation of a pixel counts as alone: a change that nothing has followed yet looks like a missed cloud."""


@dataclass(frozen=True)
class Prior:
    """What is held true before anything was seen. Variances are in units of the variance of the process.

    Parameters
    ----------
    tau : float
        e-folding time of the process [days].
    level, season : float
        Variance of the level and of the cosine and the sine of the year.
    process : Tensor, (B, 1)
        1 σ of the process [reflectance].
    gain_std : float
        1 σ of the deviation of the gain of a pixel from that of the area; 0 = none deviates.
    freedom : float
        Observations that the variance of the area is worth against the scatter of a pixel's own.
    """

    tau: float
    level: float
    season: float
    process: Tensor
    gain_std: float
    freedom: float

    def basis(self, days: Sequence[int], like: Tensor) -> Tensor:
        """Level and season on some days, (n, H)."""
        if not self.season:
            return like.new_ones((len(days), 1))
        turns = [2 * math.pi * day / _YEAR for day in days]
        return like.new_tensor([[1.0, math.cos(turn), math.sin(turn)] for turn in turns])

    def stiffness(self, like: Tensor) -> Tensor:
        """Prior precisions (H,) of the weights of the basis."""
        return like.new_tensor([1 / self.level] + ([1 / self.season] * 2 if self.season else []))


def inverse_of(matrix: Tensor) -> Tensor:
    """Inverses (H, H, P) of symmetric positive definite matrices (H, H, P), H = 1 or 3, written out: one pass over the pixels."""
    if len(matrix) == 1:
        return matrix.reciprocal()
    (a, b, c), (_, d, e), (_, _, f) = (row.unbind() for row in matrix.unbind())
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
    rest = a * aa + b * bb + c * cc
    return torch.stack([aa, bb, cc, bb, dd, ee, cc, ee, ff]).div_(rest).view(3, 3, -1)


def trusted(nodes: Nodes, prior: Prior, tell: Tensor, outlier: float) -> Tensor:
    """The precisions of observations, less where one contradicts all the others.

    What the next observation on one side confirms is a change and keeps its precision; so may be what nothing follows yet.

    Parameters
    ----------
    nodes : Nodes
    prior : Prior
    tell : Tensor, (K, P)
        What gives a wrong observation away: the mean of the bands, each in units of its process.
    outlier : float
        An observation so many σ from what the others say keeps half of its precision.
    """
    precision = nodes.precision
    basis = prior.basis(nodes.days, tell)
    columns = torch.cat([tell[:, None], basis[:, :, None].expand(-1, -1, tell.shape[1])], dim=1)
    white = (columns - nodes.smooth(columns)).mul_(precision[:, None])
    gram = torch.einsum("kh,kjp->hjp", basis, white[:, 1:]) + torch.diag(prior.stiffness(tell))[:, :, None]
    inverse = inverse_of(gram)
    right = torch.einsum("khp,kp->hp", white[:, 1:], tell)
    weights = torch.einsum("hjp,jp->hp", inverse, right)
    told = white[:, 0] - torch.einsum("khp,hp->kp", white[:, 1:], weights)
    variance, _ = nodes.spread()
    known = precision - precision.square() * variance
    known -= torch.einsum("khp,hjp,kjp->kp", white[:, 1:], inverse, white[:, 1:])
    strange = told.square_().div_(known.clamp_(min=1e-12)).mul_(_alone(tell, precision > 0).square_())
    return precision / strange.div_(outlier**2).square_().add_(1.0)


def _alone(tell: Tensor, seen: Tensor) -> Tensor:
    """How far values (K, P) stand out from both their neighbours in time: 1 = from both alike and to the same side, 0 = from one only.

    Of the last of a pixel only half is believed of what it differs by, of the first all: a series may begin on any day.
    """
    before, after = torch.full_like(tell, torch.nan), torch.full_like(tell, torch.nan)
    for places, neighbours in ((range(len(tell)), before), (reversed(range(len(tell))), after)):
        last = torch.full_like(tell[0], torch.nan)
        for place in places:
            neighbours[place] = tell[place] - last
            last = torch.where(seen[place], tell[place], last)
    first, last, same = torch.isnan(before), torch.isnan(after), before * after > 0
    before.abs_()
    after.abs_()
    both = torch.where(same, torch.minimum(before, after) / torch.maximum(before, after), 0.0)
    return both.masked_fill_(last, _LAST).masked_fill_(first, 1.0)


@dataclass(frozen=True)
class Posterior:
    """All days of some pixels, given their observations.

    Parameters
    ----------
    nodes : Nodes
    prior : Prior
    process : Tensor, (K, B, P)
        Posterior mean of the process at the nodes.
    weights : Tensor, (H, B, P)
        Of the level and the season.
    gain : Tensor, (B, P)
        Deviation of the gain.
    variance, covariance : Tensor, (K, P), (K − 1, P)
        As `Nodes.spread`.
    smoothed_basis : Tensor, (K, H, P)
        The basis as the observations see it.
    basis_variance : Tensor, (H, H, P)
        Posterior variance of the weights when the gain is known.
    smoothed_anomaly : Tensor, (K, B, P)
    anomaly_weights : Tensor, (H, B, P)
        What of the anomaly the basis takes up.
    gain_variance : Tensor, (B, P)
        In units of the process variance; 0 where no gain deviates.
    scale : Tensor, (P,)
        Variance of the pixel over that of the area.
    """

    nodes: Nodes
    prior: Prior
    process: Tensor
    weights: Tensor
    gain: Tensor
    variance: Tensor
    covariance: Tensor
    smoothed_basis: Tensor
    basis_variance: Tensor
    smoothed_anomaly: Tensor
    anomaly_weights: Tensor
    gain_variance: Tensor
    scale: Tensor

    @classmethod
    def of(cls, nodes: Nodes, prior: Prior, residual: Tensor, anomaly: Tensor) -> Posterior:
        """Condition on observations.

        Parameters
        ----------
        nodes : Nodes
        prior : Prior
        residual : Tensor, (K, B, P)
            What was seen less the prior mean; any finite number where nothing was.
        anomaly : Tensor, (K, B, P)
            Coarse anomaly at the nodes, finite.
        """
        precision = nodes.precision
        basis = prior.basis(nodes.days, residual)
        spread = basis[:, :, None].expand(-1, -1, precision.shape[1])
        smoothed_basis = nodes.smooth(spread)
        white_basis = (spread - smoothed_basis).mul_(precision[:, None])
        gram = torch.einsum("kh,kjp->hjp", basis, white_basis) + torch.diag(prior.stiffness(residual))[:, :, None]
        inverse = inverse_of(gram)

        process = nodes.smooth(residual)
        white = (residual - process).mul_(precision[:, None])
        square = torch.einsum("kbp,kbp->bp", white, residual)
        right = torch.einsum("kh,kbp->hbp", basis, white)
        weights = torch.einsum("hjp,jbp->hbp", inverse, right)
        square -= torch.einsum("hbp,hbp->bp", right, weights)

        smoothed_anomaly = nodes.smooth(anomaly)
        if prior.gain_std > 0:
            white = (anomaly - smoothed_anomaly).mul_(precision[:, None])
            lever = torch.einsum("kh,kbp->hbp", basis, white)
            anomaly_weights = torch.einsum("hjp,jbp->hbp", inverse, lever)
            certainty = torch.einsum("kbp,kbp->bp", white, anomaly) - torch.einsum("hbp,hbp->bp", lever, anomaly_weights)
            evidence = torch.einsum("kbp,kbp->bp", white, residual) - torch.einsum("hbp,hbp->bp", lever, weights)
            gain_variance = (certainty + (prior.process / prior.gain_std).square()).reciprocal_()
            gain = (evidence * gain_variance).clamp_(-_GAIN_LIMIT, _GAIN_LIMIT)
            square -= evidence * gain
            weights -= anomaly_weights * gain
            process -= smoothed_anomaly * gain
        else:
            gain_variance, gain = torch.zeros_like(square), torch.zeros_like(square)
            anomaly_weights = torch.zeros_like(weights)
        process -= torch.einsum("khp,hbp->kbp", smoothed_basis, weights)

        seen = (precision > 0).sum(dim=0)
        scatter = square.div_(prior.process.square()).mean(dim=0)
        scale = ((prior.freedom + scatter) / (prior.freedom + seen)).clamp_(*_SCALE_LIMITS)
        variance, covariance = nodes.spread()
        return cls(
            nodes, prior, process, weights, gain, variance, covariance, smoothed_basis, inverse,
            smoothed_anomaly, anomaly_weights, gain_variance, scale,
        )  # fmt: skip

    def at(self, day: int, anomaly: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of a day.

        Parameters
        ----------
        day : int
            Day number.
        anomaly : Tensor, (B, P)
            Coarse anomaly of the day.

        Returns
        -------
        mean : Tensor, (B, P)
            To be added to the prior mean of the day.
        variance : Tensor, (B, P)
            In units of the process variance.
        """
        place = self.nodes.place(day)
        basis = self.prior.basis([day], anomaly)[0]
        mean = self.between(place, self.process)
        mean.addcmul_(self.gain, anomaly)
        mean += torch.einsum("h,hbp->bp", basis, self.weights)
        return mean, self._variance(place, basis, anomaly)

    def _variance(self, place: Place, basis: Tensor, anomaly: Tensor) -> Tensor:
        open_basis = basis[:, None] - self.between(place, self.smoothed_basis)
        shared = self.variance[place.before] * place.near**2 + place.open
        if place.after != place.before:
            shared.add_(self.variance[place.after], alpha=place.far**2)
            shared.add_(self.covariance[place.before], alpha=2 * place.near * place.far)
        shared += torch.einsum("hp,hjp,jp->p", open_basis, self.basis_variance, open_basis)
        lever = anomaly - self.between(place, self.smoothed_anomaly)
        lever -= torch.einsum("hbp,hp->bp", self.anomaly_weights, open_basis)
        return lever.square_().mul_(self.gain_variance).add_(shared).mul_(self.scale)

    @staticmethod
    def between(place: Place, values: Tensor) -> Tensor:
        """What a place says of values (K, ..., P) at the nodes."""
        found = values[place.before] * place.near
        return found if place.after == place.before else found.add_(values[place.after], alpha=place.far)
