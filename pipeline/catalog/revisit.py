"""Which scenes a catalog should hold: the calendar of composites and dailies, and the orbits that the scenes themselves show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.catalog.scene import Scene
from pipeline.grid import days_between
from pipeline.sensors import Product
from pipeline.sensors.platforms import PLATFORMS


@dataclass(frozen=True, order=True)
class Series:
    """Scenes of one platform over one path and row, or tile.

    Parameters
    ----------
    platform : str
    place : str
        Sensor with path and row or tile, as acquisitions name them.
    """

    platform: str
    place: str


def series_of(scene: Scene) -> Series | None:
    """The series of a scene, None if its id does not tell the place."""
    place = scene.acquisition.rpartition("_")[0]
    return Series(scene.platform, place) if place and scene.acquisition != scene.id else None


def expected_days(scenes: Sequence[Scene], product: Product, first: date, last: date) -> dict[Series, tuple[date, ...]]:
    """The days on which each series should have a scene.

    A coarse product is daily, or a composite that starts anew on 1 January. A platform with a repeating orbit passes every
    cycle after each day on which a scene of the same path and row (or tile) was found.

    Parameters
    ----------
    scenes : sequence of Scene
        What was found of one product, beyond the period as well: a scene outside of it still shows the orbit.
    product : Product
    first, last : date
        Of the period, both included.

    Returns
    -------
    dict
        Series whose rhythm is known → days in order, within the operation of the platform. A series of which nothing was
        found is not known.
    """
    found: dict[Series, set[date]] = {}
    for scene in scenes:
        series = series_of(scene)
        if series is not None:
            found.setdefault(series, set()).add(scene.day)
    expected = {}
    for series, days in found.items():
        platform = PLATFORMS.get(series.platform)
        if platform is None:
            continue
        begin, end = max(first, platform.first), min(last, platform.last or last)
        if product.role == "coarse":
            expected[series] = tuple(_composites(days, period_of(product), begin, end))
        elif platform.cycle:
            regular = {day for day in days if platform.first <= day <= (platform.last or day)}
            phases = {day.toordinal() % platform.cycle for day in regular}
            expected[series] = tuple(day for day in days_between(begin, end) if day.toordinal() % platform.cycle in phases)
    return expected


def period_of(product: Product) -> int:
    """Days from one value of a coarse product to the next.

    A window that starts on the nominal day is a composite, and the next one starts when it ends; other windows move by a day.
    """
    return product.support.after + 1 if product.support.before == 0 else 1


def _composites(found: set[date], period: int, first: date, last: date) -> Iterator[date]:
    """Days of the year 1 + phase, 1 + phase + period, …; the phase is that of most scenes (Aqua's 16-day products start on day 9)."""
    phase = Counter((_day_of_year(day) - 1) % period for day in found).most_common(1)[0][0]
    for year in range(first.year, last.year + 1):
        day = date(year, 1, 1) + timedelta(days=phase)
        while day.year == year:
            if first <= day <= last:
                yield day
            day += timedelta(days=period)


def _day_of_year(day: date) -> int:
    return day.timetuple().tm_yday
