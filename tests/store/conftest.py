"""A small cube, and runs that stage made-up days for it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.grid import Grid, day_number
from pipeline.store.encoding import FILL
from pipeline.store.publish import Entry
from pipeline.store.staging import BlockDay, create_staging, write_block_day
from pipeline.store.template import create_cube
from pipeline.vocabulary import Condition, Maturity, Provenance

START = date(2024, 2, 28)
"""The second day of every small cube is 29 February."""
FIRST = day_number(START)
BLOCK = 64


def small_grid(blocks: tuple[int, int] = (1, 2)) -> Grid:
    """A grid whose last row and column of blocks are cut off."""
    height, width = (count * BLOCK - 24 for count in blocks)
    return Grid("EPSG:32633", 500055.0, 4900095.0, 30.0, height, width)


def made_up_day(shape: tuple[int, int], bands: int, seed: int) -> BlockDay:
    """Reflectance with some observed, some fused and a corner of missing pixels."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0.02, 0.4, (bands, *shape)).astype(np.float32)
    std = rng.uniform(0.005, 0.05, (bands, *shape)).astype(np.float32)
    provenance = rng.choice([Provenance.OBSERVED, Provenance.FUSED_TWO_SIDED, Provenance.EXTRAPOLATED], shape).astype(np.uint8)
    provenance[:4, :4] = Provenance.MISSING
    mean[:, :4, :4] = np.nan
    std[:, :4, :4] = np.nan
    condition = np.where(rng.random(shape) < 0.1, Condition.SNOW, 0).astype(np.uint8)
    days = rng.integers(-20, 20, shape).astype(np.int16)
    days[:4, :4] = FILL
    return BlockDay(mean, std, provenance, condition, days, rng.integers(0, 101, shape).astype(np.uint8))


def stage(cube: Path, run: str, days: Iterable[int], grid: Grid, bands: int, seed: int = 0) -> Path:
    """Stage all blocks of the days (indices of the cube's axis)."""
    indices = list(days)
    staging = create_staging(cube, run, [FIRST + index for index in indices])
    for position, index in enumerate(indices):
        for block in grid.blocks(BLOCK):
            write_block_day(staging, block, position, made_up_day(block.window.shape, bands, seed * 1000 + index))
    return staging


def entries(days: Iterable[int], grid: Grid, digest: int, maturity: Maturity = Maturity.NRT) -> list[Entry]:
    """An entry for every block of the days (indices of the cube's axis)."""
    return [Entry(FIRST + index, block.row, block.col, digest, maturity) for index in days for block in grid.blocks(BLOCK)]


@pytest.fixture
def grid() -> Grid:
    return small_grid()


@pytest.fixture
def cube(tmp_path: Path, grid: Grid) -> Path:
    return create_cube(tmp_path / "area" / "fused.zarr", grid, ("red",), START, BLOCK, {"title": "made up"})
