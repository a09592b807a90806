"""What is written: scenes as the providers write them, with the truth inside."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from pipeline.errors import StoreError
from pipeline.grid import day_of
from pipeline.sandbox import SandboxSpec, load_spec, load_world, write_sandbox
from pipeline.sandbox.modis import CELL
from pipeline.sandbox.orbit import passes, path_and_row
from pipeline.sensors import builtin_products
from pipeline.vocabulary import BANDS
from tests.sandbox.conftest import small_grid

MODIS_ASSETS = {"red": 1, "nir08": 2, "blue": 3, "green": 4, "swir16": 6, "swir22": 7}


def items_of(folder: Path, collection: str) -> list[dict[str, Any]]:
    document = json.loads((folder / collection / "collection.json").read_text())
    return [json.loads((folder / collection / link["href"]).read_text()) for link in document["links"] if link["rel"] == "item"]


def read(folder: Path, item: dict[str, Any], asset: str) -> np.ndarray:
    with rasterio.open(folder / item["collection"] / item["id"] / item["assets"][asset]["href"]) as source:
        return source.read(1)


def pixels_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.[tT][iI][fF]")):
        with rasterio.open(path) as source:
            digest.update(path.name.encode() + source.read(1).tobytes())
    return digest.hexdigest()


def test_the_same_spec_writes_the_same_pixels_in_one_process_and_in_two(tmp_path: Path) -> None:
    spec = SandboxSpec(small_grid(32), date(2022, 6, 3), date(2022, 6, 3), seed=8)
    write_sandbox(tmp_path / "a", spec, workers=1)
    write_sandbox(tmp_path / "b", spec, workers=2)
    assert pixels_digest(tmp_path / "a") == pixels_digest(tmp_path / "b")


def test_the_catalog_is_valid_stac_with_relative_links(sandbox: Path) -> None:
    catalog = pystac.Catalog.from_file(str(sandbox / "catalog.json"))
    assert {child.id for child in catalog.get_children()} == {"landsat-c2-l2", "modis-43A4-061"}
    items = list(catalog.get_items(recursive=True))
    assert len(items) > 20
    for item in items:
        assert item.bbox is not None
        assert item.bbox[0] < item.bbox[2]
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            assert Path(asset.get_absolute_href() or "").is_file()


def test_every_item_has_the_assets_that_its_product_needs(sandbox: Path) -> None:
    for collection in ("landsat-c2-l2", "modis-43A4-061"):
        product = builtin_products()[collection]
        for item in items_of(sandbox, collection):
            for band in BANDS:
                assert product.bands[band].asset in item["assets"]
            for layer in product.layers_of(item["properties"]["platform"]):
                assert layer.asset in item["assets"]


def test_landsat_scenes_of_the_own_zone_lie_on_the_area_grid_with_edges_at_15_mod_30(sandbox: Path, spec: SandboxSpec) -> None:
    own = [item for item in items_of(sandbox, "landsat-c2-l2") if item["properties"]["proj:epsg"] == 32633]
    other = [item for item in items_of(sandbox, "landsat-c2-l2") if item["properties"]["proj:epsg"] == 32634]
    assert own
    assert other
    for item in own + other:
        a, _, west, _, e, north = item["properties"]["proj:transform"]
        assert (a, e, west % 30, north % 30) == (30, -30, 15, 15)
        with rasterio.open(sandbox / "landsat-c2-l2" / item["id"] / item["assets"]["red"]["href"]) as source:
            assert list(source.transform)[:6] == item["properties"]["proj:transform"]
            assert list(source.shape) == item["properties"]["proj:shape"]
            assert source.crs.to_epsg() == item["properties"]["proj:epsg"]
    assert len({tuple(item["properties"]["proj:transform"]) for item in own}) > 1
    assert len({tuple(item["properties"]["proj:shape"]) for item in own}) > 1


def test_clear_landsat_pixels_hold_the_truth(sandbox: Path, spec: SandboxSpec) -> None:
    world = load_world(sandbox)
    errors = []
    for item in items_of(sandbox, "landsat-c2-l2"):
        properties = item["properties"]
        if properties["proj:epsg"] != 32633 or len(item["id"]) > 31:
            continue
        qa = read(sandbox, item, "qa_pixel")
        col = round((properties["proj:transform"][2] - spec.grid.west) / 30)
        row = round((spec.grid.north - properties["proj:transform"][5]) / 30)
        truth = world.truth(day_of(datetime.fromisoformat(properties["datetime"]), spec.grid.longitude))
        rows, cols = slice(max(row, 0), row + qa.shape[0]), slice(max(col, 0), col + qa.shape[1])
        inside = truth[2, rows, cols]
        part = slice(max(-row, 0), max(-row, 0) + inside.shape[0]), slice(max(-col, 0), max(-col, 0) + inside.shape[1])
        clear = qa[part] == 21824
        values = read(sandbox, item, "red")[part] * 2.75e-5 - 0.2
        errors.append((values - inside)[clear])
    error = np.concatenate(errors)
    assert error.size > 2000
    assert np.median(np.abs(error)) < 0.008
    assert abs(np.median(error)) < 0.008


def test_qa_bits_agree_with_each_other_and_with_the_fill(sandbox: Path) -> None:
    seen = set()
    for item in items_of(sandbox, "landsat-c2-l2"):
        qa = read(sandbox, item, "qa_pixel")
        red = read(sandbox, item, "red")
        fill = (qa & 1) > 0
        assert np.array_equal(fill, red == 0)
        assert set(np.unique(qa[fill])) <= {1}
        cloud, dilated, clear = (qa >> 3 & 1) > 0, (qa >> 1 & 1) > 0, (qa >> 6 & 1) > 0
        assert not (cloud & clear).any()
        assert not (dilated & clear).any()
        assert ((qa >> 8 & 3)[cloud] == 3).all()
        assert ((qa >> 8 & 3)[clear] == 1).all()
        assert ((qa >> 10 & 3)[(qa >> 4 & 1) > 0] == 3).all()
        seen |= {bit for bit in range(16) if (qa >> bit & 1).any()}
    assert {0, 1, 3, 4, 6, 7, 8} <= seen


def test_one_path_covers_part_of_the_area_and_two_rows_share_a_day(sandbox: Path) -> None:
    items = items_of(sandbox, "landsat-c2-l2")
    days = {(item["properties"]["landsat:wrs_path"], item["properties"]["datetime"][:10]) for item in items}
    for path, day in days:
        same = [item["properties"] for item in items if item["properties"]["datetime"].startswith(day)]
        rows = {properties["landsat:wrs_row"] for properties in same if properties["landsat:wrs_path"] == path}
        assert len(rows) == 2
    assert len({path for path, _ in days}) == 2


def test_a_reprocessed_scene_has_a_newer_stamp_in_id_href_and_created(sandbox: Path) -> None:
    items = items_of(sandbox, "landsat-c2-l2")
    newer = [item for item in items if len(item["id"].split("_")) == 7]
    assert newer
    for item in newer:
        words = item["id"].split("_")
        first = next(other for other in items if other["id"] == "_".join(words[:4] + words[5:]))
        assert first["properties"]["created"] < item["properties"]["created"]
        assert first["assets"]["red"]["href"] < item["assets"]["red"]["href"]
        assert first["properties"]["datetime"] == item["properties"]["datetime"]


def test_mcd43a4_items_tell_time_as_the_provider_does(sandbox: Path, spec: SandboxSpec) -> None:
    items = items_of(sandbox, "modis-43A4-061")
    for item in items:
        properties = item["properties"]
        nominal = datetime.strptime(item["id"].split(".")[1], "A%Y%j").date()
        assert spec.first_day <= nominal <= spec.last_day
        assert properties["start_datetime"][:10] == nominal.isoformat()
        assert properties["end_datetime"][:10] == (nominal + timedelta(days=7)).isoformat()
        fourth_day = datetime(nominal.year, nominal.month, nominal.day, tzinfo=UTC) + timedelta(days=4)
        assert datetime.fromisoformat(properties["datetime"]) == fourth_day - timedelta(microseconds=500)
        assert properties["platform"] == ""
        assert properties["proj:epsg"] is None


def test_mcd43a4_lies_on_the_sinusoidal_grid_of_its_tile(sandbox: Path) -> None:
    item = items_of(sandbox, "modis-43A4-061")[0]
    transform = item["properties"]["proj:transform"]
    assert transform[0] == pytest.approx(463.3127165, abs=1e-6)
    assert (transform[2] / CELL) == pytest.approx(round(transform[2] / CELL), abs=1e-6)
    assert (transform[5] / CELL) == pytest.approx(round(transform[5] / CELL), abs=1e-6)
    assert ".h19v04." in item["id"]


def test_a_modis_cell_holds_the_mean_truth_within_bias_and_noise(sandbox: Path, spec: SandboxSpec) -> None:
    world, grid = load_world(sandbox), spec.grid
    worst, spread, correlations = [], [], []
    for item in items_of(sandbox, "modis-43A4-061")[::5]:
        day = datetime.strptime(item["id"].split(".")[1], "A%Y%j").date()
        truth = world.truth(day)
        name = item["assets"]["Nadir_Reflectance_Band2"]["href"]
        with rasterio.open(sandbox / "modis-43A4-061" / item["id"] / name) as source:
            values, quality = source.read(1), read(sandbox, item, "BRDF_Albedo_Band_Mandatory_Quality_Band2")
            mean = np.full(values.shape, np.nan, dtype=np.float32)
            reproject(
                truth[3],
                mean,
                src_crs=grid.crs,
                src_transform=rasterio.Affine(*grid.transform),
                dst_crs=source.crs,
                dst_transform=source.transform,
                resampling=Resampling.average,
                dst_nodata=np.nan,
            )
        inner = np.isfinite(mean) & (values != 32767) & (quality < 255)
        inner[~np.isfinite(np.roll(mean, 1, 0)) | ~np.isfinite(np.roll(mean, -1, 0))] = False
        inner[~np.isfinite(np.roll(mean, 1, 1)) | ~np.isfinite(np.roll(mean, -1, 1))] = False
        if inner.sum() > 8:
            difference = values[inner] * 1e-4 - mean[inner]
            worst.append(difference.mean())
            spread.append(difference.std())
            correlations.append(np.corrcoef(values[inner], mean[inner])[0, 1])
    assert worst, "no day with valid cells"
    assert np.abs(np.median(worst)) < 0.05
    assert 0.004 < np.median(spread) < 0.06


def test_quality_and_fill_of_mcd43a4_agree(sandbox: Path) -> None:
    codes = set()
    for item in items_of(sandbox, "modis-43A4-061"):
        for band, number in MODIS_ASSETS.items():
            values = read(sandbox, item, f"Nadir_Reflectance_Band{number}")
            quality = read(sandbox, item, f"BRDF_Albedo_Band_Mandatory_Quality_Band{number}")
            assert np.array_equal(values == 32767, quality == 255), band
            codes |= set(np.unique(quality).tolist())
    assert {0, 1} <= codes


def test_the_spec_travels_with_the_sandbox(sandbox: Path, spec: SandboxSpec) -> None:
    assert load_spec(sandbox) == spec
    assert load_world(sandbox).grid == spec.grid


def test_a_folder_in_use_is_refused(sandbox: Path, spec: SandboxSpec) -> None:
    with pytest.raises(StoreError, match="not empty"):
        write_sandbox(sandbox, spec)
    with pytest.raises(StoreError, match=r"sandbox\.json"):
        load_spec(sandbox / "landsat-c2-l2")


@pytest.mark.parametrize(
    ("path", "day", "platform", "longitude"),
    [
        (191, date(2020, 3, 8), "landsat-8", 14.0),
        (190, date(2020, 3, 17), "landsat-8", 14.0),
        (125, date(2015, 4, 14), "landsat-8", 112.0),
        (47, date(2020, 12, 4), "landsat-8", -122.0),
        (90, date(2025, 3, 11), "landsat-9", 147.0),
    ],
)
def test_passes_fall_on_the_days_of_the_real_orbit(path: int, day: date, platform: str, longitude: float) -> None:
    """Days of real scenes; of path 90 the solar-local one, a day after UTC."""
    from pipeline.sandbox.orbit import _SATELLITES, _first_pass

    assert (day - _first_pass(path)).days % 16 == _SATELLITES[platform] % 16


def test_path_and_row_are_those_of_the_worldwide_reference_system() -> None:
    assert path_and_row(14.5, 46.0) in {(190, 28), (191, 28)}
    assert path_and_row(-102.5, 38.9) in {(31, 33), (32, 33)}


def test_the_two_paths_follow_each_other_every_eight_days() -> None:
    found = passes(15.0, 46.0, date(2022, 1, 1), date(2022, 12, 31), landsat7=False)
    western = [flight.day for flight in found if not flight.eastern]
    assert {(later - earlier).days for earlier, later in pairwise(western)} == {8}
    assert {flight.platform for flight in found} == {"landsat-8", "landsat-9"}


def test_the_footprint_of_a_scene_holds_its_pixels(sandbox: Path) -> None:
    from shapely.geometry import Point, shape

    item = items_of(sandbox, "landsat-c2-l2")[0]
    rows, cols = np.nonzero(read(sandbox, item, "red"))
    a, _, west, _, e, north = item["properties"]["proj:transform"]
    to_lonlat = Transformer.from_crs(item["properties"]["proj:epsg"], 4326, always_xy=True)
    outline = shape(item["geometry"])
    for pick in (0, rows.size // 2, -1):
        assert outline.buffer(1e-6).contains(Point(to_lonlat.transform(west + a * (cols[pick] + 0.5), north + e * (rows[pick] + 0.5))))
