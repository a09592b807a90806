"""What networks are told of a day: the nearest clear observations on either side with their masks, and the coarse of these days.

An image may be clouded anywhere. So a side is no image but a mosaic: every pixel as it was last seen before the day, or first after it,
with its own age and with the coarse of its own day. Mosaics of a side stay the same from one observation to the next, and are made once.

Everything is told band by band, in units of the contrast of the band, and as differences: what networks learn holds for any band.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.references import References
from pipeline.operators.resample import area_mean, lift

_MEMORY = 20.0
"""e-folding time of the age of an observation, as it is told [days]."""

_CONTRAST = 0.1
"""Contrast of a band where none was learnt [reflectance]."""

CELL = 8
"""Fine pixels along the edge of the cells that networks learn on."""

_SEEN = 0.75
"""Share of a cell from which its fine image says what it is."""

_PIXELS = 1 << 16
"""Pixels of a sample that the contrast is learnt from."""

Coarse = Callable[[int], tuple[Tensor, Tensor]]
"""Day number → mean and std of the coarse (B, Y, X); NaN = unknown."""


@dataclass(frozen=True)
class Side:
    """Every pixel as it was seen on one side of a day.

    Parameters
    ----------
    fine : Tensor, (B, y, x)
        0 where it was not seen.
    then : Tensor, (B, y, x)
        Lifted coarse of the day on which it was seen; 0 where that is unknown.
    seen : Tensor, (y, x) bool
    known : Tensor, (y, x) bool
        Seen, and the coarse of that day is known in every band.
    day : Tensor, (y, x)
        Day number on which it was seen.
    """

    fine: Tensor
    then: Tensor
    seen: Tensor
    known: Tensor
    day: Tensor


@dataclass
class Sides:
    """The mosaics of a block, made once for all days that share them.

    Parameters
    ----------
    references : References
    coarse : callable
        The coarse series that observations are compared with.
    made : dict
        Mosaics by the indices of their images, the nearest first.
    """

    references: References
    coarse: Coarse
    made: dict[tuple[int, ...], Side] = field(default_factory=dict)

    def around(self, target: int, reach: int) -> tuple[Side, Side]:
        """Before and after a day, of the images within `reach` days."""
        days = self.references.block.fine_days
        indices = self.references.around(target, reach, reach)
        before = self._used([index for index in reversed(indices) if days[index] < target])
        after = self._used([index for index in indices if days[index] > target])
        # What no later day needs is dropped, so that memory does not grow with the days asked for.
        kept = {key: self.made[key] if key in self.made else self._mosaic(key) for key in (before, after)}
        self.made = kept
        return kept[before], kept[after]

    def _used(self, indices: Sequence[int]) -> tuple[int, ...]:
        """Those of some images, the nearest first, that give a pixel: what else comes into reach or leaves it makes no other mosaic."""
        clear, used = self.references.clear, []
        missing = torch.ones_like(clear[0]) if len(clear) else None
        for index in indices:
            assert missing is not None
            left = missing & ~clear[index]
            if not torch.equal(left, missing):
                used.append(index)
                missing = left
                if not bool(missing.any()):
                    break
        return tuple(used)

    def _mosaic(self, indices: Sequence[int]) -> Side:
        references = self.references
        fine, then = (references.block.fine.new_zeros(references.shape) for _ in range(2))
        seen = torch.zeros(references.shape[1:], dtype=torch.bool, device=fine.device)
        known, day = seen.clone(), fine.new_zeros(seen.shape)
        for index in indices:
            new = references.clear[index] & ~seen
            number = references.block.fine_days[index]
            coarse = lift(self.coarse(number)[0], references.block.scale)
            fine = torch.where(new, references.block.fine[index], fine)
            then = torch.where(new, torch.nan_to_num(coarse), then)
            known |= new & torch.isfinite(coarse).all(dim=0)
            day = torch.where(new, float(number), day)
            seen |= new
        return Side(fine, then, seen, known, day)


@dataclass(frozen=True)
class Evidence:
    """What is known of a day without its own image.

    Parameters
    ----------
    mean : Tensor, (B, y, x)
        A first prediction: observations of either side moved by the coarse change, the nearer the more; the lifted coarse where there are
        none. NaN where nothing is known.
    before, after : Side
    ages : Tensor, (2, y, x)
        Days to either side; infinite where there is no observation.
    now : Tensor, (B, y, x)
        Lifted coarse of the day; NaN = unknown.
    """

    mean: Tensor
    before: Side
    after: Side
    ages: Tensor
    now: Tensor


def evidence(sides: Sides, target: int, reach: int) -> Evidence:
    """Gather what is known of a day from images within `reach` days."""
    before, after = sides.around(target, reach)
    now = lift(sides.coarse(target)[0], sides.references.block.scale)
    bright = torch.isfinite(now).all(dim=0)
    ages = torch.stack([torch.where(side.seen, (side.day - target).abs(), torch.inf) for side in (before, after)])
    weight = 1.0 / ages
    weight /= weight.sum(dim=0).clamp(min=1e-9)
    filled = torch.nan_to_num(now)
    moved = [side.fine + torch.where(side.known & bright, filled - side.then, 0.0) for side in (before, after)]
    mean = torch.where(before.seen | after.seen, moved[0] * weight[0] + moved[1] * weight[1], now)
    return Evidence(mean, before, after, ages, now)


REFERENCE_CHANNELS = 6
"""Channels of `told_of_references`."""

DAY_CHANNELS = 12
"""Channels of `told_of_day`."""


def told_of_references(given: Evidence, contrast: Tensor, ndvi: Tensor | None) -> Tensor:
    """What networks are told of the references alone, (B, 6, y, x): it does not depend on the day.

    Parameters
    ----------
    contrast : Tensor, (B,)
    ndvi : Tensor, (y, x), optional
        Annual median of the NDVI; NaN = unknown.
    """
    unit = contrast[:, None, None]
    planes = []
    for side in (given.before, given.after):
        planes += [torch.where(side.known, (side.fine - side.then) / unit, 0.0), side.seen.to(unit.dtype).expand_as(side.fine)]
    layer = torch.full_like(given.now[0], torch.nan) if ndvi is None else ndvi
    known = torch.isfinite(layer)
    planes += [part.expand_as(given.now) for part in (torch.where(known, layer, 0.0), known.to(unit.dtype))]
    return torch.stack(planes, dim=1)


def told_of_day(given: Evidence, mean: Tensor, std: Tensor, coarse: tuple[Tensor, Tensor], contrast: Tensor, scale: int) -> Tensor:
    """What networks are told of a day, (B, 12, y, x), beside what they are told of the references.

    Parameters
    ----------
    given : Evidence
    mean, std : Tensor, (B, y, x)
        The prediction that is to be corrected, and its σ; not NaN.
    coarse : tuple of Tensor, (B, Y, X)
        Mean and std of the coarse of the day.
    contrast : Tensor, (B,)
    scale : int
    """
    unit = contrast[:, None, None]
    bright = torch.isfinite(given.now)
    planes = []
    for side, age in zip((given.before, given.after), given.ages, strict=True):
        change = torch.where(side.known & bright, given.now - side.then, 0.0)
        planes += [torch.where(side.seen, side.fine + change - mean, 0.0) / unit, change / unit]
        planes.append(torch.exp(-age / _MEMORY).expand_as(mean))
    # What the prediction leaves of the cells: a share of every change that no image shows.
    closure = lift(torch.nan_to_num(coarse[0] - area_mean(mean, scale)[0]), scale)
    planes += [torch.where(bright, given.now - mean, 0.0) / unit, closure / unit, bright.to(mean.dtype)]
    planes.append(lift(torch.nan_to_num(coarse[1]), scale) / unit)
    planes.append((std / unit).clamp(min=1e-3).log())
    planes.append(torch.nan_to_num(given.mean - mean) / unit)
    return torch.stack(planes, dim=1)


def contrast_of(samples: Sequence[FusionInput]) -> list[float]:
    """Contrast of the bands of an area: 1 σ of the clear pixels of its fine images, about the mean of each image."""
    spread, count = torch.zeros(1, dtype=torch.double), 0
    for sample in samples:
        for image in sample.fine:
            values = image.flatten(1)[:, torch.isfinite(image).all(dim=0).flatten()]
            values = values[:, :: max(values.shape[1] * len(sample.fine) // _PIXELS, 1)].double()
            if values.shape[1] > 1:
                # Winsorised: a missed cloud is no contrast of the ground.
                off = (values - values.median(dim=1, keepdim=True).values).abs()
                limit = 5 * 1.4826 * off.median(dim=1, keepdim=True).values + 1e-6
                spread, count = spread + torch.minimum(off, limit).square().sum(dim=1), count + values.shape[1]
    return [] if not count else [round(max(value, 1e-3), 5) for value in (spread / count).sqrt().tolist()]


def offset_of(samples: Sequence[FusionInput]) -> list[float]:
    """What the fine images of an area have more than the coarse series of their days, by band: the median over well seen cells.

    Near zero where the series is in the radiometry of the fine images; MODIS as it is delivered is not.
    """
    found: list[Tensor] = []
    for sample in samples:
        for image, day in zip(sample.fine, sample.fine_days, strict=True):
            place = day - sample.coarse_days[0] if sample.coarse_days else -1
            if 0 <= place < len(sample.coarse_days):
                mean, share = area_mean(image, sample.scale)
                off = torch.where(share >= _SEEN, mean - sample.coarse[place], torch.nan).flatten(1)
                found.append(off[:, torch.isfinite(off).all(dim=0)])
    if not found or not sum(part.shape[1] for part in found):
        return []
    return [round(value, 5) for value in torch.cat(found, dim=1).median(dim=1).values.tolist()]


def joined(block: FusionInput) -> FusionInput:
    """The block on wider cells where its own are narrow, as many joined as divide it: networks know cells of `CELL` fine pixels."""
    rows, cols = block.coarse.shape[-2:]
    most = CELL // block.scale
    join = max((count for count in range(1, most + 1) if not (rows % count or cols % count)), default=1)
    if join == 1:
        return block

    def wide(planes: Tensor) -> Tensor:
        return area_mean(planes, join)[0]

    origin = (block.origin[0] // join, block.origin[1] // join)
    layers = {name: wide(layer) for name, layer in block.coarse_layers.items()}
    return replace(
        block, coarse=wide(block.coarse), coarse_std=wide(block.coarse_std), coarse_layers=layers, scale=block.scale * join, origin=origin
    )


def contrast_in(parameters: Mapping[str, Any], like: Tensor) -> Tensor:
    """The contrast (B,) of the bands that parameters hold; a default where they hold none."""
    known = parameters.get("contrast", [])
    return like.new_tensor(known if known else [_CONTRAST] * like.shape[-3])
