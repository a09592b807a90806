"""What one source of an area holds, as a list of scenes by day, and what follows from it: sums, months, rows of the calendar."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import ceil
from statistics import mean, median
from typing import Any

from pipeline.catalog.revisit import Series, expected_days
from pipeline.catalog.scene import Scene
from pipeline.catalog.search import Search
from pipeline.products.calendar import USABLE, CalendarRow, Found
from pipeline.sensors import Product
from pipeline.sensors.platforms import PLATFORMS

_CLEAR, _CLOUDY = 30.0, 70.0
"""Cloud cover of a scene [%] up to which it is called clear, and from which cloudy."""

_DELAY = 21
"""Days that a scene may take until it counts as missing, whatever the median: an archive loaded long after tells nothing of delay."""


@dataclass(frozen=True)
class Entry:
    """One scene that is there, or should be.

    Parameters
    ----------
    found : Found
    id : str
        Of the item; empty for a missing scene.
    day : date or None
        None if the id of an unusable item does not tell it.
    platform : str
    cloud : float or None
        Cloud cover [%].
    note : str
        Why it cannot be used.
    """

    found: Found
    id: str
    day: date | None
    platform: str
    cloud: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Inventory:
    """What one source holds of the days asked for.

    Parameters
    ----------
    role, collection, catalog, product : str
        The source.
    entries : tuple of Entry
    due : mapping, optional
        Day → number of scenes there should be; None if no rhythm is known.
    bands : mapping
        Band of the area → share of the scenes that have it.
    absent : tuple of str
        Platforms of the product that observed in the period, and of which there is nothing.
    opened : int
        Scenes of which a file was opened.
    newest : date or None
    latency : float or None
        Median time from the acquisition, or from the last day of a composite, to the creation of the item [days].
    error : str
        Why the catalog could not be searched; empty if it could.
    """

    role: str
    collection: str
    catalog: str
    product: str
    entries: tuple[Entry, ...] = ()
    due: Mapping[date, int] | None = None
    bands: Mapping[str, float] | None = None
    absent: tuple[str, ...] = ()
    opened: int = 0
    newest: date | None = None
    latency: float | None = None
    error: str = ""

    @property
    def name(self) -> str:
        return f"{self.role} {self.collection} in {self.catalog}"

    def of(self, *kinds: Found) -> list[Entry]:
        """The entries of some kinds."""
        return [entry for entry in self.entries if entry.found in kinds]

    def sums(self, period: str = "") -> dict[str, Any]:
        """Counts of a period: all, a year (``"2023"``) or a month (``"2023-06"``).

        ``found`` are the scenes of the catalog with those whose file failed; ``expected`` and ``missing_share`` are None where no
        rhythm is known, ``cloud_cover`` [%] where no item tells it.
        """
        entries = [entry for entry in self.entries if not period or (entry.day is not None and entry.day.isoformat().startswith(period))]
        count = Counter(entry.found for entry in entries)
        clouds = [entry.cloud for entry in entries if entry.cloud is not None and entry.found in (*USABLE, Found.FAILED)]
        due = None if self.due is None else sum(number for day, number in self.due.items() if day.isoformat().startswith(period))
        return {
            "found": sum(count[kind] for kind in (*USABLE, Found.FAILED)),
            "expected": due,
            "missing": None if due is None else count[Found.MISSING],
            "missing_share": count[Found.MISSING] / due if due else None,
            "superseded": count[Found.SUPERSEDED],
            "duplicates": count[Found.DUPLICATE],
            "skipped": count[Found.SKIPPED],
            "failed": count[Found.FAILED],
            "cloud_cover": mean(clouds) if clouds else None,
        }

    def rows(self) -> list[CalendarRow]:
        """One row for each platform."""
        days: dict[str, dict[date, Counter[Found]]] = {}
        for entry in self.entries:
            if entry.day is not None:
                days.setdefault(entry.platform, {}).setdefault(entry.day, Counter())[entry.found] += 1
        return [CalendarRow(self.name, platform, days[platform]) for platform in sorted(days)] or [CalendarRow(self.name, "", {})]


def take_stock(
    source: Inventory,
    found: Search,
    product: Product,
    bands: Sequence[str],
    days: tuple[date, date],
    as_of: date,
    earlier: set[tuple[str, str]],
    failed: Mapping[str, str] | None,
) -> Inventory:
    """The inventory of what a search found.

    Parameters
    ----------
    source : Inventory
        With role, collection, catalog and product.
    found : Search
        Its scenes may lie outside of the days: they still show the orbits.
    product : Product
    bands : sequence of str
        Of the area.
    days : (date, date)
        First and last day asked for.
    as_of : date
        What cannot have been delivered before this day is not missing.
    earlier : set of (str, str)
        Products with acquisitions that sources before this one hold.
    failed : mapping, optional
        Identity of a scene → why its file cannot be used. None if no file was opened.
    """
    first, last = days
    scenes = [scene for scene in found.scenes if first <= scene.day <= last]
    entries = [_entry(scene, (failed or {}).get(scene.identity, "")) for scene in scenes]
    entries += [
        Entry(Found.DUPLICATE, scene.id, scene.day, scene.platform) for scene in scenes if (scene.product, scene.acquisition) in earlier
    ]
    others = [(Found.SUPERSEDED, item, "") for item in found.superseded] + [(Found.SKIPPED, item, why) for item, why in found.skipped]
    for kind, item, why in others:
        platform, day = _told_by_id(item, product)
        if day is None or first <= day <= last:
            entries.append(Entry(kind, item, day, platform, note=why))
    latency = _latency(scenes)
    delay = product.support.after + min(ceil(max(latency or 0.0, 0.0)), _DELAY)
    expected = expected_days(found.scenes, product, first, min(last, as_of - timedelta(days=delay + 1)))
    entries += _missing(expected, entries)
    present = {entry.platform for entry in entries}
    return Inventory(
        source.role,
        source.collection,
        source.catalog,
        source.product,
        entries=tuple(entries),
        due=Counter(day for due in expected.values() for day in due) if expected else None,
        bands={band: sum(band in scene.assets for scene in scenes) / len(scenes) for band in bands} if scenes else {},
        absent=tuple(name for name in dict.fromkeys(product.platforms.values()) if name not in present and _operates(name, first, last)),
        opened=0 if failed is None else len(scenes),
        newest=max((scene.day for scene in scenes), default=None),
        latency=latency,
    )


def _entry(scene: Scene, failure: str) -> Entry:
    told = scene.properties.get("eo:cloud_cover")
    cloud = float(told) if isinstance(told, int | float) else None
    if failure:
        found = Found.FAILED
    elif cloud is None:
        found = Found.UNTOLD
    else:
        found = Found.CLEAR if cloud <= _CLEAR else Found.CLOUDY if cloud >= _CLOUDY else Found.PARTLY
    return Entry(found, scene.id, scene.day, scene.platform, cloud, failure)


def _missing(expected: Mapping[Series, Sequence[date]], entries: Sequence[Entry]) -> list[Entry]:
    """What is due and neither found nor held as an item that cannot be used."""
    due = Counter((series.platform, day) for series, days in expected.items() for day in days)
    held = Counter((entry.platform, entry.day) for entry in entries if entry.found in (*USABLE, Found.FAILED, Found.SKIPPED))
    lacking = {key: number - held[key] for key, number in due.items()}
    return [Entry(Found.MISSING, "", day, platform) for (platform, day), number in lacking.items() for _ in range(number)]


def _told_by_id(item: str, product: Product) -> tuple[str, date | None]:
    """Platform and day of an item that became no scene, as far as its id tells them."""
    match = re.match(product.id_pattern, item) if product.id_pattern else None
    parts = match.groupdict() if match else {}
    text, form = (parts["doy"], "%Y%j") if parts.get("doy") else (parts.get("date") or "", "%Y%m%d")
    try:
        day = datetime.strptime(text, form).date()
    except ValueError:
        day = None
    return product.platforms.get(parts.get("sensor") or "", ""), day


def _latency(scenes: Sequence[Scene]) -> float | None:
    waits = []
    for scene in scenes:
        try:
            created = datetime.fromisoformat(str(scene.properties.get("created")))
        except ValueError:
            continue
        composite = scene.first_day < scene.last_day
        taken = datetime.combine(scene.last_day + timedelta(days=1), time(), scene.datetime.tzinfo) if composite else scene.datetime
        created = created if created.tzinfo else created.replace(tzinfo=scene.datetime.tzinfo)
        waits.append((created - taken).total_seconds() / 86400)
    return median(waits) if waits else None


def _operates(platform: str, first: date, last: date) -> bool:
    known = PLATFORMS.get(platform)
    return known is not None and known.first <= last and first <= (known.last or last)
