"""The 250 m composites of MODIS: written as the provider writes them, read by the house, and true to what was seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.catalog.scene import Scene
from pipeline.catalog.search import find_scenes
from pipeline.config import Area
from pipeline.grid import Grid, day_from_number, day_number
from pipeline.observations.ingest import ingest
from pipeline.observations.working import CoarseStack, WorkingStore
from pipeline.sandbox import SandboxSpec, load_spec, write_sandbox
from pipeline.sandbox.landscape import Canvas
from pipeline.sandbox.modis import lattices, looks, views
from pipeline.sandbox.modis250 import (
    REFLECTANCE,
    VEGETATION,
    Series,
    SharpLook,
    reflectance_composite,
    sharp_looks,
    vegetation_composite,
    water_cells,
)
from pipeline.sandbox.sky import Sky
from pipeline.sandbox.world import Scenery
from pipeline.sensors import builtin_products
from tests.sandbox.conftest import small_grid

Q1, NDVI = "modis-09Q1-061", "modis-13Q1-061"
DAY = date(2022, 6, 12)
"""In the composites of 10 June (both platforms, 8 days), 10 June (Terra, 16 days) and 2 June (Aqua)."""

LAND = 1 << 3 | 1 << 6
CLOUDY = LAND | 1 | 1 << 10
SHADED = LAND | 1 << 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SandboxSpec(small_grid(64), DAY, DAY, seed=3, cloudiness=0.5, composites=True)
    return write_sandbox(tmp_path_factory.mktemp("composites") / "world", spec, workers=1).parent


@pytest.fixture(scope="module")
def area(folder: Path) -> Area:
    grid = load_spec(folder).grid
    science: dict[str, Any] = {
        "grid": {"crs": grid.crs, "bounds": grid.bounds},
        "start": DAY,
        "bands": ["red", "nir08", "ndvi"],
        "fine": [{"collection": "landsat-c2-l2"}],
        "coarse": [{"collection": Q1}, {"collection": NDVI}],
    }
    catalogs = {"default": {"url": str(folder / "catalog.json")}}
    return Area.model_validate({"name": "composites", "science": science, "runtime": {"catalogs": catalogs}})


@pytest.fixture(scope="module")
def scenes(area: Area) -> list[Scene]:
    found = find_scenes(area.science.coarse, area.runtime.catalogs, area.products, area.grid, DAY, DAY, bands=area.science.bands)
    assert not found.skipped
    return list(found.scenes)


@pytest.fixture(scope="module")
def stack(area: Area, scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> CoarseStack:
    """What the working store holds of the composites."""
    path, science = tmp_path_factory.mktemp("observed") / "observations.zarr", area.science
    store = WorkingStore.create(path, area.grid, science.bands, [Q1, NDVI], science.block, dated=[NDVI])
    records = ingest(
        scenes, store, area.grid, science.bands, area.products, science.mask, science.normalise, area.runtime.catalogs, threads=1
    )
    assert [(record.state, record.error) for record in records] == [("complete", "")] * len(scenes)
    return store.read_coarse(area.grid.window.coarse(area.grid.scale), 0, 1 << 30)


def cell_truth(folder: Path, day: date) -> np.ndarray:
    """Mean truth (6, Y, X) of the coarse cells of the area."""
    world = load_spec(folder).world
    truth, scale = world.truth(day), world.grid.scale
    return truth.reshape(6, truth.shape[1] // scale, scale, -1, scale).mean(axis=(2, 4))


def opened(folder: Path, scene: Scene, asset: str) -> np.ndarray:
    with rasterio.open(next((folder / scene.collection / scene.id).glob(f"*_{asset}.tif"))) as source:
        return source.read(1)


def test_both_platforms_are_there_on_the_days_of_their_calendar(scenes: list[Scene]) -> None:
    found = {(scene.product, scene.platform): (scene.day, scene.last_day) for scene in scenes}
    assert found == {
        (Q1, "terra"): (date(2022, 6, 10), date(2022, 6, 17)),
        (Q1, "aqua"): (date(2022, 6, 10), date(2022, 6, 17)),
        (NDVI, "terra"): (date(2022, 6, 10), date(2022, 6, 25)),
        (NDVI, "aqua"): (date(2022, 6, 2), date(2022, 6, 17)),
    }
    assert len(scenes) == 4


def test_items_tell_time_and_place_as_the_provider_does_and_hold_the_assets_of_the_product(folder: Path, scenes: list[Scene]) -> None:
    for scene in scenes:
        item = json.loads((folder / scene.collection / scene.id / f"{scene.id}.json").read_text())
        properties, product = item["properties"], builtin_products()[scene.product]
        assert properties["datetime"] is None
        assert properties["platform"] == ""
        assert datetime.fromisoformat(properties["start_datetime"]).date() == scene.day
        assert datetime.fromisoformat(properties["end_datetime"]).date() == scene.last_day
        assert properties["proj:transform"][0] == pytest.approx(231.65635826395825, abs=1e-6)
        needed = {band.asset for band in product.bands.values()} | {layer.asset for layer in product.layers}
        needed |= {band.quality_asset for band in product.bands.values() if band.quality_asset}
        assert needed | ({product.day_layer.asset} if product.day_layer else set()) <= set(item["assets"])
        for band in product.bands.values():
            assert item["assets"][band.asset]["raster:bands"][0]["scale"] == band.scale
        for asset in item["assets"]:
            with rasterio.open(folder / scene.collection / scene.id / item["assets"][asset]["href"]) as source:
                assert list(source.shape) == properties["proj:shape"]
                assert source.dtypes[0] == item["assets"][asset]["raster:bands"][0]["data_type"]
                if asset in {band.asset for band in product.bands.values()}:
                    assert source.nodata == next(iter(product.bands.values())).nodata


def test_quality_and_state_of_the_reflectance_agree(folder: Path, scenes: list[Scene]) -> None:
    for scene in scenes:
        if scene.product == Q1:
            state, quality = opened(folder, scene, "sur_refl_state_250m"), opened(folder, scene, "sur_refl_qc_250m")
            assert np.array_equal((state & (1 | 1 << 13)) != 0, (quality & 3) == 2)
            assert set(np.unique(state >> 3 & 7)) <= {1, 3}


def test_clear_reflectance_is_the_truth_of_one_of_its_days_within_noise(folder: Path, stack: CoarseStack) -> None:
    truths = np.stack([cell_truth(folder, date(2022, 6, 10) + timedelta(days=offset))[2:4] for offset in range(8)])
    images = [at for at, name in enumerate(stack.product) if name == Q1]
    assert len(images) == 2
    for at in images:
        assert stack.days[at] == day_number(date(2022, 6, 10)) + 3.5
        seen = np.isfinite(stack.values[at, 0])
        assert seen.mean() > 0.5
        assert np.isnan(stack.values[at, 2]).all(), "no NDVI in this product"
        error = (stack.values[at, :2] - truths)[..., seen]
        nearest = np.abs(error).min(axis=0)
        assert np.median(nearest[0]) < 0.012
        assert np.median(nearest[1]) < 0.03
        # A single look lies 70 m off or so, and what it shows of fields of 200 m is not what the cell holds.
        for band in range(2):
            assert np.corrcoef(stack.values[at, band][seen], truths[:, band].mean(axis=0)[seen])[0, 1] > 0.6
        assert (stack.std[at, 0][seen] >= 0.02).all()


def test_ndvi_stands_on_the_day_it_was_seen_and_is_the_truth_of_that_day(folder: Path, stack: CoarseStack) -> None:
    images = [at for at, name in enumerate(stack.product) if name == NDVI]
    assert len({stack.days[at] for at in images}) > 3
    errors = []
    for at in images:
        day = day_from_number(int(stack.days[at]))
        assert date(2022, 6, 2) <= day <= date(2022, 6, 25)
        seen = np.isfinite(stack.values[at, 2])
        red, infrared = cell_truth(folder, day)[2:4]
        errors.append((stack.values[at, 2] - (infrared - red) / (infrared + red))[seen])
    error = np.concatenate(errors)
    assert error.size > 50
    assert np.median(np.abs(error)) < 0.08
    assert abs(np.median(error)) < 0.06


def test_the_day_of_the_year_lies_within_the_composite(folder: Path, scenes: list[Scene]) -> None:
    for scene in scenes:
        if scene.product == NDVI:
            days = opened(folder, scene, "250m_16_days_composite_day_of_the_year")
            first = scene.day.timetuple().tm_yday
            assert first <= days.min()
            assert days.max() < first + 16
            assert np.unique(days).size > 1


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    return Scenery(3, Canvas.around(small_grid(64), 112), 46.0)


def sharp(scenery: Scenery, sky: Sky, grid: Grid, day: date) -> list[SharpLook]:
    place = lattices(grid)[0]
    return sharp_looks(views(scenery, sky, day), scenery.seed, grid, [place], [water_cells(scenery, grid, place)])[0]


def all_days(scenery: Scenery, sky: Sky, count: int) -> Iterator[SharpLook]:
    for offset in range(count):
        yield from sharp(scenery, sky, small_grid(64), date(2022, 6, 10) + timedelta(days=offset))


def test_the_ndvi_of_a_composite_lies_above_that_of_cloudy_days(scenery: Scenery) -> None:
    terra = [look for look in all_days(scenery, Sky(3, scenery.weather, 0.6), 16) if not look.aqua]
    ndvi = np.stack([(look.reflectance[1] - look.reflectance[0]) / (look.reflectance[1] + look.reflectance[0]) for look in terra])
    cloudy = np.stack([(look.state & 1) != 0 for look in terra])
    assert 0.3 < cloudy.mean() < 0.95
    made = vegetation_composite(terra)
    composite, reliability = made["250m_16_days_NDVI"] * 1e-4, made["250m_16_days_pixel_reliability"]
    typical = np.nanmedian(np.where(cloudy, ndvi, np.nan), axis=0)
    assert (composite >= typical - 1e-4)[reliability < 2].mean() > 0.97
    clear = np.where(cloudy | (np.stack([look.state for look in terra]) & (1 << 13 | 1 << 2) != 0), -1, ndvi)
    assert (composite <= clear.max(axis=0) + 1e-4)[reliability < 2].all()


def test_a_250_m_look_shows_more_than_a_500_m_look_and_an_oblique_one_less(scenery: Scenery) -> None:
    sky, grid = Sky(3, scenery.weather, 0.0), small_grid(64)
    place = lattices(grid)[0]
    sharp_std, coarse_std = {}, {}
    for offset in range(16):
        day = date(2022, 6, 1) + timedelta(days=offset)
        seen = views(scenery, sky, day)
        for look in sharp_looks(seen, 3, grid, [place], [water_cells(scenery, grid, place)])[0]:
            sharp_std[look.view_zenith, look.aqua] = float(look.reflectance[1].std())
        for view, coarse in zip(seen, looks(seen, 3, grid, [place])[0], strict=True):
            coarse_std[view.angles[1], view.aqua] = float(coarse.reflectance[3].std())
    order = sorted(sharp_std)
    assert all(sharp_std[key] > coarse_std[key] for key in order[:8])
    assert np.mean([sharp_std[key] for key in order[:4]]) > 1.1 * np.mean([sharp_std[key] for key in order[-4:]])


def test_values_do_not_depend_on_the_size_of_the_grid(scenery: Scenery) -> None:
    grid = small_grid(64)
    inner = Grid(grid.crs, grid.west + 480, grid.north - 480, grid.resolution, 32, 32, grid.scale)
    smaller = Scenery(3, Canvas.around(inner, 112), 46.0)
    sky, other_sky = Sky(3, scenery.weather, 0.5), Sky(3, smaller.weather, 0.5)
    large, small = lattices(grid)[0].divided(2), lattices(inner)[0].divided(2)
    row, col = small.row - large.row, small.col - large.col
    core = slice(4, small.height - 4), slice(4, small.width - 4)
    for offset in (0, 1):
        day = date(2022, 6, 14) + timedelta(days=offset)
        for one, other in zip(sharp(scenery, sky, grid, day), sharp(smaller, other_sky, inner, day), strict=True):
            part = slice(row, row + small.height), slice(col, col + small.width)
            np.testing.assert_allclose(one.reflectance[:, *part][:, *core], other.reflectance[:, *core], atol=2e-6)
            assert np.array_equal(one.state[part][core], other.state[core])


def made_look(day: date, zenith: float, red: float, infrared: float, state: int = LAND) -> SharpLook:
    values = np.stack([np.full((2, 2), red, np.float32), np.full((2, 2), infrared, np.float32)])
    return SharpLook(False, day_number(day), zenith, values, np.full((2, 2), state, np.uint16))


def test_reflectance_is_that_of_the_clear_look_nearest_to_nadir_then_of_a_shaded_one_then_of_a_cloud() -> None:
    clear = [made_look(DAY, 50, 0.05, 0.30), made_look(DAY, 20, 0.06, 0.31)]
    shaded, cloudy = made_look(DAY, 5, 0.02, 0.10, SHADED), made_look(DAY, 1, 0.60, 0.60, CLOUDY)
    for given, red, usable in (([*clear, shaded, cloudy], 600, True), ([shaded, cloudy], 200, True), ([cloudy], 6000, False)):
        made = reflectance_composite(given)
        assert (made["sur_refl_b01"] == red).all()
        assert ((made["sur_refl_qc_250m"] & 3 == 0) == usable).all()


def test_ndvi_is_the_one_closer_to_nadir_of_the_two_highest_clear_ones() -> None:
    seen = ((55, 0.45), (10, 0.40), (2, 0.30))
    highest, second, third = (made_look(DAY + timedelta(days=at), zenith, 0.05, nir) for at, (zenith, nir) in enumerate(seen))
    cloud = made_look(DAY + timedelta(days=5), 0, 0.01, 0.9, CLOUDY)
    made = vegetation_composite([cloud, third, second, highest])
    assert (made["250m_16_days_NDVI"] == round(0.35 / 0.45 * 1e4)).all()
    assert (made["250m_16_days_composite_day_of_the_year"] == (DAY + timedelta(days=1)).timetuple().tm_yday).all()
    assert (made["250m_16_days_pixel_reliability"] == 0).all()
    alone = vegetation_composite([cloud, highest])
    assert (alone["250m_16_days_NDVI"] == 8000).all()
    assert (alone["250m_16_days_pixel_reliability"] == 1).all()
    none = vegetation_composite([cloud])
    assert (none["250m_16_days_pixel_reliability"] == 3).all()
    assert (none["250m_16_days_VI_Quality"] & 3 == 2).all()


def test_the_day_of_the_year_begins_anew_in_the_new_year() -> None:
    looks_ = [made_look(date(2022, 12, 31), 40, 0.05, 0.30), made_look(date(2023, 1, 2), 10, 0.05, 0.30)]
    assert (vegetation_composite(looks_)["250m_16_days_composite_day_of_the_year"] == 2).all()


@pytest.mark.parametrize(
    ("series", "aqua", "known"),
    [(REFLECTANCE, True, date(2025, 2, 26)), (VEGETATION, False, date(2025, 2, 18)), (VEGETATION, True, date(2023, 1, 9))],
)
def test_composites_begin_on_the_days_of_real_granules(series: Series, aqua: bool, known: date) -> None:
    starts = series.starts(aqua, known, known + timedelta(days=series.days - 1))
    assert known in starts
    assert series.starts(aqua, known, known)[-1] == known


def test_the_last_composite_of_a_year_reaches_into_the_next_beside_the_first_one() -> None:
    assert VEGETATION.starts(True, date(2023, 1, 10), date(2023, 1, 10)) == [date(2022, 12, 27), date(2023, 1, 9)]


def test_without_composites_nothing_is_made_and_a_spec_is_written_as_before(sandbox: Path, spec: SandboxSpec, folder: Path) -> None:
    assert set(spec.to_dict()) == {"grid", "first_day", "last_day", "seed", "cloudiness", "landsat7"}
    assert {path.name for path in sandbox.iterdir() if path.is_dir()} == {"landsat-c2-l2", "modis-43A4-061"}
    assert load_spec(folder).composites
    assert {path.name for path in folder.iterdir() if path.is_dir()} >= {Q1, NDVI}
