"""When Landsat passes over a place: paths, rows and dates of the Worldwide Reference System 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.grid import days_between

_INCLINATION = math.radians(98.2)
_PATHS = 233
_ROW_STEP = 360 / 248
_PERIOD_DAYS = 98.884 / 1440
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
    angle = math.asin(max(-1.0, min(1.0, math.sin(math.radians(latitude)) / math.sin(_INCLINATION))))
    east_of_node = -math.degrees(math.atan(math.cos(_INCLINATION) * math.tan(angle))) + math.degrees(angle) * _PERIOD_DAYS
    node = longitude - east_of_node
    path = round((-64.6 - node) * _PATHS / 360) % _PATHS + 1
    row = 60 - round(math.degrees(angle) / _ROW_STEP)
    return path, row


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
