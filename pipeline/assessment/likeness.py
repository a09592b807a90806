"""Do two images show the same place? Found by content, so that a copy under another name or pixel size is seen.

Both images are averaged to one pixel size, their local mean is taken off, and tiles of the first are searched in the second by
normalised cross-correlation (Lewis 1995), which neither gain nor offset changes. Patterns of fields last: the same place on another date
is found as well. Images that were turned or mirrored are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

Floats = NDArray[np.float64]

SAME_PLACE = 0.6
"""Correlation from which two images are taken for the same place. Measured: the same place 0.75 and more, also three
weeks or eight months later; different places 0.52 and less."""

TILE = 32
"""Edge of the tiles that are searched, in common pixels."""

_LOCAL = 9
"""Edge of the neighbourhood whose mean is taken off, in common pixels."""


def likeness(image: np.ndarray, resolution: float, other: np.ndarray, other_resolution: float) -> float:
    """The largest correlation of a tile of an image with any place of the other, −1 … 1.

    Parameters
    ----------
    image, other : ndarray, (y, x)
        One band of each, such as red; NaN = hidden.
    resolution, other_resolution : float
        Edge of a pixel [m].

    Returns
    -------
    float
        NaN when no tile of the size fits into the other image.
    """
    # Half as sharp as the less sharp one: one of them may be thinned, not averaged.
    common = 2 * max(resolution, other_resolution)
    first, second = (_detail(area_average(one, common / edge)) for one, edge in ((image, resolution), (other, other_resolution)))
    edge = min(TILE, *first.shape, *second.shape)
    found = [
        _best(first[row : row + edge, col : col + edge], second)
        for row in range(0, first.shape[0] - edge + 1, max(edge // 2, 1))
        for col in range(0, first.shape[1] - edge + 1, max(edge // 2, 1))
    ]
    return max(found, default=float("nan"))


def area_average(image: np.ndarray, factor: float) -> Floats:
    """Exact means over squares of `factor` × `factor` pixels, which need not be whole; hidden pixels get the mean of the image."""
    filled = np.where(np.isfinite(image), image, np.nanmean(image)).astype(np.float64)
    for _ in range(2):
        total = np.vstack([np.zeros(filled.shape[1]), np.cumsum(filled, axis=0)])
        edges = np.arange(0, filled.shape[0] + 1e-9, factor)
        low = np.floor(edges).astype(int)
        part = (edges - low)[:, None]
        at = total[low] * (1 - part) + total[np.minimum(low + 1, len(total) - 1)] * part
        filled = (np.diff(at, axis=0) / factor).T
    return filled


def _detail(image: Floats) -> Floats:
    """Departures from the local mean, bright spots held back."""
    off = image - uniform_filter(image, _LOCAL)
    limit = 3 * float(np.median(np.abs(off))) + 1e-12
    return np.clip(off, -limit, limit)


def _best(tile: Floats, image: Floats) -> float:
    template = tile - tile.mean()
    size = float(np.sqrt((template**2).sum()))
    ones = np.ones_like(tile)
    total, squares = fftconvolve(image, ones, "valid"), fftconvolve(image**2, ones, "valid")
    spread = np.sqrt(np.maximum(squares - total**2 / tile.size, 1e-20))
    if size < 1e-9:
        return -1.0
    return float((fftconvolve(image, template[::-1, ::-1], "valid") / (spread * size)).max())
