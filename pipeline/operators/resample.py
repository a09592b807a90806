"""Between fine pixels and coarse cells: the area mean and the bilinear lift, both aware of NaN.

Both are written with weights that depend on the position inside a cell only, so a
block gives the same values as the whole image wherever it is cut on cell edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def area_mean(fine: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """Mean of the finite fine pixels of every coarse cell.

    Parameters
    ----------
    fine : Tensor, (..., y, x) float
        ``y`` and ``x`` are multiples of `scale`; NaN = not observed.
    scale : int
        Fine pixels along the edge of a cell.

    Returns
    -------
    mean : Tensor, (..., Y, X)
        NaN where no pixel of the cell is finite.
    share : Tensor, (..., Y, X)
        Share of the pixels of the cell that are finite, 0–1.

    Raises
    ------
    ValueError
        If the edges are not whole cells.
    """
    height, width = fine.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"raster of {height} × {width} pixels is not a whole number of cells of {scale}")
    cells = fine.reshape(*fine.shape[:-2], height // scale, scale, width // scale, scale)
    finite = torch.isfinite(cells)
    share = finite.to(fine.dtype).mean(dim=(-3, -1))
    total = torch.where(finite, cells, 0.0).mean(dim=(-3, -1))
    return total / share.where(share > 0, torch.nan), share


def lift(coarse: Tensor, scale: int) -> Tensor:
    """Bilinear interpolation between cell centres, replicated outside the outermost centres.

    Parameters
    ----------
    coarse : Tensor, (..., Y, X) float
        NaN = unknown: the weights are renormalised over the finite cells among the four.
    scale : int
        Fine pixels along the edge of a cell.

    Returns
    -------
    Tensor, (..., Y·scale, X·scale)
        NaN where all cells with a weight are NaN.
    """
    finite = torch.isfinite(coarse)
    if bool(finite.all()):
        return _bilinear(coarse, scale)
    weight = _bilinear(finite.to(coarse.dtype), scale)
    value = _bilinear(torch.where(finite, coarse, 0.0), scale)
    # The smallest true weight is 1 / (4 scale²); anything below is rounding.
    return value / weight.where(weight > 0.1 / scale**2, torch.nan)


@dataclass(frozen=True)
class Span:
    """Some cells in a row and what their fine pixels are interpolated from, along one axis of `lift`.

    Parameters
    ----------
    fine : slice
        The fine pixels.
    cells : slice
        The cells that have a weight in them.
    weights : Tensor, (fine pixels, cells)
        Bilinear weights.
    """

    fine: slice
    cells: slice
    weights: Tensor

    @classmethod
    def of(cls, first: int, last: int, cells: int, scale: int, like: Tensor) -> Span:
        """The span of the cells `first` to `last` (not included) out of `cells`, with weights of the type and device of `like`."""
        start, stop = max(first - 1, 0), min(last + 1, cells)
        weights = _along_y(torch.eye(stop - start, dtype=like.dtype, device=like.device), scale)
        return cls(
            fine=slice(first * scale, last * scale),
            cells=slice(start, stop),
            weights=weights[(first - start) * scale : (last - start) * scale].contiguous(),
        )


def _bilinear(coarse: Tensor, scale: int) -> Tensor:
    """Separable: along x on the coarse rows, then along y."""
    return _along_y(_along_y(coarse.transpose(-1, -2), scale).transpose(-1, -2), scale)


def _along_y(values: Tensor, scale: int) -> Tensor:
    """Interpolate axis −2 to `scale` times its length."""
    height, width = values.shape[-2:]
    before = torch.cat([values[..., :1, :], values[..., :-1, :]], dim=-2)
    after = torch.cat([values[..., 1:, :], values[..., -1:, :]], dim=-2)
    out = values.new_empty((*values.shape[:-2], height, scale, width))
    for step in range(scale):
        position = (step + 0.5) / scale - 0.5
        neighbour = before if position < 0 else after
        torch.lerp(values, neighbour, abs(position), out=out[..., step, :])
    return out.reshape(*values.shape[:-2], height * scale, width)
