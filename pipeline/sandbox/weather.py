"""The weather of the world: cloudiness, rain and snow of every day, the same for all sensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.grid import day_number
from pipeline.sandbox.noise import Array, field, gauss, key_of, nodes_for, spread

_RAIN_GRAIN = 3000.0
_SNOW_LEVELS = np.arange(0.0, 2001.0, 100.0)


@dataclass(frozen=True)
class Weather:
    """Weather of one world.

    Parameters
    ----------
    seed : int
    latitude : float
        Degrees; sets temperature and, below zero, turns the seasons round.
    """

    seed: int
    latitude: float

    def season(self, day: date) -> float:
        """−1 in mid-winter, +1 in mid-summer."""
        number = day_number(day) + (182 if self.latitude < 0 else 0)
        return float(-np.cos(2 * np.pi * (number - 15) / 365.25))

    def unsettled(self, day: date) -> float:
        """Index of the weather: zero mean, unit variance, correlated over some days; high = cloudy and wet."""
        return _persistent(self.seed, "unsettled", day_number(day), 1.8)

    def temperature(self, day: date) -> float:
        """Mean temperature at sea level [°C]."""
        noise = _persistent(self.seed, "temperature", day_number(day), 4.0)
        return 27 - 0.38 * abs(self.latitude) + 0.25 * abs(self.latitude) * self.season(day) + 3.5 * noise

    def wetness(self, day: date, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Array:
        """Wetness of bare soil, 0–1: rain of the last days, drying out."""
        rows, cols = nodes_for(x, y, _RAIN_GRAIN)
        place_x, place_y = cols * _RAIN_GRAIN, rows * _RAIN_GRAIN
        dry_out = 3.0 if self.season(day) > 0 else 7.0
        water = np.zeros((rows.size, cols.size), dtype=np.float32)
        for lag in range(14):
            before = day - timedelta(days=lag)
            showers = field(key_of(self.seed, "rain", day_number(before)), place_x.astype(float), place_y.astype(float), 9000.0)
            water += np.maximum(self.unsettled(before) + 0.8 * showers - 1.0, 0) * np.float32(np.exp(-lag / dry_out))
        return spread(1 - np.exp(-1.2 * water).astype(np.float32), x, y, _RAIN_GRAIN)

    def snow_water(self, day: date, elevation: Array) -> Array:
        """Water held by the snow on the ground [mm] at elevations [m]."""
        column = _snow_column(self, day)
        if not column.any():
            return np.zeros_like(elevation)
        return np.interp(elevation, _SNOW_LEVELS, column).astype(np.float32)


@lru_cache(maxsize=4096)
def _persistent(seed: int, name: str, number: int, memory: float) -> float:
    """A daily series of zero mean and unit variance that forgets with an e-folding time of `memory` days."""
    lags = np.arange(math.ceil(6 * memory))
    weights = np.exp(-lags / memory)
    return float(np.sum(gauss(key_of(seed, name), number - lags) * weights) / np.sqrt(np.sum(weights**2)))


@lru_cache(maxsize=1024)
def _snow_column(weather: Weather, day: date) -> npt.NDArray[np.float64]:
    """Snow water by elevation: a degree-day balance that starts in the preceding autumn."""
    if weather.latitude >= 0:
        start = date(day.year if day.month >= 10 else day.year - 1, 10, 1)
    else:
        start = date(day.year if day.month >= 4 else day.year - 1, 4, 1)
    if start == day:
        return np.zeros_like(_SNOW_LEVELS)
    before = _snow_column(weather, day - timedelta(days=1))
    warmth = weather.temperature(day) - 0.0065 * _SNOW_LEVELS
    fall = 5.0 * max(weather.unsettled(day) - 0.4, 0) * np.clip((1.5 - warmth) / 2, 0, 1)
    return np.maximum(before + fall - 2.5 * np.maximum(warmth - 0.5, 0), 0)
