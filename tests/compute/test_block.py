"""One block of one day batch: the same pixels however the area is cut, and no more memory for more days."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.compute import block as block_room
from pipeline.compute.block import load_block, process_block
from pipeline.compute.coarse import restore_block
from pipeline.compute.job import Job
from pipeline.grid import Block, Window
from pipeline.observations.working import WorkingStore
from pipeline.store.encoding import FILL
from pipeline.vocabulary import Condition, Provenance
from tests.compute.conftest import DAYS, MakeJob, staged_bytes, staged_layers, tasks_of
from tests.methods import COSTLY_METHODS
from tests.region import GRID


def fused(job: Job, days_per_task: int = len(DAYS)) -> dict[str, np.ndarray]:
    """Make all days in this process and read them back."""
    for task in tasks_of(job, days_per_task):
        process_block(job, task)
    return staged_layers(job)


@pytest.fixture(scope="module")
def whole(make_job: MakeJob) -> dict[str, np.ndarray]:
    """The days of the shared region made in one piece, without any halo."""
    return fused(make_job(block=192))


def assert_same_product(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """No count differs by more than 1, and none in more than 1 of 10⁴ pixels, of σ 5; what is coded does not differ.

    The σ of some methods has few values, as doubt is stored in steps of 1 %: where one of them lies on the edge of a
    count, all pixels that have it go over together.
    """
    assert one.keys() == other.keys()
    for name in one:
        if name in ("provenance", "condition", "days_to_observation", "coarse_valid"):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        else:
            apart = np.abs(one[name].astype(np.int32) - other[name].astype(np.int32))
            assert apart.max() <= 1, name
            assert (apart > 0).mean() <= (5e-4 if name.startswith("uncertainty") else 1e-4), name


@pytest.mark.parametrize("method", COSTLY_METHODS)
def test_blocks_and_batches_of_any_size_make_the_same_product(method: str, make_job: MakeJob) -> None:
    reference = fused(make_job(method, block=192))
    assert (reference["provenance"] != Provenance.MISSING).all()
    assert_same_product(fused(make_job(method, block=64)), reference)
    assert_same_product(fused(make_job(method, block=192), days_per_task=1), reference)


def test_the_coarse_series_is_the_same_however_it_is_cut(make_job: MakeJob, store_copy: WorkingStore) -> None:
    job = replace(make_job(), observations=str(store_copy.path))
    cells = GRID.window.coarse(GRID.scale)
    first, last = DAYS[0] - 24, DAYS[-1] + 24
    before = store_copy.read_restored(cells, first, last)
    for block in GRID.blocks(192):
        restore_block(job, block, range(first, last + 1))
    for was, now in zip(before, store_copy.read_restored(cells, first, last), strict=True):
        np.testing.assert_allclose(now, was, atol=1.01e-4)
        assert (now != was).mean() <= 1e-4
    # Days with a hole between them are written run by run, and nothing beside them.
    restore_block(replace(job, restoration={**job.restoration, "tau": 50.0}), next(iter(GRID.blocks(96))), [first, first + 5])
    changed = (store_copy.read_restored(cells, first, last)[0] != before[0]).any(axis=(1, 2, 3))
    assert set(np.flatnonzero(changed)) == {0, 5}


def test_observed_pixels_are_described_as_what_they_are(whole: dict[str, np.ndarray]) -> None:
    observed = whole["provenance"] == Provenance.OBSERVED
    assert 0.01 < observed.mean() < 0.95
    np.testing.assert_array_equal(whole["days_to_observation"] == 0, observed)
    assert not (whole["condition"][observed] & Condition.COARSE_FILLED).any()
    filled = ~observed & (whole["coarse_valid"] < 50)
    assert (whole["condition"][filled] & Condition.COARSE_FILLED > 0).all()


def test_days_to_observation_are_those_of_the_nearest_clear_image(make_job: MakeJob, whole: dict[str, np.ndarray]) -> None:
    job = make_job(block=192)
    loaded = load_block(job, next(iter(GRID.blocks(192))), DAYS)
    clear = torch.isfinite(loaded.fusion.fine).all(dim=1).numpy()
    offsets = np.array(loaded.fusion.fine_days)[:, None, None] - DAYS[2]
    distance = np.where(clear & (np.abs(offsets) <= 24), np.abs(offsets), 999)
    nearest = distance.min(axis=0)
    stored = whole["days_to_observation"][2]
    np.testing.assert_array_equal(np.where(stored == FILL, 999, np.abs(stored)), nearest)
    # Of two at one distance the earlier counts.
    earlier = (np.where(offsets < 0, distance, 999).min(axis=0) == nearest) & (nearest < 999)
    np.testing.assert_array_equal(stored[earlier], -nearest[earlier])


def test_a_record_counts_pixels_and_checks_the_prediction_on_what_it_was_not_shown(make_job: MakeJob) -> None:
    job = make_job(block=192)
    (task,) = tasks_of(job)
    record = process_block(job, task)
    layers = staged_layers(job)
    assert record.block == (0, 0)
    assert record.days == DAYS
    assert sorted(count.day for count in record.counts) == list(DAYS)
    assert set(record.seconds) == {"read", "fuse", "write"}
    for count in record.counts:
        provenance = layers["provenance"][DAYS.index(count.day)]
        np.testing.assert_array_equal(count.provenance, np.bincount(provenance.ravel(), minlength=len(Provenance)))
        observed = count.provenance[Provenance.OBSERVED]
        # Of a pixel observed in every band, every band is checked.
        assert count.checked >= 6 * observed if observed else count.checked == 0
        if count.checked:
            assert 1e-4 < np.sqrt(count.squared_error / count.checked) < 0.1


def test_a_task_that_runs_again_leaves_the_same_bytes(make_job: MakeJob) -> None:
    job = make_job()
    task = tasks_of(job)[0]
    process_block(job, task)
    first = staged_bytes(job)
    process_block(job, task)
    assert staged_bytes(job) == first


def test_a_trimmed_block_is_the_same_block_with_less_around_it(make_job: MakeJob) -> None:
    job = make_job(block=64)
    loaded = load_block(job, Block(1, 1, Window(64, 64, 64, 64)), DAYS)
    trimmed = loaded.trimmed(16)
    assert trimmed.fusion.fine.shape[-2:] == (96, 96)
    assert trimmed.inner == Window(16, 16, 64, 64)
    rows, cols = trimmed.inner.slices
    torch.testing.assert_close(trimmed.fusion.fine[..., rows, cols], loaded.fusion.fine[(..., *loaded.inner.slices)], equal_nan=True)
    np.testing.assert_array_equal(trimmed.clear, loaded.clear)
    # The lattice of the CRS is the same one.
    corner = (loaded.inner.row // 8 + loaded.fusion.origin[0], loaded.inner.col // 8 + loaded.fusion.origin[1])
    assert (trimmed.inner.row // 8 + trimmed.fusion.origin[0], trimmed.inner.col // 8 + trimmed.fusion.origin[1]) == corner


def test_a_method_is_built_once_in_a_process(make_job: MakeJob) -> None:
    job = make_job("coarse")
    block_room._method.cache_clear()
    for task in tasks_of(job, days_per_task=2):
        process_block(job, task)
    info = block_room._method.cache_info()
    assert info.misses == 1
    assert info.hits == len(tasks_of(job, days_per_task=2)) - 1


def test_torch_threads_are_fixed_by_the_job(make_job: MakeJob) -> None:
    job = make_job("coarse")
    threads = torch.get_num_threads()
    try:
        process_block(replace(job, threads=2), tasks_of(job)[0])
        assert torch.get_num_threads() == 2
        process_block(replace(job, threads=1), tasks_of(job)[0])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_what_travels_to_a_worker_is_small_and_holds_neither_arrays_nor_addresses(make_job: MakeJob) -> None:
    job = make_job()
    message = pickle.dumps((job, tasks_of(job)[0]))
    assert len(message) < 20_000
    for word in (b"ndarray", b"torch", b"://", b"token", b".tif"):
        assert word not in message, word


PEAK = """
import pickle, resource, sys
from pipeline.compute.block import process_block
job, warm, task = pickle.load(sys.stdin.buffer)
process_block(job, warm)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
process_block(job, task)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_days(make_job: MakeJob) -> None:
    days = range(DAYS[0] - 12, DAYS[0] + 20)
    job = make_job(block=192, days=days)
    (long,) = tasks_of(job, days_per_task=32)
    short = replace(long, days=long.days[14:18], slots=long.slots[14:18])
    made = subprocess.run([sys.executable, "-c", PEAK], input=pickle.dumps((job, short, long)), capture_output=True, check=True)
    four, more = map(int, made.stdout.split())
    # 28 days kept would be 28 × 12 × 192² × 4 bytes = 50 MB; the references of 28 more days are a third of that.
    assert more < 1.2 * four
    assert more - four < 35_000
