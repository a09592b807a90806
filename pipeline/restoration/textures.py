"""Composites of 250 m with a few bands of their own, beside the restored series: day by day on the coarse cells, for methods that ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.restoration.smoother import restore

LAYERS = {"red": "red_250m", "nir08": "nir_250m", "ndvi": "ndvi_250m"}
"""Common name of a band → name of the layer that methods get."""

_COUNTS = 10_000


@dataclass(frozen=True)
class Texture:
    """What was observed by the composites of one product, of all platforms.

    Parameters
    ----------
    bands : tuple of str, (L,)
        Common names out of `LAYERS`.
    days : ndarray, (N,) float64
        Day on which the values were seen where that is known, otherwise the middle of the days of the composite [day number].
    values, std : ndarray, (N, L, Y, X) float32
        Reflectance or index, and 1 σ; NaN = not observed.
    last : ndarray, (N,) int64
        Last day of each composite [day number]: before it has passed the composite cannot be known.
    """

    bands: tuple[str, ...]
    days: np.ndarray
    values: np.ndarray
    std: np.ndarray
    last: np.ndarray

    def published(self, day: int, delay: int) -> Texture:
        """The composites that were there on a day, so many days after their last one."""
        known = self.last + delay <= day
        return Texture(self.bands, self.days[known], self.values[known], self.std[known], self.last[known])


def daily_layers(textures: Sequence[Texture], targets: Sequence[int], window: float, tau: float) -> dict[str, Tensor]:
    """The textures of consecutive days, filled and smoothed in time as the coarse series is (`restore`).

    Parameters
    ----------
    textures : sequence of Texture
        One of each product.
    targets : sequence of int, (T,)
        Day numbers.
    window, tau : float
        As for `restore` [days].

    Returns
    -------
    dict
        Name → (T, Y, X) float32 in steps of 10⁻⁴; NaN where nothing lies within the window.
    """
    layers: dict[str, Tensor] = {}
    for texture in textures:
        values, std = torch.from_numpy(texture.values), torch.from_numpy(texture.std)
        mean, _, _ = restore(values, std, texture.days, np.asarray(targets), window, tau)
        # Rounded as the coarse series is when it is kept: the last bits depend on what else is asked for.
        mean = torch.round(mean * _COUNTS) / _COUNTS
        layers |= {LAYERS[band]: mean[:, at] for at, band in enumerate(texture.bands)}
    return layers
