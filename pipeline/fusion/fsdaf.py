"""FSDAF: the coarse change unmixed into classes of the fine image, and what that leaves in a cell spread by how even the place is.

Zhu, Helmer, Gao, Liu, Chen & Lefsky 2016, A flexible spatiotemporal method for fusing satellite images with different resolutions
(RSE 172, 165–177), eq. 5–23.

Two things are local here that are one for the whole image there, so that a block equals the whole: the classes are learnt
once for the area, at some days of the year, and their changes are unmixed from the cells of a moving window, drawn to the mean change of
the window where its cells do not tell a class. With a gate the cells whose change no class explains are taken for
changed cover, after FSDAF 2.0 (Guo, Shi, Hao & Zhu 2020, RSE 248, 111973): the classes are unmixed again
without them, inside them the coarse image of the target says alone where the rest belongs, and neighbours are averaged
among changed or among unchanged pixels only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.joined import Joined
from pipeline.fusion.options import FsdafOptions
from pipeline.fusion.pairs import Pair, PairMethod
from pipeline.fusion.references import References
from pipeline.operators.clusters import cluster_centres, nearest_centre
from pipeline.operators.interpolation import interpolate
from pipeline.operators.resample import area_mean
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import most_similar, radius_of, weighted_sum

_SEASONS = 12
"""Days of the year at which classes are learnt, at most."""

_FEWEST = 1000
"""Clear pixels in all samples that an image must have for classes."""

_YEAR = 365.25

_RIDGE = 1.0
"""Pure cells that the mean change of the window is worth to a class."""

_EXTREME = 10.0
"""A pixel that would take more than so many times its part of the residual of its cell takes its part."""

_SMALLEST = 1e-6
"""Added to what the residual is shared by, which may be zero in all pixels of a cell."""


@dataclass(frozen=True)
class Classified:
    """A pair in which all is known that does not depend on the target.

    Parameters
    ----------
    joined : Joined
        The cells that all this stands on.
    pair : Pair
    place : Tensor, (y, x) long
        Class and cell of a pixel, as an index of a flat (C, Y, X).
    fractions : Tensor, (C, Y, X)
        Shares of the classes among the valid pixels of a cell; 0 where there is none.
    weight : Tensor, (Y, X)
        Share of valid pixels.
    evenness : Tensor, (y, x)
        Share of pixels of the same class in a window of a cell (eq. 16).
    similar : Tensor, (y, x, n) int32
        Neighbours.
    nearness : Tensor, (y, x, n)
        Their weights (eq. 22); they add up to 1.
    """

    joined: Joined
    pair: Pair
    place: Tensor
    fractions: Tensor
    weight: Tensor
    evenness: Tensor
    similar: Tensor
    nearness: Tensor


@dataclass(frozen=True)
class Unmixed:
    """The coarse change of a target by classes.

    Parameters
    ----------
    changes : Tensor, (B, C, Y, X)
        Of each class, as the cells around each cell tell it.
    residual : Tensor, (B, Y, X)
        Coarse change that the classes of a cell leave; 0 where the coarse is unknown.
    changed : Tensor, (Y, X) bool, or None
        Cells that the gate takes for changed cover; None without a gate.
    """

    changes: Tensor
    residual: Tensor
    changed: Tensor | None


class Fsdaf(PairMethod[Classified]):
    """FSDAF on the nearest pair."""

    two_sided = False
    options: FsdafOptions

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn classes at days of the year, then how large the errors with them are."""
        return self.with_errors(samples, {"classes": learn_classes(samples, self.options.classes)})

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Classified:
        resolution = references.block.resolution
        joined = Joined.of(references, self.options.cell)
        (pair,) = (joined.pair(pair) for pair in pairs)
        centres = centres_of(references.parameters, pair.day, self.options.classes, pair.fine)
        label = nearest_centre(pair.fine, centres)
        members = [(label == place) & pair.valid for place in range(len(centres))]
        seen, _ = area_mean(torch.where(pair.valid, 1.0, 0.0), joined.scale)
        share = torch.stack([area_mean(member.to(pair.fine.dtype), joined.scale)[0] for member in members])
        evenness = evenness_of(members, pair.valid, joined.scale // 2)
        rows, cols = (torch.arange(size, device=label.device) // joined.scale for size in label.shape)
        height, width = pair.coarse.shape[-2:]
        place = label.mul_(height).add_(rows[:, None]).mul_(width).add_(cols)
        window = radius_of(self.options.window, resolution)
        similar, steps = most_similar(pair.fine, pair.valid, window, self.options.similar)
        nearness = steps.mul_(2.0 * resolution / self.options.window).add_(1.0).reciprocal_()
        nearness.div_(nearness.sum(dim=-1, keepdim=True).clamp_(min=1e-12))
        return Classified(joined, pair, place, share / seen.clamp(min=1e-6), seen, evenness, similar, nearness)

    def predict(self, references: References, analysis: Classified, target: int) -> Tensor:
        today = analysis.joined.cells(references.coarse_of(target)[0])
        unmixed = self.unmix(analysis, today, references.block.resolution)
        scale, fine = analysis.joined.scale, analysis.pair.fine
        evenness, changed = analysis.evenness, None
        if unmixed.changed is not None:
            changed = _spread(unmixed.changed, scale)
            evenness = evenness.masked_fill(changed, 1.0)
        change = torch.empty_like(fine)
        for band, out in enumerate(change):
            torch.take(unmixed.changes[band], analysis.place, out=out)
            smooth = interpolate(today[band : band + 1], scale, self.options.interpolation)[0]
            surplus = smooth.sub_(fine[band]).sub_(out).nan_to_num_()
            out.add_(share_out(unmixed.residual[band], surplus, evenness, analysis.pair.valid))
        return analysis.joined.block(fine + self.averaged(analysis, change, changed))

    def unmix(self, analysis: Classified, today: Tensor, resolution: float) -> Unmixed:
        """The coarse change by classes (eq. 5), and what it leaves (eq. 8)."""
        change = today - analysis.pair.coarse
        known = torch.isfinite(change).all(dim=0)
        change = torch.where(known, change, 0.0)
        radius = int(self.options.unmixing / (analysis.joined.scale * resolution)) // 2
        weight = analysis.weight * known
        changes = class_changes(analysis.fractions, change, weight, radius)
        residual = change - torch.einsum("bcyx,cyx->byx", changes, analysis.fractions)
        if self.options.gate == 0:
            return Unmixed(changes, residual * known, None)
        usual = box_sum(weight * residual.square(), radius) / box_sum(weight, radius).clamp_(min=1e-6)
        changed = (residual.square() > self.options.gate**2 * usual).any(dim=0) & known
        changes = class_changes(analysis.fractions, change, weight * ~changed, radius)
        residual = change - torch.einsum("bcyx,cyx->byx", changes, analysis.fractions)
        return Unmixed(changes, residual * known, changed)

    @staticmethod
    def averaged(analysis: Classified, change: Tensor, changed: Tensor | None) -> Tensor:
        """Mean change (B, y, x) of the neighbours (eq. 23), among changed or among unchanged pixels only."""
        mean = weighted_sum(change, analysis.similar, analysis.nearness)
        if changed is None or not bool(changed.any()):
            return mean
        mark = changed.to(change.dtype)
        theirs = weighted_sum(torch.cat([change * mark, mark[None]]), analysis.similar, analysis.nearness)
        total, share = theirs[:-1], theirs[-1]
        others = (mean - total) / (1.0 - share).clamp(min=1e-6)
        return torch.where(changed, total / share.clamp(min=1e-6), others)


def evenness_of(members: Sequence[Tensor], valid: Tensor, radius: int) -> Tensor:
    """Share of valid pixels (y, x) of the same class in the window around every pixel (eq. 16).

    Parameters
    ----------
    members : sequence of Tensor, (y, x) bool
        The valid pixels of each class.
    valid : Tensor, (y, x) bool
    radius : int
        Pixels on either side.
    """
    alike = torch.zeros(valid.shape, device=valid.device)
    for member in members:
        count = member.float()
        alike.addcmul_(box_sum(count, radius), count)
    return alike.div_(box_sum(valid.float(), radius).clamp_(min=1.0))


def class_changes(fractions: Tensor, change: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Change of every class, by least squares over the cells of a window around every cell.

    Parameters
    ----------
    fractions : Tensor, (C, Y, X)
    change : Tensor, (B, Y, X)
        Coarse change, finite.
    weight : Tensor, (Y, X)
        Of a cell; 0 = not used.
    radius : int
        Cells on either side.

    Returns
    -------
    Tensor, (B, C, Y, X)
        Drawn to the mean change of the window as if that had been seen in `_RIDGE` pure cells; 0 where no cell is used.
    """
    count, height, width = fractions.shape
    weighted = fractions * weight
    normal = fractions.new_empty((height, width, count, count))
    for first in range(count):
        rows = box_sum(weighted[first] * fractions[first:], radius)
        normal[..., first, first:] = normal[..., first:, first] = rows.permute(1, 2, 0)
    mean = box_sum(weight * change, radius) / box_sum(weight, radius).clamp_(min=1e-6)
    right = torch.stack([box_sum(weighted * plane, radius) for plane in change]).permute(2, 3, 1, 0)
    right = right + _RIDGE * mean.permute(1, 2, 0)[:, :, None, :]
    normal.diagonal(dim1=-2, dim2=-1).add_(_RIDGE)
    return torch.linalg.solve(normal, right).permute(3, 2, 0, 1).contiguous()


def share_out(residual: Tensor, surplus: Tensor, evenness: Tensor, valid: Tensor) -> Tensor:
    """Share the residual of every cell among its pixels, so that its mean is kept (eq. 14–19).

    Parameters
    ----------
    residual : Tensor, (Y, X)
    surplus : Tensor, (y, x)
        Smooth coarse image of the target minus the prediction by classes. What contradicts the sign of the residual counts as 0.
    evenness : Tensor, (y, x)
        0–1: how far `surplus` rather than an equal part decides.
    valid : Tensor, (y, x) bool
        Others take no part.

    Returns
    -------
    Tensor, (y, x)
    """
    height, width = residual.shape
    scale = valid.shape[0] // height

    def by_cell(values: Tensor) -> Tensor:
        return values.view(height, scale, width, scale)

    rest, part = residual[:, None, :, None], by_cell(valid).to(residual.dtype)
    count = part.mean(dim=(1, 3), keepdim=True).clamp_(min=1e-6)
    even = by_cell(evenness)
    share = (by_cell(surplus) * rest.sign()).clamp_(min=0.0).mul_(even)
    share.addcmul_(1.0 - even, rest.abs()).add_(_SMALLEST).mul_(part)
    share.div_(share.mean(dim=(1, 3), keepdim=True).div_(count).clamp_(min=_SMALLEST / 10))
    share.copy_(torch.where(share > _EXTREME, part, share))
    share.div_(share.mean(dim=(1, 3), keepdim=True).div_(count).clamp_(min=_SMALLEST))
    return share.mul_(rest).view(valid.shape)


def learn_classes(samples: Sequence[FusionInput], count: int) -> list[dict[str, Any]]:
    """Classes of the fine images of samples, at no more than `_SEASONS` days.

    Returns
    -------
    list of dict
        ``day`` (day number) and ``centres`` (count × bands), by day; empty where no image is clear enough.
    """
    pixels: dict[int, list[Tensor]] = {}
    for sample in samples:
        for day, image in zip(sample.fine_days, sample.fine, strict=True):
            values = image.flatten(1).T
            pixels.setdefault(int(day), []).append(values[torch.isfinite(values).all(dim=1)])
    pooled = {day: torch.cat(parts) for day, parts in sorted(pixels.items())}
    days = [day for day, values in pooled.items() if len(values) >= _FEWEST]
    return [
        {"day": day, "centres": [[round(value, 5) for value in centre] for centre in cluster_centres(pooled[day], count).tolist()]}
        for day in days[:: max(-(-len(days) // _SEASONS), 1)]
    ]


def centres_of(parameters: Mapping[str, Any], day: int, count: int, like: Tensor) -> Tensor:
    """Centres (C, B) of the classes learnt nearest in the season; where none were, slices of brightness.

    Parameters
    ----------
    parameters : mapping
        With what `learn_classes` gave as ``classes``.
    day : int
        Day number of the image.
    count : int
        Classes where none were learnt.
    like : Tensor, (B, y, x)
    """
    learnt = parameters.get("classes")
    if not learnt:
        # The same share of reflectances, roughly: doubled from slice to slice.
        levels = 0.04 * 2.0 ** torch.arange(count, dtype=like.dtype, device=like.device)
        return levels[:, None].expand(count, len(like))

    def apart(entry: Mapping[str, Any]) -> float:
        days = abs(entry["day"] - day) % _YEAR
        return min(days, _YEAR - days)

    return like.new_tensor(min(learnt, key=apart)["centres"])


def _spread(cells: Tensor, scale: int) -> Tensor:
    """Cells (Y, X) on their pixels."""
    return cells.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)
