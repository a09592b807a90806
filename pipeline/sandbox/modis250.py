"""The 250 m products of MODIS: reflectance of the best look of eight days (09Q1) and NDVI of sixteen (13Q1), as they were seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from pipeline.grid import Grid, day_from_number
from pipeline.sandbox.landscape import LandCover
from pipeline.sandbox.modis import Lattice, View, at_places, cell_centres, pointing, through_footprint
from pipeline.sandbox.noise import Array, gauss, key_of, uniform
from pipeline.sandbox.world import Scenery

Codes = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

PARTS = 2
"""Cells along the edge of a 500 m cell."""

_BANDS = (2, 3)
"""Red and near infrared among `vocabulary.BANDS`."""

# State flags of MOD09, as the attribute QA_bitmap_index of its files lists them.
_CLOUDY = 1 | 1 << 10
_SHADOW = 1 << 2
_LAND, _SHALLOW_WATER = 1 << 3, 3 << 3
_LITTLE_AEROSOL = 1 << 6
_BESIDE_CLOUD = 1 << 13
_SNOW = 1 << 12 | 1 << 15
_UNUSABLE = _CLOUDY | _BESIDE_CLOUD

_QUALITY_OF_CLOUDS = 2
_CORRECTED = 1 << 12
"""Quality flags of MOD09Q1: no value of the highest quality because of clouds; atmospheric correction was done."""


@dataclass(frozen=True)
class Series:
    """Composites that begin anew every year and follow each other without a gap.

    Parameters
    ----------
    name : str
        Of the product, without the platform: ``09Q1``.
    days : int
        Of one composite.
    first : tuple of int
        Day of the year on which the first one of a year begins: of Terra, of Aqua.
    """

    name: str
    days: int
    first: tuple[int, int]

    def starts(self, aqua: bool, first_day: date, last_day: date) -> list[date]:
        """Days on which the composites begin that hold one of these days; the last of a year reaches into the next."""
        found = []
        for year in range(first_day.year - 1, last_day.year + 1):
            start = date(year, 1, 1) + timedelta(days=self.first[aqua] - 1)
            while start.year == year:
                if start <= last_day and start + timedelta(days=self.days - 1) >= first_day:
                    found.append(start)
                start += timedelta(days=self.days)
        return found


REFLECTANCE = Series("09Q1", 8, (1, 1))
VEGETATION = Series("13Q1", 16, (1, 9))


@dataclass(frozen=True)
class SharpLook:
    """One MODIS sensor on one day, on the 250 m cells of one lattice.

    Parameters
    ----------
    aqua : bool
    number : int
        Day number.
    view_zenith : float
        Degrees.
    reflectance : ndarray, (2, y, x) float32
        Red and near infrared, not normalised for geometry.
    state : ndarray, (y, x) uint16
        State flags of MOD09. They err.
    """

    aqua: bool
    number: int
    view_zenith: float
    reflectance: Array
    state: Codes


def water_cells(scenery: Scenery, grid: Grid, place: Lattice) -> Mask:
    """250 m cells (y, x) of a lattice of 500 m cells of which most is water, as a static mask says: by 4 × 4 places in each."""
    canvas, share = scenery.canvas, 4
    x, y = cell_centres(place.divided(PARTS * share), grid.crs)
    row = np.clip((canvas.north - y) // canvas.resolution, 0, canvas.height - 1).astype(int)
    col = np.clip((x - canvas.west) // canvas.resolution, 0, canvas.width - 1).astype(int)
    wet = scenery.landscape.cover[row, col] == LandCover.WATER
    return np.asarray(wet.reshape(place.height * PARTS, share, place.width * PARTS, share).mean(axis=(1, 3)) > 0.5)


def sharp_looks(seen: Sequence[View], seed: int, grid: Grid, places: Sequence[Lattice], water: Sequence[Mask]) -> list[list[SharpLook]]:
    """The views of a day on the 250 m cells of every lattice.

    Parameters
    ----------
    seen : sequence of View
    seed : int
    grid : Grid
        The area: its CRS.
    places : sequence of Lattice
        Of 500 m cells.
    water : sequence of ndarray
        `water_cells` of every lattice.
    """
    found: list[list[SharpLook]] = [[] for _ in places]
    for view in seen:
        layers = np.concatenate([view.reflectance[_BANDS, :, :], np.stack([view.opacity, view.shade, view.snow])])
        wide, tall = _footprint(view.angles[1])
        # The mean over a pixel of the view and the interpolation between pixels blur as well: on average by this variance.
        blurred = view.canvas.resolution**2 / 4
        layers = through_footprint(layers, view, math.sqrt(wide**2 - blurred), math.sqrt(tall**2 - blurred))
        east, north = pointing(seed, view, wide, tall)
        for index, place in enumerate(places):
            cells = place.divided(PARTS)
            x, y = cell_centres(cells, grid.crs)
            shift = gauss(_key(seed, "sharp gridding", view, place), np.arange(2)[:, None, None], *_numbers(cells))
            values = at_places(layers, view.canvas, x + east + 45 * shift[0], y + north - 45 * shift[1])
            found[index].append(_detect(values, water[index], seed, view, place))
    return found


def reflectance_composite(looks: Sequence[SharpLook]) -> dict[str, Pixels]:
    """MOD09Q1 or MYD09Q1: of every cell the look that is best by cloud, then shadow, then view zenith.

    Parameters
    ----------
    looks : sequence of SharpLook
        Of one sensor in the eight days, at least one. Which day was taken is not told.

    Returns
    -------
    dict
        Asset → pixels (y, x): reflectance · 10000 as int16, quality and state flags as uint16.
    """
    state = np.stack([look.state for look in looks])
    # View zeniths are below 90: they decide between looks of equal state.
    rank = np.array([look.view_zenith for look in looks])[:, None, None] + 200.0 * _has(state, _UNUSABLE) + 100.0 * _has(state, _SHADOW)
    best = rank.argmin(axis=0)
    red, infrared = (_chosen(np.stack([look.reflectance[band] for look in looks]), best) for band in (0, 1))
    chosen = _chosen(state, best)
    quality = np.where(_has(chosen, _UNUSABLE), _QUALITY_OF_CLOUDS, 0) | _CORRECTED
    return {
        "sur_refl_b01": _stored(red),
        "sur_refl_b02": _stored(infrared),
        "sur_refl_qc_250m": quality.astype(np.uint16),
        "sur_refl_state_250m": chosen,
    }


def vegetation_composite(looks: Sequence[SharpLook]) -> dict[str, Pixels]:
    """MOD13Q1 or MYD13Q1: of the two highest NDVI of every cell the one seen closer to nadir.

    Constrained view angle, maximum value composite (CV-MVC; MODIS Vegetation Index User's Guide 3.00, section 5.1), of clear
    looks where there are any; elsewhere the highest NDVI of all looks.

    Parameters
    ----------
    looks : sequence of SharpLook
        Of one sensor in the sixteen days, at least one.

    Returns
    -------
    dict
        Asset → pixels (y, x): NDVI · 10000 and day of the year as int16, VI quality as uint16, pixel reliability as int8.
    """
    state = np.stack([look.state for look in looks])
    red, infrared = np.stack([look.reflectance for look in looks], axis=1)
    ndvi = (infrared - red) / np.maximum(infrared + red, np.float32(0.01))
    zenith = np.array([look.view_zenith for look in looks])
    clear = ~_has(state, _UNUSABLE | _SHADOW)
    count = clear.sum(axis=0)
    order = np.argsort(np.where(clear, ndvi, ndvi - 10), axis=0, kind="stable")
    highest, second = order[-1], order[-min(2, len(looks))]
    best = np.where((count >= 2) & (zenith[second] < zenith[highest]), second, highest)

    chosen = _chosen(state, best)
    cloudy, snow = count == 0, _has(chosen, _SNOW)
    marginal = count == 1
    reliability = np.select([cloudy, snow, marginal], [3, 2, 1], default=0)
    # MODLAND quality (bits 0–1), usefulness (2–5), aerosol (6–7), beside cloud (8), land and water (11–13), snow (14), shadow (15).
    quality = np.select([cloudy, marginal | snow], [2 | 11 << 2, 1 | 4 << 2], default=0) | 1 << 6 | (chosen >> 3 & 7).astype(int) << 11
    for flag, bit in ((_BESIDE_CLOUD, 8), (_SNOW, 14), (_SHADOW, 15)):
        quality |= _has(chosen, flag).astype(int) << bit
    days = np.array([day_from_number(look.number).timetuple().tm_yday for look in looks], np.int16)
    return {
        "250m_16_days_NDVI": np.rint(_chosen(ndvi, best) * 1e4).clip(-2000, 10000).astype(np.int16),
        "250m_16_days_VI_Quality": quality.astype(np.uint16),
        "250m_16_days_composite_day_of_the_year": days[best],
        "250m_16_days_pixel_reliability": reliability.astype(np.int8),
    }


def _footprint(view_zenith: float) -> tuple[float, float]:
    """Standard deviation of the footprint of a 250 m band along scan and along track [m]: half that of a 500 m band."""
    slant = 1 / math.cos(math.radians(0.87 * view_zenith))
    return 105 * slant**1.6, 88 * slant**0.7


def _detect(cells: Array, water: Mask, seed: int, view: View, place: Lattice) -> SharpLook:
    """Noise and state flags. Cloud and shadow are judged by 500 m cells, with errors; clouds are given a margin."""
    values, (opacity, shade, snow) = cells[:2], cells[2:]
    fine = _numbers(place.divided(PARTS))
    noise = gauss(_key(seed, "sharp detector", view, place), np.arange(2)[:, None, None], *fine)
    values = values + noise * (0.002 + 0.012 * values)
    doubt = uniform(_key(seed, "cloud mask", view, place), *_numbers(place))
    bright, cover, dark = (_coarser(layer) for layer in (values[0], opacity, shade))
    near = maximum_filter(cover, size=3) >= 0.03
    missed = (doubt < 0.03) & (cover < 0.35)
    mistaken = (doubt > 0.97) | ((bright > 0.25) & (doubt > 0.8))
    cloudy = ((cover >= 0.03) & ~missed) | mistaken
    beside = near & ~missed & ~cloudy
    shadow = (dark > 0.15) & (doubt < 0.9) & ~cloudy
    state = _flags((cloudy, _CLOUDY), (beside, _BESIDE_CLOUD), (shadow, _SHADOW)).repeat(PARTS, 0).repeat(PARTS, 1)
    state |= np.where(water, _SHALLOW_WATER, _LAND).astype(np.uint16) | _LITTLE_AEROSOL
    state |= _flags(((snow > 0.5) & ~_has(state, _CLOUDY), _SNOW))
    return SharpLook(view.aqua, view.number, view.angles[1], values.astype(np.float32), state)


def _key(seed: int, name: str, view: View, place: Lattice) -> np.uint64:
    return key_of(seed, name, int(view.aqua), view.number, place.horizontal, place.vertical)


def _numbers(place: Lattice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row (y, 1) and column (1, x) within the tile: what is drawn for a cell does not depend on the lattice."""
    return place.row + np.arange(place.height)[:, None], place.col + np.arange(place.width)[None, :]


def _coarser(layer: Array) -> Array:
    """Means of the 500 m cells."""
    height, width = layer.shape
    return np.asarray(layer.reshape(height // PARTS, PARTS, width // PARTS, PARTS).mean(axis=(1, 3)))


def _flags(*parts: tuple[Mask, int]) -> Codes:
    return np.asarray(sum(np.where(mask, np.uint16(flag), np.uint16(0)) for mask, flag in parts), np.uint16)


def _has(state: Codes, flag: int) -> Mask:
    """Where any bit of a flag is set."""
    return np.asarray((state & np.uint16(flag)) != 0)


def _chosen(layers: Pixels, index: npt.NDArray[np.intp]) -> Pixels:
    return np.asarray(np.take_along_axis(layers, index[None], axis=0)[0])


def _stored(reflectance: Array) -> npt.NDArray[np.int16]:
    return np.rint(reflectance * 1e4).clip(-100, 16000).astype(np.int16)
