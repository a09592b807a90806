"""ESTARFM: the coarse change of similar neighbours, by a conversion coefficient that a regression over them gives, from both sides.

Zhu, Chen, Gao, Chen & Masek 2010, An enhanced spatial and temporal adaptive reflectance fusion model for complex heterogeneous
regions (RSE 114, 2610–2623), eq. 9–19.

Which neighbours are similar, how they weigh and the coefficient do not depend on the target. The weighted change
of the neighbours is linear in the coarse cells, so the weights of a pixel are kept by coarse cell: a target then costs a small
product of matrices instead of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.fusion.options import EstarfmOptions
from pipeline.fusion.pairs import Pair, PairMethod
from pipeline.fusion.references import References
from pipeline.operators.resample import area_mean, lift
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import Floats, compiled, distances, offsets, over_rows, padded, radius_of, shifted, window_std

_NARROWEST = 4
"""Pixels along the edge of a knot: cells narrower than that are joined, or a pixel would keep a weight for every pixel of its window.
Knots that the edge of a block cuts are means of fewer cells: only of cells so narrow do blocks differ there from the whole image."""

_SMALLEST = 1e-4
"""Added to 1 − correlation, which may be zero: over a few bands, correlations that differ by less differ by noise."""

_UNKNOWN_CORRELATION = 0.5

_STEEPEST = 5.0
"""Conversion coefficients above it are not believed."""

_FEWEST = 5
"""No conversion coefficient is fitted to so few neighbours."""

_TOLERANCE = 1e-6
"""Added to the spread of a window, which may be zero."""

_ROWS_AT_ONCE = 96
"""Rows of sums over neighbours that are held at a time."""

_STEPS = 20_000
"""Steps of one, in which neighbours are compared as small integers: twice as many as the usual storage of reflectance has."""

_LARGEST = 2**15 - 2
"""Steps of the largest value that is told from larger ones (1.6)."""

_HIDDEN, _NEVER = -(2**15), 2**15 - 1
"""Codes of a neighbour that is like nothing, and of what no neighbour is like."""

_CHUNK = 384
"""Pixels of a row that the kernel works on at once, a multiple of eight."""


@dataclass(frozen=True)
class Knots:
    """Square groups of coarse cells between whose centres the coarse is interpolated.

    Parameters
    ----------
    join : int
        Cells along the edge of a knot.
    size : int
        Pixels along the edge of a knot.
    margin : tuple of int
        Cells of the first knot that lie above and left of the block.
    shape : tuple of int
        Rows and columns of knots.
    reach : int
        Knots on either side that the window of a pixel touches.
    """

    join: int
    size: int
    margin: tuple[int, int]
    shape: tuple[int, int]
    reach: int

    @classmethod
    def of(cls, references: References, radius: int) -> Knots:
        """The knots of a block; joined cells keep to the lattice of the CRS."""
        block = references.block
        join = -(-_NARROWEST // block.scale)
        size = join * block.scale
        margin = (block.origin[0] % join, block.origin[1] % join)
        cells = block.coarse.shape[-2:]
        shape = (-(-(margin[0] + cells[0]) // join), -(-(margin[1] + cells[1]) // join))
        lowest, highest = (math.floor((place + 0.5) / size - 0.5) for place in (-radius, size - 1 + radius))
        return cls(join, size, margin, shape, max(-lowest, highest + 1))

    @property
    def count(self) -> int:
        """Knots along the edge of the window of a pixel."""
        return 2 * self.reach + 1

    def gathered(self, cells: Tensor) -> Tensor:
        """Finite cells (C, Y, X) averaged to knots (C, *shape)."""
        if self.join == 1:
            return cells
        after = [count * self.join - first - size for count, first, size in zip(self.shape, self.margin, cells.shape[-2:], strict=True)]
        wide = torch.nn.functional.pad(cells, (self.margin[1], after[1], self.margin[0], after[0]), value=math.nan)
        return area_mean(wide, self.join)[0]

    def places(self, axis: int, pixels: int, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The knot before each of some pixels along an axis, and the weight of the knot after it."""
        place = (torch.arange(pixels, device=device) + self.margin[axis] * scale + 0.5) / self.size - 0.5
        place = place.clamp(0, self.shape[axis] - 1)
        before = place.floor()
        return before.to(torch.int64), (place - before).float()


@dataclass(frozen=True)
class Neighbourhood:
    """What neighbours are judged by, and where their weights go.

    Parameters
    ----------
    planes : Tensor, (n, y + 2 r, x + 2 r) int16
        The bands of the fine images of the pairs in `_STEPS`, filled to a multiple of four, with a margin of the radius of the window.
    lowest, highest : Tensor, (n, y, x) int16
        Between them a neighbour is similar (eq. 15); all are in the planes that fill, none is to a pixel that is not valid.
    valid : Tensor, (y, x) bool
    weight : Tensor, (y + 2 r, x + 2 r)
        Of a neighbour, without its distance (eq. 16–18).
    nearness : Tensor, (2 r + 1, 2 r + 1)
        Factor of the weight by place in the window.
    knots : Knots
    rows, cols : tuple of Tensor
        The knot before each row and column of pixels, and the weight of the one after it.
    offset : tuple of int
        Pixels of the first knot above and left of the block.
    weights : Tensor, (Y, X, size, size, count²)
        The weights are added here, by knot.
    """

    planes: Tensor
    lowest: Tensor
    highest: Tensor
    valid: Tensor
    weight: Tensor
    nearness: Tensor
    knots: Knots
    rows: tuple[Tensor, Tensor]
    cols: tuple[Tensor, Tensor]
    offset: tuple[int, int]
    weights: Tensor


@dataclass(frozen=True)
class Similar:
    """What the similar neighbours of every pixel say.

    Parameters
    ----------
    pairs : sequence of Pair
    knots : Knots
    weights : Tensor, (Y, X, size, size, count²)
        Of the knots around it, for every pixel of every knot; they add up to one.
    conversion : Tensor, (B, y, x)
        Fine change per coarse change.
    """

    pairs: Sequence[Pair]
    knots: Knots
    weights: Tensor
    conversion: Tensor


class Estarfm(PairMethod[Similar]):
    """ESTARFM. With images on one side only, the pair of that side is used alone and the conversion coefficient is one."""

    options: EstarfmOptions

    def analyse(self, references: References, pairs: Sequence[Pair]) -> Similar:
        radius = radius_of(self.options.window, references.block.resolution)
        bands, height, width = references.shape
        around = self._neighbourhood(references, pairs, radius)
        conversion = around.weight.new_ones((bands, height, width))
        at_once = _ROWS_AT_ONCE if conversion.device.type == "cpu" else height
        for first in range(0, height, at_once):
            last = min(first + at_once, height)
            terms = _regression_terms(pairs, around.valid, first, last, radius)
            sums = terms.new_zeros((last - first, width, terms.shape[-1]))
            add_similar(around, terms, first, sums)
            if len(pairs) > 1:
                conversion[:, first:last] = _conversion(sums, bands, self.options.uncertainty)
        around.weights.div_(around.weights.sum(dim=-1, keepdim=True).clamp_(min=1e-30))
        return Similar(pairs, around.knots, around.weights, conversion)

    def _neighbourhood(self, references: References, pairs: Sequence[Pair], radius: int) -> Neighbourhood:
        scale, device = references.block.scale, references.clear.device
        valid = torch.stack([pair.valid for pair in pairs]).all(dim=0)
        bands, (height, width) = len(pairs[0].fine), valid.shape
        count = -(-len(pairs) * bands // 4) * 4
        planes = torch.full((count, height + 2 * radius, width + 2 * radius), _HIDDEN, dtype=torch.int16, device=device)
        lowest = torch.full((count, height, width), _HIDDEN, dtype=torch.int16, device=device)
        highest = torch.full_like(lowest, _NEVER)
        images = (band for pair in pairs for band in pair.fine)
        for plane, low, high, image in zip(planes, lowest, highest, images, strict=False):
            code = image.mul(_STEPS).round_().clamp_(-_LARGEST, _LARGEST)
            shifted(plane, radius, 0, 0).copy_(code.masked_fill(~valid, _HIDDEN))
            apart = window_std(image[None], valid, radius)[0].mul_(2.0 / self.options.classes).add_(_TOLERANCE).mul_(_STEPS).floor_()
            low.copy_((code - apart).clamp_(min=-_LARGEST).masked_fill_(~valid, _NEVER))
            high.copy_((code + apart).clamp_(max=_LARGEST).masked_fill_(~valid, _NEVER))
        knots = Knots.of(references, radius)
        rows, cols = (knots.places(axis, size, scale, device) for axis, size in enumerate(valid.shape))
        return Neighbourhood(
            planes=planes,
            lowest=lowest,
            highest=highest,
            valid=valid,
            weight=padded(_likeness(pairs).mul_(valid), radius),
            nearness=1.0 / distances(radius, max(radius, 1)).to(device),
            knots=knots,
            rows=rows,
            cols=cols,
            offset=(knots.margin[0] * scale, knots.margin[1] * scale),
            weights=pairs[0].fine.new_zeros((*knots.shape, knots.size, knots.size, knots.count**2)),
        )

    def predict(self, references: References, analysis: Similar, target: int) -> Tensor:
        scale = references.block.scale
        radius = radius_of(self.options.window, references.block.resolution)
        today = references.coarse_of(target)[0]
        changes = torch.stack([today - pair.coarse for pair in analysis.pairs])
        unknown = torch.isnan(changes)
        changes.nan_to_num_()
        moved = _weighted(analysis, changes.flatten(0, 1), references.shape[1:], scale)
        moved = moved.view(len(analysis.pairs), *references.shape).mul_(analysis.conversion)
        for plane, pair in zip(moved, analysis.pairs, strict=True):
            plane += pair.fine
        if len(moved) == 1:
            return moved[0]
        # The less the coarse changed over the window, the more a pair says (eq. 19); nothing is said across an unknown change.
        for band, out in enumerate(moved[0]):
            apart = box_sum(lift(changes[:, band], scale), radius).abs_()
            if bool(unknown[:, band].any()):
                apart += box_sum(lift(unknown[:, band].to(apart.dtype), scale), radius)
            apart += 1e-10
            out.lerp_(moved[1, band], apart[0] / (apart[0] + apart[1]))
        return moved[0]


def add_similar(around: Neighbourhood, terms: Tensor, first: int, sums: Tensor) -> None:
    """Find the similar neighbours of some rows of pixels and add them up.

    Parameters
    ----------
    around : Neighbourhood
        Its `weights` are added to.
    terms : Tensor, (h + 2 r, x + 2 r, n)
        What is to be added up, for the rows from `first` − r on.
    first : int
        First row.
    sums : Tensor, (h, x, n)
        `terms` of the similar neighbours are added here.
    """
    if sums.device.type != "cpu":
        _add_by_offset(around, terms, first, sums)
        return
    rows = slice(first, first + len(sums))
    # Up to 2¹⁶ − 1: the bits of a difference of small integers, read without a sign.
    span = (around.highest[:, rows] - around.lowest[:, rows]).numpy().view(np.uint16)
    images = around.planes.numpy(), around.lowest.numpy(), span, len(around.valid), around.weight.numpy(), around.nearness.numpy()
    places = [part.numpy() for part in (*around.rows, *around.cols)]
    outputs = around.weights.numpy(), terms.numpy(), sums.numpy()
    over_rows(lambda top, bottom: _add_rows(*images, *places, *around.offset, *outputs, first, top, bottom), len(sums))


@compiled
def _add_rows(
    planes: Any,
    lowest: Any,
    span: Any,
    height: int,
    weight: Floats,
    nearness: Floats,
    row_knot: Any,
    row_share: Floats,
    col_knot: Any,
    col_share: Floats,
    above: int,
    beside: int,
    weights: Floats,
    terms: Floats,
    sums: Floats,
    first: int,
    top: int,
    bottom: int,
) -> None:
    width, size, edge = sums.shape[1], nearness.shape[0], weights.shape[2]
    middle, count = size // 2, round(math.sqrt(weights.shape[4]))
    reach = count // 2
    alike = np.empty(_CHUNK, np.uint8)
    eights = alike.view(np.uint64)
    similar, shift = np.empty(_CHUNK, np.int64), np.empty(_CHUNK, np.int64)
    total, line_of_knots = np.empty((_CHUNK, terms.shape[2]), np.float32), np.zeros((_CHUNK, count), np.float32)
    kept = np.empty((_CHUNK, (count + 1) * count), np.float32)
    for y in range(top, bottom):
        # Rows: y of the sums, v of the block, and of the padded images w of the neighbour.
        v = first + y
        knot_row, inner_row = (v + above) // edge, (v + above) % edge
        for left in range(0, width, _CHUNK):
            right = min(left + _CHUNK, width)
            part = right - left
            total[:] = np.float32(0)
            kept[:] = np.float32(0)
            for x in range(part):
                shift[x] = reach - (left + x + beside) // edge
            for row in range(max(0, middle - v), min(size, middle - v + height)):
                w = v + row
                line = w - middle
                for col in range(size):
                    start, stop = left + col, right + col
                    alike[:part] = 1
                    alike[part:] = 0
                    some = np.uint64(0)
                    for plane in range(0, planes.shape[0], 4):
                        # Four planes at a time: half of the work is to keep what was found so far.
                        there0, there1 = planes[plane, w, start:stop], planes[plane + 1, w, start:stop]
                        there2, there3 = planes[plane + 2, w, start:stop], planes[plane + 3, w, start:stop]
                        low0, low1 = lowest[plane, v, left:right], lowest[plane + 1, v, left:right]
                        low2, low3 = lowest[plane + 2, v, left:right], lowest[plane + 3, v, left:right]
                        span0, span1 = span[plane, y, left:right], span[plane + 1, y, left:right]
                        span2, span3 = span[plane + 2, y, left:right], span[plane + 3, y, left:right]
                        for x in range(part):
                            # Without a sign what is below the lowest is above every span: one comparison for both ends.
                            first_two = (np.uint16(there0[x] - low0[x]) <= span0[x]) & (np.uint16(there1[x] - low1[x]) <= span1[x])
                            last_two = (np.uint16(there2[x] - low2[x]) <= span2[x]) & (np.uint16(there3[x] - low3[x]) <= span3[x])
                            alike[x] &= first_two & last_two
                        some = np.uint64(0)
                        for eight in eights:
                            some |= eight
                        if some == 0:
                            break
                    if some == 0:
                        continue
                    found = 0
                    for place in range(len(eights)):
                        if eights[place] != 0:
                            for x in range(8 * place, 8 * place + 8):
                                similar[found] = x
                                found += alike[x]
                    for at in range(found):
                        x = similar[at]
                        place = start + x
                        sums_here, term = total[x], terms[y + row, place]
                        for number in range(terms.shape[2]):
                            sums_here[number] += term[number]
                        share = weight[w, place] * nearness[row, col]
                        beyond = share * col_share[place - middle]
                        slot = col_knot[place - middle] + shift[x]
                        line_of_knots[x, slot] += share - beyond
                        line_of_knots[x, slot + 1] += beyond
                slot = (row_knot[line] - knot_row + reach) * count
                for x in range(part):
                    for number in range(count):
                        below = line_of_knots[x, number] * row_share[line]
                        kept[x, slot + number] += line_of_knots[x, number] - below
                        kept[x, slot + count + number] += below
                        line_of_knots[x, number] = np.float32(0)
            for x in range(part):
                sums[y, left + x] = total[x]
                place = left + x + beside
                weights[knot_row, place // edge, inner_row, place % edge] = kept[x, : count * count]


def _add_by_offset(around: Neighbourhood, terms: Tensor, first: int, sums: Tensor) -> None:
    height, width = sums.shape[:2]
    radius, knots = len(around.nearness) // 2, around.knots
    rows = slice(first, first + height)
    planes, weight = (part[..., first : first + height + 2 * radius, :] for part in (around.planes, around.weight))
    lowest, highest = around.lowest[:, rows], around.highest[:, rows]
    columns, lines = torch.arange(width, device=sums.device), torch.arange(first, first + height, device=sums.device)
    line, column = (lines + around.offset[0])[:, None], columns + around.offset[1]
    pixel = (
        (line // knots.size * knots.shape[1] + column // knots.size) * knots.size**2 + line % knots.size * knots.size + column % knots.size
    )
    origin = pixel * knots.count**2 + (knots.reach - line // knots.size) * knots.count + knots.reach - column // knots.size
    kept = around.weights.view(-1)
    for (row, col), near in zip(offsets(radius), around.nearness.flatten().tolist(), strict=True):
        there = shifted(planes, radius, row, col)
        similar = ((there >= lowest) & (there <= highest)).all(dim=0)
        sums += shifted(terms.permute(2, 0, 1), radius, row, col).permute(1, 2, 0) * similar[..., None]
        share = shifted(weight, radius, row, col) * similar * near
        place = (lines + row).clamp(0, len(around.rows[0]) - 1), (columns + col).clamp(0, len(around.cols[0]) - 1)
        slot = origin + around.rows[0][place[0]][:, None] * knots.count + around.cols[0][place[1]]
        down, right = around.rows[1][place[0]][:, None], around.cols[1][place[1]]
        some = similar.flatten()
        for step, part in ((0, (1 - down) * (1 - right)), (1, (1 - down) * right)):
            kept.index_add_(0, (slot + step).flatten()[some], (share * part).flatten()[some])
        for step, part in ((0, down * (1 - right)), (1, down * right)):
            kept.index_add_(0, (slot + knots.count + step).flatten()[some], (share * part).flatten()[some])


def _likeness(pairs: Sequence[Pair]) -> Tensor:
    """1 / (1 − correlation) (y, x) of fine and coarse over all bands and pairs of a pixel (eq. 16)."""
    mean_fine, mean_coarse = (sum(getattr(pair, name).mean(dim=0) for pair in pairs) / len(pairs) for name in ("fine", "lifted"))
    product, square_fine, square_coarse = torch.zeros((3, *mean_fine.shape), device=mean_fine.device)
    # Plane by plane: all at once would need several times the memory of the images.
    for pair in pairs:
        for fine, coarse in zip(pair.fine, pair.lifted, strict=True):
            one, other = fine - mean_fine, coarse - mean_coarse
            product.addcmul_(one, other)
            square_fine.addcmul_(one, one)
            square_coarse.addcmul_(other, other)
    spread = square_fine.mul_(square_coarse).sqrt_()
    correlation = product.div_(spread)
    unknown = ~torch.isfinite(correlation) | (spread <= 0)
    return (1.0 - correlation.masked_fill_(unknown, _UNKNOWN_CORRELATION).clamp_(-1.0, 1.0)).add_(_SMALLEST).reciprocal_()


def _regression_terms(pairs: Sequence[Pair], valid: Tensor, first: int, last: int, radius: int) -> Tensor:
    """What a regression of fine on coarse adds up over neighbours, (last − first + 2 r, x + 2 r, n), last index fastest.

    One, and for every band of two pairs Σx, Σy, Σx², Σxy, Σy² and the difference of x; 0 where anything is unknown. One pair: only one.
    """
    height, width = valid.shape
    rows = slice(max(first - radius, 0), min(last + radius, height))
    known = valid[rows]
    terms = []
    if len(pairs) > 1:
        fine, coarse = (torch.stack([getattr(pair, name)[:, rows] for pair in pairs]) for name in ("fine", "lifted"))
        known = known & torch.isfinite(coarse).all(dim=0).all(dim=0)
        products = (coarse, fine, coarse * coarse, coarse * fine, fine * fine)
        terms = [*(product.sum(dim=0) for product in products), coarse[0] - coarse[1]]
    wide = valid.new_zeros((last - first + 2 * radius, width + 2 * radius, 1 + sum(len(term) for term in terms)), dtype=torch.float32)
    part = wide[rows.start - first + radius : rows.stop - first + radius, radius : radius + width]
    part[..., 0] = known
    for place, term in enumerate(terms):
        size = len(term)
        part[..., 1 + place * size : 1 + (place + 1) * size] = torch.where(known, term, 0.0).permute(1, 2, 0)
    return wide


def _conversion(sums: Tensor, bands: int, uncertainty: float) -> Tensor:
    """Conversion coefficients (B, y, x) from the sums of `_regression_terms`; one where the regression says nothing (eq. 13)."""
    neighbours = sums[..., 0].double()
    number = (2 * neighbours).clamp_(min=1.0)
    x, y, xx, xy, yy, moved = sums[..., 1:].double().permute(2, 0, 1).view(6, bands, *neighbours.shape) / number
    covariance, spread, scatter = xy - x * y, (xx - x * x).clamp_(min=1e-12), (yy - y * y).clamp_(min=1e-12)
    slope = covariance / spread
    explained = (covariance.square() / (spread * scatter)).clamp_(max=1 - 1e-9)
    freedom = (number - 2).clamp_(min=1.0)
    # Quantile 0.95 of F(1, n): the square of Student's, by its expansion around the normal one (Abramowitz & Stegun 1964, 26.7.5).
    critical = (1.96 * (1 + (1.96**2 + 1) / (4 * freedom))).square_()
    believed = (explained / (1 - explained) * freedom >= critical) & (slope > 0) & (slope <= _STEEPEST)
    believed &= (moved.abs() * 2 >= uncertainty) & (neighbours > _FEWEST)
    return torch.where(believed, slope, 1.0).float()


def _weighted(similar: Similar, cells: Tensor, shape: Sequence[int], scale: int) -> Tensor:
    """Weighted means (C, y, x) over similar neighbours of what finite cells (C, Y, X) are at their places."""
    knots = similar.knots
    values = torch.nn.functional.pad(knots.gathered(cells), (knots.reach,) * 4)
    rows, cols = knots.shape
    image = cells.new_empty((len(cells), rows * knots.size, cols * knots.size))
    for row, (weights, out) in enumerate(zip(similar.weights, image.split(knots.size, dim=1), strict=True)):
        around = torch.nn.functional.unfold(values[None, :, row : row + knots.count], knots.count)[0].view(len(cells), knots.count**2, cols)
        means = torch.bmm(weights.view(cols, knots.size**2, knots.count**2), around.permute(2, 1, 0))
        out.view(len(cells), knots.size, cols, knots.size).copy_(means.view(cols, knots.size, knots.size, -1).permute(3, 1, 0, 2))
    top, left = (scale * cells for cells in knots.margin)
    return image[:, top : top + shape[0], left : left + shape[1]]
