"""The working store: a row counts when it is complete, and what is read is one image per day."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.scene import Scene
from pipeline.errors import StoreError
from pipeline.grid import Window, day_number
from pipeline.observations.coarse import NO_DAY
from pipeline.observations.scenes_table import read_table, write_table
from pipeline.observations.working import WorkingStore
from pipeline.store.encoding import FILL
from pipeline.vocabulary import Reason

from .scenes import DAY, UTM33, make_scene, small_grid

BANDS = ("red", "nir08")
TODAY = day_number(DAY)
WHOLE, CELLS = Window(0, 0, 32, 32), Window(0, 0, 4, 4)
TRANSFORM = (30.0, 0.0, 500175.0, 0.0, -30.0, 5091135.0)


@pytest.fixture
def store(tmp_path: Path) -> WorkingStore:
    return WorkingStore.create(tmp_path / "o.zarr", small_grid(), BANDS, ["modis-43A4-061"], 16)


def scene(name: str, **changes) -> Scene:
    return make_scene(name, {}, UTM33, TRANSFORM, (32, 32), **changes)


def coarse_scene(name: str, day: date = DAY, **changes) -> Scene:
    return make_scene(name, {}, UTM33, TRANSFORM, (32, 32), day, "modis-43A4-061", **changes)


def put(store: WorkingStore, one: Scene, value: int, reasons: np.ndarray | int = 0, window: Window = WHOLE) -> None:
    [row] = store.allocate([one])
    bits = np.broadcast_to(np.asarray(reasons, np.uint16), window.shape)
    store.write_fine(row, window, np.full((2, *window.shape), value, np.int16), bits)
    store.complete(row, window, float((bits == 0).mean()), (0.01, 0.02))
    store.flush()


def put_coarse(store: WorkingStore, one: Scene, value: float, cells: Window = CELLS) -> None:
    [row] = store.allocate([one])
    values = np.full((2, *cells.shape), value, np.float32)
    store.write_coarse(row, cells, values, values * 0 + 0.015, values * 0 + 1)
    store.complete(row, cells, 1.0)
    store.flush()


def test_what_is_written_comes_back_with_hidden_pixels_as_nan(store: WorkingStore) -> None:
    reasons = np.zeros((32, 32), np.uint16)
    reasons[:4] = Reason.CLOUD
    reasons[4:8] = Reason.SNOW
    put(store, scene("a"), 1234, reasons)
    fine = WorkingStore.open(store.path).read_fine(Window(2, 3, 10, 11), TODAY, TODAY)
    assert fine.days.tolist() == [TODAY]
    assert fine.values.shape == (1, 2, 10, 11)
    assert fine.values.dtype == np.float32
    assert np.all(np.isnan(fine.values[0, :, :2]))
    assert np.allclose(fine.values[0, :, 2:], 0.1234)
    assert fine.std.tolist() == [pytest.approx([0.01, 0.02])]
    assert fine.reasons[0, 0, 0] == Reason.CLOUD
    assert fine.reasons[0, 3, 0] == Reason.SNOW


def test_a_row_counts_only_when_it_is_complete(store: WorkingStore) -> None:
    [row] = store.allocate([scene("a")])
    store.write_fine(row, Window(0, 0, 32, 32), np.ones((2, 32, 32), np.int16), np.zeros((32, 32), np.uint16))
    assert [r.state for r in WorkingStore.open(store.path).rows()] == ["pending"]
    assert not len(store.read_fine(Window(0, 0, 32, 32), 0, 30000).days)
    store.complete(row, Window(0, 0, 32, 32), 1.0, (0.01, 0.01))
    store.flush()
    assert len(WorkingStore.open(store.path).read_fine(Window(0, 0, 32, 32), 0, 30000).days) == 1


def test_scenes_of_a_day_merge_by_tier_processing_and_row(store: WorkingStore) -> None:
    left = np.zeros((32, 32), np.uint16)
    left[:, 16:] = Reason.CLOUD
    put(store, scene("t2", tier=2, stamp="20250101"), 100)
    put(store, scene("south", row=29), 200, left)
    put(store, scene("north", row=28), 300, np.roll(left, 8, 1))
    put(store, scene("newer", row=30, stamp="20250101"), 400, np.roll(left, 20, 1))
    fine = store.read_fine(Window(0, 0, 32, 32), TODAY, TODAY)
    assert len(fine.days) == 1
    line = np.rint(fine.values[0, 0, 0] * 1e4).astype(int)
    # newer is clear at 20–31 and 0–3, north at 8–23, south at 0–15, t2 everywhere.
    assert line.tolist() == [400] * 4 + [200] * 4 + [300] * 12 + [400] * 12


def test_a_reprocessed_scene_supersedes_the_old_once_it_is_complete(store: WorkingStore) -> None:
    put(store, scene("a", acquisition="acq", stamp="20240610"), 100)
    newer = scene("b", acquisition="acq", stamp="20241201")
    [row] = store.allocate([newer])
    assert row.index == 1
    assert store.read_fine(Window(0, 0, 4, 4), TODAY, TODAY).values[0, 0, 0, 0] == pytest.approx(0.01)
    put(store, newer, 200)
    assert [r.superseded for r in store.rows()] == [True, False]
    assert store.read_fine(Window(0, 0, 4, 4), TODAY, TODAY).values[0, 0, 0, 0] == pytest.approx(0.02)
    # The catalog withdraws the newer one.
    store.select({store.rows()[0].scene.identity})
    assert store.read_fine(Window(0, 0, 4, 4), TODAY, TODAY).values[0, 0, 0, 0] == pytest.approx(0.01)


def test_rows_outside_the_days_or_the_window_are_not_read(store: WorkingStore) -> None:
    put(store, scene("a"), 100, window=Window(0, 0, 16, 16))
    put(store, scene("b", day=date(2024, 6, 9)), 200)
    assert store.read_fine(Window(16, 16, 8, 8), 0, 30000).days.tolist() == [TODAY + 8]
    assert store.read_fine(Window(0, 0, 8, 8), TODAY + 1, 30000).days.tolist() == [TODAY + 8]
    assert store.read_fine(Window(0, 0, 8, 8), 0, 30000, skip_days={TODAY}).days.tolist() == [TODAY + 8]
    assert store.read_fine(Window(10, 10, 12, 12), TODAY, TODAY).reasons[0, 11, 11] == Reason.FILL


def test_only_selected_scenes_are_read(store: WorkingStore) -> None:
    one, two = scene("a"), scene("b", day=date(2024, 6, 9))
    put(store, one, 100)
    put(store, two, 200)
    store.select({two.identity})
    assert WorkingStore.open(store.path).read_fine(Window(0, 0, 8, 8), 0, 30000).days.tolist() == [TODAY + 8]
    store.select({one.identity, two.identity})
    assert len(store.read_fine(Window(0, 0, 8, 8), 0, 30000).days) == 2


def test_a_failed_scene_keeps_its_row_its_error_and_its_attempts(store: WorkingStore) -> None:
    one = scene("a")
    for attempt in (1, 2):
        [row] = store.allocate([one])
        store.fail(row, "no such file")
        store.flush()
        [known] = read_table(store.path)
        assert (known.state, known.attempts, known.error, known.index) == ("failed", attempt, "no such file", 0)
    put(store, one, 5)
    assert [(r.state, r.attempts, r.error) for r in read_table(store.path)] == [("complete", 2, "")]
    assert store.allocate([one]) == []


def test_tiles_of_a_day_make_one_coarse_image_and_platforms_two(store: WorkingStore) -> None:
    put_coarse(store, coarse_scene("h18", acquisition="h18"), 0.1, Window(0, 0, 4, 2))
    put_coarse(store, coarse_scene("h19", acquisition="h19"), 0.2, Window(0, 2, 4, 2))
    put_coarse(store, coarse_scene("aqua", acquisition="aqua", platform="aqua", centre=0.5), 0.3)
    put_coarse(store, coarse_scene("later", date(2024, 6, 3)), 0.4)
    stack = store.read_coarse(Window(1, 1, 2, 2), TODAY, TODAY + 1)
    assert stack.days.tolist() == [TODAY, TODAY + 0.5]
    assert stack.nominal.tolist() == [TODAY, TODAY]
    assert np.allclose(stack.values[:, 0, 0], [[0.1, 0.2], [0.3, 0.3]])
    assert np.allclose(stack.std, 0.015)
    assert stack.product.tolist() == ["modis-43A4-061"] * 2
    assert store.read_coarse(Window(0, 0, 4, 4), 0, 10).values.shape == (0, 2, 4, 4)


def test_coarse_rows_far_apart_are_read_as_they_were_written(store: WorkingStore) -> None:
    for at in range(24):
        put_coarse(store, coarse_scene(f"m{at}", date(2024, 6, 1 + at)), at / 100)
    store.select({row.scene.identity for row in store.rows() if row.index in (0, 1, 23)})
    stack = store.read_coarse(Window(0, 0, 1, 1), 0, 30000)
    assert stack.values[:, 0, 0, 0].tolist() == pytest.approx([0, 0.01, 0.23])


def test_restored_days_come_back_and_others_are_unknown(store: WorkingStore) -> None:
    cells = Window(0, 2, 2, 2)
    mean = np.linspace(0, 0.5, 3 * 2 * 4, dtype=np.float32).reshape(3, 2, 2, 2)
    mean[0, 0, 0, 0] = np.nan
    store.write_restored(cells, TODAY, mean, mean / 10, np.full((3, 2, 2), 0.25, np.float32))
    got, std, observed = WorkingStore.open(store.path).read_restored(Window(0, 1, 2, 3), TODAY - 1, TODAY + 2)
    assert got.shape == (4, 2, 2, 3)
    assert np.all(np.isnan(got[0]))
    assert np.all(np.isnan(got[..., 0]))
    assert np.allclose(got[1:, ..., 1:], mean, atol=5.1e-5, equal_nan=True)
    assert np.allclose(std[1:, ..., 1:], mean / 10, atol=5.1e-5, equal_nan=True)
    assert observed[1, 0].tolist() == [0, 0.25, 0.25]
    assert np.isnan(store.read_restored(cells, -5, 3)[0]).all()
    with pytest.raises(StoreError, match="outside the working store"):
        store.write_restored(cells, -1, mean, mean, np.zeros((3, 2, 2)))


def test_the_digest_of_restored_days_is_an_array_by_day(store: WorkingStore) -> None:
    assert not store.restored_digest[TODAY]
    store.restored_digest[TODAY] = np.uint64(2**63 + 5)
    assert WorkingStore.open(store.path).restored_digest[TODAY] == np.uint64(2**63 + 5)


def test_threads_may_read_and_write_at_the_same_time(store: WorkingStore) -> None:
    scenes = [scene(f"s{at}", day=date(2024, 6, 1 + at)) for at in range(12)]
    rows = store.allocate(scenes)

    def work(at: int) -> None:
        store.write_fine(rows[at], Window(0, 0, 32, 32), np.full((2, 32, 32), at + 1, np.int16), np.zeros((32, 32), np.uint16))
        store.complete(rows[at], Window(0, 0, 32, 32), 1.0, (0.01, 0.01))
        store.read_fine(Window(0, 0, 32, 32), 0, 30000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
    store.flush()
    fine = WorkingStore.open(store.path).read_fine(Window(4, 4, 1, 1), 0, 30000)
    assert np.rint(fine.values[:, 0, 0, 0] * 1e4).tolist() == list(range(1, 13))


def test_the_table_is_replaced_not_written_into(store: WorkingStore) -> None:
    put(store, scene("a"), 100)
    with (store.path / "scenes.json").open() as old:
        put(store, scene("b"), 200)
        assert len(json.load(old)["rows"]) == 1
    assert len(read_table(store.path)) == 2
    assert not list(store.path.glob("*.tmp"))
    rows = [replace(row, error="é") for row in read_table(store.path)]
    write_table(store.path, rows)
    assert [row.error for row in read_table(store.path)] == ["é", "é"]


def test_what_is_not_a_working_store_is_said(tmp_path: Path, store: WorkingStore) -> None:
    assert read_table(tmp_path / "none.zarr") == ()
    with pytest.raises(StoreError, match="no working store"):
        WorkingStore.open(tmp_path / "none.zarr")
    with pytest.raises(StoreError, match="exists"):
        WorkingStore.create(store.path, small_grid(), BANDS, [], 16)
    (store.path / "scenes.json").write_text("{}")
    with pytest.raises(StoreError, match="not a scenes table"):
        read_table(store.path)


def test_what_was_never_read_is_fill(store: WorkingStore) -> None:
    store.allocate([scene("a")])
    assert np.all(store.array("fine/values")[0] == FILL)
    assert np.all(store.array("fine/reasons")[0] == Reason.FILL)
    assert not any((store.path / "fine").rglob("c/*"))


def test_a_composite_stands_on_the_days_on_which_its_cells_were_seen(tmp_path: Path) -> None:
    store = WorkingStore.create(tmp_path / "c.zarr", small_grid(), BANDS, ["modis-09A1-061"], 16, ["modis-09A1-061"])
    one = make_scene("c", {}, UTM33, TRANSFORM, (32, 32), DAY, "modis-09A1-061", platform="terra")
    [row] = store.allocate([one])
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4) / 100
    values[:, 3] = np.nan
    days = np.full((4, 4), NO_DAY, np.int8)
    days[0], days[1] = 0, 6
    store.write_coarse(row, CELLS, values, values * 0 + 0.02, np.ones_like(values), days)
    store.complete(row, CELLS, 1.0)
    store.flush()
    stack = store.read_coarse(CELLS, TODAY, TODAY + 7)
    assert stack.days.tolist() == [TODAY, TODAY + 3.5, TODAY + 6], "cells without a day stand in the centre of the support"
    assert stack.nominal.tolist() == [TODAY] * 3
    for image, line in zip(stack.values, (0, 2, 1), strict=True):
        assert np.isfinite(image).any(axis=(0, 2)).tolist() == [at == line for at in range(4)]
        assert np.allclose(image[:, line], values[:, line])
    late = store.read_coarse(CELLS, TODAY + 6, TODAY + 9)
    assert TODAY + 6 in late.days, "read although the nominal day lies before the window"
