"""From coarse cells to fine pixels by rules that look at more cells than the bilinear lift: thin-plate splines, inverse distance.

Both are linear in the cells, and every cell is surrounded alike: the pixels of a cell follow from the cells around it by one
matrix, so a block gives the same values as the whole image.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor

from pipeline.operators.resample import lift

Rule = Literal["thin-plate", "inverse-distance"]

REACH = {"thin-plate": 3, "inverse-distance": 2}
"""Cells on every side that a rule looks at. A thin-plate spline on a lattice forgets a cell by a factor of 4 with every step."""


def interpolate(coarse: Tensor, scale: int, rule: Rule) -> Tensor:
    """Interpolation between cell centres; outside the outermost cells like those.

    Parameters
    ----------
    coarse : Tensor, (B, Y, X)
        NaN = unknown.
    scale : int
        Fine pixels along the edge of a cell.
    rule : str
        ``thin-plate``: the spline through the cells around (Dubrule 1984, as Zhu et al. 2016, eq. 10–13);
        ``inverse-distance``: weights 1 / d² within two cells (Gao et al. 2022).

    Returns
    -------
    Tensor, (B, Y·scale, X·scale)
        Where a cell is unknown that the rule asks for, the bilinear `lift`.
    """
    reach = REACH[rule]
    bands, height, width = coarse.shape
    size = 2 * reach + 1
    wide = torch.nn.functional.pad(coarse[None], (reach,) * 4, mode="replicate")
    around = torch.nn.functional.unfold(wide, size)[0].view(bands, size**2, height, width)
    fine = torch.einsum("pn,bnyx->bypx", _matrix(scale, rule).to(coarse), around)
    fine = fine.view(bands, height, scale, scale, width).transpose(-1, -2).reshape(bands, height * scale, width * scale)
    if bool(torch.isfinite(coarse).all()):
        return fine
    return torch.where(torch.isfinite(fine), fine, lift(coarse, scale))


@cache
def _matrix(scale: int, rule: Rule) -> Tensor:
    """Weights (scale², cells) of the cells around a cell for its pixels, both row by row."""
    steps = torch.arange(-REACH[rule], REACH[rule] + 1, dtype=torch.float64)
    place = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    cells, pixels = torch.cartesian_prod(steps, steps), torch.cartesian_prod(place, place)
    apart = torch.cdist(pixels, cells)
    if rule == "inverse-distance":
        weights = torch.where(apart <= REACH[rule], 1.0 / apart.square().clamp(min=1e-12), 0.0)
        return weights / weights.sum(dim=1, keepdim=True)
    count = len(cells)
    system = torch.zeros((count + 3, count + 3), dtype=torch.float64)
    plane = torch.cat([torch.ones((count, 1), dtype=torch.float64), cells], dim=1)
    system[:count, :count] = _thin_plate(torch.cdist(cells, cells))
    system[:count, count:], system[count:, :count] = plane, plane.T
    reading = torch.cat([_thin_plate(apart), torch.ones((len(pixels), 1), dtype=torch.float64), pixels], dim=1)
    return torch.linalg.solve(system, reading.T).T[:, :count].contiguous()


def _thin_plate(apart: Tensor) -> Tensor:
    """r² log r."""
    return torch.xlogy(apart.square(), apart)
