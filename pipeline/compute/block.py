"""One block of one day batch: `load_block → fuse_block → write_day`, each callable and timed alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from pipeline.compute.job import DayCount, Job, Task, TaskRecord
from pipeline.fusion.interface import DayPrediction, FusionInput, Method
from pipeline.fusion.registry import build, options_of
from pipeline.grid import Block, Window, halo_cells
from pipeline.observations.working import WorkingStore
from pipeline.operators.blend import blend
from pipeline.operators.reach import BLEND_HALO
from pipeline.store.encoding import FILL
from pipeline.store.staging import BlockDay, write_block_day
from pipeline.vocabulary import Condition, Provenance, Reason


@dataclass(frozen=True)
class BlockInput:
    """The observations of one block with its halo.

    Parameters
    ----------
    fusion : FusionInput
        What the method sees.
    inner : Window
        The block inside the window that was read, fine pixels.
    reasons : ndarray, (K, y, x) uint16
        `Reason` bits of the fine images of `fusion`.
    coarse_observed : ndarray, (T, Y, X) float32
        Share of the coarse support that was really observed.
    """

    fusion: FusionInput
    inner: Window
    reasons: np.ndarray
    coarse_observed: np.ndarray


@dataclass(frozen=True)
class FusedDay:
    """One made day of one block, and the check of its prediction where the day was observed."""

    day: int
    values: BlockDay
    count: DayCount


def load_block(job: Job, block: Block, days: Sequence[int]) -> BlockInput:
    """Read what the days of a block depend on, once, with the halo.

    The halo is cut off at the edge of the area; everything a day may look at lies in
    the support of the method before the first and after the last of `days`.
    """
    options = options_of(job.method, job.options)
    before, after = options.support()
    first, last = min(days) - before, max(days) + after
    margin = halo_cells(max(options.halo(), BLEND_HALO), job.grid.resolution, job.grid.scale) * job.grid.scale
    window = block.window.padded(margin).clipped(*job.grid.shape)
    store = WorkingStore.open(job.observations)
    fine = store.read_fine(window, first, last)
    cells = window.coarse(job.grid.scale)
    mean, std, observed = store.read_restored(cells, first, last)
    cell = job.grid.resolution * job.grid.scale
    fusion = FusionInput(
        fine=torch.from_numpy(fine.values),
        fine_days=tuple(int(day) for day in fine.days),
        fine_std=torch.from_numpy(fine.std),
        coarse=torch.from_numpy(mean),
        coarse_std=torch.from_numpy(std),
        coarse_days=tuple(range(first, last + 1)),
        scale=job.grid.scale,
        resolution=job.grid.resolution,
        origin=(round(-job.grid.north // cell) + cells.row, round(job.grid.west // cell) + cells.col),
    )
    return BlockInput(fusion, block.window.relative_to(window), fine.reasons, observed)


def fuse_block(job: Job, block: BlockInput, days: Sequence[int]) -> Iterator[FusedDay]:
    """Make the days of a block one after the other.

    Where the day was observed the observation is kept; the rest is the prediction of
    the method, which has not seen the day, moved so that it meets the observation.
    """
    method = _method(job.method, _frozen(job.options))
    device = torch.device(job.device)
    state = method.prepare(block.fusion, job.parameters, device)
    for prediction in method.days(state, list(days)):
        yield _finish(job, block, prediction)


def process_block(job: Job, task: Task) -> TaskRecord:
    """Load, fuse and write one task; the record says what was made and where the time went."""
    torch.set_num_threads(job.threads)
    seconds: dict[str, float] = defaultdict(float)
    started = time.perf_counter()
    with torch.inference_mode():
        block = load_block(job, task.block, task.days)
        seconds["read"] = time.perf_counter() - started
        counts = []
        slots = dict(zip(task.days, task.slots, strict=True))
        mark = time.perf_counter()
        for made in fuse_block(job, block, task.days):
            seconds["fuse"] += time.perf_counter() - mark
            mark = time.perf_counter()
            write_block_day(job.staging, task.block, slots[made.day], made.values)
            counts.append(made.count)
            seconds["write"] += time.perf_counter() - mark
            mark = time.perf_counter()
    return TaskRecord((task.block.row, task.block.col), tuple(counts), dict(seconds), days=task.days)


def _finish(job: Job, block: BlockInput, prediction: DayPrediction) -> FusedDay:
    """Blend a prediction with the observation of its day, cut the halo off, and describe every pixel."""
    fusion, (rows, cols) = block.fusion, block.inner.slices
    mean, std, source = prediction.mean.cpu(), prediction.std.cpu(), prediction.source.cpu()
    today = fusion.fine_days.index(prediction.day) if prediction.day in fusion.fine_days else None
    checked, squared_error = 0, 0.0
    if today is not None:
        error = (mean - fusion.fine[today])[:, rows, cols]
        known = torch.isfinite(error)
        checked, squared_error = int(known.sum()), float(error[known].double().square().sum())
        mean, std, source = blend(mean, std, source, fusion.fine[today], fusion.fine_std[today], fusion.resolution)
    source_inner = source[rows, cols].numpy()
    observed_share = _nearest(block.coarse_observed[fusion.coarse_days.index(prediction.day)], fusion.scale)[rows, cols]
    values = BlockDay(
        bands=mean[:, rows, cols].numpy(),
        std=std[:, rows, cols].numpy(),
        provenance=source_inner,
        condition=_condition(source_inner, None if today is None else block.reasons[today][rows, cols], observed_share),
        days_to_observation=_days_to_observation(job, block, prediction.day),
        coarse_valid=np.rint(100 * observed_share).astype(np.uint8),
    )
    provenance = np.bincount(source_inner.ravel(), minlength=len(Provenance))
    return FusedDay(prediction.day, values, DayCount(prediction.day, tuple(int(n) for n in provenance), checked, squared_error))


def _condition(source: np.ndarray, reasons: np.ndarray | None, observed_share: np.ndarray) -> np.ndarray:
    """Condition bits: snow and water as observed on the day, coarse filled, climatology only."""
    condition = np.zeros(source.shape, np.uint8)
    if reasons is not None:
        seen = source == Provenance.OBSERVED
        condition[seen & (reasons & Reason.SNOW > 0)] |= np.uint8(Condition.SNOW)
        condition[seen & (reasons & Reason.WATER > 0)] |= np.uint8(Condition.WATER)
    predicted = (source != Provenance.OBSERVED) & (source != Provenance.MISSING)
    condition[predicted & (observed_share < 0.5)] |= np.uint8(Condition.COARSE_FILLED)
    condition[source == Provenance.CLIMATOLOGY] |= np.uint8(Condition.CLIMATOLOGY_ONLY)
    return condition


def _days_to_observation(job: Job, block: BlockInput, day: int) -> np.ndarray:
    """Signed days from `day` to the nearest clear fine observation within the support (negative: earlier), FILL where none."""
    before, after = options_of(job.method, job.options).support()
    rows, cols = block.inner.slices
    nearest = np.full(block.inner.shape, FILL, np.int16)
    # From far to near, so that the nearest is written last; of two at one distance the later day loses.
    order = sorted(range(len(block.fusion.fine_days)), key=lambda k: (-abs(block.fusion.fine_days[k] - day), -block.fusion.fine_days[k]))
    for k in order:
        offset = block.fusion.fine_days[k] - day
        if -before <= offset <= after:
            clear = torch.isfinite(block.fusion.fine[k, :, rows, cols]).all(0).numpy()
            nearest[clear] = offset
    return nearest


def _nearest(cells: np.ndarray, scale: int) -> np.ndarray:
    """Coarse cells repeated on the fine grid."""
    return cells.repeat(scale, 0).repeat(scale, 1)


def _frozen(options: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(options.items()))


@lru_cache(maxsize=4)
def _method(name: str, options: tuple[tuple[str, Any], ...]) -> Method:
    """The method, built once per worker process."""
    return build(name, dict(options))
