"""Where the sun stands: at an instant, at the published geometry, at noon, and as HLS takes it. All angles in degrees."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PUBLISHED_HOUR = 10 + 10 / 60
"""Apparent solar time of the published geometry [h]: the sun stands 27.5° of hour angle before the meridian."""

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)

_HLS = (31.0076, -0.1272, 0.01187, 2.40e-05, -9.48e-07, -1.95e-09, 6.15e-11)
"""Coefficients of rising powers of the latitude (Zhang, Roy, Kovalskyy 2016, IEEE TGRS 54:1410–1418, as HLS takes it)."""


def position(instant: datetime, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> tuple[Array, Array]:
    """Zenith and azimuth of the sun at an instant.

    The low-accuracy series of Meeus, Astronomical Algorithms, 2nd ed., chapters 12, 13 and 25, as NOAA's solar calculator
    has it: 0.01° from 1950 to 2050. Geometric: without refraction, the centre of the disc.

    Parameters
    ----------
    instant : datetime
        Aware, or naive in UTC.
    longitude, latitude : array_like
        Degrees.

    Returns
    -------
    zenith, azimuth : ndarray
        Degrees; azimuth clockwise from north, 0–360.
    """
    days = _days_since_2000(instant)
    right_ascension, declination = _equatorial(days)
    sidereal = np.deg2rad(280.46061837 + 360.98564736629 * days)
    hour_angle = sidereal + np.deg2rad(longitude) - right_ascension
    return _horizontal(hour_angle, declination, np.deg2rad(latitude))


def at_hour(day: date, latitude: npt.ArrayLike, hour: float) -> tuple[Array, Array]:
    """Zenith and azimuth of the sun at an hour of apparent solar time of a day (12: the sun stands on the meridian).

    The declination is that of 12 UTC: within 0.2° of any other instant of the day.
    """
    _, declination = _equatorial(_days_since_2000(datetime(day.year, day.month, day.day, 12, tzinfo=UTC)))
    return _horizontal(np.asarray(np.deg2rad((hour - 12) * 15)), declination, np.deg2rad(latitude))


def published_zenith(day: date, latitude: npt.ArrayLike) -> Array:
    """Zenith of the sun in the published geometry: 10:10 apparent solar time of the day."""
    return at_hour(day, latitude, PUBLISHED_HOUR)[0]


def noon_zenith(day: date, latitude: npt.ArrayLike) -> Array:
    """Zenith of the sun on the meridian: the geometry of MCD43A4."""
    return at_hour(day, latitude, 12.0)[0]


def hls_zenith(latitude: npt.ArrayLike) -> Array:
    """Zenith of the sun to which HLS normalises, the same on all days: a polynomial in latitude."""
    return np.asarray(np.polynomial.polynomial.polyval(np.asarray(latitude, dtype=float), _HLS))


def _days_since_2000(instant: datetime) -> float:
    utc = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return (utc - _J2000).total_seconds() / 86400


def _equatorial(days: float) -> tuple[float, float]:
    """Apparent right ascension and declination [rad] (Meeus, chapter 25)."""
    century = days / 36525
    mean_longitude = 280.46646 + 36000.76983 * century
    anomaly = np.deg2rad(357.52911 + 35999.05029 * century)
    centre = (
        (1.914602 - 0.004817 * century) * np.sin(anomaly)
        + (0.019993 - 0.000101 * century) * np.sin(2 * anomaly)
        + 0.000289 * np.sin(3 * anomaly)
    )
    node = np.deg2rad(125.04 - 1934.136 * century)
    longitude = np.deg2rad(mean_longitude + centre - 0.00569 - 0.00478 * np.sin(node))
    obliquity = np.deg2rad(23.439291 - 0.0130042 * century + 0.00256 * np.cos(node))
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(longitude), np.cos(longitude))
    return float(right_ascension), float(np.arcsin(np.sin(obliquity) * np.sin(longitude)))


def _horizontal(hour_angle: Array, declination: float, latitude: Array) -> tuple[Array, Array]:
    """Zenith and azimuth [degrees] from hour angle, declination and latitude [rad] (Meeus, chapter 13)."""
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.sin(latitude) * np.cos(hour_angle)
    zenith = np.rad2deg(np.arctan2(np.hypot(east, north), up))
    return np.asarray(zenith), np.asarray(np.rad2deg(np.arctan2(east, north)) % 360)
