"""Ingest: each scene once, a failure is a fact about its scene, and a kill loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from pipeline.catalog.scene import Scene
from pipeline.config import MaskPart
from pipeline.errors import ConfigurationError
from pipeline.grid import Grid, Window
from pipeline.observations.ingest import IngestRecord, ingest
from pipeline.observations.working import WorkingStore
from pipeline.sensors import builtin_products
from pipeline.store.encoding import FILL
from pipeline.vocabulary import BANDS, Reason

from .scenes import AS_SEEN, DAY, UTM33, landsat_scene, modis_scene, small_grid

ALL = Window(0, 0, 32, 32)


def new_store(path: Path, grid: Grid, block: int = 16) -> WorkingStore:
    return WorkingStore.create(path, grid, BANDS, ["modis-43A4-061"], block)


def run(store: WorkingStore, scenes: list[Scene], dilate: float = 90.0, threads: int = 2) -> list[IngestRecord]:
    return ingest(scenes, store, store.grid, BANDS, builtin_products(), MaskPart(dilate=dilate), AS_SEEN, {}, threads)


def clouded(shape: tuple[int, int]) -> np.ndarray:
    qa = np.full(shape, 1 << 6, np.uint16)
    qa[30:40, 20:30] = 1 << 3
    return qa


def test_a_scene_is_read_scaled_masked_and_recorded(tmp_path: Path) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "a", west=grid.west - 300, north=grid.north + 600, shape=(60, 60), qa=clouded((60, 60)))
    store = new_store(tmp_path / "o.zarr", grid)
    [record] = run(store, [scene])
    assert (record.state, record.error, record.id) == ("complete", "", "a")
    with rasterio.open(scene.assets["red"]) as dataset:
        dn = dataset.read(1)[20:52, 10:42]
    stored = store.array("fine/values")[0, BANDS.index("red")]
    assert np.abs(stored - (dn * 0.275 - 2000)).max() < 0.501
    [row] = store.rows()
    assert row.window == ALL
    reasons = store.array("fine/reasons")[0]
    assert np.all(reasons[10:20, 10:20] & Reason.CLOUD)
    assert reasons[9, 12] == Reason.DILATED
    assert row.clear_share == pytest.approx((reasons == 0).mean())
    assert row.std == (0.01,) * 6


def test_the_mask_does_not_depend_on_strips_blocks_or_the_edge_of_the_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "a", west=grid.west - 300, north=grid.north + 600, shape=(60, 60), qa=clouded((60, 60)))
    whole = new_store(tmp_path / "a.zarr", grid, 64)
    run(whole, [scene], dilate=200)
    monkeypatch.setattr("pipeline.observations.ingest.STRIP_PIXELS", 1)
    strips = new_store(tmp_path / "b.zarr", grid, 8)
    run(strips, [scene], dilate=200)
    # The cloud lies just outside of this area, its rim inside.
    corner = Grid(grid.crs, grid.west + 720, grid.north - 480, 30.0, 8, 8, 8)
    beside = new_store(tmp_path / "c.zarr", corner, 8)
    run(beside, [scene], dilate=200)
    for name in ("fine/values", "fine/reasons"):
        assert np.array_equal(whole.array(name)[:], strips.array(name)[:])
        assert np.array_equal(whole.array(name)[..., 16:24, 24:32], beside.array(name)[:])
    assert np.any(beside.array("fine/reasons")[:] == Reason.DILATED)


def test_only_the_chunks_under_a_scene_are_written(tmp_path: Path) -> None:
    grid = small_grid()
    store = new_store(tmp_path / "o.zarr", grid, 8)
    run(store, [landsat_scene(tmp_path, "a", west=grid.west + 480, north=grid.north - 480, shape=(60, 60))])
    [row] = store.rows()
    assert row.window == Window(16, 16, 16, 16)
    assert row.clear_share == 0.25
    assert len([path for path in (store.path / "fine/values/c").rglob("*") if path.is_file()]) == 4
    assert np.all(store.array("fine/values")[0, :, :16] == FILL)


def test_a_scene_of_the_neighbouring_zone_is_read(tmp_path: Path) -> None:
    grid = Grid.from_bounds(UTM33, (262000.0, 5090175.0, 263000.0, 5091175.0))
    west, _, _, north = Transformer.from_crs(UTM33, "EPSG:32632", always_xy=True).transform_bounds(*grid.bounds)
    scene = landsat_scene(tmp_path, "n", crs="EPSG:32632", west=west // 30 * 30 - 285, north=north // 30 * 30 + 315, shape=(80, 80))
    store = new_store(tmp_path / "o.zarr", grid)
    [record] = run(store, [scene])
    assert record.clear_share == 1.0


def test_a_bad_scene_is_recorded_and_does_not_stop_the_others(tmp_path: Path) -> None:
    grid = small_grid()
    good, missing, html = (
        landsat_scene(tmp_path, name, west=grid.west, north=grid.north, shape=(32, 32), day=DAY + timedelta(days=at))
        for at, name in enumerate(("good", "missing", "html"))
    )
    coarse = modis_scene(tmp_path, "m", grid)
    broken = modis_scene(tmp_path, "broken", grid, day=DAY + timedelta(days=1))
    Path(missing.assets["qa_pixel"]).unlink()
    Path(html.assets["nir08"]).write_text("<html>not found</html>")
    Path(broken.assets["red"]).write_bytes(Path(broken.assets["red"]).read_bytes()[:300])
    store = new_store(tmp_path / "o.zarr", grid)
    records = run(store, [missing, good, html, broken, coarse])
    assert [record.state for record in records] == ["failed", "complete", "failed", "failed", "complete"]
    assert "missing_qa_pixel.tif cannot be read" in records[0].error
    assert "html_nir08.tif cannot be read" in records[2].error
    states = {row.scene.id: (row.state, row.attempts) for row in store.rows()}
    assert states == {
        "missing": ("failed", 1),
        "good": ("complete", 0),
        "html": ("failed", 1),
        "broken": ("failed", 1),
        "m": ("complete", 0),
    }
    assert len(store.read_fine(ALL, 0, 30000).days) == 1
    assert len(store.read_coarse(Window(0, 0, 4, 4), 0, 30000).days) == 1
    # The provider mends one; only what failed is tried again.
    mended = landsat_scene(tmp_path, "html", west=grid.west, north=grid.north, shape=(32, 32), day=html.day)
    again = run(store, [missing, good, mended, broken, coarse])
    assert [(record.id, record.state) for record in again] == [("missing", "failed"), ("html", "complete"), ("broken", "failed")]
    assert {row.scene.id: row.attempts for row in store.rows()}["missing"] == 2
    assert len(store.read_fine(ALL, 0, 30000).days) == 2


def test_a_complete_scene_is_not_opened_again(tmp_path: Path) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "a", west=grid.west, north=grid.north, shape=(32, 32))
    store = new_store(tmp_path / "o.zarr", grid)
    run(store, [scene])
    for href in scene.assets.values():
        Path(href).unlink()
    assert run(store, [scene]) == []
    assert len(store.read_fine(ALL, 0, 30000).days) == 1


def test_a_product_without_any_band_of_the_area_is_refused(tmp_path: Path) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "a", west=grid.west, north=grid.north, shape=(32, 32))
    store = WorkingStore.create(tmp_path / "o.zarr", grid, ["ndvi"], [], 16)
    with pytest.raises(ConfigurationError, match="the area asks for ndvi"):
        ingest([scene], store, grid, ["ndvi"], builtin_products(), MaskPart(), AS_SEEN, {}, 1)
    with pytest.raises(ConfigurationError, match="another grid or other bands"):
        ingest([scene], store, grid, BANDS, builtin_products(), MaskPart(), AS_SEEN, {}, 1)


CHILD = """
import json, sys
from pipeline.catalog.scene import Scene
from pipeline.config import MaskPart, NormalisePart
from pipeline.observations import working
from pipeline.observations.ingest import ingest
from pipeline.sensors import builtin_products
from pipeline.vocabulary import BANDS

working.TABLE_INTERVAL = 0.0
store = working.WorkingStore.open(sys.argv[1])
scenes = [Scene.from_dict(record) for record in json.load(open(sys.argv[2]))]
say = lambda stage, done, total: print(done, flush=True)
ingest(scenes, store, store.grid, BANDS, builtin_products(), MaskPart(), NormalisePart(geometry=False, bandpass=False), {}, 2, say)
"""


def test_a_killed_ingest_that_is_run_again_gives_the_same_and_reads_only_the_rest(tmp_path: Path) -> None:
    grid = small_grid()
    scenes = [
        landsat_scene(tmp_path, f"l{at}", west=grid.west - 30 * at, north=grid.north, shape=(40, 60), day=date(2024, 6, 1 + at), seed=at)
        for at in range(8)
    ] + [modis_scene(tmp_path, f"m{at}", grid, day=date(2024, 6, 1 + at), seed=at) for at in range(8)]
    (tmp_path / "scenes.json").write_text(json.dumps([scene.to_dict() for scene in scenes]))
    killed, whole = new_store(tmp_path / "killed.zarr", grid), new_store(tmp_path / "whole.zarr", grid)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(killed.path), str(tmp_path / "scenes.json")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) == 5:
            child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    store = WorkingStore.open(killed.path)
    done = [row.scene.id for row in store.rows() if row.state == "complete"]
    assert 5 <= len(done) < 16
    assert len(store.rows()) == 16
    again = run(store, scenes)
    assert [record.id for record in again] == [scene.id for scene in scenes if scene.id not in done]
    assert {record.state for record in again} == {"complete"}
    run(whole, scenes)
    one, other = store.read_fine(ALL, 0, 30000), whole.read_fine(ALL, 0, 30000)
    assert len(one.days) == 8
    for name in ("days", "values", "std", "reasons"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
    cells = Window(0, 0, 4, 4)
    coarse, expected = store.read_coarse(cells, 0, 30000), whole.read_coarse(cells, 0, 30000)
    assert len(coarse.days) == 8
    assert np.array_equal(coarse.values, expected.values, equal_nan=True)
    assert np.array_equal(coarse.std, expected.std, equal_nan=True)
    assert np.array_equal(store.read_native("modis-43A4-061", cells), whole.read_native("modis-43A4-061", cells))
