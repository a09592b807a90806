"""Bright surfaces that the cloud mask takes for clouds: found once for an area, kept as levels beside its parameters."""

from __future__ import annotations

import hashlib

import numpy as np
import zarr

from pipeline.compute.job import Job
from pipeline.grid import Block, Grid, Window
from pipeline.observations.rescue import levels
from pipeline.observations.working import WorkingStore
from pipeline.store.encoding import FILL

IMAGES = 96
"""Scenes looked at, evenly chosen: a worker holds a block of all of them."""


def create_levels(path: str, grid: Grid, block: int) -> None:
    """An array (y, x) in which nothing is rescued yet; what lies at `path` is replaced."""
    chunks = tuple(min(size, block) for size in grid.shape)
    zarr.create_array(path, shape=grid.shape, chunks=chunks, dtype="int16", fill_value=FILL, overwrite=True)


def find_levels(job: Job, block: Block, first: int, last: int) -> tuple[int, str]:
    """Find the bright surfaces of a block in the scenes from day `first` to `last`, and write their levels.

    Returns
    -------
    pixels : int
    digest : str
        Of what was written; empty when nothing was.
    """
    store = WorkingStore.open(job.observations)
    found = levels(*store.read_brightness(block.window, first, last, IMAGES))
    pixels = int(np.count_nonzero(found != FILL))
    if not pixels:
        return 0, ""
    zarr.open_array(job.levels, mode="r+")[block.window.slices] = found
    return pixels, hashlib.blake2b(found.tobytes(), digest_size=8).hexdigest()


def read_levels(job: Job, window: Window) -> np.ndarray | None:
    """Levels of a window of fine pixels, (y, x) int16; None when the area has none."""
    return np.asarray(zarr.open_array(job.levels, mode="r")[window.slices]) if job.levels else None
