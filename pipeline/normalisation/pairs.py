"""What is left between two images of one ground that should be alike: the measure of each normalisation step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_OUTLIER = 4.0
"""Differences further than this many σ from the median are change or cloud, not radiometry."""
_FEWEST = 30
"""Pixels below which no line is drawn."""


@dataclass(frozen=True)
class Pair:
    """Two images of one ground, a few days apart or from two sensors.

    Parameters
    ----------
    first, second : ndarray, (B, Y, X)
        Reflectance on one grid; what is not finite does not count.
    clear : ndarray, (Y, X) bool
        Pixels observed in both.
    """

    first: npt.NDArray[np.floating]
    second: npt.NDArray[np.floating]
    clear: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """How well two images agree in one band.

    Parameters
    ----------
    n : int
        Pixels compared.
    median : float
        Of second − first [reflectance].
    slope : float
        Of the reduced major axis of second on first: 1 when bright and dark agree alike; NaN with too few pixels.
    rmse : float
        √(median² + σ²), σ from the median absolute deviation [reflectance].
    """

    n: int
    median: float
    slope: float
    rmse: float


@dataclass(frozen=True)
class Residual:
    """One row of the table: a band before and after a step."""

    band: str
    before: Agreement
    after: Agreement


def agreement(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Agreement:
    """How well pixels (n,) seen twice agree in one band.

    Median and σ resist the pixels that changed; the line is drawn through those within four σ of the median.
    """
    if not first.size:
        return Agreement(0, np.nan, np.nan, np.nan)
    difference = np.asarray(second, dtype=float) - first
    median = float(np.median(difference))
    sigma = 1.4826 * float(np.median(np.abs(difference - median)))
    like = np.abs(difference - median) <= _OUTLIER * sigma
    slope = np.nan
    if like.sum() >= _FEWEST and first[like].std() > 0:
        slope = float(np.sign(np.corrcoef(first[like], second[like])[0, 1]) * second[like].std() / first[like].std())
    return Agreement(int(first.size), median, slope, float(np.hypot(median, sigma)))


def residuals(before: Sequence[Pair], after: Sequence[Pair], bands: Sequence[str]) -> list[Residual]:
    """The table of one step over all pairs of an area: the same pixels before and after, pooled.

    Parameters
    ----------
    before, after : sequence of Pair
        The same pairs in the same order, without and with the step.
    bands : sequence of str
        Names of the bands of the pairs.

    Raises
    ------
    ValueError
        If there are not as many pairs after as before.
    """
    rows = []
    for number, band in enumerate(bands):
        old, new = [], []
        for then, now in zip(before, after, strict=True):
            layers = np.stack([image[number] for image in (then.first, then.second, now.first, now.second)])
            layers = layers[:, then.clear & now.clear & np.isfinite(layers).all(axis=0)]
            old.append(layers[:2])
            new.append(layers[2:])
        rows.append(Residual(band, agreement(*_pooled(old)), agreement(*_pooled(new))))
    return rows


def _pooled(parts: list[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
    return np.concatenate(parts, axis=1) if parts else np.empty((2, 0))
