"""Days of a window as two versions of the parameters make them, and how far they lie apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.compute.block import fuse_block, load_block
from pipeline.compute.coarse import restore_block
from pipeline.compute.job import Job
from pipeline.compute.reading import margin
from pipeline.compute.screening import screen_block
from pipeline.fusion.registry import options_of
from pipeline.grid import Block, Window, day_number
from pipeline.observations.overlay import overlay
from pipeline.observations.working import WorkingStore
from pipeline.operators.reach import day_halo
from pipeline.planning import Reach
from pipeline.store.encoding import FILL, STD_FILL, encode_reflectance, encode_std

IMAGES_AT_ONCE = 32
"""Images of a window that are screened together, as in a run."""


@dataclass(frozen=True)
class Difference:
    """How far one band of some days lies apart as two versions make them, in counts of the published cube (10⁻⁴).

    Parameters
    ----------
    apart : mapping
        Absolute difference → pixels that both versions know.
    std : (float, float)
        Sum of the stated 1 σ of these pixels, of either version.
    alone : int
        Pixels that only one version knows.
    """

    apart: Counter[int]
    std: tuple[float, float]
    alone: int

    def __add__(self, other: Difference) -> Difference:
        std = self.std[0] + other.std[0], self.std[1] + other.std[1]
        return Difference(self.apart + other.apart, std, self.alone + other.alone)


def compare_days(before: Job, after: Job, window: Window, days: Sequence[int], reach: Reach, folder: str) -> list[Difference]:
    """Make the same days of a window with two jobs, as runs would, and compare what they would publish.

    Parameters
    ----------
    before, after : Job
        Of one area, with different parameters.
    window : Window
        Fine pixels, on whole coarse cells.
    days : sequence of int
        Day numbers, increasing.
    reach : Reach
        How far a day of the area looks.
    folder : str
        Where both keep their restored series and verdicts meanwhile; those of runs are left alone.

    Returns
    -------
    list of Difference
        One per band.
    """
    torch.set_num_threads(before.threads)
    total = [Difference(Counter(), (0.0, 0.0), 0) for _ in before.bands]
    pairs = zip(*(made_days(job, window, days, reach, folder) for job in (before, after)), strict=True)
    for (old, old_std), (new, new_std) in pairs:
        parts = zip(old, new, old_std, new_std, strict=True)
        total = [sum_ + _difference(*part) for sum_, part in zip(total, parts, strict=True)]
    return total


def made_days(job: Job, window: Window, days: Sequence[int], reach: Reach, folder: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Days of a window as a run would publish them: restored, screened and fused from the observations of a job.

    Of the arguments see `compare_days`. A run works on other blocks, so a sum in another order
    now and then rounds to the next count.

    Yields
    ------
    values : ndarray, (B, y, x) int16
    std : ndarray, (B, y, x) uint16
        As they are stored.
    """
    grid, block = job.grid, Block(0, 0, window)
    # What is screened goes a cell beyond what a day looks at, so that nothing between two cells is half unknown.
    halo = margin(grid, day_halo(options_of(job.method, job.options).halo())) + grid.scale
    seen, restored = (window.padded(size).clipped(*grid.shape) for size in (halo, reach.halo + grid.scale))
    with overlay(job.observations, Path(folder)) as scratch:
        job = replace(job, observations=str(scratch))
        around = {number for day in days for number in range(day - reach.fine_before, day + reach.fine_after + 1)}
        restore_block(job, Block(0, 0, restored), sorted(around))
        screened: set[int] = set()
        for day in days:
            images = _images(job, day - reach.before, day + reach.after) - screened if job.screening else set()
            for start in range(0, len(images), IMAGES_AT_ONCE):
                screen_block(job, Block(0, 0, seen), sorted(images)[start : start + IMAGES_AT_ONCE])
            screened |= images
            # Left before the day is handed over: the mode belongs to the thread, not to this generator.
            with torch.inference_mode():
                (fused,) = fuse_block(job, load_block(job, block, [day]), [day])
            yield encode_reflectance(fused.values.bands), encode_std(fused.values.std)


def _images(job: Job, first: int, last: int) -> set[int]:
    """Days of the fine images that were read, from one day to another."""
    rows = (row for row in WorkingStore.open(job.observations).rows() if row.scene.role == "fine" and row.usable)
    return {number for row in rows if first <= (number := day_number(row.scene.day)) <= last}


def _difference(old: np.ndarray, new: np.ndarray, old_std: np.ndarray, new_std: np.ndarray) -> Difference:
    """Of one band of one day."""
    known, also = old != FILL, new != FILL
    both = known & also
    steps, pixels = np.unique(np.abs(old[both].astype(np.int32) - new[both]), return_counts=True)
    stated = [float(part[both & (part != STD_FILL)].sum(dtype=np.int64)) for part in (old_std, new_std)]
    apart = Counter({int(step): int(count) for step, count in zip(steps, pixels, strict=True)})
    return Difference(apart, (stated[0], stated[1]), int((known ^ also).sum()))
