"""Bright surfaces that the cloud mask takes for clouds: found once for an area, kept as levels beside its parameters."""

from __future__ import annotations

import numpy as np

from pipeline.compute.job import Job
from pipeline.compute.learnt import read_layer, write_layer
from pipeline.grid import Block, Window
from pipeline.observations.rescue import levels
from pipeline.observations.working import WorkingStore

IMAGES = 96
"""Scenes looked at, evenly chosen: a worker holds a block of all of them."""


def find_levels(job: Job, block: Block, first: int, last: int) -> tuple[int, str]:
    """Find the bright surfaces of a block in the scenes from day `first` to `last`, and write their levels.

    Returns
    -------
    pixels, digest
        As `write_layer` says.
    """
    store = WorkingStore.open(job.observations)
    return write_layer(job.levels, block, levels(*store.read_brightness(block.window, first, last, IMAGES)))


def read_levels(job: Job, window: Window) -> np.ndarray | None:
    """Levels of a window of fine pixels, (y, x) int16; None when the area has none."""
    return read_layer(job.levels, window)
