"""Bright surfaces that the cloud mask takes for clouds: found by their stability, used where they look like themselves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.compute.job import Job
from pipeline.compute.learnt import create_layer
from pipeline.compute.rescue import find_levels, read_levels
from pipeline.grid import Block, Window, day_number
from pipeline.observations.rescue import MIN_IMAGES, brightness, levels, rescued
from pipeline.observations.working import WorkingStore
from pipeline.store.encoding import FILL
from pipeline.vocabulary import Reason

from .scenes import DAY, UTM33, make_scene, small_grid

CLOUD = int(Reason.CLOUD)
TRANSFORM = (30.0, 0.0, 500175.0, 0.0, -30.0, 5091135.0)


def series(values: list[int], reasons: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """One pixel over time."""
    return np.array(values, np.int16).reshape(-1, 1, 1), np.array(reasons, np.uint16).reshape(-1, 1, 1)


def test_a_stable_surface_that_is_nearly_always_flagged_has_a_level() -> None:
    random = np.random.default_rng(1)
    roof = [int(4500 + random.normal(0, 100)) for _ in range(20)]
    assert abs(int(levels(*series(roof, [CLOUD] * 18 + [0] * 2))[0, 0]) - 4500) < 100


@pytest.mark.parametrize("flagged", [0.5, 0.7])
def test_a_surface_that_is_often_seen_clear_has_none(flagged: float) -> None:
    count = round(20 * flagged)
    assert levels(*series([4500] * 20, [CLOUD] * count + [0] * (20 - count)))[0, 0] == FILL


def test_true_clouds_have_none_however_frequent() -> None:
    random = np.random.default_rng(2)
    clouds = [int(value) for value in random.uniform(1500, 8000, 40)]
    assert levels(*series(clouds, [CLOUD] * 40))[0, 0] == FILL


def test_few_images_decide_nothing() -> None:
    few = MIN_IMAGES - 1
    assert levels(*series([4500] * few, [CLOUD] * few))[0, 0] == FILL
    fill = [FILL] * 20
    assert levels(*series(fill, [int(Reason.FILL)] * 20))[0, 0] == FILL


def test_only_values_near_the_level_are_rescued_and_shadow_never() -> None:
    bright = np.array([[4510, 7000, 4510, 4510, FILL]], np.int16)
    reasons = np.array([[CLOUD | 16, CLOUD, CLOUD | int(Reason.SHADOW), int(Reason.SNOW), CLOUD]], np.uint16)
    level = np.full((1, 5), 4500, np.int16)
    assert rescued(bright, reasons, level).tolist() == [[int(Reason.RESCUED), CLOUD, CLOUD | int(Reason.SHADOW), int(Reason.SNOW), CLOUD]]
    level[:] = FILL
    assert np.array_equal(rescued(bright, reasons, level), reasons)


def test_the_brightness_of_a_pixel_without_a_band_is_unknown() -> None:
    assert brightness(np.array([[[100, 200]], [[300, FILL]]], np.int16)).tolist() == [[200, FILL]]


def test_a_roof_is_found_in_the_store_and_read_as_an_observation_in_doubt(tmp_path: Path) -> None:
    grid = small_grid()
    store = WorkingStore.create(tmp_path / "o.zarr", grid, ("red", "nir08"), [], 16)
    random = np.random.default_rng(3)
    window = Window(0, 0, 32, 32)
    for at in range(15):
        [row] = store.allocate([make_scene(f"s{at}", {}, UTM33, TRANSFORM, (32, 32), DAY + timedelta(days=8 * at))])
        values = random.integers(300, 2500, (2, 32, 32)).astype(np.int16)
        reasons = np.zeros((32, 32), np.uint16)
        values[:, 4:7, 4:7], reasons[4:7, 4:7] = 5000, CLOUD
        if at == 3:  # a true cloud over all of it
            values[:], reasons[:] = 7500, CLOUD
        store.write_fine(row, window, values, reasons)
        store.complete(row, window, 1.0, (0.01, 0.01))
    store.flush()
    job = Job(str(store.path), "", grid, ("red", "nir08"), "delta2", levels=str(tmp_path / "levels.zarr"))
    create_layer(job.levels, grid, 16)
    found = [find_levels(job, Block(0, 0, Window(r, c, 16, 16)), 0, 30000) for r in (0, 16) for c in (0, 16)]
    assert [pixels for pixels, _ in found] == [9, 0, 0, 0]
    first = day_number(DAY)
    fine = store.read_fine(Window(2, 2, 8, 8), first, first + 200, levels=read_levels(job, Window(2, 2, 8, 8)))
    assert len(fine.days) == 14, "the truly cloudy day shows nothing"
    assert np.allclose(fine.values[:, :, 2:5, 2:5], 0.5)
    assert fine.doubt is not None
    assert (fine.doubt[:, 2:5, 2:5] == 1.5).all()
    assert fine.doubt[0, 0, 0] == 1
    hidden = store.read_fine(Window(2, 2, 8, 8), first, first + 200)
    assert np.isnan(hidden.values[:, :, 2:5, 2:5]).all()
