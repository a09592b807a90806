"""What is to be expected follows from the calendar of a product and from the orbits that scenes show."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.revisit import Series, expected_days, period_of, series_of
from pipeline.catalog.scene import Scene
from pipeline.sensors import builtin_products

from .conftest import landsat_item, modis_item

PRODUCTS = builtin_products()
LANDSAT, MCD43 = "landsat-c2-l2", "modis-43A4-061"


def landsat(day: date, sensor: str = "LC08", place: str = "190029") -> Scene:
    item = landsat_item(f"{sensor}_L2SP_{place}_{day:%Y%m%d}_02_T1", f"{day}T09:50:00Z")
    item["assets"]["cloud_qa"] = item["assets"]["atmos_opacity"] = item["assets"]["qa_aerosol"]
    return scene_from_item(item, LANDSAT, PRODUCTS[LANDSAT], 15.0)


def modis(day: date, sensor: str, product: str) -> Scene:
    item = modis_item(f"{day:%Y%j}")
    item["id"] = item["id"].replace("MCD43A4", sensor)
    bands = PRODUCTS[product].bands.values()
    keys = {band.asset for band in bands} | {layer.asset for layer in PRODUCTS[product].layers}
    keys |= {band.quality_asset for band in bands if band.quality_asset}
    item["assets"] = {key: {"href": f"https://data.example/{key}.tif"} for key in keys}
    return scene_from_item(item, product, PRODUCTS[product], 15.0)


def test_one_landsat_scene_shows_the_days_of_its_orbit_before_and_after() -> None:
    expected = expected_days([landsat(date(2024, 6, 10))], PRODUCTS[LANDSAT], date(2024, 5, 1), date(2024, 7, 31))
    assert expected == {
        Series("landsat-8", "LC08_190029"): tuple(date(2024, 5, 9) + timedelta(days=16 * number) for number in range(6)),
    }


def test_each_path_and_row_and_each_platform_has_its_own_rhythm() -> None:
    scenes = [landsat(date(2024, 6, 10)), landsat(date(2024, 6, 1), place="191029"), landsat(date(2024, 6, 2), "LC09")]
    expected = expected_days(scenes, PRODUCTS[LANDSAT], date(2024, 6, 1), date(2024, 6, 30))
    assert {series.place: [day.day for day in days] for series, days in expected.items()} == {
        "LC08_190029": [10, 26],
        "LC08_191029": [1, 17],
        "LC09_190029": [2, 18],
    }


def test_nothing_is_expected_of_a_platform_after_its_end_nor_of_landsat_7_after_it_left_its_orbit() -> None:
    drifting = [landsat(date(2022, 3, 1), "LE07"), landsat(date(2022, 7, 20), "LE07")]
    (days,) = expected_days(drifting, PRODUCTS[LANDSAT], date(2022, 2, 1), date(2022, 12, 31)).values()
    assert days == (date(2022, 2, 13), date(2022, 3, 1), date(2022, 3, 17), date(2022, 4, 2))
    (none,) = expected_days(drifting, PRODUCTS[LANDSAT], date(2023, 1, 1), date(2023, 12, 31)).values()
    assert none == ()


@pytest.mark.parametrize(
    ("product", "sensor", "found", "around"),
    [
        ("modis-09A1-061", "MOD09A1", date(2023, 3, 6), ["2023-12-19", "2023-12-27", "2024-01-01", "2024-01-09"]),
        ("modis-13Q1-061", "MOD13Q1", date(2023, 3, 6), ["2023-12-19", "2024-01-01", "2024-01-17"]),
        ("modis-13Q1-061", "MYD13Q1", date(2023, 3, 14), ["2023-12-27", "2024-01-09", "2024-01-25"]),
    ],
)
def test_composites_start_anew_every_year(product: str, sensor: str, found: date, around: list[str]) -> None:
    first, last = date.fromisoformat(around[0]), date.fromisoformat(around[-1])
    (days,) = expected_days([modis(found, sensor, product)], PRODUCTS[product], first, last).values()
    assert [str(day) for day in days] == around


def test_a_daily_product_is_due_every_day_since_its_platform_observes() -> None:
    (days,) = expected_days([modis(date(2024, 2, 28), "MCD43A4", MCD43)], PRODUCTS[MCD43], date(2000, 2, 1), date(2000, 3, 2)).values()
    assert days == tuple(date(2000, 2, 24) + timedelta(days=number) for number in range(8))


def test_products_know_their_period() -> None:
    periods = {name: period_of(product) for name, product in PRODUCTS.items() if product.role == "coarse"}
    assert periods["modis-43A4-061"] == periods["modis-09GA-061"] == periods["viirs-09GA-002"] == 1
    assert (periods["modis-09A1-061"], periods["modis-09Q1-061"], periods["modis-13Q1-061"]) == (8, 8, 16)


def test_a_scene_whose_id_tells_no_place_belongs_to_no_series() -> None:
    scene = landsat(date(2024, 6, 10))
    assert series_of(scene) == Series("landsat-8", "LC08_190029")
    unnamed = Scene.from_dict({**scene.to_dict(), "acquisition": scene.id})
    assert series_of(unnamed) is None
    assert expected_days([unnamed], PRODUCTS[LANDSAT], date(2024, 6, 1), date(2024, 6, 30)) == {}
