"""Segments of an image, cut tile by tile, and what coarse cells say of them.

Segmentation is global by nature: where one segment ends decides about the next. So that a block agrees with the whole image,
an image is cut into tiles that keep to the lattice of the CRS, and each tile is segmented alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from skimage.segmentation import felzenszwalb
from torch import Tensor

_SMOOTHING = 0.5
"""1 σ of the Gaussian before segmentation [pixels]."""


def segment(image: Tensor, valid: Tensor, tile: int, corner: tuple[int, int], scale: float, smallest: int) -> Tensor:
    """Segments of every tile (Felzenszwalb & Huttenlocher 2004), of bands in units of their spread in the tile.

    Parameters
    ----------
    image : Tensor, (B, y, x)
        Finite.
    valid : Tensor, (y, x) bool
        Other pixels are left out of the spread.
    tile : int
        Pixels along the edge of a tile.
    corner : tuple of int
        (row, column) of the first pixel on the lattice of tiles.
    scale : float
        The larger, the larger the segments.
    smallest : int
        Pixels of the smallest segment.

    Returns
    -------
    Tensor, (y, x) long
        Numbers from 0, of all tiles.
    """
    height, width = valid.shape
    values, seen = image.permute(1, 2, 0).cpu().numpy(), valid.cpu().numpy()
    labels = np.zeros((height, width), dtype=np.int64)
    first = 0
    for rows in _tiles(height, corner[0], tile):
        for cols in _tiles(width, corner[1], tile):
            inside = seen[rows, cols]
            if not inside.any():
                labels[rows, cols] = first
                first += 1
                continue
            part = values[rows, cols]
            spread = part[inside].std(axis=0)
            scaled = part / np.where(spread > 0, spread, 1.0) / np.sqrt(len(spread))
            found = felzenszwalb(scaled, scale=scale, sigma=_SMOOTHING, min_size=smallest, channel_axis=-1)
            labels[rows, cols] = found + first
            first += int(found.max()) + 1
    return torch.from_numpy(labels).to(image.device)


def _tiles(length: int, corner: int, tile: int) -> list[slice]:
    edges = [0, *range(tile - corner % tile, length, tile), length]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass(frozen=True)
class Overlaps:
    """The parts that segments and coarse cells have in common: sums over segments or cells are sums over these few parts.

    Parameters
    ----------
    segment, cell : Tensor, (P,) long
        Of a part; ordered by segment.
    pixels : Tensor, (P,) long
        Valid pixels of a part.
    segments : int
    cells : tuple of int
        (Y, X).
    """

    segment: Tensor
    cell: Tensor
    pixels: Tensor
    segments: int
    cells: tuple[int, int]

    @classmethod
    def of(cls, labels: Tensor, valid: Tensor, scale: int) -> Overlaps:
        """The parts of the segments of an image.

        Parameters
        ----------
        labels : Tensor, (y, x) long
        valid : Tensor, (y, x) bool
            Only these count.
        scale : int
            Fine pixels along the edge of a cell.
        """
        height, width = (size // scale for size in valid.shape)
        rows, cols = (torch.arange(size, device=labels.device) // scale for size in valid.shape)
        keys = labels * (height * width) + (rows[:, None] * width + cols)
        parts, pixels = torch.unique(keys[valid], return_counts=True)
        count = int(labels.max()) + 1
        return cls(parts // (height * width), parts % (height * width), pixels, count, (height, width))

    def by_segment(self, values: Tensor) -> Tensor:
        """Sums (..., S) of values (..., P) over the parts of every segment."""
        return values.new_zeros((*values.shape[:-1], self.segments)).index_add_(-1, self.segment, values)

    def by_cell(self, values: Tensor) -> Tensor:
        """Sums (..., Y, X) of values (..., P) over the parts of every cell."""
        height, width = self.cells
        sums = values.new_zeros((*values.shape[:-1], height * width)).index_add_(-1, self.cell, values)
        return sums.view(*values.shape[:-1], height, width)

    def of_cells(self, cells: Tensor) -> Tensor:
        """The values (..., P) of cells (..., Y, X)."""
        return cells.flatten(-2)[..., self.cell]

    def median(self, values: Tensor, pixels: Tensor) -> Tensor:
        """Median over the pixels of every segment.

        Parameters
        ----------
        values : Tensor, (P,)
            Finite.
        pixels : Tensor, (P,) long
            Pixels of that value.

        Returns
        -------
        Tensor, (S,)
            0 for segments without a pixel.
        """
        order = values.argsort(stable=True)
        order = order[self.segment[order].argsort(stable=True)]
        until = pixels[order].cumsum(0)
        size = self.by_segment(pixels)
        start = size.cumsum(0) - size
        last = max(len(values) - 1, 0)
        lower, upper = (
            values[order[torch.searchsorted(until, start + step, right=True).clamp_(max=last)]]
            for step in ((size - 1).clamp(min=0) // 2, size // 2)
        )
        return torch.where(size > 0, (lower + upper) / 2, 0.0)
