"""The public Datasets: lazy, labelled, and the same numbers as the store."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dask
import numpy as np
import pytest

from pipeline.config import Area, MaskPart
from pipeline.errors import StoreError
from pipeline.grid import Window, day_number
from pipeline.observations import open_observations, open_scenes
from pipeline.observations.ingest import ingest
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.sensors import builtin_products
from pipeline.vocabulary import BANDS, Reason

from .scenes import AS_SEEN, DAY, landsat_scene, modis_scene, small_grid

MODIS = "modis-43A4-061"


def area_of(root: Path) -> Area:
    grid = small_grid()
    science = {
        "grid": {"crs": grid.crs, "bounds": grid.bounds},
        "start": "2024-06-01",
        "fine": [{"collection": "landsat-c2-l2"}],
        "coarse": [{"collection": MODIS}],
        "block": 64,
    }
    return Area.model_validate({"name": "area", "science": science, "runtime": {"root": str(root)}})


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Area, WorkingStore]:
    area = area_of(tmp_path)
    grid = area.grid
    qa = np.full((40, 40), 1 << 6, np.uint16)
    qa[:10] = 1 << 3
    scenes = [
        landsat_scene(
            tmp_path, f"l{at}", west=grid.west, north=grid.north, shape=(40, 40), day=DAY + timedelta(days=8 * at), seed=at, qa=qa
        )
        for at in (1, 0)
    ]
    scenes += [modis_scene(tmp_path, f"m{at}", grid, day=DAY + timedelta(days=at), seed=at) for at in range(3)]
    store = WorkingStore.create(observations_path(area), grid, BANDS, [MODIS], 64)
    ingest(scenes, store, grid, BANDS, builtin_products(), MaskPart(dilate=0), AS_SEEN, {}, 2)
    return area, store


def test_scenes_are_opened_raw_with_their_qa(tmp_path: Path) -> None:
    area = area_of(tmp_path)
    grid = area.grid
    one = landsat_scene(tmp_path, "one", west=grid.west, north=grid.north, shape=(40, 40))
    two = landsat_scene(tmp_path, "two", west=grid.west, north=grid.north - 300, shape=(40, 40), day=DAY + timedelta(days=8))
    scenes = open_scenes(area, [one, modis_scene(tmp_path, "m", grid), two])
    assert scenes.fine.dims == ("scene", "band", "y", "x")
    assert scenes.fine.dtype == np.uint16
    assert scenes.id.values.tolist() == ["one", "two"]
    assert scenes.day.values.tolist() == [np.datetime64("2024-06-01", "ns").item(), np.datetime64("2024-06-09", "ns").item()]
    assert scenes.fine.attrs["nodata"] == 0
    assert scenes.qa_pixel.dims == ("scene", "y", "x")
    assert np.all(scenes.qa_pixel[0].values == 1 << 6)
    assert np.all(scenes.fine[1, :, :10].values == 0)
    coarse = scenes[f"coarse_{MODIS}"]
    assert coarse.shape == (1, 6, 16, 16)
    assert coarse.dtype == np.int16
    assert set(np.unique(scenes[f"qa_{MODIS}_BRDF_Albedo_Band_Mandatory_Quality_Band3"].values)) <= {0, 1, 255}


def test_building_the_scenes_opens_no_file_and_its_graph_keeps_its_size(tmp_path: Path) -> None:
    area = area_of(tmp_path)
    grid = area.grid
    scenes = [landsat_scene(tmp_path, f"l{at}", west=grid.west, north=grid.north, shape=(40, 40)) for at in range(4)]
    for path in tmp_path.glob("*.tif"):
        path.unlink()
    cube = open_scenes(area, scenes, chunk=16)
    # 4 scenes × 6 bands × (2 tasks for the reader + 4 chunks)
    assert len(dask.optimize(cube.fine.data)[0].__dask_graph__()) == 4 * 6 * (2 + 4)
    assert all(variable.chunks is not None for variable in cube.data_vars.values())


def test_observations_are_what_the_store_reads(filled: tuple[Area, WorkingStore]) -> None:
    area, store = filled
    cube = open_observations(area)
    fine = store.read_fine(store.grid.window, 0, 30000)
    assert cube.id.values.tolist() == ["l0", "l1"]
    assert cube.fine.dtype == np.float32
    assert np.array_equal(cube.fine.values, fine.values, equal_nan=True)
    assert np.array_equal(cube.reasons.values, fine.reasons)
    assert np.all(cube.reasons[:, :10] == Reason.CLOUD)
    coarse = store.read_coarse(Window(0, 0, *store.grid.coarse_shape), 0, 30000)
    assert np.array_equal(cube[f"coarse_{MODIS}"].values, coarse.values, equal_nan=True)
    assert np.array_equal(cube[f"coarse_std_{MODIS}"].values, coarse.std, equal_nan=True)
    assert "restored" not in cube


def test_restored_days_stand_on_a_daily_axis(filled: tuple[Area, WorkingStore]) -> None:
    area, store = filled
    first = day_number(DAY)
    mean = np.full((3, 6, 4, 4), 0.25, np.float32)
    store.write_restored(Window(0, 0, 4, 4), first, mean, mean / 10, np.ones((3, 4, 4)))
    store.restored_digest[first : first + 3] = np.full(3, 7, np.uint64)
    cube = open_observations(area)
    assert cube.restored.dims == ("time", "band", "Y", "X")
    assert str(cube.time.values[0])[:10] == "2024-06-01"
    assert np.allclose(cube.restored.values, 0.25)
    assert np.allclose(cube.restored_std.values, 0.025)


def test_building_the_observations_reads_no_chunk_and_its_graph_keeps_its_size(filled: tuple[Area, WorkingStore]) -> None:
    area, store = filled
    for name in ("fine/values", "fine/reasons", f"coarse/{MODIS}/values"):
        for path in (store.path / name / "c").rglob("*"):
            if path.is_file():
                path.write_bytes(b"damaged")
    cube = open_observations(area)
    # Per scene: values and reasons fetched and taken, a decoding, a comparison, an index and a choice.
    assert len(dask.optimize(cube.fine.data)[0].__dask_graph__()) == 2 * 8
    with pytest.raises(Exception, match=r"(?i)blosc|decompress|codec|header"):
        cube.fine[0].compute(scheduler="synchronous")


def test_without_a_store_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="landfuse run"):
        open_observations(area_of(tmp_path))


def test_planning_imports_neither_arrays_nor_rasters() -> None:
    code = (
        "import sys, pipeline.observations, pipeline.observations.scenes_table, pipeline.observations.location;"
        "print([name for name in ('xarray', 'dask', 'zarr', 'rasterio', 'stackstac', 'torch', 'prefect') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
