"""When platforms observed, and how often their orbits repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Platform:
    """The regular operation of one platform.

    Parameters
    ----------
    first, last : date
        Days between which it observed from its nominal orbit; `last` is None while it does.
    cycle : int
        Days after which its ground tracks repeat; 0 for sensors that see every place daily.
    """

    first: date
    last: date | None = None
    cycle: int = 0


# Landsat: USGS, Landsat Missions timeline. Landsat 5 stopped imaging with the TM in November 2011. Landsat 7 left its orbit in April 2022
# and observed until January 2024 without a repeating track. MODIS and VIIRS: first days of the Level-3 and gridded records at LP DAAC.
PLATFORMS: Mapping[str, Platform] = {
    "landsat-4": Platform(date(1982, 8, 22), date(1993, 12, 14), 16),
    "landsat-5": Platform(date(1984, 3, 16), date(2011, 11, 18), 16),
    "landsat-7": Platform(date(1999, 6, 30), date(2022, 4, 5), 16),
    "landsat-8": Platform(date(2013, 4, 11), None, 16),
    "landsat-9": Platform(date(2021, 12, 1), None, 16),
    "sentinel-2a": Platform(date(2015, 11, 28), None, 10),
    "sentinel-2b": Platform(date(2017, 7, 6), None, 10),
    "terra": Platform(date(2000, 2, 24)),
    "aqua": Platform(date(2002, 7, 4)),
    "terra-aqua": Platform(date(2000, 2, 24)),
    "snpp": Platform(date(2012, 1, 19)),
    "noaa-20": Platform(date(2018, 1, 5)),
    "noaa-21": Platform(date(2023, 2, 10)),
}
