from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import zarr

from pipeline.errors import StoreError
from pipeline.grid import Block, Window
from pipeline.store.encoding import decode_reflectance
from pipeline.store.staging import create_staging, open_staged, require_space, staged_cells, write_block_day

from .conftest import BLOCK, FIRST, made_up_day, small_grid


def write_one(staging, block, index) -> None:
    write_block_day(staging, block, index, made_up_day(block.window.shape, 1, block.col * 10 + index))


def test_workers_in_other_processes_write_their_blocks_side_by_side(cube, grid):
    staging = create_staging(cube, "run", [FIRST, FIRST + 3])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        work = [(block, index) for block in grid.blocks(BLOCK) for index in range(2)]
        for future in [pool.submit(write_one, staging, block, index) for block, index in work]:
            future.result()
    assert staged_cells(staging) == {(index, 0, col) for index in range(2) for col in range(2)}
    red = zarr.open_array(staging / "red")
    for block, index in work:
        expected = made_up_day(block.window.shape, 1, block.col * 10 + index).bands[0]
        assert np.allclose(decode_reflectance(red[(index, *block.window.slices)]), expected, atol=0.51e-4, equal_nan=True)
    staged = open_staged(staging)
    assert (staged.days, staged.bands, staged.block, staged.run_id) == ((FIRST, FIRST + 3), ("red",), BLOCK, "run")


def test_a_block_without_any_value_is_written_all_the_same(cube, grid):
    staging = create_staging(cube, "run", [FIRST])
    block = next(iter(grid.blocks(BLOCK)))
    day = made_up_day(block.window.shape, 1, 0)
    nothing = replace(
        day,
        bands=np.full_like(day.bands, np.nan),
        std=np.full_like(day.std, np.nan),
        provenance=np.zeros_like(day.provenance),
        condition=np.zeros_like(day.condition),
    )
    write_block_day(staging, block, 0, nothing)
    assert staged_cells(staging) == {(0, 0, 0)}


def test_chunks_are_byte_for_byte_those_that_zarr_writes(cube, grid):
    staging = create_staging(cube, "run", [FIRST])
    for block in grid.blocks(BLOCK):
        write_one(staging, block, 0)
    for name in open_staged(staging).layers:
        files = {col: (staging / name / "c" / "0" / "0" / str(col)).read_bytes() for col in range(2)}
        array = zarr.open_array(staging / name, mode="r+", config={"write_empty_chunks": True})
        values = array[:]
        shutil.rmtree(staging / name / "c")
        array[:] = values
        assert files == {col: (staging / name / "c" / "0" / "0" / str(col)).read_bytes() for col in range(2)}


def test_a_run_that_starts_again_finds_an_empty_staging_of_its_new_days(cube, grid):
    first = create_staging(cube, "run", [FIRST])
    write_one(first, next(iter(grid.blocks(BLOCK))), 0)
    second = create_staging(cube, "run", [FIRST, FIRST + 1])
    assert second == first
    assert staged_cells(second) == set()
    write_one(second, next(iter(grid.blocks(BLOCK))), 1)
    assert staged_cells(second) == {(1, 0, 0)}


@pytest.mark.parametrize("run", ["", "..", "a/b", "/tmp/x", ".hidden", "x" * 200])
def test_a_run_id_never_becomes_a_path_unchecked(cube, run):
    with pytest.raises(StoreError, match="run id"):
        create_staging(cube, run, [FIRST])


def test_a_day_that_does_not_fit_its_block_is_refused(cube, grid):
    staging = create_staging(cube, "run", [FIRST])
    block = next(iter(grid.blocks(BLOCK)))
    day = made_up_day(block.window.shape, 1, 0)
    with pytest.raises(ValueError, match="does not lie on the chunks"):
        write_block_day(staging, Block(0, 0, Window(0, 8, 40, 64)), 0, day)
    with pytest.raises(ValueError, match="1 days"):
        write_block_day(staging, block, 1, day)
    with pytest.raises(ValueError, match="does not fill"):
        write_block_day(staging, block, 0, made_up_day((40, 40), 1, 0))
    with pytest.raises(ValueError, match="expected uint8"):
        write_block_day(staging, block, 0, replace(day, condition=day.condition.astype(np.int64)))
    with pytest.raises(ValueError, match="bands has shape"):
        write_block_day(staging, block, 0, made_up_day(block.window.shape, 2, 0))
    with pytest.raises(StoreError, match="increasing"):
        create_staging(cube, "run", [FIRST + 1, FIRST])
    with pytest.raises(StoreError, match="not a staging"):
        open_staged(cube)


def test_a_run_the_disk_cannot_hold_is_refused_before_it_starts(tmp_path):
    require_space(tmp_path / "not" / "yet" / "fused.zarr", 6, 512, 9)
    with pytest.raises(StoreError, match="GiB free"):
        require_space(tmp_path, 6, 512, 10**9)


def test_grid_of_the_tests_has_blocks_that_are_cut_off():
    assert [block.window.shape for block in small_grid((2, 2)).blocks(BLOCK)] == [(64, 64), (64, 40), (40, 64), (40, 40)]
