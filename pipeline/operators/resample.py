"""Between fine pixels and coarse cells: the area mean and the bilinear lift, both aware of NaN.

Both are written with weights that depend on the position inside a cell only, so a
block gives the same values as the whole image wherever it is cut on cell edges.
"""

from __future__ import annotations

from collections.abc import Sequence

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


class Lifting:
    """Planes of finite coarse values that are lifted onto a window of cells, one after the other.

    Parameters
    ----------
    coarse : Tensor, (N, ..., Y, X) float
        Finite.
    scale : int
        Fine pixels along the edge of a cell.
    rows, cols : tuple of int
        First and last cell (not included) of the window along each axis.
    chosen : sequence of int, optional
        The planes wanted, in this order; all by default.
    """

    def __init__(
        self, coarse: Tensor, scale: int, rows: tuple[int, int], cols: tuple[int, int], chosen: Sequence[int] | None = None
    ) -> None:
        self._weights = _weights(scale, coarse)
        # Along x first, for all planes at once, while there are few rows.
        top, bottom = max(rows[0] - 1, 0), min(rows[1] + 1, coarse.shape[-2])
        strip = coarse[..., top:bottom, :]
        across = _neighbours((strip if chosen is None else strip[list(chosen)]).transpose(-1, -2), *cols)
        wide = _interpolated(across, self._weights).transpose(-1, -2).contiguous()
        down = _neighbours(wide, rows[0] - top, rows[1] - top)
        self._planes = list(zip(*(part.unbind() for part in down), strict=True))

    def plane(self, place: int, out: Tensor | None = None) -> Tensor:
        """A lifted plane (..., y, x), in `out` where it is given."""
        return _interpolated(self._planes[place], self._weights, out)


def _bilinear(coarse: Tensor, scale: int) -> Tensor:
    """Separable: along x on the coarse rows, then along y."""
    height, width = coarse.shape[-2:]
    return Lifting(coarse[None], scale, (0, height), (0, width)).plane(0)


def _weights(scale: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (steps, 1) of the cell before in the first half of the fine pixels of a cell, and of the cell after in the others."""
    position = [(step + 0.5) / scale - 0.5 for step in range(scale)]
    before, after = [-place for place in position if place < 0], [place for place in position if place >= 0]
    return like.new_tensor(before).reshape(-1, 1), like.new_tensor(after).reshape(-1, 1)


def _neighbours(values: Tensor, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """The cells `first` to `last` of axis −2, what the cell before has more, and what the cell after has more; outside like the edge."""
    count = values.shape[-2]
    place = torch.arange(first - 1, last + 1, device=values.device).clamp(0, count - 1)
    wide = values.index_select(-2, place)
    inner = wide[..., 1:-1, :]
    return inner, wide[..., :-2, :] - inner, wide[..., 2:, :] - inner


def _interpolated(cells: Sequence[Tensor], weights: tuple[Tensor, Tensor], out: Tensor | None = None) -> Tensor:
    """Fine pixels along axis −2 from `_neighbours` and `_weights`."""
    inner, before, after = (part.unsqueeze(-2) for part in cells)
    half, scale = len(weights[0]), len(weights[0]) + len(weights[1])
    *lead, count, _, width = inner.shape
    if out is None:
        out = inner.new_empty((*lead, count * scale, width))
    steps = out.view(*lead, count, scale, width)
    torch.addcmul(inner, before, weights[0], out=steps[..., :half, :])
    torch.addcmul(inner, after, weights[1], out=steps[..., half:, :])
    return out
