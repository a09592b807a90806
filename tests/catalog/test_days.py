"""The right day: of every product family, at the antimeridian, over clock changes, on leap days and at the end of a year."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Scene
from pipeline.catalog.days import overpass_day
from pipeline.catalog.normalise import scene_from_item
from pipeline.grid import day_of
from pipeline.sensors import builtin_products

from .conftest import landsat_item, tile_item

PRODUCTS = builtin_products()
SENSORS = {
    "MCD43A4": "modis-43A4-061",
    "MOD09A1": "modis-09A1-061",
    "MYD09A1": "modis-09A1-061",
    "MOD09Q1": "modis-09Q1-061",
    "MYD09Q1": "modis-09Q1-061",
    "MOD13Q1": "modis-13Q1-061",
    "MYD13Q1": "modis-13Q1-061",
    "MOD09GA": "modis-09GA-061",
    "MYD09GA": "modis-09GA-061",
    "VNP09GA": "viirs-09GA-002",
    "VJ109GA": "viirs-09GA-002",
    "VNP43IA4": "viirs-43IA4-002",
}
DAILY = [sensor for sensor in SENSORS if sensor.endswith("09GA")]
COMPOSITES = [sensor for sensor in SENSORS if sensor not in DAILY]
DATES = [
    date(2024, 2, 29),
    date(2023, 12, 31),
    date(2024, 12, 31),
    date(2024, 1, 1),
    date(2024, 3, 31),
    date(2024, 10, 27),
    date(2024, 6, 15),
]
"""Leap day, ends of years, and the days on which clocks change in Europe."""


def scene_of(sensor: str, day: date, longitude: float, **properties: Any) -> Scene:
    product = SENSORS[sensor]
    return scene_from_item(tile_item(sensor, day, PRODUCTS[product], **properties), product, PRODUCTS[product], longitude)


@pytest.mark.parametrize("day", DATES)
@pytest.mark.parametrize("longitude", [-175.0, -100.0, 0.0, 100.0, 175.0])
@pytest.mark.parametrize("sensor", COMPOSITES)
def test_a_composite_belongs_to_the_day_of_its_id_everywhere(sensor: str, longitude: float, day: date) -> None:
    support = PRODUCTS[SENSORS[sensor]].support
    scene = scene_of(sensor, day, longitude)
    assert scene.day == day
    assert (scene.first_day, scene.last_day) == (day - timedelta(support.before), day + timedelta(support.after))


@pytest.mark.parametrize("day", DATES)
@pytest.mark.parametrize(
    ("sensor", "longitude", "shift"),
    [
        ("MOD09GA", 175.0, 1),
        ("MOD09GA", 157.6, 1),
        ("MOD09GA", 157.4, 0),
        ("MOD09GA", 0.0, 0),
        ("MOD09GA", -175.0, 0),
        ("MYD09GA", 175.0, 0),
        ("MYD09GA", 0.0, 0),
        ("MYD09GA", -157.4, 0),
        ("MYD09GA", -157.6, -1),
        ("MYD09GA", -175.0, -1),
        ("VNP09GA", 175.0, 0),
        ("VNP09GA", -175.0, -1),
        ("VJ109GA", -175.0, -1),
        ("VJ109GA", 14.5, 0),
    ],
)
def test_a_utc_daily_belongs_to_the_solar_day_of_its_overpass(sensor: str, longitude: float, shift: int, day: date) -> None:
    scene = scene_of(sensor, day, longitude)
    assert (scene.first_day, scene.day, scene.last_day) == (day + timedelta(shift),) * 3


@pytest.mark.parametrize("day", DATES)
@pytest.mark.parametrize(("longitude", "hours"), [(-175.0, 10 + 175 / 15), (175.0, 10 - 175 / 15), (14.5, 10 - 14.5 / 15)])
def test_a_landsat_pass_at_ten_in_the_morning_belongs_to_that_day_whatever_the_date_in_utc(
    day: date, longitude: float, hours: float
) -> None:
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)
    item = landsat_item(f"LC08_L2SP_190029_{instant:%Y%m%d}_02_T1", instant.isoformat())
    assert scene_from_item(item, "landsat-c2-l2", PRODUCTS["landsat-c2-l2"], longitude).day == day


@pytest.mark.parametrize(("longitude", "shift"), [(-164.0, 0), (-60.0, 0), (14.5, 0), (150.0, 0), (165.0, 1)])
@pytest.mark.parametrize("text", ["2019-12-18", "2019-12-18T00:00:00Z"])
def test_a_landsat_item_without_an_hour_belongs_to_the_solar_day_of_the_overpass_in_its_utc_date(
    text: str, longitude: float, shift: int
) -> None:
    item = landsat_item("LC08_L2SR_232122_20191218_20201023_02_T2", text)
    day = scene_from_item(item, "landsat-c2-l2", PRODUCTS["landsat-c2-l2"], longitude).day
    assert day == date(2019, 12, 18) + timedelta(shift)


@given(st.dates(date(2001, 1, 1), date(2030, 12, 31)), st.floats(0, 23.9), st.floats(-180, 180, allow_nan=False))
def test_the_overpass_of_a_utc_day_lies_in_that_utc_day(utc_day: date, hour: float, longitude: float) -> None:
    day = overpass_day(utc_day, hour, longitude)
    local = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)
    instant = local - timedelta(hours=longitude / 15)
    begin = datetime(utc_day.year, utc_day.month, utc_day.day, tzinfo=UTC)
    slack = timedelta(milliseconds=1)
    assert begin - slack <= instant <= begin + timedelta(days=1) + slack
    assert abs(day - utc_day) <= timedelta(days=1)


def test_dates_of_an_item_may_lie_beside_the_day_of_its_id() -> None:
    # Items of MCD43A4 that were made since 2024 start on the nominal day; older ones eight days before; some have no datetime.
    day = date(2025, 3, 2)
    for start, end, instant in ((0, 7, "2025-03-05T23:59:59.999500Z"), (-8, 7, "2025-03-02T00:00:00Z"), (0, 7, None)):
        scene = scene_of(
            "MCD43A4",
            day,
            179.0,
            datetime=instant,
            start_datetime=f"{day + timedelta(start)}T00:00:00Z",
            end_datetime=f"{day + timedelta(end)}T23:59:59Z",
        )
        assert (scene.day, scene.first_day, scene.last_day) == (day, date(2025, 2, 22), date(2025, 3, 9))


def test_terra_and_aqua_are_told_apart_by_the_id_when_the_platform_is_empty() -> None:
    platforms = {sensor: scene_of(sensor, date(2025, 3, 2), 0.0, platform="").platform for sensor in SENSORS}
    assert platforms == {
        "MCD43A4": "terra-aqua",
        **dict.fromkeys(("MOD09A1", "MOD09Q1", "MOD13Q1", "MOD09GA"), "terra"),
        **dict.fromkeys(("MYD09A1", "MYD09Q1", "MYD13Q1", "MYD09GA"), "aqua"),
        **dict.fromkeys(("VNP09GA", "VNP43IA4"), "snpp"),
        "VJ109GA": "noaa-20",
    }


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles", "Europe/Ljubljana"])
def test_no_day_depends_on_the_time_zone_of_the_machine(zone: str) -> None:
    code = (
        "from datetime import date; from tests.catalog.test_days import scene_of, landsat_item, scene_from_item, PRODUCTS\n"
        "item = landsat_item('LC08_L2SP_190029_20240330_02_T1', '2024-03-30T23:30:00Z')\n"
        "print([scene_of(name, date(2024, 3, 31), 175.0).day.isoformat() for name in ('MOD09GA', 'MYD09GA', 'MCD43A4', 'MOD09A1')],\n"
        "      scene_from_item(item, 'landsat-c2-l2', PRODUCTS['landsat-c2-l2'], 160.0).day)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "TZ": zone})
    assert done.stdout.strip() == "['2024-04-01', '2024-03-31', '2024-03-31', '2024-03-31'] 2024-03-31"


def test_the_rule_of_the_day_is_that_of_the_grid() -> None:
    assert overpass_day(date(2024, 2, 28), 10.5, 175.0) == day_of(datetime(2024, 2, 28, 22, 50), 175.0) == date(2024, 2, 29)
