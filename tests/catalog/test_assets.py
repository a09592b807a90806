"""Assets under whatever key a provider holds them, and the ones that hold other numbers."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pipeline.catalog import Scene
from pipeline.catalog.hrefs import split_part
from pipeline.catalog.normalise import scene_from_item
from pipeline.errors import CatalogError
from pipeline.sensors import builtin_products

from .conftest import landsat_item, tile_item

PRODUCTS = builtin_products()
OLI = {"blue": "SR_B2", "green": "SR_B3", "red": "SR_B4", "nir08": "SR_B5", "swir16": "SR_B6", "swir22": "SR_B7"}
TM = {"blue": "SR_B1", "green": "SR_B2", "red": "SR_B3", "nir08": "SR_B4", "swir16": "SR_B5", "swir22": "SR_B7"}


def landsat_scene(item: dict[str, Any], **more: Any) -> Scene:
    return scene_from_item(item, "landsat-c2-l2", PRODUCTS["landsat-c2-l2"], 15.0, **more)


def numbered(item_id: str, numbers: dict[str, str], suffix: str, indexed: bool) -> dict[str, Any]:
    """An item with keys such as SR_B4 or SR_B4.TIF, whose bands are told apart by eo:bands only."""
    item = landsat_item(item_id)
    layers = ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL" if item_id.startswith("LC") else "SR_ATMOS_OPACITY")
    bands = [{"name": name, "common_name": common} for common, name in {"coastal": "SR_B1", **numbers}.items()]
    item["assets"] = {f"{key}{suffix}": {"href": f"https://data.example/{item_id}_{key}.TIF"} for key in layers}
    for at, band in enumerate(bands):
        entry = {"href": f"https://data.example/{item_id}_{band['name']}.TIF", "eo:bands": [at if indexed else band]}
        if band["common_name"] != "coastal" or item_id.startswith("LC"):
            item["assets"][f"{band['name']}{suffix}"] = entry
    if indexed:
        item["properties"] |= {
            "eo:bands": bands,
            "platform": None,
            "eo:platform": "LANDSAT_X",
            "eo:sun_elevation": 22.7,
            "eo:sun_azimuth": 93.5,
        }
    return item


@pytest.mark.parametrize(("suffix", "indexed"), [(".TIF", True), ("", False)], ids=["USGS before 2021", "landsat-8-c2-l2"])
@pytest.mark.parametrize(
    ("item_id", "numbers", "aerosol"),
    [
        ("LC08_L2SP_190029_20240610_20240612_02_T1", OLI, "qa_aerosol"),
        ("LE07_L2SP_190029_20070610_20200913_02_T1", TM, "atmos_opacity"),
        ("LT05_L2SR_190029_20090610_20200827_02_T2", TM, "atmos_opacity"),
    ],
)
def test_keys_that_number_the_bands_are_told_apart_by_common_names(
    item_id: str, numbers: dict[str, str], aerosol: str, suffix: str, indexed: bool
) -> None:
    item = numbered(item_id, numbers, suffix, indexed)
    scene = landsat_scene(item)
    assert {band: scene.assets[band].rpartition(f"{item_id}_")[2] for band in OLI} == {
        band: f"{name}.TIF" for band, name in numbers.items()
    }
    assert set(scene.assets) == {*OLI, "qa_pixel", "qa_radsat", aerosol}
    assert scene.platform == {"LC08": "landsat-8", "LE07": "landsat-7", "LT05": "landsat-5"}[item_id[:4]]
    if indexed:
        assert (scene.properties["view:sun_elevation"], scene.properties["view:sun_azimuth"]) == (22.7, 93.5)


def test_two_assets_of_one_common_name_are_no_band() -> None:
    item = numbered("LC08_L2SP_190029_20240610_02_T1", OLI, "", False)
    item["assets"]["SR_B4_copy"] = item["assets"]["SR_B4"]
    with pytest.raises(CatalogError, match="no asset red; it has"):
        landsat_scene(item)


def test_names_of_stac_1_1_are_read() -> None:
    item = numbered("LC08_L2SP_190029_20240610_02_T1", OLI, "", False)
    for asset in item["assets"].values():
        for band in asset.pop("eo:bands", ()):
            asset |= {
                "bands": [{"name": band["name"], "eo:common_name": band["common_name"]}],
                "raster:scale": 2.75e-5,
                "raster:offset": -0.2,
            }
    assert landsat_scene(item).assets["red"].endswith("_SR_B4.TIF")
    item["assets"]["SR_B4"]["raster:offset"] = 0.0
    with pytest.raises(CatalogError, match=r"red says offset 0\.0; the product has -0\.2"):
        landsat_scene(item)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"scale": 1e-4}, r"red says scale 0\.0001; the product has 2\.75e-05"),
        ({"scale": 2.75e-5, "offset": 0}, r"red says offset 0; the product has -0\.2"),
        ({"nodata": -9999}, "red says nodata -9999; the product has 0"),
        ({"nodata": "nan"}, "red says nodata nan"),
        ({"data_type": "int16"}, "red says data_type int16; the product has uint16"),
    ],
)
def test_an_asset_that_says_to_hold_other_numbers_is_refused_with_both(said: dict[str, Any], match: str) -> None:
    item = landsat_item()
    item["assets"]["red"]["raster:bands"] = [said]
    with pytest.raises(CatalogError, match=match):
        landsat_scene(item)
    assert "red" not in landsat_scene(item, bands=("green", "blue")).assets


def test_an_asset_that_agrees_or_says_nothing_is_taken() -> None:
    item = landsat_item()
    item["assets"]["red"]["raster:bands"] = [{"scale": 0.0000275, "offset": -0.2, "nodata": 0, "data_type": "uint16"}]
    item["assets"]["blue"]["raster:bands"] = [{"spatial_resolution": 30}]
    assert {"red", "blue", "green"} <= set(landsat_scene(item).assets)


def test_the_alternate_of_another_name_is_left_alone() -> None:
    item = landsat_item()
    item["assets"]["red"]["alternate"] = {"s3": {"href": "s3://usgs-landsat/red.TIF"}}
    assert landsat_scene(item).assets["red"].startswith("https://")
    assert landsat_scene(item, alternate="ftp").assets["red"].startswith("https://")
    scene = landsat_scene(item, alternate="s3")
    assert scene.assets["red"] == "s3://usgs-landsat/red.TIF"
    assert scene.assets["blue"].startswith("https://")


def cmr_item(sensor: str, product: str, suffix: str) -> dict[str, Any]:
    """As CMR-STAC makes one: the key of the file is its production stamp, and everything lies in it."""
    item = tile_item(sensor, date(2024, 6, 10), PRODUCTS[product])
    name, stamp = item["id"], item["id"].rpartition(".")[2]
    base = "lp-prod-protected/MOD09GA.061"
    item["assets"] = {
        "browse": {"href": f"https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-public/{name}.1.jpg"},
        f"s3_{stamp}": {"href": f"s3://{base}/{name}{suffix}"},
        stamp: {"href": f"https://data.lpdaac.earthdatacloud.nasa.gov/{base}/{name}{suffix}"},
        "provider_metadata": {"href": f"https://data.lpdaac.earthdatacloud.nasa.gov/{base}/{name}.cmr.xml"},
    }
    return item


@pytest.mark.parametrize(
    ("sensor", "product"), [("MOD09GA", "modis-09GA-061"), ("MYD09A1", "modis-09A1-061"), ("MCD43A4", "modis-43A4-061")]
)
def test_an_item_with_nothing_but_hdf4_says_so_and_what_to_do(sensor: str, product: str) -> None:
    item = cmr_item(sensor, product, ".hdf")
    with pytest.raises(
        CatalogError, match=r"only in .*\.hdf, an HDF4 file.*cannot read\n.*convert it to one Cloud Optimized GeoTIFF.*catalog build"
    ):
        scene_from_item(item, product, PRODUCTS[product], 15.0)


def test_layers_in_one_hdf5_file_are_its_datasets() -> None:
    item = cmr_item("VNP09GA", "viirs-09GA-002", ".h5")
    scene = scene_from_item(item, "viirs-09GA-002", PRODUCTS["viirs-09GA-002"], 15.0)
    parts = {key: split_part(href) for key, href in scene.assets.items()}
    assert {href for href, _ in parts.values()} == {
        "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/MOD09GA.061/VNP09GA.A2024162.h19v04.002.2024162123456.h5"
    }
    fields = "/HDFEOS/GRIDS/VIIRS_Grid_{}_2D/Data Fields/{}"
    assert parts["red"][1].dataset == fields.format("500m", "SurfReflect_I1_1")
    assert parts["blue"][1].dataset == fields.format("1km", "SurfReflect_M3_1")
    assert parts["SurfReflect_QF2_1"][1].dataset == fields.format("1km", "SurfReflect_QF2_1")
    assert parts["SolarZenith_1"][1].dataset == fields.format("1km", "SolarZenith_1")
    assert (scene.shape, scene.stamp, scene.platform) == ((2400, 2400), "2024162123456", "snpp")
    in_cloud = scene_from_item(item, "viirs-09GA-002", PRODUCTS["viirs-09GA-002"], 15.0, alternate="s3")
    assert {split_part(href)[0] for href in in_cloud.assets.values()} == {
        "s3://lp-prod-protected/MOD09GA.061/VNP09GA.A2024162.h19v04.002.2024162123456.h5"
    }


@pytest.mark.parametrize("version", ["001", "002"])
def test_nbar_of_viirs_has_three_bands_in_files_or_in_hdf5(version: str) -> None:
    product = PRODUCTS["viirs-43IA4-002"]
    item = tile_item("VNP43IA4", date(2012, 12, 29), product, "h11v05", version)
    files = scene_from_item(item, "viirs-43IA4-002", product, -80.0)
    assert set(files.assets) == {"red", "nir08", "swir16", *(f"BRDF_Albedo_Band_Mandatory_Quality_I{number}" for number in (1, 2, 3))}
    assert (files.first_day, files.last_day) == (date(2012, 12, 21), date(2013, 1, 5))
    item["assets"] = {"hdf5": {"href": "https://data.example/x.h5"}, "metadata": {"href": "https://data.example/x.h5.xml"}}
    inside = scene_from_item(item, "viirs-43IA4-002", product, -80.0)
    assert inside.assets["swir16"] == "https://data.example/x.h5#hdf5=/HDFEOS/GRIDS/VIIRS_Grid_BRDF/Data Fields/Nadir_Reflectance_I3"


def test_every_dataset_of_a_product_in_hdf5_has_a_path_that_is_read_back() -> None:
    for product in PRODUCTS.values():
        wanted = {band.asset for band in product.bands.values()} | {
            band.quality_asset for band in product.bands.values() if band.quality_asset
        }
        wanted |= {layer.asset for layer in product.layers} | set(product.angles.assets if product.angles else ())
        assert not product.hdf5 or set(product.hdf5) == wanted
        for key, path in product.hdf5.items():
            assert path.endswith(f"/Data Fields/{key}")
            assert split_part(f"https://data.example/x.h5#hdf5={path}")[1].dataset == path


def test_bands_and_layers_may_be_coarser_by_a_whole_number_on_the_same_ground() -> None:
    item = landsat_item(**{"proj:shape": None, "proj:transform": None})
    for asset in item["assets"].values():
        asset |= {"proj:shape": [10, 20], "proj:transform": [30, 0, 15, 0, -30, 45]}
    item["assets"]["blue"] |= {"proj:shape": [5, 10], "proj:transform": [60, 0, 15, 0, -60, 45]}
    item["assets"]["qa_pixel"] |= {"proj:shape": [1, 2], "proj:transform": [300, 0, 15, 0, -300, 45]}
    assert (landsat_scene(item).shape, landsat_scene(item).transform[0]) == ((10, 20), 30.0)
    for shape, transform in (([4, 10], [60, 0, 15, 0, -60, 45]), ([5, 10], [60, 0, 45, 0, -60, 45]), ([5, 10], [50, 0, 15, 0, -60, 45])):
        item["assets"]["blue"] |= {"proj:shape": shape, "proj:transform": transform}
        with pytest.raises(CatalogError, match="bands blue lie on another grid"):
            landsat_scene(item)
        assert "blue" not in landsat_scene(item, bands=("red", "nir08")).assets


@pytest.mark.parametrize(
    ("product", "item_id", "why"),
    [
        ("landsat-c2-l2", "LC08_L1TP_190029_20240610_20240612_02_T1", "radiance at the sensor"),
        ("landsat-c2-l2", "LM05_L1GS_001001_19850524_02_T2", "radiance at the sensor"),
        ("landsat-c2-l2", "LC08_L2SP_047027_20201204_20210313_02_T1_ST", "surface temperature only"),
        ("landsat-c2-l2", "LC08_L1TP_047027_20201204_20201210_01_T1", "radiance at the sensor"),
        ("landsat-c2-l2", "LC08_L2SP_047027_20201204_20201210_01_T1_SR", "Collection 1"),
        ("landsat-c2-l2", "LC08_CU_002008_20210101_20210501_02_SR", "Analysis Ready Data"),
        ("hls2-s30", "HLS.S30.T01LAH.2020097T222759.v1.5", "version 1 of HLS"),
        ("hls2-l30", "HLS.S30.T01LAH.2020097T222759.v2.0", "expected"),
        ("modis-09GA-061", "MOD09GA.A2012296.h14v17.005.2012298011753", "withdrawn"),
        ("modis-43A4-061", "MCD43A3.A2025061.h35v10.061.2025070035331", "expected"),
        ("viirs-09GA-002", "VNP09GA.A2019221.h11v04.001.2019222084825", "version 001"),
    ],
)
def test_what_a_collection_holds_besides_is_refused_with_the_reason(product: str, item_id: str, why: str) -> None:
    with pytest.raises(CatalogError, match=f"{item_id.replace('.', '[.]')}' is not of this product: .*{why}"):
        scene_from_item(landsat_item(item_id), product, PRODUCTS[product], 0.0)


@pytest.mark.parametrize(
    ("item_id", "expected"),
    [
        ("LT05_L2SR_087017_20090621_20200827_02_T2_SR", ("LT05_087017_20090621", "landsat-5", "20200827", 2)),
        ("LC08_L2SP_190029_20240610_20240611_02_RT", ("LC08_190029_20240610", "landsat-8", "20240611", 2)),
        ("LO08_L2SR_190029_20240610_02_T2", ("LO08_190029_20240610", "landsat-8", "20240612092011", 2)),
    ],
)
def test_tiers_and_levels_of_landsat_are_all_taken(item_id: str, expected: tuple[str, str, str, int]) -> None:
    item = landsat_item(item_id, **{"landsat:collection_category": None})
    item["assets"] |= {"atmos_opacity": {"href": "https://data.example/opacity.TIF"}}
    scene = landsat_scene(item)
    assert (scene.acquisition, scene.platform, scene.stamp, scene.tier) == expected


def test_a_scene_taken_at_night_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"taken at night: the sun stood at -12\.5°"):
        landsat_scene(landsat_item(**{"view:sun_elevation": -12.5}))


def test_a_polar_scene_is_a_scene() -> None:
    item = landsat_item("LC08_L2SR_081119_20200101_20200823_02_T2", **{"proj:epsg": 3031})
    assert landsat_scene(item).crs == "EPSG:3031"


def test_two_passes_over_one_tile_on_one_day_are_two_acquisitions() -> None:
    product = PRODUCTS["hls2-s30"]
    keys = ("B02", "B03", "B04", "B8A", "B11", "B12", "Fmask")
    ids = [f"HLS.S30.T60WWV.2024162T{time}.v2.0" for time in ("003611", "021559")]
    items = [{**landsat_item(item_id), "assets": {key: {"href": f"https://data.example/{key}.tif"} for key in keys}} for item_id in ids]
    assert len({scene_from_item(item, "hls2-s30", product, 178.0).acquisition for item in items}) == 2
