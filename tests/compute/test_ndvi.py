"""The annual median of the fine NDVI of an area: found in the store block by block, and read with every block."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.compute.block import load_block
from pipeline.compute.job import Job
from pipeline.compute.learnt import create_layer
from pipeline.compute.ndvi import find_median, read_median
from pipeline.fusion.interface import NDVI_MEDIAN
from pipeline.grid import Block, day_number
from pipeline.observations.working import WorkingStore
from pipeline.vocabulary import Reason
from tests.compute.conftest import DAYS, MakeJob
from tests.observations.scenes import DAY, UTM33, make_scene, small_grid
from tests.region import GRID

TRANSFORM = (30.0, 0.0, 500175.0, 0.0, -30.0, 5091135.0)
COUNT = 9
CLOUDED, SNOWY, WITHHELD = 2, 4, 6


def stored(folder: Path, noisy: int | None = None) -> WorkingStore:
    """A store of nine images of 32 × 32 pixels: one with a cloud on a corner, one with snow on another, one that is withheld."""
    store = WorkingStore.create(folder / "o.zarr", small_grid(), ("red", "nir08"), [], 16)
    random = np.random.default_rng(3)
    scenes = [make_scene(f"s{at}", {}, UTM33, TRANSFORM, (32, 32), DAY + timedelta(days=8 * at)) for at in range(COUNT)]
    for at, row in enumerate(store.allocate(scenes)):
        values = random.integers(300, 4000, (2, 32, 32)).astype(np.int16)
        if at == noisy:
            values = np.random.default_rng(9).integers(300, 4000, (2, 32, 32)).astype(np.int16)
        reasons = np.zeros((32, 32), np.uint16)
        reasons[:8, :8] = Reason.CLOUD if at == CLOUDED else 0
        reasons[-8:, -8:] = Reason.SNOW if at == SNOWY else 0
        store.write_fine(row, small_grid().window, values, reasons)
        store.complete(row, small_grid().window, 1.0, (0.01, 0.01))
    store.flush()
    store.select({scene.identity for at, scene in enumerate(scenes) if at != WITHHELD})
    return store


def learnt(store: WorkingStore, folder: Path, size: int = 16) -> tuple[Job, list[tuple[int, str]], np.ndarray]:
    """The median found block by block, what was said of it, and the whole of it."""
    job = Job(str(store.path), "", store.grid, store.bands, "smoother", ndvi=str(folder / f"ndvi-{size}.zarr"))
    create_layer(job.ndvi, store.grid, size)
    first = day_number(DAY)
    found = [find_median(job, block, first, first + 8 * COUNT) for block in store.grid.blocks(size)]
    return job, found, read_median(job, store.grid.window)[NDVI_MEDIAN].numpy()


def test_the_median_is_that_of_the_clear_snow_free_images_that_are_not_withheld(tmp_path: Path) -> None:
    store = stored(tmp_path)
    _, found, median = learnt(store, tmp_path)
    assert [pixels for pixels, _ in found] == [256] * 4
    red, nir = np.moveaxis(np.asarray(store.array("fine/values")[:]).astype(float), 1, 0)
    series = np.rint(1e4 * (nir - red) / (nir + red)) / 1e4
    series[CLOUDED, :8, :8] = series[SNOWY, -8:, -8:] = np.nan
    series = np.sort(np.delete(series, WITHHELD, axis=0), axis=0)
    # Of eight days the lower of the two in the middle; of seven the one in the middle.
    np.testing.assert_allclose(median, series[3], atol=1e-6)


def test_no_bit_changes_when_the_withheld_image_is_noise(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    _, found, median = learnt(stored(tmp_path / "one"), tmp_path / "one")
    _, again, noisy = learnt(stored(tmp_path / "other", noisy=WITHHELD), tmp_path / "other")
    assert found == again
    np.testing.assert_array_equal(median, noisy)
    (tmp_path / "seen").mkdir()
    assert learnt(stored(tmp_path / "seen", noisy=0), tmp_path / "seen")[1] != found, "another image does change it"


def test_blocks_of_any_size_find_the_same(tmp_path: Path) -> None:
    store = stored(tmp_path)
    np.testing.assert_array_equal(learnt(store, tmp_path, 16)[2], learnt(store, tmp_path, 32)[2])


def test_a_block_with_its_halo_holds_its_part_of_the_median(make_job: MakeJob, tmp_path: Path) -> None:
    job = replace(make_job(block=96), ndvi=str(tmp_path / "ndvi.zarr"))
    create_layer(job.ndvi, GRID, 96)
    blocks: list[Block] = list(GRID.blocks(96))
    assert all(find_median(job, block, DAYS[0] - 24, DAYS[-1] + 24)[0] > 0 for block in blocks)
    whole = read_median(job, GRID.window)[NDVI_MEDIAN]
    loaded = load_block(job, blocks[3], DAYS[:2])
    layer = loaded.fusion.layers[NDVI_MEDIAN]
    assert layer.shape == loaded.fusion.fine.shape[-2:]
    for part in (loaded, loaded.trimmed(16)):
        inner = part.fusion.layers[NDVI_MEDIAN][part.inner.slices]
        assert torch.equal(inner.nan_to_num(-9), whole[blocks[3].window.slices].nan_to_num(-9))
    assert float(whole.nanmean()) == pytest.approx(0.5, abs=0.4)
    assert load_block(replace(job, ndvi=""), blocks[3], DAYS[:2]).fusion.layers == {}
