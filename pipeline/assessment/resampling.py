"""Intervals without a model: days are drawn anew with replacement, and within each drawn day its tiles (Davison & Hinkley 1997, §3.8).

Neighbouring pixels err together, and so do the pixels of a day; only tiles of a size beyond that, and days, say how far a figure
would move on another occasion. The same draw serves every image, so a difference between two is paired.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95


def weights(tiles: Mapping[int, int], draws: int, rng: np.random.Generator) -> dict[int, Floats]:
    """How often each tile of each day is drawn.

    Parameters
    ----------
    tiles : mapping of int to int
        Number of tiles of each day.
    draws : int
    rng : Generator

    Returns
    -------
    dict of int to ndarray, (draws, tiles)
        With a single day that day is always drawn: the interval then holds for this date only.
    """
    if not tiles:
        return {}
    days = rng.multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), size=draws).reshape(draws, len(tiles))
    return {
        # Drawing a day c times, and each time as many tiles as it has, is drawing c times as many tiles.
        day: rng.multinomial(times * count, np.full(count, 1 / count)).reshape(draws, count).astype(np.float64)
        for (day, count), times in zip(tiles.items(), days.T, strict=True)
    }


def pooled(parts: Mapping[int, Floats], drawn: Mapping[int, Floats]) -> Floats:
    """The sums (draws, K, B, M) of each draw from sums (K, tiles, B, M) by day."""
    return np.asarray(sum(np.einsum("rt,ktbm->rkbm", drawn[day], part, optimize=True) for day, part in parts.items()))


def interval(values: Floats) -> Interval:
    """The central 95 % of drawn figures; NaN where too few draws have a figure."""
    known = values[np.isfinite(values)]
    if known.size < max(len(values) // 2, 2):
        return float("nan"), float("nan")
    low, high = np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
