"""From where a Landsat saw a place: the direction to its orbit, from the path of the Worldwide Reference System 2 or a footprint.

The satellite looks across its track, so the view zenith follows from the distance between a place and the ground track.
WRS-2: 233 paths in 16 days, 98.2° of inclination, 705 km of height, path 1 over the equator at 64.6° W going south
(Landsat 8 Data Users Handbook, USGS LSDS-1574, section 2; Landsat 7 Science Data Users Handbook, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PATHS = 233
FULL_WIDTH = (150.0, 230.0)
"""Width of a footprint that shows the whole swath of 185 km, with fill and corners [km]; of others the middle says nothing."""

_INCLINATION = np.deg2rad(98.2)
_RADIUS, _HEIGHT = 6371.0, 705.0
_NODE_OF_PATH_1 = -64.6
_TURN = 16 / PATHS
"""Turn of the Earth against the plane of the orbit for a turn of the satellite."""
_GEOCENTRIC = 1 - 0.00669438
"""1 − e² of WGS 84: tan(geocentric latitude) / tan(geodetic latitude)."""


def node_of_path(path: int) -> float:
    """Longitude [degrees] at which the descending track of a WRS-2 path crosses the equator.

    Landsat 4–9 keep within about 10 km of it: ±0.8° of view zenith at most, most often half of that. Landsat 7 left it in April 2022.
    """
    return _NODE_OF_PATH_1 - (path - 1) * 360 / PATHS


def node_of_footprint(ring: Sequence[Sequence[float]]) -> float | None:
    """Longitude of the node of the descending track along the middle of a footprint, or None if it is not as wide as the swath.

    Parameters
    ----------
    ring : sequence of (longitude, latitude)
        Degrees; the outline of what was seen.
    """
    longitude, latitude = _corners(ring)
    node = float(longitude.mean())
    # A step of the node by one degree moves the track by less at higher latitudes: a few steps suffice.
    for _ in range(5):
        across, _, _ = _track(node, longitude, latitude)
        middle = (across.min() + across.max()) / 2
        node += float(np.rad2deg(middle) / np.cos(np.deg2rad(latitude.mean())))
    width = _RADIUS * (across.max() - across.min())
    return node if FULL_WIDTH[0] <= width <= FULL_WIDTH[1] else None


def view_angles(node: float, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> tuple[Array, Array]:
    """View zenith and azimuth of places under a descending pass.

    Parameters
    ----------
    node : float
        Longitude of its node, from `node_of_path` or `node_of_footprint` [degrees].
    longitude, latitude : array_like
        Degrees.

    Returns
    -------
    zenith, azimuth : ndarray
        Degrees; azimuth is the direction from the place to the satellite, clockwise from north, 0–360. Under the track, where it
        has no meaning, any value.
    """
    across, place, below = _track(node, longitude, latitude)
    angle = np.abs(across)
    nadir_angle = np.arctan2(_RADIUS * np.sin(angle), _RADIUS + _HEIGHT - _RADIUS * np.cos(angle))
    east, north = _local_axes(place)
    azimuth = np.arctan2((below * east).sum(axis=0), (below * north).sum(axis=0))
    return np.asarray(np.rad2deg(nadir_angle + angle)), np.asarray(np.rad2deg(azimuth) % 360)


def _corners(ring: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """Longitudes and latitudes of a ring, the longitudes without a jump at the date line."""
    corners = np.array([point[:2] for point in ring], dtype=float)
    return corners[0, 0] + (corners[:, 0] - corners[0, 0] + 180) % 360 - 180, corners[:, 1]


def _track(node: float, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> tuple[Array, Array, Array]:
    r"""How far places lie east of a track [rad], the places and the nearest points of the track as unit vectors (3, \\*shape)."""
    lon, lat = np.broadcast_arrays(np.deg2rad(longitude), np.arctan(_GEOCENTRIC * np.tan(np.deg2rad(latitude))))
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    # Angle from the node, along the orbit: first where the latitude is reached, then where the place lies abeam.
    along = -np.arcsin(np.clip(np.sin(lat) / np.sin(_INCLINATION), -1, 1))
    for _ in range(4):
        below, ahead = _orbit(np.deg2rad(node), along)
        along = along + (place * ahead).sum(axis=0) / (ahead * ahead).sum(axis=0)
    below, ahead = _orbit(np.deg2rad(node), along)
    left = np.cross(below, ahead, axis=0)
    return np.arcsin((place * left).sum(axis=0) / np.sqrt((left * left).sum(axis=0))), place, below


def _orbit(node: float, along: Array) -> tuple[Array, Array]:
    r"""The point below the satellite after an angle `along` from its descending node [rad], and its derivative, (3, \\*shape)."""
    meridian = node - _TURN * along
    outward = np.stack([np.cos(meridian), np.sin(meridian), np.zeros_like(meridian)])
    eastward = np.stack([-np.sin(meridian), np.cos(meridian), np.zeros_like(meridian)])
    forward = np.cos(_INCLINATION) * eastward
    forward[2] = -np.sin(_INCLINATION)
    below = np.cos(along) * outward + np.sin(along) * forward
    # The Earth turns under the orbit: the track is carried westwards.
    carried = np.stack([below[1], -below[0], np.zeros_like(meridian)])
    return below, np.cos(along) * forward - np.sin(along) * outward + _TURN * carried


def _local_axes(place: Array) -> tuple[Array, Array]:
    """Unit vectors towards east and north at places."""
    flat = np.hypot(place[0], place[1])
    east = np.stack([-place[1] / flat, place[0] / flat, np.zeros_like(flat)])
    return east, np.cross(place, east, axis=0)
