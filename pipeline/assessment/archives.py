"""All observations of a place in one form: what experiments withhold from, damage, and hand to methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.restoration.textures import Texture

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Days = NDArray[np.int64]


def nothing(day: int) -> Mapping[str, Mask]:
    """No layers on any day."""
    return {}


@dataclass(frozen=True)
class Archive:
    """The observations of a place.

    Parameters
    ----------
    name : str
    bands : tuple of str
    resolution : float
        Edge of a fine pixel [m].
    scale : int
        Fine pixels along the edge of the cells that methods get the coarse series on.
    coarse_pixel : float
        Pixel size of the coarse sensor [m], for ERGAS.
    fine_days : tuple of int, (K,)
        Day numbers, increasing.
    fine : ndarray, (K, B, y, x) float32
        Reflectance (0–1) or index; NaN = hidden or not observed. y and x are whole cells.
    fine_std : ndarray, (K, B) float32
        1 σ of one value.
    coarse_days : ndarray, (N,) float64
        Centre of weight of each coarse image [day number].
    coarse : ndarray, (N, B, Y, X) float32
        On the fine grid, or on cells; NaN = unknown.
    coarse_std : float
        1 σ of one coarse value.
    restoration : (float, float), optional
        Window and τ [days] that a daily series is restored with from the coarse images; without it every image stands on its
        day and the other days are unknown.
    layers : mapping of str to ndarray, (y, x) bool
        Pixels by kind, the same on all days, such as ``water``.
    day_layers : callable
        Day number → pixels by kind on that day, such as ``snow``.
    changed : callable, optional
        Two day numbers for each pixel, (y, x) → pixels that an event changed after the first and not after the second: known of a
        simulated place.
    truth : callable, optional
        Day number → true reflectance (B, y, x) of a simulated place; without it an image that was withheld is the truth.
    fine_surface : ndarray, (K, y, x) uint8, optional
        `Surface` codes of what each fine pixel showed; without it all is taken for land.
    footprint : float
        Effective footprint of the coarse images [m]; 0 where a cell is the mean of its own ground.
    textures : tuple of Texture
        Composites of 250 m on the same cells, beside the coarse images; of archives with a `restoration`.
    """

    name: str
    bands: tuple[str, ...]
    resolution: float
    scale: int
    coarse_pixel: float
    fine_days: tuple[int, ...]
    fine: Image
    fine_std: Image
    coarse_days: NDArray[np.float64]
    coarse: Image
    coarse_std: float
    restoration: tuple[float, float] | None = None
    layers: Mapping[str, Mask] = field(default_factory=dict)
    day_layers: Callable[[int], Mapping[str, Mask]] = nothing
    changed: Callable[[Days, Days], Mask] | None = None
    truth: Callable[[int], Image] | None = None
    fine_surface: NDArray[np.uint8] | None = None
    footprint: float = 0.0
    textures: tuple[Texture, ...] = ()

    def without(self, days: Collection[int]) -> Archive:
        """The archive as if the fine images of some days had never been taken."""
        return self.only([day for day in self.fine_days if day not in set(days)])

    def only(self, days: Collection[int]) -> Archive:
        """The archive with the fine images of some days only."""
        kept = [index for index, day in enumerate(self.fine_days) if day in set(days)]
        return replace(
            self,
            fine_days=tuple(self.fine_days[index] for index in kept),
            fine=self.fine[kept],
            fine_std=self.fine_std[kept],
            fine_surface=None if self.fine_surface is None else self.fine_surface[kept],
        )

    def published(self, day: int, fine_delay: int, coarse_delay: int) -> Archive:
        """The archive as it was on a day: without what was published later, so many days after it was seen.

        Composites are late by as much after the last of their days.
        """
        known = self.coarse_days + coarse_delay <= day
        return replace(
            self.only([seen for seen in self.fine_days if seen + fine_delay <= day]),
            coarse_days=self.coarse_days[known],
            coarse=self.coarse[known],
            textures=tuple(texture.published(day, coarse_delay) for texture in self.textures),
        )

    def expected(self, day: int) -> Image:
        """What a prediction of a day is held against: the truth of a simulated place, or the image of that day."""
        return self.truth(day) if self.truth else self.fine[self.fine_days.index(day)]

    def error_std(self, day: int, std: Image) -> Image:
        """1 σ (B, y, x) of a prediction less `expected`, when `std` is that of its error against the ground: an image errs itself."""
        return std if self.truth else np.hypot(std, self.fine_std[self.fine_days.index(day)][:, None, None])
