"""The two shapes of a Ross-Li reflectance model: scattering in the volume of a canopy, and the shadows of crowns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_CROWN_HEIGHT = 2.0
"""h/b: height of the centre of a crown over its vertical radius. Crowns are spheres (b/r = 1)."""


def ross_thick(sun_zenith: npt.ArrayLike, view_zenith: npt.ArrayLike, relative_azimuth: npt.ArrayLike) -> Array:
    """RossThick kernel of volume scattering (Lucht, Schaaf, Strahler 2000, IEEE TGRS 38:977–998, eq. 38). 0 with sun and view at zenith.

    Parameters
    ----------
    sun_zenith, view_zenith, relative_azimuth : array_like
        Degrees, broadcast. Relative azimuth 0: the sun behind the sensor (backscatter, the side of the hot spot); 180: forward scatter.
    """
    sun, view, azimuth = (np.deg2rad(np.asarray(angle, dtype=float)) for angle in (sun_zenith, view_zenith, relative_azimuth))
    cosine = _cos_phase(sun, view, azimuth)
    phase = np.arccos(cosine)
    return np.asarray(((np.pi / 2 - phase) * cosine + np.sin(phase)) / (np.cos(sun) + np.cos(view)) - np.pi / 4)


def li_sparse_reciprocal(sun_zenith: npt.ArrayLike, view_zenith: npt.ArrayLike, relative_azimuth: npt.ArrayLike) -> Array:
    """LiSparse-Reciprocal kernel of sparse crowns, b/r = 1 and h/b = 2 (Lucht et al. 2000, eqs. 39–44).

    Parameters
    ----------
    sun_zenith, view_zenith, relative_azimuth : array_like
        As for `ross_thick`.
    """
    sun, view, azimuth = (np.deg2rad(np.asarray(angle, dtype=float)) for angle in (sun_zenith, view_zenith, relative_azimuth))
    tan_sun, tan_view = np.tan(sun), np.tan(view)
    secants = 1 / np.cos(sun) + 1 / np.cos(view)
    distance2 = np.maximum(tan_sun**2 + tan_view**2 - 2 * tan_sun * tan_view * np.cos(azimuth), 0)
    apart = _CROWN_HEIGHT * np.sqrt(distance2 + (tan_sun * tan_view * np.sin(azimuth)) ** 2) / secants
    t = np.arccos(np.minimum(apart, 1))
    overlap = (t - np.sin(t) * np.cos(t)) * secants / np.pi
    return np.asarray(overlap - secants + (1 + _cos_phase(sun, view, azimuth)) / (2 * np.cos(sun) * np.cos(view)))


def _cos_phase(sun: Array, view: Array, azimuth: Array) -> Array:
    """Cosine of the angle between the directions of sun and view."""
    return np.clip(np.cos(sun) * np.cos(view) + np.sin(sun) * np.sin(view) * np.cos(azimuth), -1, 1)
