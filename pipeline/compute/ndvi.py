"""The annual median of the fine NDVI: found once for an area, kept beside its parameters, given to methods as a layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.compute.job import Job
from pipeline.compute.learnt import read_layer, write_layer
from pipeline.compute.rescue import read_levels
from pipeline.fusion.interface import NDVI_MEDIAN
from pipeline.grid import Block, Window
from pipeline.observations.working import WorkingStore
from pipeline.operators.ndvi import UNIT, ndvi_median
from pipeline.store.encoding import FILL

_DAYS_AT_ONCE = 32
"""The images of so many days are read together."""


def find_median(job: Job, block: Block, first: int, last: int) -> tuple[int, str]:
    """Find the median NDVI of a block in the clear fine images from day `first` to `last`, and write it.

    The images are taken as the mask left them: a median is not moved by the few clouds that screening finds, and screening needs
    what is learnt after this.

    Returns
    -------
    pixels, digest
        As `write_layer` says.
    """
    torch.set_num_threads(job.threads)
    median = ndvi_median(_stacks(job, block.window, first, last), job.bands, block.window.shape).numpy()
    counts = np.where(np.isfinite(median), np.rint(median * UNIT), FILL).astype(np.int16)
    return write_layer(job.ndvi, block, counts)


def read_median(job: Job, window: Window) -> dict[str, Tensor]:
    """The layer of a window of fine pixels by its name, (y, x) float32, NaN = unknown; empty when the area has none."""
    counts = read_layer(job.ndvi, window)
    if counts is None:
        return {}
    values = counts.astype(np.float32) / np.float32(UNIT)
    return {NDVI_MEDIAN: torch.from_numpy(np.where(counts == FILL, np.float32(np.nan), values))}


def _stacks(job: Job, window: Window, first: int, last: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    store, levels = WorkingStore.open(job.observations), read_levels(job, window)
    for day in range(first, last + 1, _DAYS_AT_ONCE):
        fine = store.read_fine(window, day, min(day + _DAYS_AT_ONCE - 1, last), levels=levels)
        surface = fine.surface
        yield torch.from_numpy(fine.values), None if surface is None else torch.from_numpy(surface)
