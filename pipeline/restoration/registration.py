"""The displacement of a coarse product against the fine images: found by correlation, judged over dates, and removed.

A coarse image is compared with what the fine image of the same day makes of it: H(fine), blurred with the footprint of
the product and averaged over cells that lie off the coarse ones by a shift. Where the shift is that of the product, the
two correlate best. Gaps are masked: each shift is judged by the cells that both show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from pipeline.operators.reach import search_reach
from pipeline.operators.spatial import box_sum, tent_mean

MIN_SHARE = 0.75
"""Clear share of the ground under a cell, below which the cell is left out."""

MIN_FOOTPRINTS = 20
"""Footprints side by side that the clear cells must hold: neighbouring cells see the same ground."""

EVIDENCE = 12.0
"""Log-likelihood by which the best shift must surpass every other peak of the search, and no relation at all."""

LARGEST_STD = 0.5
"""1 σ of a shift that may be called known, in cells."""

LEAST_APPLIED = 1 / 8
"""Shifts below it are not applied, in cells: resampling would cost as much as it gains."""

SIGNIFICANT = 3.0
"""1 σ that a shift must exceed to be applied, and that a date may differ from the others."""

LEAST_DATES = 2
AGREEING = 2 / 3
"""Share of the dates that must agree."""

DATE_STD = 1 / 16
"""1 σ of what single dates are off by themselves, in cells: added to the σ of each date."""

_LOCAL_MEAN = 2.0
"""Radius of the neighbourhood whose mean is taken off, in footprints: a bright side of the image decides nothing."""
_TILE = 3.0
"""Edge of the tiles whose errors are taken as independent of each other, in footprints."""
_LOBE = 0.6
"""Radius of the main peak, in footprints."""
_STEPS = 4
"""Steps of least squares at most."""


@dataclass(frozen=True)
class Shift:
    """By how much a coarse image must be moved to lie on the fine one, as one date says.

    Parameters
    ----------
    dy, dx : float
        Metres down (south) and right (east).
    std_y, std_x : float
        1 σ [m]; infinite where nothing is known.
    correlation : float
        Of the coarse image with H(fine) at the shift, local means taken off; that of the best band.
    cells : int
        Coarse cells compared.
    determinable : bool
    why : str
        Why it is not determinable; empty when it is.
    """

    dy: float
    dx: float
    std_y: float
    std_x: float
    correlation: float
    cells: int
    determinable: bool
    why: str = ""


def estimate_shift(pairs: Sequence[tuple[Tensor, Tensor]], footprint: float, scale: int, resolution: float) -> Shift:
    """Find the shift of a coarse image against the fine one of the same day.

    The shift that makes the normalised correlations of the bands r most likely, the largest
    ``−½ Σ ln(1 − r²)``: of bands with gain, offset and noise of their own it is the maximum of the likelihood. It is searched on a
    lattice of a quarter of a cell, and refined by least squares. The covariance is that of an estimate from clusters of dependent
    values (Liang & Zeger 1986), the clusters being tiles of the image, and not below that of one value per footprint.

    Parameters
    ----------
    pairs : sequence of (Tensor, Tensor)
        Windows of the two images: fine reflectance (B, Y · scale, X · scale), NaN = not clear, and
        coarse reflectance (B, Y, X), NaN = unknown.
    footprint : float
        Effective footprint of the product [m].
    scale : int
        Fine pixels along the edge of a cell.
    resolution : float
        Edge of a fine pixel [m].

    Returns
    -------
    Shift
    """
    cell = scale * resolution
    width = max(footprint, cell)
    search = _Search(scale, search_reach(footprint, scale, resolution))
    images = [_Comparison(fine, coarse, footprint, resolution, search) for fine, coarse in pairs]
    if not images:
        return _unknown("no clear fine image")
    moments = torch.stack([image.moments() for image in images]).sum(0)
    correlation, count = _correlation(moments)
    likelihood = -0.5 * torch.log1p(-correlation.clamp(0, 0.9999).square()).sum(-1)
    cells = count.amax(-1)
    footprints = cells * cell**2 / width**2
    likelihood = likelihood.where(cells > 0.5 * cells.max(), -1.0)
    row, col = divmod(int(likelihood.argmax()), search.count)
    found, compared = float(correlation[row, col].max()), int(cells[row, col])
    if float(footprints[row, col]) < MIN_FOOTPRINTS:
        return _unknown(f"only {compared} clear cells", found, compared)
    if not likelihood[row, col] * footprints[row, col] >= EVIDENCE:
        return _unknown("too little texture in common", found, compared)
    if not (0 < row < search.count - 1 and 0 < col < search.count - 1):
        return _unknown("the best shift lies at the end of the search", found, compared)
    second = _second_peak(likelihood, row, col, _LOBE * width / (search.step * resolution))
    if (likelihood[row, col] - second) * footprints[row, col] < EVIDENCE:
        return _unknown("more than one shift fits", found, compared)
    place, (std_y, std_x) = _refined(images, row, col, cell, width, search.step * resolution)
    if not max(std_y, std_x) <= LARGEST_STD * cell:
        return _unknown("texture in one direction only", found, compared)
    dy, dx = (search.pixels(index) * resolution for index in place)
    return Shift(dy, dx, std_y, std_x, found, compared, True)


def combine(shifts: Mapping[str, Shift], cell: float) -> dict[str, Any]:
    """What all dates together say of the shift of a product, and whether it is to be applied.

    The weighted mean of the dates that lie within 3 σ of their median. It is applied when two dates at least, and two
    thirds of all, agree, and it exceeds both 3 σ and an eighth of a cell.

    Parameters
    ----------
    shifts : mapping
        Date → what it says.
    cell : float
        Edge of a coarse cell [m].

    Returns
    -------
    dict
        JSON-ready: ``dy``, ``dx``, ``std_y``, ``std_x`` [m] (None when no date is determinable), ``applied``, ``why``,
        ``agreeing`` (dates) and ``dates`` (what each says).
    """
    known = {day: shift for day, shift in shifts.items() if shift.determinable}
    dates = [{"date": day, **_finite(asdict(shift))} for day, shift in shifts.items()]
    nothing: dict[str, Any] = {"dy": None, "dx": None, "std_y": None, "std_x": None, "applied": False}
    if not known:
        why = "no clear fine image" if not shifts else "not determinable on any date"
        return {**nothing, "why": why, "agreeing": [], "dates": dates}
    place = torch.tensor([[shift.dy, shift.dx] for shift in known.values()], dtype=torch.float64)
    std = torch.tensor([[shift.std_y, shift.std_x] for shift in known.values()], dtype=torch.float64)
    variance = std.square() + (DATE_STD * cell) ** 2
    # A date is trusted or not as a whole, not axis by axis.
    off = ((place - place.quantile(0.5, dim=0)).square() / variance).sum(1).sqrt()
    agree = off <= SIGNIFICANT
    agreeing = [day for day, one in zip(known, agree.tolist(), strict=True) if one]
    if not agreeing:
        return {**nothing, "why": "the dates contradict each other", "agreeing": [], "dates": dates}
    weight = variance[agree].reciprocal()
    mean = (weight * place[agree]).sum(0) / weight.sum(0)
    # Dates that scatter more than they say are worth less.
    freedom = max(len(agreeing) - 1, 1)
    scatter = ((place[agree] - mean).square() * weight).sum(0) / freedom
    error = (scatter.clamp(min=1.0) / weight.sum(0)).sqrt()
    length = float(mean.norm())
    along = float((mean * error).norm()) / max(length, 1e-9)
    if len(agreeing) < LEAST_DATES:
        why = "one date alone" if len(known) == 1 else "the dates contradict each other"
    elif len(agreeing) < AGREEING * len(known):
        why = "the dates contradict each other"
    elif length <= SIGNIFICANT * along:
        why = "not significant"
    elif length <= LEAST_APPLIED * cell:
        why = f"below {LEAST_APPLIED:g} of a cell"
    else:
        why = ""
    (dy, dx), (std_y, std_x) = mean.tolist(), error.tolist()
    return {"dy": dy, "dx": dx, "std_y": std_y, "std_x": std_x, "applied": not why, "why": why, "agreeing": agreeing, "dates": dates}


def move(values: Tensor, std: Tensor, down: float, right: float) -> tuple[Tensor, Tensor]:
    """Move coarse images by bilinear resampling.

    A cell is known where the cell that covers most of it is; its value and its σ are the means of the known ones among the
    four that it comes from. The outermost cells stand for what lies outside: they are nearer to it than any other.

    Parameters
    ----------
    values, std : Tensor, (..., Y, X) float
        NaN = not observed.
    down, right : float
        Cells.

    Returns
    -------
    values, std : Tensor, (..., Y, X)
        Of a cell they are the same whatever the window, as long as it reaches `shift_margin` beyond, or to the edge of the area.
    """
    height, width = values.shape[-2:]
    top, left = math.floor(-down), math.floor(-right)
    lower, further = -down - top, -right - left
    corners = [
        (row, col, y * x)
        for row, y in ((top, 1 - lower), (top + 1, lower))
        for col, x in ((left, 1 - further), (left + 1, further))
        if y * x > 0
    ]
    nearest = max(corners, key=lambda corner: corner[2])
    known = torch.isfinite(values)
    device = values.device

    def taken(images: Tensor, row: int, col: int) -> Tensor:
        rows = (torch.arange(height, device=device) + row).clamp(0, height - 1)
        cols = (torch.arange(width, device=device) + col).clamp(0, width - 1)
        return images.index_select(-2, rows).index_select(-1, cols)

    total, value, error = torch.zeros_like(values), torch.zeros_like(values), torch.zeros_like(std)
    for row, col, share in corners:
        weight = taken(known, row, col) * share
        total += weight
        value += weight * taken(values.nan_to_num(), row, col)
        error += weight * taken(std.nan_to_num(), row, col)
    total = torch.where(taken(known, *nearest[:2]), total, torch.nan)
    return value / total, error / total


def shift_margin(down: float, right: float) -> int:
    """Cells around a window that `move` looks at."""
    return math.ceil(max(abs(down), abs(right)))


class _Search:
    """The lattice of shifts that are tried: every quarter of a cell, or the next finer part that is whole pixels."""

    def __init__(self, scale: int, reach: int) -> None:
        self.scale, self.reach = scale, reach
        self.step = max(part for part in range(1, max(scale // 4, 1) + 1) if scale % part == 0)
        self.count = 2 * reach * scale // self.step + 1

    def pixels(self, index: float) -> float:
        """The shift of an index along an axis [fine pixels]."""
        return index * self.step - self.reach * self.scale

    def place(self, index: int) -> tuple[int, int]:
        """Part of the cell, and cells, from the start of the search."""
        cells, pixels = divmod(index * self.step, self.scale)
        return pixels // self.step, cells


class _Comparison:
    """One window of a fine and a coarse image, ready to be compared at every shift of a search."""

    def __init__(self, fine: Tensor, coarse: Tensor, footprint: float, resolution: float, search: _Search) -> None:
        self.search = search
        self.height, self.width = coarse.shape[-2:]
        cell = search.scale * resolution
        self.radius = math.ceil(_LOCAL_MEAN * max(footprint, cell) / cell)
        self.expected, self.clear = _expected(fine, round(footprint / resolution), search)
        self.coarse, self.observed = coarse.nan_to_num(), torch.isfinite(coarse).to(coarse.dtype)
        self._middle = search.count // 2

    def moments(self) -> Tensor:
        """Sums of products (shifts, shifts, B, 3, 3) of (1, expected, expected²) with (1, coarse, coarse²) over the cells known to both."""
        search = self.search
        observed = self.observed * self.at(self.clear, self._middle, self._middle)
        detail = _detail(self.coarse, observed, self.radius)
        one = torch.stack([observed, detail, detail.square()], dim=-1).flatten(1, 2)
        expected = _detail(self.expected, self.clear.expand_as(self.expected), self.radius)
        other = torch.stack([self.clear.expand_as(expected), expected, expected.square()], dim=-3)
        result = one.new_empty((search.count, search.count, len(one), 3, 3), dtype=torch.float64)
        for row in range(search.count):
            for col in range(search.count):
                result[row, col] = self.at(other, row, col).flatten(2) @ one
        return result

    def at(self, images: Tensor, row: int, col: int) -> Tensor:
        """The cells of the window in `images` (parts, parts, ..., Y, X), off by a shift of the search."""
        (part_y, down), (part_x, right) = self.search.place(row), self.search.place(col)
        return images[part_y, part_x][..., down : down + self.height, right : right + self.width]

    def equations(self, row: int, col: int, tile: int, lattice: float) -> tuple[Tensor, Tensor]:
        """Normal equations of a small further shift [m], by tile.

        Only here are the local means of both images taken over the same cells: at the edge of a cloud the difference counts.

        Returns
        -------
        matrix : Tensor, (tiles, 2, 2) float64
        right_side : Tensor, (tiles, 2) float64
        """
        around = [(row, col), (row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
        use = self.observed * torch.stack([self.at(self.clear, *place) for place in around]).amin(0)
        here, above, below, before, after = (self.at(self.expected, *place) for place in around)
        images = (here, self.coarse, (below - above) / (2 * lattice), (after - before) / (2 * lattice))
        expected, coarse, down, right = (_detail(image, use, self.radius).double() for image in images)
        known = use.sum((1, 2)).double().clamp(min=1)
        gain = (expected * coarse).sum((1, 2)) / expected.square().sum((1, 2)).clamp(min=1e-12)
        residual = coarse - gain[:, None, None] * expected
        noise = (residual.square().sum((1, 2)) / known).clamp(min=1e-12)
        slopes = torch.stack([down, right]) * (gain.clamp(min=0) / noise.sqrt())[:, None, None]
        residual = residual / noise.sqrt()[:, None, None]
        matrix = torch.einsum("ibyx,jbyx->ijyx", slopes, slopes).flatten(0, 1)
        right_side = torch.einsum("ibyx,byx->iyx", slopes, residual)
        return _tile_sums(matrix, tile).unflatten(1, (2, 2)), _tile_sums(right_side, tile)


def _expected(fine: Tensor, footprint: int, search: _Search) -> tuple[Tensor, Tensor]:
    """H(fine) at all shifts of a search.

    Returns
    -------
    expected : Tensor, (parts, parts, B, Y + 2 reach, X + 2 reach)
        By the part of a cell that the cells are off; 0 where it is not known.
    clear : Tensor, (parts, parts, 1, Y + 2 reach, X + 2 reach)
        1 where it is known.
    """
    scale, step, beyond = search.scale, search.step, search.reach * search.scale
    wide = pad(fine, (beyond,) * 4, value=math.nan)
    seen = torch.isfinite(wide).all(0).to(fine.dtype)
    mean, share = tent_mean(wide, seen, footprint) if footprint > 1 else (wide.where(seen > 0, 0.0), seen)
    clear = avg_pool2d(share[None], scale, 1)
    expected = avg_pool2d(mean * share, scale, 1) / clear.clamp(min=1e-3)
    known = (clear >= MIN_SHARE).to(fine.dtype)

    def parts(images: Tensor) -> Tensor:
        whole = pad(images, (0, scale - 1, 0, scale - 1))
        cells = whole.unflatten(2, (-1, scale)).unflatten(1, (-1, scale))
        return cells.permute(2, 4, 0, 1, 3)[::step, ::step].contiguous()

    return parts(expected * known), parts(known)


def _detail(images: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Values without their local mean; 0 where there is no weight."""
    near = box_sum(images * weight, radius) / box_sum(weight, radius).clamp(min=1)
    return (images - near) * weight


def _correlation(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation and number of cells (..., B), from the sums of `_Comparison.moments`."""
    count = moments[..., 0, 0].clamp(min=1)
    expected, coarse = moments[..., 1, 0] / count, moments[..., 0, 1] / count
    covariance = moments[..., 1, 1] / count - expected * coarse
    variances = (moments[..., 2, 0] / count - expected.square()) * (moments[..., 0, 2] / count - coarse.square())
    return covariance / variances.clamp(min=1e-20).sqrt(), moments[..., 0, 0]


def _second_peak(likelihood: Tensor, row: int, col: int, lobe: float) -> Tensor:
    """The highest local maximum farther than `lobe` steps from a place; 0 where there is none."""
    highest = max_pool2d(likelihood[None], 3, 1, 1)[0] == likelihood
    index = torch.arange(len(likelihood))
    away = torch.hypot((index - row)[:, None].double(), (index - col)[None, :].double()) > lobe
    return likelihood.where(highest & away, 0.0).max()


def _refined(
    images: Sequence[_Comparison], row: int, col: int, cell: float, width: float, lattice: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A shift of the search made finer by least squares, as indices of the search with decimals, and its 1 σ [m], down and right."""
    last = images[0].search.count - 2
    for _ in range(_STEPS):
        equations = [image.equations(row, col, math.ceil(_TILE * width / cell), lattice) for image in images]
        matrices, sides = (torch.cat(parts) for parts in zip(*equations, strict=True))
        used = matrices.diagonal(dim1=-2, dim2=-1).sum(-1) > 0
        matrices, sides = matrices[used], sides[used]
        matrix = matrices.sum(0)
        if int(torch.linalg.matrix_rank(matrix)) < 2:
            return (row, col), (math.inf, math.inf)
        inverse = torch.linalg.inv(matrix)
        step = inverse @ sides.sum(0)
        down, right = (step / lattice).clamp(-1, 1).tolist()
        nearer = min(max(row + round(down), 1), last), min(max(col + round(right), 1), last)
        if nearer == (row, col):
            break
        row, col, down, right = *nearer, row + down - nearer[0], col + right - nearer[1]
    scores = sides - matrices @ step
    tiles = len(scores)
    by_tile = inverse @ (scores.T @ scores) @ inverse * tiles / max(tiles - 2, 1)
    by_footprint = inverse * (width / cell) ** 2
    std = torch.maximum(by_tile.diagonal(), by_footprint.diagonal()).sqrt()
    return (row + down, col + right), (float(std[0]), float(std[1]))


def _tile_sums(images: Tensor, tile: int) -> Tensor:
    """Sums (tiles, C) of images (C, Y, X)."""
    height, width = images.shape[-2:]
    whole = pad(images, (0, -width % tile, 0, -height % tile))
    return whole.unflatten(2, (-1, tile)).unflatten(1, (-1, tile)).sum((2, 4)).flatten(1).T


def _unknown(why: str, correlation: float = 0.0, cells: int = 0) -> Shift:
    return Shift(0.0, 0.0, math.inf, math.inf, correlation, cells, False, why)


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a shift for JSON: what is not known is None."""
    known = record["determinable"]
    return {name: value if known or name not in ("dy", "dx", "std_y", "std_x") else None for name, value in record.items()}
