"""When: instants of items, and the solar day a value belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pipeline.errors import CatalogError
from pipeline.grid import day_of
from pipeline.sensors import Product


def instant_of(properties: Mapping[str, Any], key: str) -> datetime | None:
    """A property as an instant (UTC), None where it is missing or null.

    Raises
    ------
    CatalogError
        If it is no date and time.
    """
    text = properties.get(key)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        raise CatalogError(f"{key} {text!r} is no date and time; expected RFC 3339 such as 2025-03-10T23:53:08Z") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def time_range(item: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """First and last instant (UTC) that an item speaks of.

    Raises
    ------
    CatalogError
        If it has neither ``datetime`` nor ``start_datetime``, or they are no dates.
    """
    properties = item.get("properties") or {}
    instant = instant_of(properties, "datetime")
    start = instant_of(properties, "start_datetime") or instant
    end = instant_of(properties, "end_datetime") or instant or start
    if start is None or end is None:
        raise CatalogError(f"item {item.get('id')!r} has neither datetime nor start_datetime and end_datetime")
    return start, end


def nominal_day(item_id: str, instant: datetime, parts: Mapping[str, str], product: Product, platform: str, longitude: float) -> date:
    """The solar day a value belongs to.

    Parameters
    ----------
    item_id : str
        For messages.
    instant : datetime
        Of the item.
    parts : mapping
        Named groups of the id: ``doy`` or ``date`` where the product's day is that of the id.
    product : Product
    platform : str
        Decides the hour of the overpass where only a UTC date is known.
    longitude : float
        Degrees east of the area's centre.

    Raises
    ------
    CatalogError
        If the id does not hold the day.
    """
    hour = product.local_hour.get(platform)
    if product.day == "datetime":
        return instant.date()
    if product.day == "acquisition":
        # Midnight of the date in the id stands for an hour that is not known (items of USGS before 2021).
        if hour is not None and instant.time() == time() and parts.get("date") == f"{instant:%Y%m%d}":
            return overpass_day(instant.date(), hour, longitude)
        return day_of(instant, longitude)
    day = _day_of_id(item_id, parts)
    daily = product.support.before == product.support.after == 0
    return overpass_day(day, hour, longitude) if daily and hour is not None else day


def overpass_day(utc_day: date, hour: float, longitude: float) -> date:
    """The solar day of the overpass that a UTC day holds.

    Parameters
    ----------
    utc_day : date
    hour : float
        Solar-local hour of the overpass.
    longitude : float
        Degrees east.

    Examples
    --------
    >>> overpass_day(date(2024, 2, 28), 10.5, 175.0), overpass_day(date(2024, 1, 1), 13.5, -175.0)
    (datetime.date(2024, 2, 29), datetime.date(2023, 12, 31))
    """
    midnight = datetime.combine(utc_day, time(), UTC)
    return day_of(midnight + timedelta(hours=(hour - longitude / 15) % 24), longitude)


def _day_of_id(item_id: str, parts: Mapping[str, str]) -> date:
    text = parts.get("doy") or parts.get("date")
    if text is None:
        raise CatalogError(f"item id {item_id!r}: day is taken from the id, but id_pattern names neither doy nor date")
    try:
        return datetime.strptime(text, "%Y%j" if "doy" in parts else "%Y%m%d").date()
    except ValueError:
        raise CatalogError(f"item id {item_id!r} holds {text!r}, which is no day") from None
