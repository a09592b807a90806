"""Object-level fusion: what STARFM and Fit-FC do for pixels and their neighbours, done for segments; and a mixture of both.

Guo, Shi, Zhang & Hao 2022, A flexible object-level processing strategy to enhance the weight function-based spatiotemporal fusion
method (TGRS 60, 4414811): OL-STARFM and OL-Fit-FC. Guo & Shi 2023, Object-level hybrid spatiotemporal fusion (JSTARS,
doi:10.1109/JSTARS.2023.3310195): OL-HSTFM.

Segments are those of tiles of the lattice of the CRS. What cells say of a segment is a sum over the parts that both have in
common, so a target costs little more than writing its pixels. Three things differ from the authors' programs. What the line of a segment
leaves is told by the coarse alone, as in Fit-FC (Wang & Atkinson 2018, RSE 204, 31–42), not by the coarse of the target minus
the mean of the fine prediction, which takes every difference between the sensors and every displacement for change. Residuals are
interpolated by a thin-plate spline instead of cubic convolution. Edges are compared with those of a moving window instead of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.fusion.joined import Joined
from pipeline.fusion.options import ObjectOptions
from pipeline.fusion.pairs import Pair, PairMethod
from pipeline.fusion.references import References
from pipeline.operators.interpolation import interpolate
from pipeline.operators.segments import Overlaps, segment
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import window_std

_FEWEST_CELLS = 3
"""A line is fitted to a segment that so many known cells touch."""

_LEAST_AREA = 4
"""Cells' worth of pixels that such a segment has at least."""

_FLAT = 1e-6
"""Variance of the coarse [reflectance²] that is too small to tell a gain: it is then 1."""

_EDGE = 0.1
"""Strength above which a pixel lies on an edge."""


@dataclass(frozen=True)
class Objects:
    """A pair in segments.

    Parameters
    ----------
    joined : Joined
        The cells that all this stands on.
    pair : Pair
    labels : Tensor, (y, x) long
    overlaps : Overlaps
    centre : Tensor, (S,) long
        The cell in which the middle of a segment lies.
    box : int
        Cells on either side of that cell on which the line of a small segment is fitted.
    tile : int
        Pixels along the edge of a tile.
    """

    joined: Joined
    pair: Pair
    labels: Tensor
    overlaps: Overlaps
    centre: Tensor
    box: int
    tile: int

    @cached_property
    def edges(self) -> Tensor:
        """Strength (B, y, x) of the edges (Roberts) of the fine image, 1 at 4 σ above what is usual around."""
        fine, valid = self.pair.fine, self.pair.valid
        strength = torch.zeros_like(fine)
        falling = (fine[:, :-1, :-1] - fine[:, 1:, 1:]).abs_()
        strength[:, :-1, :-1] = falling.add_((fine[:, 1:, :-1] - fine[:, :-1, 1:]).abs_())
        strength *= valid
        radius = self.tile // 2
        count = box_sum(valid.to(fine.dtype), radius).clamp_(min=1.0)
        spread = window_std(strength, valid, radius).mul_(4.0).clamp_(min=1e-6)
        for plane, most in zip(strength, spread, strict=True):
            plane.sub_(box_sum(plane, radius).div_(count)).abs_().div_(most).clamp_(max=1.0)
        return strength


@dataclass(frozen=True)
class Told:
    """What the coarse of a target says of segments.

    Parameters
    ----------
    then, change : Tensor, (B, P) float64
        Coarse of the pair and its change until the target, of each part; 0 where unknown.
    pixels : Tensor, (P,) long
        Pixels whose coarse is known.
    share : Tensor, (Y, X) float64
        Their number in a cell; at least 1.
    """

    then: Tensor
    change: Tensor
    pixels: Tensor
    share: Tensor


class ObjectMethod(PairMethod[Objects]):
    """What the object-level methods share: segments of the nearest pair."""

    two_sided = False
    options: ObjectOptions

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Objects:
        resolution = references.block.resolution
        joined = Joined.of(references, self.options.cell)
        (pair,) = (joined.pair(pair) for pair in pairs)
        scale, cell = joined.scale, joined.scale * resolution
        tile = max(int(self.options.tile / cell), 1) * scale
        corner = (joined.corner[0] * scale, joined.corner[1] * scale)
        smallest = max(round(self.options.smallest * 1e4 / resolution**2), 1)
        labels = segment(pair.fine, pair.valid, tile, corner, self.options.detail, smallest)
        overlaps = Overlaps.of(labels, pair.valid, scale)
        middle = [self._middle(labels, axis) // scale for axis in (0, 1)]
        box = int(self.options.box / cell) // 2
        return Objects(joined, pair, labels, overlaps, middle[0] * overlaps.cells[1] + middle[1], box, tile)

    @staticmethod
    def _middle(labels: Tensor, axis: int) -> Tensor:
        """Mean row or column (S,) of the pixels of every segment."""
        place = torch.arange(labels.shape[axis], device=labels.device)
        places = (place[:, None] if axis == 0 else place[None, :]).expand(labels.shape).flatten()
        size = torch.bincount(labels.flatten())
        return torch.zeros_like(size).index_add_(0, labels.flatten(), places) // size.clamp(min=1)

    @staticmethod
    def told(references: References, objects: Objects, target: int) -> Told:
        """Read the coarse of a target."""
        then = objects.pair.coarse.double()
        change = objects.joined.cells(references.coarse_of(target)[0]).double() - then
        known = torch.isfinite(change).all(dim=0)
        overlaps = objects.overlaps
        pixels = overlaps.pixels * overlaps.of_cells(known)
        return Told(
            overlaps.of_cells(torch.where(known, then, 0.0)),
            overlaps.of_cells(torch.where(known, change, 0.0)),
            pixels,
            overlaps.by_cell(pixels.double()).clamp_(min=1.0),
        )


def shifts(objects: Objects, told: Told) -> tuple[Tensor, Tensor]:
    """OL-STARFM: the median change (B, S) of every segment, and what that leaves in every cell (B, Y, X)."""
    overlaps = objects.overlaps
    medians = torch.stack([overlaps.median(change, told.pixels) for change in told.change])
    left = (told.change - medians[:, overlaps.segment]) * told.pixels
    return medians.float(), (overlaps.by_cell(left) / told.share).float()


def lines(objects: Objects, told: Told) -> tuple[Tensor, Tensor]:
    """OL-Fit-FC: gain and bias (B, S) of every segment; a line fitted around it is moved to the mean of its own cells."""
    overlaps, pixels = objects.overlaps, told.pixels.double()
    now = told.then + told.change
    moments = torch.stack([torch.ones_like(now), told.then, now, told.then.square(), told.then * now]) * pixels
    own = overlaps.by_segment(moments)
    around = box_sum(overlaps.by_cell(moments), objects.box).flatten(-2)[..., objects.centre]
    cells = overlaps.by_segment((told.pixels > 0).long())
    enough = (cells >= _FEWEST_CELLS) & (own[0, 0] >= _LEAST_AREA * objects.joined.scale**2)
    count, then, now_sum, squares, cross = torch.where(enough, own, around)
    count = count.clamp(min=1.0)
    gain = (cross * count - then * now_sum + _FLAT * count.square()) / (squares * count - then.square() + _FLAT * count.square())
    # A segment of which nothing is known stays as it was.
    gain = torch.where(own[0] > 0, gain, 1.0)
    return gain.float(), ((own[2] - gain * own[1]) / own[0].clamp(min=1.0)).float()


class OlStarfm(ObjectMethod):
    """OL-STARFM: every segment moved by the median change of the coarse, and the rest of the cells, interpolated."""

    def predict(self, references: References, analysis: Objects, target: int) -> Tensor:
        return analysis.joined.block(_shifted(analysis, *shifts(analysis, self.told(references, analysis, target))))


class OlFitFc(ObjectMethod):
    """OL-Fit-FC: the line of every segment that leads from the coarse of the pair to that of the target, for its pixels."""

    def predict(self, references: References, analysis: Objects, target: int) -> Tensor:
        gain, bias = lines(analysis, self.told(references, analysis, target))
        return analysis.joined.block(_on_lines(analysis, gain, bias))


class OlHstfm(ObjectMethod):
    """OL-HSTFM: OL-Fit-FC, and the more OL-STARFM on edges the more the line of their segment would flatten them."""

    def predict(self, references: References, analysis: Objects, target: int) -> Tensor:
        told = self.told(references, analysis, target)
        gain, bias = lines(analysis, told)
        fitted, moved = _on_lines(analysis, gain, bias), _shifted(analysis, *shifts(analysis, told))
        for plane, other, edge, steep in zip(fitted, moved, analysis.edges, gain, strict=True):
            flattened = (1.0 - steep.abs()).clamp_(min=0.0)[analysis.labels]
            share = flattened.mul_(1.0 + _EDGE - edge).mul_(edge > _EDGE)
            plane.lerp_(other, share)
        return analysis.joined.block(fitted)


def _shifted(objects: Objects, medians: Tensor, rest: Tensor) -> Tensor:
    moved = interpolate(rest, objects.joined.scale, "thin-plate")
    for plane, median, fine in zip(moved, medians, objects.pair.fine, strict=True):
        plane.add_(median[objects.labels]).add_(fine)
    return moved


def _on_lines(objects: Objects, gain: Tensor, bias: Tensor) -> Tensor:
    fitted = torch.empty_like(objects.pair.fine)
    for plane, fine, steep, level in zip(fitted, objects.pair.fine, gain, bias, strict=True):
        torch.addcmul(level[objects.labels], steep[objects.labels], fine, out=plane)
    return fitted
