"""VSDF: the coarse change unmixed into classes of pixels that look alike and vary alike.

After Xu, Du, Fan, Yan, Kang, Zhu & Hu 2022, VSDF: a variation-based spatiotemporal data fusion method (RSE 283, 113309): a guided filter
says how every fine pixel may have varied; k-means on reflectance and variation together gives the classes; least squares over the coarse
cells gives the change of each; what is left of a coarse cell is spread smoothly, as far as fine and coarse images agree.

What differs: the classes are found and unmixed in overlapping windows that are anchored to the lattice of cells, whose results are blended,
so that a block agrees with the whole image; cells tell how far a class departs from the variation of its pixels, so that a
class that hardly any cell holds follows the filter; edges are not smoothed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.options import VsdfOptions
from pipeline.fusion.pairs import Pair, PairMethod
from pipeline.fusion.references import References
from pipeline.operators.resample import area_mean, lift
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import radius_of

_NOISE = 0.005**2
"""Variance of coarse values that is not taken for a relation between image and change [reflectance²]."""

_RIDGE = 3.0
"""Pure cells that the variation of its pixels is worth to a class."""

_SAMPLE = 2500
"""Pixels of a window that classes are found from."""

_ROUNDS = 10


@dataclass(frozen=True)
class Ready:
    """A pair, and what of it does not depend on the target.

    Parameters
    ----------
    pair : Pair
    share : Tensor, (Y, X)
        Of valid pixels.
    against : Tensor, (B, Y, X)
        Mean of the valid fine pixels of a cell minus its coarse value.
    """

    pair: Pair
    share: Tensor
    against: Tensor


@dataclass(frozen=True)
class Tile:
    """A window that is unmixed alone, as slices of cells and of pixels, and its weight (h, w) in the blend."""

    cells: tuple[slice, slice]
    pixels: tuple[slice, slice]
    weight: Tensor


class Vsdf(PairMethod[Ready]):
    """VSDF on the nearest pair."""

    two_sided = False
    options: VsdfOptions

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Ready:
        (pair,) = pairs
        share = area_mean(pair.valid.to(pair.fine.dtype), references.block.scale)[0]
        means = _cell_means(pair.fine, pair.valid, share, references.block.scale)
        return Ready(pair, share, torch.nan_to_num(means - pair.coarse))

    def predict(self, references: References, analysis: Ready, target: int) -> Tensor:
        block, pair = references.block, analysis.pair
        change = references.coarse_of(target)[0] - pair.coarse
        known = torch.isfinite(change).all(dim=0)
        change = torch.where(known, change, 0.0)
        weight = analysis.share * known
        cell = block.scale * block.resolution
        radius = radius_of(self.options.regression, cell)
        variation = guided(pair, change, weight, radius, block.scale)
        features = torch.cat([variation, pair.fine])
        moved, blend = torch.zeros_like(variation), torch.zeros_like(variation[0])
        for tile in tiles(weight.shape, block.origin, max(round(self.options.window / cell / 2), 1), block.scale, weight):
            inside = (..., *tile.pixels)
            unmixed = self.unmixed(features[inside], pair.valid[inside], change[(..., *tile.cells)], weight[tile.cells])
            moved[inside].addcmul_(unmixed, tile.weight)
            blend[inside] += tile.weight
        moved.div_(blend)
        rest = (change - _cell_means(moved, pair.valid, analysis.share, block.scale)).mul_(weight > 0)
        return pair.fine + moved.add_(lift(rest * trust(rest, analysis.against, weight, radius), block.scale))

    def unmixed(self, features: Tensor, valid: Tensor, change: Tensor, weight: Tensor) -> Tensor:
        """Change (B, h, w) of the pixels of a window by classes.

        Parameters
        ----------
        features : Tensor, (2 B, h, w)
            Variation and reflectance.
        valid : Tensor, (h, w) bool
        change : Tensor, (B, H, W)
            Of the cells.
        weight : Tensor, (H, W)
            Of the cells.
        """
        bands = len(change)
        values = features.flatten(1)
        usable = valid.flatten()
        sample = values[:, usable]
        if not sample.shape[1]:
            return features[:bands]
        centres = classes_of(sample[:, :: max(sample.shape[1] // _SAMPLE, 1)].double(), self.options.classes)
        label = nearest(values, centres)
        variation = values[:bands]
        scale = valid.shape[0] // change.shape[1]
        rows, cols = (torch.arange(size, device=valid.device) // scale for size in valid.shape)
        cell = (rows[:, None] * change.shape[2] + cols).flatten()
        count = torch.bincount(cell[usable] * len(centres) + label[usable], minlength=weight.numel() * len(centres))
        fractions = count.view(-1, len(centres)).double()
        size = fractions.sum(dim=0)
        fractions = fractions / fractions.sum(dim=1, keepdim=True).clamp(min=1.0)
        usual = values.new_zeros((bands, len(centres)), dtype=torch.float64)
        usual.index_add_(1, label[usable], variation[:, usable].double())
        usual = (usual / size.clamp(min=1.0)).T
        weighted = fractions * weight.flatten().double()[:, None]
        normal = weighted.T @ fractions + _RIDGE * torch.eye(len(centres), dtype=torch.float64, device=valid.device)
        right = weighted.T @ (change.flatten(1).T.double() - fractions @ usual)
        changes = usual + torch.linalg.solve(normal, right)
        return changes.T.to(values.dtype)[:, label].view(bands, *valid.shape)


def guided(pair: Pair, change: Tensor, weight: Tensor, radius: int, scale: int) -> Tensor:
    """Variation (B, y, x) of fine pixels: the change of the cells around as a line of their reflectance, read at the pixel.

    He, Sun & Tang 2013, Guided image filtering (TPAMI 35, 1397–1409), eq. 5, 6 and 8.
    """
    guide = torch.nan_to_num(pair.coarse)
    count = box_sum(weight, radius).clamp_(min=1e-6)
    mean, middle = (box_sum(part * weight, radius).div_(count) for part in (change, guide))
    spread = box_sum(guide.square() * weight, radius).div_(count).sub_(middle.square()).clamp_(min=0.0)
    shared = box_sum(guide * change * weight, radius).div_(count).sub_(mean * middle)
    gain = shared / (spread + _NOISE)
    offset = mean - gain * middle
    return lift(gain, scale).mul_(pair.fine).add_(lift(offset, scale))


def trust(rest: Tensor, against: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Share (B, Y, X) of what is left of a change that is taken for true: little where fine and coarse disagree before any change.

    Parameters
    ----------
    rest, against : Tensor, (B, Y, X)
        What is left, and fine minus coarse in the pair.
    weight : Tensor, (Y, X)
        Of the cells.
    radius : int
        Cells on either side whose variances count.
    """
    count = box_sum(weight, radius).clamp_(min=1e-6)
    noise = box_sum(against.square() * weight, radius).div_(count).sub_(box_sum(against * weight, radius).div_(count).square_())
    signal = box_sum(rest.square() * weight, radius).div_(count)
    return signal / noise.clamp_(min=0.0).add_(signal).clamp_(min=1e-12)


def tiles(shape: Sequence[int], origin: tuple[int, int], step: int, scale: int, like: Tensor) -> Iterator[Tile]:
    """Windows of ``2 step`` cells, one every `step` cells of the lattice, that cover an area; at its edge they are cut off.

    Parameters
    ----------
    shape : (int, int)
        Cells of the area.
    origin : (int, int)
        Its first cell on the lattice.
    step, scale : int
        Cells between windows, and pixels of a cell.
    like : Tensor
        Type and device of the weights, which fall linearly from the middle of a window to its edge.
    """
    ramp = 1.0 - (torch.arange(2 * step * scale, dtype=like.dtype, device=like.device).add_(0.5).div_(step * scale).sub_(1.0)).abs()
    starts = [range(-(first % step) - step, length, step) for first, length in zip(origin, shape, strict=True)]
    for top in starts[0]:
        for left in starts[1]:
            cells = tuple(slice(max(start, 0), min(start + 2 * step, length)) for start, length in zip((top, left), shape, strict=True))
            if any(part.stop <= part.start for part in cells):
                continue
            pixels = tuple(slice(part.start * scale, part.stop * scale) for part in cells)
            down, across = (
                ramp[(part.start - start) * scale : (part.stop - start) * scale] for part, start in zip(cells, (top, left), strict=True)
            )
            yield Tile((cells[0], cells[1]), (pixels[0], pixels[1]), down[:, None] * across)


def classes_of(values: Tensor, count: int) -> Tensor:
    """Centres (count, D) of k-means (Lloyd 1982) of values (D, n), begun with parts of equal size along their first axis."""
    centred = values - values.mean(dim=1, keepdim=True)
    axis = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1]
    order = (axis @ centred).argsort(stable=True)
    length = values.shape[1]
    label = torch.empty_like(order)
    label[order] = torch.arange(length, device=values.device) * min(count, length) // length
    centres = values.new_zeros((min(count, length), len(values)))
    for _ in range(_ROUNDS):
        size = torch.bincount(label, minlength=len(centres))[:, None]
        total = torch.zeros_like(centres).index_add_(0, label, values.T)
        centres = torch.where(size > 0, total / size.clamp(min=1), centres)
        label = nearest(values, centres)
    return centres


def nearest(values: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre (n,) of values (D, n); of two equally near the first."""
    centres = centres.to(values.dtype)
    apart = torch.addmm(centres.square().sum(dim=1, keepdim=True), centres, values, alpha=-2.0)
    label = torch.zeros(values.shape[1], dtype=torch.long, device=values.device)
    best = apart[0]
    # Much faster than argmin along the first axis.
    for place in range(1, len(centres)):
        label.masked_fill_(apart[place] < best, place)
        torch.minimum(best, apart[place], out=best)
    return label


def _cell_means(values: Tensor, valid: Tensor, share: Tensor, scale: int) -> Tensor:
    """Means (B, Y, X) of the valid pixels of the cells; 0 where there is none."""
    return area_mean(values * valid, scale)[0] / share.clamp(min=1e-6)
