"""Every recorded item of a real provider becomes the right scene, or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyproj import CRS

from pipeline.catalog import Scene
from pipeline.catalog.hrefs import split_part
from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.tiling import SINUSOIDAL
from pipeline.errors import CatalogError
from pipeline.sensors import builtin_products

from .conftest import SHARED
from .recorded import RECORDED, REFUSED, Row

PRODUCTS = builtin_products()
Recorded = Callable[[str], list[dict[str, Any]]]

LANDSAT = {"blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel", "qa_radsat"}
MOD09A1 = {"sur_refl_qc_500m", "sur_refl_state_500m", "sur_refl_day_of_year", "sur_refl_vzen", "sur_refl_szen", "sur_refl_raz"}
ASSETS = {
    "hls2-l30": {"blue", "green", "red", "nir08", "swir16", "swir22", "Fmask"},
    "modis-43A4-061": {
        *(LANDSAT - {"qa_pixel", "qa_radsat"}),
        *(f"BRDF_Albedo_Band_Mandatory_Quality_Band{n}" for n in (1, 2, 3, 4, 6, 7)),
    },
    "modis-09A1-061": {*(LANDSAT - {"qa_pixel", "qa_radsat"}), *MOD09A1},
    "modis-09Q1-061": {"red", "nir08", "sur_refl_qc_250m", "sur_refl_state_250m"},
    "modis-13Q1-061": {"ndvi", "250m_16_days_pixel_reliability", "250m_16_days_composite_day_of_the_year"},
}
SUPPORT = {"modis-43A4-061": (8, 7), "modis-09A1-061": (0, 7), "modis-09Q1-061": (0, 7), "modis-13Q1-061": (0, 15)}


def item_of(recorded: Recorded, file: str, item_id: str) -> dict[str, Any]:
    return next(item for item in recorded(file) if item["id"] == item_id)


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row.file.removesuffix('.json')}::{row.id}")
def test_a_recorded_item_becomes_the_right_scene(recorded: Recorded, row: Row) -> None:
    item = item_of(recorded, row.file, row.id)
    product = PRODUCTS[row.product]
    scene = scene_from_item(item, row.product, product, row.longitude)
    before, after = SUPPORT.get(row.product, (0, 0))
    assert (scene.id, scene.product, scene.role, scene.platform) == (row.id, row.product, product.role, row.platform)
    assert (scene.day, scene.first_day, scene.last_day) == (row.day, row.day - timedelta(before), row.day + timedelta(after))
    assert (scene.acquisition, scene.stamp, scene.tier) == (row.acquisition, row.stamp, row.tier)
    expected = CRS.from_user_input(SINUSOIDAL if row.crs == "sinusoidal" else f"EPSG:{row.crs}")
    assert CRS.from_user_input(scene.crs).equals(expected)
    a, b, west, d, e, north = scene.transform
    assert (round(a, 2), b, round(west), d, round(north)) == (row.pixel, 0, row.west, 0, row.north)
    assert -e == pytest.approx(a, rel=0.02)
    assert scene.shape == row.shape
    wanted = ASSETS.get(row.product) or LANDSAT | (
        {"atmos_opacity"} if row.platform in ("landsat-4", "landsat-5", "landsat-7") else {"qa_aerosol"}
    )
    assert set(scene.assets) == wanted
    hrefs = {split_part(href)[0] for href in scene.assets.values()}
    assert hrefs <= {asset["href"] for asset in item["assets"].values()} | {href for href in hrefs if href.startswith("/")}
    assert next(href for band, href in scene.assets.items() if band in ("red", "ndvi")).endswith(
        f"_{row.band}" if "_" in row.band else row.band
    )
    assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@pytest.mark.parametrize(("file", "item_id"), REFUSED, ids="::".join)
def test_a_recorded_item_that_cannot_be_used_says_why(recorded: Recorded, file: str, item_id: str) -> None:
    item = item_of(recorded, file, item_id)
    kind = "modis-43A4-061" if item_id.startswith("MCD43A4") else "hls2-l30" if item_id.startswith("HLS") else "landsat-c2-l2"
    with pytest.raises(CatalogError, match=REFUSED[file, item_id]):
        scene_from_item(item, kind, PRODUCTS[kind], 0.0)


def test_no_recorded_item_is_left_out() -> None:
    root = SHARED / "stac"
    if not root.exists():
        pytest.skip(f"no recorded responses at {root}: set LANDFUSE_SHARED")
    found = {(path.relative_to(root).as_posix(), item["id"]) for path in root.rglob("*.json") for item in _items(path)}
    assert found == {(row.file, row.id) for row in RECORDED} | set(REFUSED)


def _items(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(document, list):
        return document
    return document.get("features", [document] if document.get("type") == "Feature" else [])


def test_one_acquisition_at_three_providers_is_one_scene_by_its_key_and_grid(recorded: Recorded) -> None:
    rows = [row for row in RECORDED if row.acquisition == "LC08_047027_20201204"]
    scenes = [scene_from_item(item_of(recorded, row.file, row.id), row.product, PRODUCTS[row.product], row.longitude) for row in rows]
    assert {row.provider for row in rows} == {"planetary-computer", "usgs-landsatlook"}
    assert len({(scene.acquisition, scene.stamp, scene.day, scene.transform, scene.shape) for scene in scenes}) == 1


def test_what_view_and_sun_angles_are_made_of_is_kept(recorded: Recorded) -> None:
    rows = [row for row in RECORDED if row.product == "landsat-c2-l2"]
    for row in rows:
        kept = scene_from_item(item_of(recorded, row.file, row.id), row.product, PRODUCTS[row.product], row.longitude).properties
        assert 0 < kept["view:sun_elevation"] < 90
        assert 0 <= kept["view:sun_azimuth"] < 360
        assert kept["landsat:wrs_path"] == row.acquisition[5:8]
        assert len(kept["footprint"]) == 4
        assert kept["footprint"][0] != kept["footprint"][-1]


def test_the_alternate_href_is_taken_where_the_catalog_asks_for_it(recorded: Recorded) -> None:
    item = recorded("usgs-landsatlook/usgs_stac_api_1.json")[0]
    product = PRODUCTS["landsat-c2-l2"]
    default = scene_from_item(item, "landsat-c2-l2", product, -123.4)
    cloud = scene_from_item(item, "landsat-c2-l2", product, -123.4, alternate="s3")
    assert all(href.startswith("https://landsatlook.usgs.gov/data/") for href in default.assets.values())
    assert all(href.startswith("s3://usgs-landsat/collection02/level-2/") for href in cloud.assets.values())
    assert {key: href.rpartition("/")[2] for key, href in cloud.assets.items()} == {
        key: href.rpartition("/")[2] for key, href in default.assets.items()
    }
    assert cloud.identity == default.identity


def test_the_quality_of_surface_temperature_is_never_taken_for_pixel_quality(recorded: Recorded) -> None:
    item = recorded("planetary-computer/items_limit1_page_LC09_L2SP_090091_20250310_02_T1.json")[0]
    assert item["assets"]["qa"]["href"].endswith("_ST_QA.TIF")
    scene = scene_from_item(item, "landsat-c2-l2", PRODUCTS["landsat-c2-l2"], 146.7)
    assert scene.assets["qa_pixel"].endswith("_QA_PIXEL.TIF")
    assert not any("_ST_" in href for href in scene.assets.values())
    del item["assets"]["qa_pixel"]
    with pytest.raises(CatalogError, match="no asset qa_pixel"):
        scene_from_item(item, "landsat-c2-l2", PRODUCTS["landsat-c2-l2"], 146.7)


def test_an_item_may_lack_bands_that_nobody_asks_for(recorded: Recorded) -> None:
    item = recorded("planetary-computer/items_limit1_page_MCD43A4.A2025061.h35v10.061.2025070035331.json")[0]
    for number in (6, 7):
        del item["assets"][f"Nadir_Reflectance_Band{number}"]
        del item["assets"][f"BRDF_Albedo_Band_Mandatory_Quality_Band{number}"]
    product = PRODUCTS["modis-43A4-061"]
    scene = scene_from_item(item, "modis-43A4-061", product, 176.3, bands=("red", "nir08"))
    assert set(scene.assets) == {"red", "nir08", *(f"BRDF_Albedo_Band_Mandatory_Quality_Band{number}" for number in (1, 2))}
    with pytest.raises(CatalogError, match=r"no asset .*Nadir_Reflectance_Band6, Nadir_Reflectance_Band7"):
        scene_from_item(item, "modis-43A4-061", product, 176.3, bands=("red", "swir16", "swir22"))
