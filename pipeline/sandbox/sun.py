"""Where the sun stands, and how reflectance depends on the directions of sun and view."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import numpy.typing as npt


def sun_position(day: date, latitude: float, hour: float) -> tuple[float, float]:
    """Zenith and azimuth (clockwise from north) of the sun [degrees], to 0.3° (series of Spencer 1971).

    Parameters
    ----------
    day : date
    latitude : float
        Degrees.
    hour : float
        Apparent solar time [h]: at 12 the sun stands on the meridian.
    """
    year = _angle_of_year(day)
    declination = (
        (0.006918 - 0.399912 * np.cos(year) + 0.070257 * np.sin(year))
        + (-0.006758 * np.cos(2 * year) + 0.000907 * np.sin(2 * year))
        + (-0.002697 * np.cos(3 * year) + 0.00148 * np.sin(3 * year))
    )
    angle = np.deg2rad((hour - 12) * 15)
    phi = np.deg2rad(latitude)
    cosine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    zenith = float(np.arccos(np.clip(cosine, -1, 1)))
    east = -np.cos(declination) * np.sin(angle)
    north = np.sin(declination) * np.cos(phi) - np.cos(declination) * np.sin(phi) * np.cos(angle)
    azimuth = np.arctan2(east, north)
    return float(np.rad2deg(zenith)), float(np.rad2deg(azimuth) % 360)


def equation_of_time(day: date) -> float:
    """Apparent minus mean solar time [h], within ±0.28 (Spencer 1971). Satellites keep mean solar time."""
    year = _angle_of_year(day)
    first = 0.000075 + 0.001868 * np.cos(year) - 0.032077 * np.sin(year)
    return float(12 / np.pi * (first - 0.014615 * np.cos(2 * year) - 0.040849 * np.sin(2 * year)))


def _angle_of_year(day: date) -> float:
    return 2 * math.pi * (day.timetuple().tm_yday - 1) / 365


def kernels(sun_zenith: float, view_zenith: float, relative_azimuth: float) -> tuple[float, float]:
    """RossThick and LiSparse-reciprocal kernels (Lucht, Schaaf, Strahler 2000, eqs. 38–44; b/r = 1, h/b = 2).

    Parameters
    ----------
    sun_zenith, view_zenith, relative_azimuth : float
        Degrees; relative azimuth 0 = backscatter (sun behind the sensor).
    """
    s, v, phi = (np.deg2rad(angle) for angle in (sun_zenith, view_zenith, relative_azimuth))
    cos_phase = np.cos(s) * np.cos(v) + np.sin(s) * np.sin(v) * np.cos(phi)
    phase = np.arccos(np.clip(cos_phase, -1, 1))
    volume = ((np.pi / 2 - phase) * cos_phase + np.sin(phase)) / (np.cos(s) + np.cos(v)) - np.pi / 4

    distance2 = np.tan(s) ** 2 + np.tan(v) ** 2 - 2 * np.tan(s) * np.tan(v) * np.cos(phi)
    secants = 1 / np.cos(s) + 1 / np.cos(v)
    overlap_cos = 2 * np.sqrt(max(distance2, 0) + (np.tan(s) * np.tan(v) * np.sin(phi)) ** 2) / secants
    t = np.arccos(np.clip(overlap_cos, -1, 1))
    overlap = (t - np.sin(t) * np.cos(t)) * secants / np.pi
    geometric = overlap - secants + 0.5 * (1 + cos_phase) / (np.cos(s) * np.cos(v))
    return float(volume), float(geometric)


_VOLUME = np.array([0.48, 0.44, 0.34, 0.50, 0.34, 0.24], dtype=np.float32)
_GEOMETRIC = np.array([0.10, 0.13, 0.135, 0.105, 0.13, 0.145], dtype=np.float32)


def anisotropy(
    vegetation: npt.NDArray[np.float32], sun_zenith: float, view_zenith: float, relative_azimuth: float, reference_zenith: float
) -> npt.NDArray[np.float32]:
    """Reflectance in one geometry over reflectance at nadir with the sun at `reference_zenith`: (6, y, x).

    Vegetation (0–1) scatters more in the volume, bare ground casts relatively more shadow. The
    ratios of the kernel weights are of the order of the MODIS record (Roy et al. 2016, table 5).
    """
    volume, geometric = kernels(sun_zenith, view_zenith, relative_azimuth)
    volume_0, geometric_0 = kernels(reference_zenith, 0.0, 0.0)
    bare, grown = (
        (1 + f_volume * volume + f_geometric * geometric) / (1 + f_volume * volume_0 + f_geometric * geometric_0)
        for f_volume, f_geometric in ((0.45 * _VOLUME, 1.25 * _GEOMETRIC), (1.2 * _VOLUME, 0.85 * _GEOMETRIC))
    )
    ratio = vegetation[None] * (grown - bare)[:, None, None] + bare[:, None, None]
    return np.asarray(ratio, dtype=np.float32)


def vegetation_of(reflectance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vegetation (0–1) from the bands of `vocabulary.BANDS`, for `anisotropy`."""
    red, infrared = reflectance[2], reflectance[3]
    return np.asarray(np.clip(((infrared - red) / (infrared + red) - 0.15) / 0.65, 0, 1), dtype=np.float32)
