"""One function that says of every fine pixel whether it is clear, suspect or contaminated, and of every image what lies on all of it.

Each observation is compared with its nearest neighbours in time, two before and two after, moved by the lifted coarse
change. Cloud, haze and shadow have a signature and are gone at the next observation; a change of the ground is still
there. So a pixel is refused only where it has the signature against *every* neighbour on *both* sides. With neighbours
on one side only it is suspect, until a scene arrives on the other and `screen` is called again, or unless the later
coarse series shows nothing of what was wide.

It is done twice: what stands out against the very nearest on both sides is no neighbour the second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import area_mean, lift
from pipeline.operators.spatial import box_sum, tent_mean
from pipeline.screening.neighbours import NONE, nearest_two
from pipeline.screening.offset import levelled, smooth_offset
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.signature import Signature
from pipeline.vocabulary import Cause, Surface, Verdict

_FIRST = 2.0
"""The first time, before the noise and the offset of an image are known, a cloud must stand out by so many times `least`."""

_BRIGHTER = 0.01
"""A shadow does not lift the visible bands by more than this, as a flood does [reflectance]."""

_LOSS = 0.03
"""A shadow takes at least so much near infrared [reflectance]: over water there is none to be taken."""

_WATERY = 2.0
"""Water is so many times brighter in the visible bands than in the short-wave infrared; no ground in shadow is."""

_SNOWLIKE = 0.06
"""A rise of the visible bands from which snow and cloud can be told apart [reflectance]."""

_CLOUD_BRIGHT, _SNOW_SHORT = 0.6, 0.22
"""Continued until the visible bands reach the brightness of a cloud, snow has less than this in the short-wave infrared, a cloud more."""

_MELT = 1.5
"""Melting snow loses at least so many times in the visible bands what it gains in the short-wave infrared; a cloud over it does not."""

_LATER = 16
"""Days after an image at which the coarse series knows of a change before it: composites of 16 days have forgotten what was before."""

_DECIDED = 3.0
"""The coarse series decides about deviations of more than so many σ of its own."""

_FOOTPRINT = 4
"""Cells, of the nine around, that must be seen so that the coarse series can decide."""

_SHIFTED = 0.9
"""Share of the largest smooth offset from which a place is suspect for it."""

_MOST_DOUBT = 10.0
"""Largest factor of σ."""


@dataclass(frozen=True)
class Screened:
    """What was found of the fine images of a block.

    Parameters
    ----------
    verdict : Tensor, (K, y, x) uint8
        `Verdict` codes; CLEAR where nothing was observed.
    cause : Tensor, (K, y, x) uint8
        `Cause` codes.
    doubt : Tensor, (K, y, x) float32
        Factor of the σ of an observation that is kept, 1 or more.
    offset : Tensor, (K, B, Y, X) float32
        By how much each image is too bright, on coarse cells; 0 where it cannot be told.
    """

    verdict: Tensor
    cause: Tensor
    doubt: Tensor
    offset: Tensor


@dataclass(frozen=True)
class _Against:
    """An image against its neighbours; the first axis of length 2 is before, after.

    Parameters
    ----------
    some : Tensor, (2, y, x) bool
        There is a neighbour.
    rise : Tensor, (2, y, x)
        By how much it is whiter and brighter than every neighbour [reflectance].
    loss : Tensor, (2, y, x)
        Share of the infrared that it lacks against every neighbour.
    middle : Tensor, (y, x)
        Mean of what it is whiter than its neighbours, beyond what the ground may have changed, each counted up to `offset` [reflectance].
    """

    some: Tensor
    rise: Tensor
    loss: Tensor
    middle: Tensor


def screen(block: FusionInput, bands: Sequence[str], surface: Tensor | None = None, options: ScreeningOptions | None = None) -> Screened:
    """Screen the fine images of a block.

    A verdict depends on images and coarse days within `options.support()` and on pixels within `options.halo()` only.

    Parameters
    ----------
    block : FusionInput
        On any device.
    bands : sequence of str, (B,)
        STAC common names; or one index, such as ``ndvi``.
    surface : Tensor, (K, y, x) uint8, optional
        `Surface` codes of what the quality band says; without it snow is told from cloud by the short-wave infrared.
    options : ScreeningOptions, optional
    """
    signature = Signature(tuple(bands))
    chosen = (options or ScreeningOptions()).scaled(signature.unit)
    series = _Series(block, signature, surface, chosen)
    fine, scale = block.fine, block.scale
    verdict = torch.zeros(series.usable.shape, dtype=torch.uint8, device=fine.device)
    cause, doubt = torch.zeros_like(verdict), torch.ones_like(verdict, dtype=fine.dtype)
    if not len(fine):
        return Screened(verdict, cause, doubt, fine.new_zeros((0, *block.coarse.shape[1:])))

    reach = chosen.cells(scale, block.resolution)
    cloudy, spoilt = _at_first_sight(series, chosen)
    smooth = smooth_offset(block, spoilt, chosen.offset, reach, chosen.support()[0])
    hidden = max_pool2d((~series.usable | cloudy).to(fine.dtype)[:, None], scale)
    beside = max_pool2d(hidden, 2 * reach + 1, 1, reach)[:, 0]
    for index, against in enumerate(series.against(series.usable & ~spoilt, 2)):
        usable, some = series.usable[index], against.some
        offset, noise = _offset(against, usable & ~spoilt[index], scale, reach)
        threshold = (chosen.sigmas * noise).clamp_(min=chosen.least).add_(offset.clamp(min=0))
        seen = some & usable
        cloud = seen & (against.rise > threshold)
        shadow = seen & (against.loss > chosen.shade) & (_spread(beside[index], scale) > 0)
        refused_cloud = cloud.all(dim=0) | (cloud[0] & series.contradicted(index, against))
        refused = refused_cloud | shadow.all(dim=0)
        doubtful = (cloud | shadow).any(dim=0) & ~some.all(dim=0) & ~refused
        suspect = (doubtful | (usable & (offset.abs() > _SHIFTED * chosen.offset))) & ~refused
        verdict[index].masked_fill_(suspect, int(Verdict.SUSPECT)).masked_fill_(refused, int(Verdict.REFUSED))

        cause[index].masked_fill_(suspect, int(Cause.OFFSET))
        cause[index].masked_fill_((doubtful & shadow.any(dim=0)) | refused, int(Cause.SHADOW))
        cause[index].masked_fill_((doubtful & cloud.any(dim=0)) | refused_cloud, int(Cause.CLOUD))

        taken = series.near(index) * against.loss / (1.0 - against.loss).clamp_(min=0.1)
        size = torch.where(seen & doubtful, torch.maximum(against.rise, taken), 0.0).amax(dim=0)
        measured = block.fine_std[index].mean().clamp(min=1e-6)
        factor = size.square_().addcmul_(offset, offset).div_(measured.square()).add_(1.0).sqrt_().clamp_(max=_MOST_DOUBT)
        doubt[index] = torch.where(usable & ~refused, factor, 1.0)
    return Screened(verdict, cause, doubt, smooth)


def _at_first_sight(series: _Series, options: ScreeningOptions) -> tuple[Tensor, Tensor]:
    """What stands out as a cloud, and as a cloud or a shadow, against the nearest neighbour before and after, (K, y, x) bool."""
    cloudy, spoilt = torch.zeros_like(series.usable), torch.zeros_like(series.usable)
    for index, against in enumerate(series.against(series.usable, 1)):
        both = against.some.all(dim=0) & series.usable[index]
        cloudy[index] = (against.rise > _FIRST * options.least).all(dim=0) & both
        spoilt[index] = cloudy[index] | ((against.loss > options.shade).all(dim=0) & both)
    return cloudy, spoilt


def applied(block: FusionInput, screened: Screened) -> FusionInput:
    """The block without what was refused, with the doubt of what was kept, and less the offset of each image.

    Parameters
    ----------
    block : FusionInput
    screened : Screened
        Of the same images.
    """
    refused = screened.verdict == Verdict.REFUSED
    doubt = screened.doubt if block.fine_doubt is None else screened.doubt * block.fine_doubt
    fine = levelled(block.fine, screened.offset, block.scale).masked_fill_(refused[:, None], torch.nan)
    return replace(block, fine=fine, fine_doubt=doubt)


class _Series:
    """The channels of all images relative to the lifted coarse of their days.

    Parameters
    ----------
    block : FusionInput
    signature : Signature
    surface : Tensor, (K, y, x) uint8, or None
    options : ScreeningOptions
    """

    def __init__(self, block: FusionInput, signature: Signature, surface: Tensor | None, options: ScreeningOptions) -> None:
        self._block, self._signature, self._surface, self._options = block, signature, surface, options
        fine = block.fine
        self._days = [int(day) for day in block.fine_days]
        self._numbers = torch.tensor(self._days, dtype=fine.dtype, device=fine.device)
        self._weights = signature.weights(fine)
        shape = (len(fine), len(self._weights), *fine.shape[-2:])
        coarse = [self._coarse(day) for day in self._days]
        self._values = fine.new_empty(shape)
        self.usable = torch.empty((shape[0], *shape[2:]), dtype=torch.bool, device=fine.device)
        # What the coarse of a day moved an image by; needed only where that of some day is unknown.
        self._moved = None if all(bool(torch.isfinite(cells).all()) for cells in coarse) else fine.new_empty(shape)
        for index, (image, cells) in enumerate(zip(fine, coarse, strict=True)):
            moved = self._over_snow(lift(cells, block.scale), index)
            channels = self._over_snow(self._channels(image), index)
            self.usable[index] = torch.isfinite(channels.sum(dim=0))
            if self._moved is not None:
                self._moved[index] = moved
            torch.sub(channels, moved.nan_to_num(), out=self._values[index])
        self._values.nan_to_num_()

    def _channels(self, image: Tensor) -> Tensor:
        """Channels (4, y, x) of an image (B, y, x)."""
        return (self._weights @ image.flatten(1)).view(len(self._weights), *image.shape[1:])

    def _coarse(self, day: int) -> Tensor:
        """Channels of the coarse of a day; NaN where it is unknown."""
        block = self._block
        place = day - block.coarse_days[0] if block.coarse_days else -1
        if 0 <= place < len(block.coarse_days):
            return self._channels(block.coarse[place])
        return block.coarse.new_full((len(self._weights), *block.coarse.shape[-2:]), torch.nan)

    def _over_snow(self, channels: Tensor, index: int) -> Tensor:
        """Where the ground is snow, a cloud is what lifts the short-wave infrared and is no melting."""
        if self._surface is None or not self._signature.shortwave:
            return channels
        snow = self._surface[index] == Surface.SNOW
        if not bool(snow.any()):
            return channels
        white, bright, near, short = channels
        return torch.stack([torch.where(snow, short, white), torch.where(snow, bright + _MELT * short, bright), near, short])

    def near(self, index: int) -> Tensor:
        """The near infrared (y, x) of an image, 0 where it is not usable."""
        return (self._weights[Signature.NEAR] @ self._block.fine[index].flatten(1)).view(self.usable.shape[1:]).nan_to_num()

    def against(self, usable: Tensor, most: int) -> Iterator[_Against]:
        """Every image against its usable neighbours, `most` (1 or 2) on either side."""
        options, signature = self._options, self._signature
        sides = [nearest_two(usable, self._surface, self._days, options.days, later) for later in (False, True)]
        for index in range(len(self._values)):
            level = self._channels(self._block.fine[index]).nan_to_num_()
            watery = self._watery(index, level)
            some, rise, loss = [], [], []
            total, count = torch.zeros_like(level[0]), torch.zeros_like(level[0])
            for side in sides:
                whiter, dimmer = torch.full_like(total, torch.inf), torch.full_like(total, torch.inf)
                for place in side[index, :most]:
                    there = place != NONE
                    at = place.clamp(min=0).long()
                    moved = self._deviation(index, at)
                    white, bright, near, short = moved
                    margin = (self._numbers[at] - self._days[index]).abs_().div_(16.0).sqrt_().mul_(options.growth)
                    beyond = white - torch.clamp(white, -margin, margin)
                    total.add_(beyond.clamp_(-options.offset, options.offset).mul_(there))
                    count.add_(there)
                    up = torch.minimum(white - margin, 2 * bright)
                    if signature.shortwave:
                        up.masked_fill_(self._snowlike(index, level, moved), -torch.inf)
                    whiter = torch.where(there, torch.minimum(whiter, up), whiter)
                    if signature.infrared:
                        down = torch.minimum(_lost(level[Signature.NEAR], near), _lost(level[Signature.SHORT], short))
                        down.masked_fill_((bright > _BRIGHTER) | (near > -_LOSS), -1.0)
                        dimmer = torch.where(there, torch.minimum(dimmer, down), dimmer)
                if signature.shortwave:
                    dimmer.masked_fill_(watery, -1.0)
                some.append(side[index, 0] != NONE)
                rise.append(whiter)
                loss.append(dimmer if signature.infrared else torch.full_like(dimmer, -1.0))
            yield _Against(torch.stack(some), torch.stack(rise), torch.stack(loss), total.div_(count.clamp_(min=1)))

    def _deviation(self, index: int, at: Tensor) -> Tensor:
        """Channels (4, y, x) of an image less those of other images (y, x), which the coarse change has moved where it is known."""
        where = at.expand(1, len(self._weights), *at.shape)
        change = self._values[index] - self._values.gather(0, where)[0]
        if self._moved is None:
            return change
        here, there = self._moved[index], self._moved.gather(0, where)[0]
        both = torch.isfinite(here) & torch.isfinite(there)
        return torch.where(both, change, change + here.nan_to_num() - there.nan_to_num())

    def _snowlike(self, index: int, level: Tensor, moved: Tensor) -> Tensor:
        """Where the change to an image leads to snow rather than to a cloud; of ground that was snow already nothing is said."""
        bright, short = moved[Signature.BRIGHT], moved[Signature.SHORT]
        more = (_CLOUD_BRIGHT - level[Signature.BRIGHT]) / bright.clamp(min=_SNOWLIKE)
        snowlike = (bright > _SNOWLIKE) & (level[Signature.SHORT] + short * more < _SNOW_SHORT)
        return snowlike if self._surface is None else snowlike & (self._surface[index] != Surface.SNOW)

    def _watery(self, index: int, level: Tensor) -> Tensor:
        """Where the ground is water rather than in shadow."""
        watery = level[Signature.BRIGHT] > _WATERY * level[Signature.SHORT]
        return watery if self._surface is None else watery & (self._surface[index] != Surface.SNOW)

    def contradicted(self, index: int, against: _Against) -> Tensor:
        """Where (y, x) no later image follows, and later coarse cells show nothing of a rise as wide as their footprint.

        On land and water only: what a cloud adds over snow the coarse series does not tell.
        """
        block = self._block
        alone = against.some[0] & ~against.some[1] & self.usable[index]
        if self._surface is not None:
            alone &= self._surface[index] != Surface.SNOW
        day = self._days[index] + _LATER
        if not bool(alone.any()) or day not in block.coarse_days:
            return torch.zeros_like(alone)
        mean, share = area_mean(against.rise[0].clamp(min=0).where(alone, torch.nan), block.scale)
        change = (self._coarse(day) - self._coarse(self._days[index]))[Signature.WHITE]
        variance = self._weights[Signature.WHITE].square() @ block.coarse_std[block.coarse_days.index(day)].square().flatten(1)
        strange = (mean - change) / variance.sqrt_().clamp_(min=1e-3).view(change.shape)
        known = torch.isfinite(strange) & (share > 0.5)
        count = box_sum(known.to(mean.dtype), 1)
        wide = (box_sum(strange.where(known, 0.0), 1) > _DECIDED * count) & (count >= _FOOTPRINT)
        return _spread(wide, block.scale) & alone


def _lost(level: Tensor, change: Tensor) -> Tensor:
    """Share of what was expected that is missing."""
    return change.neg() / (level - change).clamp_(min=1e-3)


def _spread(cells: Tensor, scale: int) -> Tensor:
    """Every cell as its pixels."""
    return cells.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def _offset(against: _Against, trusted: Tensor, scale: int, reach: int) -> tuple[Tensor, Tensor]:
    """The smooth offset of an image and 1 σ of its deviations (y, x), both of the trusted pixels around.

    Deviations are limited already, so that a thin cloud counts for little in either.
    """
    deviation = against.middle.where(trusted & against.some.any(dim=0), torch.nan)
    moments, share = area_mean(torch.stack([deviation, deviation.square()]), scale)
    mean, square = tent_mean(moments, share[0], reach)[0]
    noise = square.addcmul_(mean, mean, value=-1).clamp_(min=0).sqrt_()
    offset, noise = lift(torch.stack([mean, noise]), scale)
    return offset, noise
