"""Coarse cells joined to wider ones, for methods that need many fine pixels in a cell."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.fusion.pairs import Pair
from pipeline.fusion.references import References
from pipeline.operators.resample import area_mean


@dataclass(frozen=True)
class Joined:
    """The cells of a block joined to squares that keep to the lattice of the CRS, so that blocks join the same cells.

    Parameters
    ----------
    join : int
        Cells along the edge of a joined one.
    before, after : tuple of int
        Rows and columns of cells by which the block is widened, above and left, below and right, so that it holds whole joined ones.
    scale : int
        Fine pixels along the edge of a joined cell.
    corner : tuple of int
        (row, column) of the first joined cell on their lattice.
    """

    join: int
    before: tuple[int, int]
    after: tuple[int, int]
    scale: int
    corner: tuple[int, int]

    @classmethod
    def of(cls, references: References, edge: float) -> Joined:
        """The cells of a block, joined where they are narrower than `edge` [m]."""
        block = references.block
        join = max(math.ceil(edge / (block.scale * block.resolution) - 1e-6), 1)
        before = (block.origin[0] % join, block.origin[1] % join)
        rows, cols = (-(first + size) % join for first, size in zip(before, block.coarse.shape[-2:], strict=True))
        corner = (block.origin[0] // join, block.origin[1] // join)
        return cls(join, before, (rows, cols), join * block.scale, corner)

    def cells(self, coarse: Tensor) -> Tensor:
        """Coarse values (B, Y, X) of the joined cells: means of what is known."""
        if self.join == 1:
            return coarse
        return area_mean(self._widened(coarse, 1, math.nan), self.join)[0]

    def pair(self, pair: Pair) -> Pair:
        """A pair on joined cells; the pixels by which it is widened are not valid."""
        if self.join == 1:
            return pair
        pixels = self.scale // self.join
        fine, lifted = self._widened(pair.fine, pixels, 0.0), self._widened(pair.lifted, pixels, math.nan)
        valid = self._widened(pair.valid, pixels, False)
        return dataclasses.replace(pair, fine=fine, valid=valid, coarse=self.cells(pair.coarse), lifted=lifted)

    def block(self, planes: Tensor) -> Tensor:
        """The pixels (..., y, x) of the block."""
        pixels = self.scale // self.join
        top, left, bottom, right = (count * pixels for count in (*self.before, *self.after))
        return planes[..., top : planes.shape[-2] - bottom, left : planes.shape[-1] - right]

    def _widened(self, planes: Tensor, pixels: int, value: float) -> Tensor:
        sides = (self.before[1], self.after[1], self.before[0], self.after[0])
        return torch.nn.functional.pad(planes, [count * pixels for count in sides], value=value)
