"""Abrupt change: between two clear images that differ by more than the prior allows, the day of the break is read off the coarse series.

A process that forgets goes over from one image to the next as if the change had come little by little. A field is ploughed on one
day. Where two neighbouring observations of a pixel lie too far apart, the prediction between them is a mixture of what was before and
what is after; the weight is how far the coarse series has come from the one day to the other, in the direction of its own change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.posterior import Posterior

_BEYOND = 4.0
"""Square of the difference, over its prior variance, at which a break is as likely as a gradual change."""

_SEEN = 0.02
"""Coarse change at which it says as much of the day as the calendar does [reflectance, root mean square of the bands]."""


@dataclass(frozen=True)
class Breaks:
    """The pixels that change abruptly between two neighbouring images.

    Parameters
    ----------
    pixels : Tensor, (n,) int64
    weight : Tensor, (n,)
        How likely the change is abrupt, 0–1.
    days : Tensor, (2, n)
        Of the observations before and after.
    process : Tensor, (2, B, n)
        The process at these.
    anomaly : Tensor, (2, B, n)
        The coarse anomaly at these.
    """

    pixels: Tensor
    weight: Tensor
    days: Tensor
    process: Tensor
    anomaly: Tensor

    @classmethod
    def between(cls, posterior: Posterior, anomaly: Tensor, gap: int) -> Breaks | None:
        """Of the days between two neighbouring nodes; None where no pixel breaks.

        Parameters
        ----------
        posterior : Posterior
        anomaly : Tensor, (K, B, P)
            Coarse anomaly at the nodes.
        gap : int
            Nodes before the days.
        """
        seen = posterior.nodes.precision > 0
        if not 0 < gap < len(seen):
            return None
        places = torch.arange(len(seen), device=seen.device)[:, None]
        before = torch.where(seen[:gap], places[:gap], -1).amax(dim=0)
        after = torch.where(seen[gap:], places[gap:], len(seen)).amin(dim=0)
        both = (before >= 0) & (after < len(seen))
        sides = torch.stack([before.clamp(min=0), after.clamp(max=len(seen) - 1)])
        days = anomaly.new_tensor(posterior.nodes.days)[sides]
        prior = posterior.prior
        at = sides[:, None].expand(-1, anomaly.shape[1], -1)
        process = torch.stack([posterior.process.gather(0, side[None])[0] for side in at])
        step = ((process[1] - process[0]) / prior.process).square().mean(dim=0)
        expected = 2.0 * (1.0 - torch.exp((days[0] - days[1]) / prior.tau)) * posterior.scale
        noise = sum(1.0 / posterior.nodes.precision.gather(0, side[None])[0].clamp(min=1e-3) for side in sides)
        strange = step / (expected + noise) / _BEYOND
        weight = strange.square() / (1.0 + strange.square())
        pixels = (both & (weight > 0.05)).nonzero()[:, 0]
        if not len(pixels):
            return None
        coarse = torch.stack([anomaly.gather(0, side[None])[0] for side in at])
        return cls(pixels, weight[pixels], days[:, pixels], process[..., pixels], coarse[..., pixels])

    def mix(self, posterior: Posterior, day: int, anomaly: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Turn the gradual prediction of a day into the mixture, in place.

        Parameters
        ----------
        anomaly : Tensor, (B, P)
            Coarse anomaly of the day.
        mean, variance : Tensor, (B, P)
            As `Posterior.at` gives them.
        """
        scale = posterior.prior.process
        place = posterior.nodes.place(day)
        gradual = posterior.between(place, posterior.process)[:, self.pixels]
        change = (self.anomaly[1] - self.anomaly[0]) / scale
        size = change.square().mean(dim=0)
        come = ((anomaly[:, self.pixels] - self.anomaly[0]) / scale * change).mean(dim=0) / size.clamp(min=1e-9)
        come = come.clamp(0.0, 1.0)
        # Composites smear a break over weeks: what is half way is past it or not.
        come = come.square() / (come.square() + (1.0 - come).square())
        gone = ((day - self.days[0]) / (self.days[1] - self.days[0])).clamp(0.0, 1.0)
        moved = (self.anomaly[1] - self.anomaly[0]).square().mean(dim=0)
        told = moved / (moved + _SEEN**2)
        done = told * come + (1.0 - told) * gone
        step = self.process[1] - self.process[0]
        mean[:, self.pixels] += self.weight * (self.process[0] + done * step - gradual)
        variance[:, self.pixels] += self.weight * done * (1.0 - done) * (step / scale).square()
