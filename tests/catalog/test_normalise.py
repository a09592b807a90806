from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import Scene
from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.outline import lonlat_bounds
from pipeline.errors import CatalogError
from pipeline.sensors import builtin_products

from .conftest import landsat_item, modis_item

PRODUCTS = builtin_products()
LANDSAT, MCD43A4 = PRODUCTS["landsat-c2-l2"], PRODUCTS["modis-43A4-061"]
Recorded = Callable[[str], list[dict[str, Any]]]


def landsat_scene(item: dict[str, Any], longitude: float = 0.0) -> Scene:
    return scene_from_item(item, "landsat-c2-l2", LANDSAT, longitude)


@pytest.mark.parametrize(
    ("name", "item_id", "expected"),
    [
        (
            "planetary-computer/items_limit1_page_LC09_L2SP_090091_20250310_02_T1.json",
            "LC09_L2SP_090091_20250310_02_T1",
            ("LC09_090091_20250310", "landsat-9", "20250311", 1, 91, "EPSG:32655", (7881, 7871), (355785.0, -4821585.0)),
        ),
        (
            "planetary-computer/stactools_LE07_L2SP_021030_20100109_02_T1.json",
            "LE07_L2SP_021030_20100109_02_T1",
            ("LE07_021030_20100109", "landsat-7", "20200911", 1, 30, "EPSG:32616", (7091, 8031), (559485.0, 4890015.0)),
        ),
        (
            "planetary-computer/stactools_LT05_L2SP_010067_19860424_02_T2.json",
            "LT05_L2SP_010067_19860424_02_T2",
            ("LT05_010067_19860424", "landsat-5", "20200918", 2, 67, "EPSG:32617", (6911, 7761), (416685.0, -1014285.0)),
        ),
        (
            "usgs-landsatlook/usgs_stac_api_1.json",
            "LC08_L2SP_047027_20201204_20210313_02_T1_SR",
            ("LC08_047027_20201204", "landsat-8", "20210313", 1, 27, "EPSG:32610", (7971, 7861), (353685.0, 5374215.0)),
        ),
        (
            "usgs-landsatlook/LC09_L2SP_092068_20230607_20230609_02_T1_SR.json",
            "LC09_L2SP_092068_20230607_20230609_02_T1_SR",
            ("LC09_092068_20230607", "landsat-9", "20230609", 1, 68, "EPSG:32656", (7721, 7601), (310785.0, -1163385.0)),
        ),
        (
            "earth-search/test_multiple_collections_0.json",
            "LC08_L2SP_033032_20231008_02_T1",
            ("LC08_033032_20231008", "landsat-8", "20231017", 1, 32, "EPSG:32613", (7831, 7711), (449085.0, 4581915.0)),
        ),
    ],
)
def test_landsat_items_of_every_provider_become_the_same_kind_of_scene(
    recorded: Recorded, name: str, item_id: str, expected: tuple[Any, ...]
) -> None:
    item = next(item for item in recorded(name) if item["id"] == item_id)
    scene = landsat_scene(item)
    corner = (scene.transform[2], scene.transform[5])
    assert (scene.acquisition, scene.platform, scene.stamp, scene.tier, scene.row, scene.crs, scene.shape, corner) == expected
    assert {"blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel", "qa_radsat"} <= set(scene.assets)
    assert scene.transform[2] % 30 == 15


@pytest.mark.parametrize(
    "name",
    [
        "planetary-computer/items_list_stac-geoparquet_landsat-c2-l2-pc.json",
        "planetary-computer/pystac-client_collections_landsat_c2_l2_items_collections_landsat_c2_l2.json",
        "planetary-computer/stactools_LC08_L2SP_047027_20201204_02_T1.json",
        "planetary-computer/stactools_LC09_L2SP_010065_20220129_02_T1.json",
        "planetary-computer/stactools_LT04_L2SP_002026_19830110_02_T1.json",
        "usgs-landsatlook/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
        "usgs-landsatlook/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json",
        "usgs-landsatlook/usgs_stac_api_2.json",
    ],
)
def test_every_recorded_landsat_item_is_usable_and_survives_json(recorded: Recorded, name: str) -> None:
    for item in recorded(name):
        scene = landsat_scene(item)
        assert scene.day == datetime.strptime(scene.acquisition[-8:], "%Y%m%d").date()
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_the_same_acquisition_at_two_providers_has_one_key_and_one_stamp(recorded: Recorded) -> None:
    ours = landsat_scene(recorded("planetary-computer/stactools_LC08_L2SP_047027_20201204_02_T1.json")[0])
    theirs = landsat_scene(recorded("usgs-landsatlook/usgs_stac_api_1.json")[0])
    assert (ours.acquisition, ours.stamp, ours.transform, ours.shape) == (theirs.acquisition, theirs.stamp, theirs.transform, theirs.shape)


def test_the_nominal_day_of_mcd43a4_comes_from_the_id_and_not_from_datetime(recorded: Recorded) -> None:
    item = recorded("planetary-computer/items_limit1_page_MCD43A4.A2025061.h35v10.061.2025070035331.json")[0]
    scene = scene_from_item(item, "modis-43A4-061", MCD43A4, 179.0)
    assert item["properties"]["datetime"].startswith("2025-03-05")
    assert (scene.day, scene.first_day, scene.last_day) == (date(2025, 3, 2), date(2025, 2, 22), date(2025, 3, 9))
    assert (scene.acquisition, scene.stamp, scene.platform) == ("MCD43A4_h35v10_2025061", "2025070035331", "terra-aqua")
    assert scene.crs.startswith("PROJCS")
    assert "Sinusoidal" in scene.crs
    assert scene.assets["nir08"].endswith("Nadir_Reflectance_Band2.tif")
    assert scene.assets["BRDF_Albedo_Band_Mandatory_Quality_Band2"].endswith("Quality_Band2.tif")


def test_a_static_mcd43a4_item_resolves_its_hrefs_against_its_own_place(recorded: Recorded) -> None:
    item = recorded("stactools-modis/MCD43A4.A2022032.h14v10.061.json")[0]
    placed = {**item, "links": [{"rel": "self", "href": "/data/a/b/c/d/e.json"}]}
    scene = scene_from_item(placed, "modis-43A4-061", MCD43A4, 0.0)
    assert scene.day == date(2022, 2, 1)
    assert scene.stamp == "2022041051831"
    assert scene.assets["red"].startswith("/data/tests/data-files/external/MCD43A4")


def test_composites_without_datetime_start_on_their_nominal_day_and_tell_terra_from_aqua(recorded: Recorded) -> None:
    item = recorded("planetary-computer/items_limit1_page_MYD09A1.A2025057.h35v10.061.2025066034638.json")[0]
    scene = scene_from_item(item, "modis-09A1-061", PRODUCTS["modis-09A1-061"], 0.0)
    assert item["properties"]["datetime"] is None
    assert (scene.day, scene.last_day, scene.platform) == (date(2025, 2, 26), date(2025, 3, 5), "aqua")
    assert scene.acquisition.startswith("MYD09A1")
    for name, product in (
        ("MYD09Q1.A2025057.h35v10.061.2025066034638", "modis-09Q1-061"),
        ("MOD13Q1.A2025049.h35v10.061.2025070114834", "modis-13Q1-061"),
    ):
        assert scene_from_item(recorded(f"planetary-computer/items_limit1_page_{name}.json")[0], product, PRODUCTS[product], 0.0).platform


@pytest.mark.parametrize("key", ["red", "qa_pixel", "qa_radsat"])
def test_a_missing_band_or_required_layer_is_named(key: str) -> None:
    item = landsat_item()
    del item["assets"][key]
    with pytest.raises(CatalogError, match=f"no asset {key}; it has"):
        landsat_scene(item)


def test_an_optional_layer_may_be_missing() -> None:
    item = landsat_item()
    del item["assets"]["qa_aerosol"]
    assert "qa_aerosol" not in landsat_scene(item).assets


@pytest.mark.parametrize("item_id", ["../../etc/passwd", "LC08/x", "a..b", "", "-rf", "LC08\n", ".hidden", "LC08%2e%2e"])
def test_an_id_that_is_not_safe_as_a_name_is_refused(item_id: str) -> None:
    with pytest.raises(CatalogError, match="not safe"):
        landsat_scene(landsat_item(item_id))


def test_an_id_of_another_product_is_refused() -> None:
    with pytest.raises(CatalogError, match="not of this product"):
        landsat_scene(landsat_item("LC08_L1TP_190029_20240610_20240611_02_T1"))


@pytest.mark.parametrize(
    "projection",
    [
        {"proj:epsg": None, "proj:code": "EPSG:32633"},
        {"proj:epsg": 32633, "proj:code": "EPSG:None"},
        {"proj:epsg": None, "proj:code": None, "proj:wkt2": "EPSG:32633"},
    ],
)
def test_both_spellings_of_the_projection_extension_are_read(projection: dict[str, Any]) -> None:
    assert landsat_scene(landsat_item(**projection)).crs == "EPSG:32633"


def test_projection_is_read_from_the_assets_where_they_have_it() -> None:
    item = landsat_item(**{"proj:shape": None, "proj:transform": None})
    for asset in item["assets"].values():
        asset |= {"proj:shape": [10, 20], "proj:transform": [30, 0, 15, 0, -30, 45, 0, 0, 1]}
    scene = landsat_scene(item)
    assert (scene.shape, scene.transform) == ((10, 20), (30.0, 0.0, 15.0, 0.0, -30.0, 45.0))
    item["assets"]["swir22"]["proj:shape"] = [5, 10]
    with pytest.raises(CatalogError, match="swir22 lie on another grid"):
        landsat_scene(item)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"proj:transform": [30.0, 1.0, 0.0, 0.0, -30.0, 0.0]}, "north-up"),
        ({"proj:transform": [30.0, 0.0, 0.0, 0.0, 30.0, 0.0]}, "north-up"),
        ({"proj:epsg": 999999}, "EPSG:999999"),
        ({"datetime": "yesterday"}, "yesterday"),
        ({"datetime": None}, "neither datetime"),
    ],
)
def test_an_item_that_contradicts_itself_is_refused_with_the_value(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        landsat_scene(landsat_item(**change))


def test_a_reprocessed_item_of_the_same_id_has_another_identity() -> None:
    old, new = landsat_item(), landsat_item(created="2025-01-01T00:00:00Z")
    assert landsat_scene(old).identity != landsat_scene(new).identity


def test_signatures_never_reach_a_scene_but_other_queries_stay() -> None:
    item = landsat_item()
    item["assets"]["red"]["href"] = "https://landsateuwest.blob.core.windows.net/landsat-c2/a.TIF?st=2024&sig=SECRET"
    item["assets"]["blue"]["href"] = "https://bucket.example/b.TIF?X-Amz-Signature=SECRET&x=1"
    item["assets"]["green"]["href"] = "https://data.example/read?file=c.TIF"
    scene = landsat_scene(item)
    assert "SECRET" not in json.dumps(scene.to_dict())
    assert scene.assets["red"] == "https://landsateuwest.blob.core.windows.net/landsat-c2/a.TIF"
    assert scene.assets["green"] == "https://data.example/read?file=c.TIF"


def test_the_band_of_a_multi_band_file_is_carried_in_the_href() -> None:
    item = landsat_item()
    item["assets"]["red"]["landfuse:band"] = 3
    assert landsat_scene(item).assets["red"].endswith("_red.TIF#band=3")


def test_bounds_come_from_the_bbox_or_else_from_the_geometry() -> None:
    item = landsat_item()
    assert lonlat_bounds({**item, "bbox": [14.5, 44.0, 0, 15.5, 44.6, 99]}) == (14.5, 44.0, 15.5, 44.6)
    assert lonlat_bounds({key: value for key, value in item.items() if key != "bbox"}) == (14.5, 44.0, 15.5, 44.6)
    with pytest.raises(CatalogError, match="neither bbox nor geometry"):
        lonlat_bounds({"id": "x"})


@settings(deadline=None)
@given(
    instant=st.datetimes(datetime(2013, 1, 1), datetime(2030, 1, 1)),
    longitude=st.floats(-180, 180, allow_nan=False),
    shift=st.integers(-12, 12),
)
def test_the_day_of_an_acquisition_is_its_solar_day_however_the_instant_is_written(instant: datetime, longitude: float, shift: int) -> None:
    zoned = (instant.replace(tzinfo=UTC) + timedelta(hours=shift)).replace(
        tzinfo=None
    ).isoformat() + f"{'+' if shift >= 0 else '-'}{abs(shift):02d}:00"
    day = landsat_scene(landsat_item(datetime=instant.isoformat() + "Z"), longitude).day
    assert day == landsat_scene(landsat_item(datetime=zoned), longitude).day
    noon = datetime(day.year, day.month, day.day, 12) - timedelta(hours=longitude / 15)
    assert abs(instant - noon) <= timedelta(hours=12, microseconds=2)


@settings(deadline=None)
@given(day=st.dates(date(2001, 1, 1), date(2030, 12, 31)), longitude=st.floats(-180, 180, allow_nan=False))
def test_the_day_of_a_composite_never_depends_on_the_longitude(day: date, longitude: float) -> None:
    scene = scene_from_item(modis_item(f"{day:%Y%j}"), "modis-43A4-061", MCD43A4, longitude)
    assert scene.day == day
    assert (scene.first_day, scene.last_day) == (day - timedelta(days=8), day + timedelta(days=7))


@settings(deadline=None)
@given(longitude=st.floats(-179.9, 179.9, allow_nan=False))
def test_scenes_of_one_pass_over_midnight_utc_stay_on_one_solar_day(longitude: float) -> None:
    # Landsat crosses at about 10:00 local solar time, which is near midnight UTC around 150° east and 150° west.
    local = datetime(2024, 6, 10, 10, 0) - timedelta(hours=longitude / 15)
    days = {landsat_scene(landsat_item(datetime=(local + timedelta(minutes=late)).isoformat() + "Z"), longitude).day for late in (-5, 0, 5)}
    assert days == {date(2024, 6, 10)}
