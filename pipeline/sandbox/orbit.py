"""When Landsat passes over a place and from where it looks: paths, rows and dates of the Worldwide Reference System 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.grid import days_between

_INCLINATION = math.radians(98.2)
_PATHS = 233
_ROW_STEP = 360 / 248
_PERIOD_DAYS = 98.884 / 1440
_NODE_OF_PATH_1 = -64.6
"""Longitude at which path 1 crosses the equator [degrees]."""
_HEIGHT = 705 / 6371
"""Of the orbit, in radii of the Earth."""
_ANCHOR_DAY = date(2020, 3, 8)
_ANCHOR_PATH = 191
"""Landsat 8 flew path 191 on the anchor day."""

_SATELLITES = {"landsat-8": 0, "landsat-9": 8, "landsat-7": 4}
"""Days after Landsat 8; Landsat 7 as it drifted in its last years."""


@dataclass(frozen=True)
class Pass:
    """One satellite on one path on one day.

    Parameters
    ----------
    day : date
        Solar-local day.
    platform : str
        ``landsat-7``, ``landsat-8`` or ``landsat-9``.
    path : int
    rows : tuple of int
        The two rows that share the area.
    eastern : bool
        The neighbouring path in the east: its swath begins inside the area.
    """

    day: date
    platform: str
    path: int
    rows: tuple[int, int]
    eastern: bool


def path_and_row(longitude: float, latitude: float) -> tuple[int, int]:
    """The descending path and row whose centre lies nearest (exact geometry of a circular orbit)."""
    path = round((_NODE_OF_PATH_1 - longitude + _east_of_node(latitude)) * _PATHS / 360) % _PATHS + 1
    row = 60 - round(math.degrees(_orbit_angle(latitude)) / _ROW_STEP)
    return path, row


def view_from(path: int, longitude: float, latitude: float) -> tuple[float, float]:
    """Zenith and azimuth (clockwise from north) of the satellite over a place when it flies a path abeam [degrees].

    From the distance to the track on the parallel of the place and from the heading of the track there. The neighbouring path is
    taken to see the area wherever the area lies, so its view may be more oblique than the 8° at which a real swath ends.
    """
    track = _NODE_OF_PATH_1 - (path - 1) * 360 / _PATHS + _east_of_node(latitude)
    east = math.radians((longitude - track + 180) % 360 - 180) * math.cos(math.radians(latitude))
    slope = (_east_of_node(latitude + 0.05) - _east_of_node(latitude - 0.05)) / 0.1 * math.cos(math.radians(latitude))
    across = east * math.cos(math.atan(slope))
    from_nadir = math.atan(math.sin(abs(across)) / (1 + _HEIGHT - math.cos(across)))
    azimuth = (270 if across > 0 else 90) + math.degrees(math.atan(slope))
    return math.degrees(from_nadir + abs(across)), azimuth % 360


def _orbit_angle(latitude: float) -> float:
    """Angle from the equator along the orbit, positive in the north [rad]."""
    return math.asin(max(-1.0, min(1.0, math.sin(math.radians(latitude)) / math.sin(_INCLINATION))))


def _east_of_node(latitude: float) -> float:
    """How far east of its node a descending track lies at a latitude [degrees of longitude]."""
    angle = _orbit_angle(latitude)
    return -math.degrees(math.atan(math.cos(_INCLINATION) * math.tan(angle))) + math.degrees(angle) * _PERIOD_DAYS


def passes(longitude: float, latitude: float, first: date, last: date, landsat7: bool) -> list[Pass]:
    """All passes of two overlapping paths in a period, in time order."""
    path, row = path_and_row(longitude, latitude)
    neighbour = path - 1 if path > 1 else _PATHS
    found = []
    for day in days_between(first, last):
        for track, eastern in ((path, False), (neighbour, True)):
            for platform, offset in _SATELLITES.items():
                if (platform != "landsat-7" or landsat7) and (day - _first_pass(track) - timedelta(days=offset)).days % 16 == 0:
                    found.append(Pass(day, platform, track, (row, row + 1), eastern))
    return found


def _first_pass(path: int) -> date:
    """A day on which Landsat 8 flew the path. The next path to the west follows seven days later, across the date line too."""
    westward = path if path > 75 else path + _PATHS
    return _ANCHOR_DAY + timedelta(days=7 * (westward - _ANCHOR_PATH))
