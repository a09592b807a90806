"""Clouds, shadows and haze: one sky per day, under which every sensor passes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from scipy.special import ndtri

from pipeline.grid import day_number
from pipeline.sandbox.noise import Array, Axis, field, gauss, key_of, uniform
from pipeline.sandbox.sun import sun_position
from pipeline.sandbox.weather import Weather

_WEATHER_GRAINS = (36000.0, 18000.0, 9000.0)
_CLOUD_GRAINS = (4500.0, 2200.0, 1100.0, 550.0, 280.0, 140.0)

CLOUD = np.array([0.60, 0.60, 0.60, 0.62, 0.46, 0.36], dtype=np.float32)
HAZE = np.array([1.0, 0.55, 0.35, 0.12, 0.04, 0.02], dtype=np.float32)
"""Reflectance that haze adds, relative to blue."""

SHADE = np.array([0.58, 0.47, 0.40, 0.33, 0.26, 0.22], dtype=np.float32)
"""Brightness in the shadow of a cloud, relative to sunlit ground."""


@dataclass(frozen=True)
class Sky:
    """The sky over one world.

    Parameters
    ----------
    seed : int
    weather : Weather
        Cloudy days are the days of unsettled weather.
    cloudiness : float
        Mean share of the sky that is covered, 0–1.
    """

    seed: int
    weather: Weather
    cloudiness: float

    def cover(self, day: date) -> float:
        """Share of the sky covered on a day over a wide region: often none or all."""
        if self.cloudiness <= 0:
            return 0.0
        middle = 1.3 * float(ndtri(min(self.cloudiness, 0.999))) - 0.25 * self.weather.season(day)
        return float(np.clip(0.5 + 0.45 * (self.weather.unsettled(day) + middle), 0, 1))

    def opacity(self, day: date, hour: float, x: Axis, y: Axis) -> Array:
        """Share of light that clouds replace by their own, on the outer product of y and x.

        Parameters
        ----------
        day : date
        hour : float
            Local solar time; clouds drift with the wind of the day.
        x, y : ndarray
            Coordinates [m].
        """
        cover = self.cover(day)
        if cover <= 0:
            return np.zeros((y.size, x.size), dtype=np.float32)
        number = day_number(day)
        wind = 0.8 * gauss(key_of(self.seed, "wind", number), np.arange(2)) + np.array([0.7, -0.2])
        drift = wind * 3600 * (hour - 10.0)
        x, y = x - drift[0], y - drift[1]
        small = self._convection(day, cover)
        total = np.zeros((y.size, x.size), dtype=np.float32)
        power = 0.0
        for level, grain in enumerate(_WEATHER_GRAINS):
            # Fronts and stratus decks stay for some days; the rest of the sky is new every day.
            turn, since = divmod(number + level, 3)
            for knot, weight in ((turn, 1 - since / 3), (turn + 1, since / 3)):
                part = (0.6 - 0.3 * small) * weight
                total += np.float32(part) * field(key_of(self.seed, "front", level, knot), x, y, grain)
                power += part**2
        for level, grain in enumerate(_CLOUD_GRAINS):
            part = (0.75 + 0.4 * small * (0.4 < level < 4.5)) * 0.72**level
            total += np.float32(part) * field(key_of(self.seed, "cloud", level, number), x, y, grain)
            power += part**2
        excess = total / np.float32(np.sqrt(power)) - np.float32(ndtri(np.clip(1 - cover, 0.002, 0.998)))
        density = 2.5 + 5 * small
        return np.asarray(1 - np.exp(-density * np.maximum(excess, 0)), dtype=np.float32)

    def _convection(self, day: date, cover: float) -> float:
        """1 = fair-weather cumulus, 0 = layers."""
        if not 0.05 < cover < 0.8:
            return 0.0
        chance = 0.35 + 0.35 * self.weather.season(day)
        return float(uniform(key_of(self.seed, "cumulus", day_number(day)), 0)[0] < chance)

    def shadow(self, day: date, hour: float, x: Axis, y: Axis) -> Array:
        """Share of direct sunlight that clouds take from the ground."""
        zenith, azimuth = np.deg2rad(sun_position(day, self.weather.latitude, hour))
        height = 900 + 2200 * float(uniform(key_of(self.seed, "cloud base", day_number(day)), 0)[0])
        reach = height * np.tan(min(zenith, 1.25))
        return self.opacity(day, hour, x + reach * np.sin(azimuth), y + reach * np.cos(azimuth))

    def haze(self, day: date, x: Axis, y: Axis) -> Array:
        """Reflectance that haze adds to blue after imperfect correction; of either sign, smooth."""
        number = day_number(day)
        load = min(0.006 * float(np.exp(0.7 * gauss(key_of(self.seed, "haze load", number), 0)[0])), 0.012)
        wide = field(key_of(self.seed, "haze", number), x, y, 12000.0)
        return np.float32(load) * (wide + np.float32(0.5) * field(key_of(self.seed, "smoke", number), x, y, 3500.0))
