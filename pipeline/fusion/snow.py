"""Snow, which comes and goes within days: days near an observation of snow are part what that shows and part the ground without it.

Observations of snow enter no level, season, gain or process. Between snow and bare ground the share that still lies is read off the
coarse series, which goes from what it was on the one day to what it was on the other; where that says nothing, it falls evenly in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.references import References
from pipeline.operators.resample import lift
from pipeline.vocabulary import Surface

_TELLING = 0.05
"""Coarse change between snow and bare ground above which it says how much snow is left [reflectance, mean square of the bands]."""

_MEMORY = 8.0
"""e-folding time of what an observation of snow says of how it looks [days]."""

_LASTING = 64.0
"""e-folding time of the belief that snow without an image on the other side still lies, or lay already [days]."""

_FRESH, _OLD = 0.03, 0.12
"""1 σ of snow beside its observation, and what is added long after it [reflectance]."""


@dataclass(frozen=True)
class Snow:
    """The pixels between two images of which one at least shows them under snow.

    Parameters
    ----------
    pixels : Tensor, (n,) int64
        Places in the flattened image.
    days : Tensor, (2, n)
        Days of the observations before and after; infinite where there is none.
    lies : Tensor, (2, n) bool
        They show snow.
    fine, coarse : Tensor, (2, B, n)
        What they show, and the coarse of their days.
    """

    pixels: Tensor
    days: Tensor
    lies: Tensor
    fine: Tensor
    coarse: Tensor

    @classmethod
    def between(cls, references: References, indices: Sequence[int], target: int) -> Snow | None:
        """Of the days between the images around a target; None when no pixel is concerned.

        Parameters
        ----------
        references : References
        indices : sequence of int
            The fine images that are looked at, in order of time.
        target : int
            Day number.
        """
        block, surface = references.block, references.block.fine_surface
        if surface is None or not indices:
            return None
        nearest = [references.clear.new_full(references.shape[1:], -1, dtype=torch.long) for _ in range(2)]
        for index in indices:
            if block.fine_days[index] < target:
                nearest[0].masked_fill_(references.clear[index], index)
        for index in reversed(indices):
            if block.fine_days[index] > target:
                nearest[1].masked_fill_(references.clear[index], index)
        at = torch.stack(nearest).flatten(1)
        lies = (surface.flatten(1).gather(0, at.clamp(min=0)) == int(Surface.SNOW)) & (at >= 0)
        pixels = lies.any(dim=0).nonzero()[:, 0]
        if not len(pixels):
            return None
        at, lies = at[:, pixels], lies[:, pixels]
        numbers = block.fine.new_tensor([*block.fine_days, torch.inf])
        fine = block.fine.new_zeros((2, references.shape[0], len(pixels)))
        coarse = torch.full_like(fine, torch.nan)
        for index in at.unique().tolist():
            if index >= 0:
                here, lifted = at == index, lift(references.coarse_of(block.fine_days[index])[0], block.scale).flatten(1)
                for side in range(2):
                    some = pixels[here[side]]
                    fine[side][:, here[side]] = block.fine[index].flatten(1)[:, some]
                    coarse[side][:, here[side]] = lifted[:, some]
        return cls(pixels, numbers[at], lies, fine, coarse)

    def blend(self, day: int, coarse: Tensor, mean: Tensor, std: Tensor) -> None:
        """Turn a day without snow into what it is with it, in place.

        Parameters
        ----------
        day : int
            Day number.
        coarse : Tensor, (B, y, x)
            Lifted coarse of the day.
        mean, std : Tensor, (B, y, x)
            The ground without snow.
        """
        now, bare, doubt = (image.flatten(1)[:, self.pixels] for image in (coarse, mean, std))
        away = (self.days - day).abs()
        near = torch.where(torch.isinf(away), 0.0, 1.0 / away)
        near = near / near.sum(dim=0)
        alone = torch.isinf(away).any(dim=0)
        age = torch.where(self.lies, away, torch.inf)
        # With an image on one side only, snow lies on but for what the coarse has gone since, or until then, towards the ground without it.
        contrast = self.fine - bare
        melted = ((self.coarse - now) * contrast).sum(dim=1) / contrast.square().sum(dim=1).clamp(min=_TELLING**2)
        left = torch.where(self.lies, (1.0 - melted).clamp(0.0, 1.0).nan_to_num(0.5), 0.0).amax(dim=0)
        share = torch.where(alone, left * torch.exp(-age.amin(dim=0) / _LASTING), (near * self.lies).sum(dim=0))
        one_side = self.lies[0] ^ self.lies[1]
        change = self.coarse[0] - self.coarse[1]
        size = change.square().mean(dim=0)
        done = ((now - self.coarse[1]) * change).mean(dim=0) / size
        told = torch.where(self.lies[0], done, 1.0 - done).clamp(0.0, 1.0)
        share = torch.where(one_side & ~alone & (size > _TELLING**2), told, share)

        weight = near * self.lies
        weight = weight / weight.sum(dim=0)
        lying = (self.fine + (now - self.coarse).nan_to_num()).clamp(min=-0.05)
        snow = (lying * weight[:, None]).sum(dim=0)
        variance = _FRESH**2 + _OLD**2 * (1.0 - torch.exp(-age.amin(dim=0) / _MEMORY))
        mixed = torch.where(share > 0, bare.nan_to_num() + share * (snow - bare.nan_to_num()), bare)
        spread = (1 - share) * doubt.square().nan_to_num() + share * variance + share * (1 - share) * (snow - bare.nan_to_num()).square()
        mean.view(len(mean), -1)[:, self.pixels] = mixed
        std.view(len(std), -1)[:, self.pixels] = spread.sqrt()
