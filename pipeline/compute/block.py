"""One block of one day batch: `load_block → fuse_block → write_block_day`, each callable and timed alone."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from pipeline.compute.job import DayCount, Job, Task, TaskRecord
from pipeline.compute.reading import level, margin, read_window
from pipeline.fusion.interface import DayPrediction, FusionInput, Method
from pipeline.fusion.registry import build, options_of
from pipeline.grid import Block, Window
from pipeline.operators.blend import blend
from pipeline.operators.reach import day_halo
from pipeline.store.encoding import FILL
from pipeline.store.staging import BlockDay, write_block_day
from pipeline.vocabulary import Condition, Provenance, Reason


@dataclass(frozen=True)
class BlockInput:
    """The observations of one block with its halo.

    Parameters
    ----------
    fusion : FusionInput
        What the method sees: images without their smooth offsets.
    observed : mapping
        Day number → fine image (B, y, x) as it was observed, of those days of the task that have one.
    inner : Window
        The block inside the window that was read, fine pixels.
    reasons : ndarray, (K, y, x) uint16
        `Reason` bits of the fine images of `fusion`.
    suspect : ndarray, (K, y, x) bool
        Where screening doubts an observation that is kept.
    coarse_observed : ndarray, (T, Y, X) float32
        Share of the coarse support that was really observed.
    """

    fusion: FusionInput
    observed: Mapping[int, torch.Tensor]
    inner: Window
    reasons: np.ndarray
    suspect: np.ndarray
    coarse_observed: np.ndarray

    @cached_property
    def clear(self) -> np.ndarray:
        """Where each fine image shows every band, on the block without its halo, (K, h, w) bool."""
        clear = np.empty((len(self.fusion.fine), *self.inner.shape), bool)
        # Image by image: temporaries of the whole stack cost more in page faults than the test itself.
        for image, seen in zip(self.fusion.fine[(..., *self.inner.slices)], clear, strict=True):
            seen[:] = torch.isfinite(image).all(dim=0)
        return clear

    def trimmed(self, halo: int) -> BlockInput:
        """The same block with no more than `halo` fine pixels of halo, on whole coarse cells; shares memory."""
        fusion = self.fusion
        keep = self.inner.padded(halo).clipped(*fusion.fine.shape[-2:])
        cells = keep.coarse(fusion.scale)
        fine, coarse = (..., *keep.slices), (..., *cells.slices)
        return BlockInput(
            fusion=fusion.window(cells),
            observed={day: image[fine] for day, image in self.observed.items()},
            inner=self.inner.relative_to(keep),
            reasons=self.reasons[fine],
            suspect=self.suspect[fine],
            coarse_observed=self.coarse_observed[coarse],
        )


@dataclass(frozen=True)
class FusedDay:
    """One made day of one block, and the check of its prediction where the day was observed."""

    day: int
    values: BlockDay
    count: DayCount


def load_block(job: Job, block: Block, days: Sequence[int]) -> BlockInput:
    """Read what the days of a block depend on, once, with the halo.

    The halo is cut off at the edge of the area; everything a day may look at lies in the support of the method before the first and after
    the last of `days`. What screening refused is not observed, and the smooth offsets that it found are taken off what the method sees.
    """
    grid = job.grid
    options = options_of(job.method, job.options)
    before, after = options.support()
    first, last = min(days) - before, max(days) + after
    window = block.window.padded(margin(grid, day_halo(options.halo()))).clipped(*grid.shape)
    found = read_window(job, window, first, last, judged=job.screening is not None)
    fusion, asked = found.fusion, set(days)
    observed = {day: image.clone() for day, image in zip(fusion.fine_days, fusion.fine, strict=True) if day in asked}
    if job.screening is not None:
        level(job, window, fusion)
    return BlockInput(fusion, observed, block.window.relative_to(window), found.reasons, found.suspect, found.coarse_observed)


def fuse_block(job: Job, block: BlockInput, days: Sequence[int]) -> Iterator[FusedDay]:
    """Make the days of a block one at a time: those without an observation, then the observed ones.

    Where the day was observed the observation is kept; the rest is the prediction of
    the method, which has not seen the day, moved so that it meets the observation.
    """
    method = _method(job.method, json.dumps(dict(job.options), sort_keys=True))
    halo = options_of(job.method, job.options).halo()
    seen = set(block.fusion.fine_days)
    # Only the blend looks at predictions beside the block: the other days, which are most, need no halo but the method's.
    parts = (
        (block.trimmed(margin(job.grid, halo)), [day for day in days if day not in seen]),
        (block, [day for day in days if day in seen]),
    )
    for part, targets in parts:
        if targets:
            state = method.prepare(part.fusion, job.parameters, torch.device(job.device))
            for prediction in method.days(state, targets):
                yield _finish(job, part, prediction)


def process_block(job: Job, task: Task) -> TaskRecord:
    """Load, fuse and write one task; the record says what was made and where the time went."""
    torch.set_num_threads(job.threads)
    seconds: dict[str, float] = defaultdict(float)
    mark = time.perf_counter()

    def spent(part: str) -> None:
        nonlocal mark
        now = time.perf_counter()
        seconds[part] += now - mark
        mark = now

    slots = dict(zip(task.days, task.slots, strict=True))
    counts = []
    with torch.inference_mode():
        block = load_block(job, task.block, task.days)
        spent("read")
        for made in fuse_block(job, block, task.days):
            spent("fuse")
            write_block_day(job.staging, task.block, slots[made.day], made.values)
            counts.append(made.count)
            spent("write")
    return TaskRecord((task.block.row, task.block.col), tuple(counts), dict(seconds), days=task.days)


def _finish(job: Job, block: BlockInput, prediction: DayPrediction) -> FusedDay:
    """Blend a prediction with the observation of its day, cut the halo off, and describe every pixel."""
    fusion, inner = block.fusion, (..., *block.inner.slices)
    mean, std, source = prediction.mean, prediction.std, prediction.source
    today = fusion.fine_days.index(prediction.day) if prediction.day in fusion.fine_days else None
    checked, squared_error = 0, 0.0
    if today is not None:
        observed, measured = block.observed[prediction.day].to(mean.device), fusion.measured(today)
        error = (mean - observed)[inner]
        error = error[torch.isfinite(error)]
        checked, squared_error = error.numel(), float(error.double().square().sum())
        mean, std, source = blend(mean, std, source, observed, measured, fusion.resolution)
    provenance = source[inner].cpu().numpy()
    share = block.coarse_observed[fusion.coarse_days.index(prediction.day)]
    # Coarse cells repeated on the fine grid.
    share = share.repeat(fusion.scale, 0).repeat(fusion.scale, 1)[inner]
    values = BlockDay(
        bands=mean[inner].cpu().numpy(),
        std=std[inner].cpu().numpy(),
        provenance=provenance,
        condition=_condition(provenance, None if today is None else (block.reasons[today][inner], block.suspect[today][inner]), share),
        days_to_observation=_days_to_observation(job, block, prediction.day),
        coarse_valid=np.rint(100 * share).astype(np.uint8),
    )
    pixels = np.bincount(provenance.ravel(), minlength=len(Provenance))
    return FusedDay(prediction.day, values, DayCount(prediction.day, tuple(int(n) for n in pixels), checked, squared_error))


def _condition(source: np.ndarray, today: tuple[np.ndarray, np.ndarray] | None, share: np.ndarray) -> np.ndarray:
    """Condition bits: snow, water and doubt of screening as observed on the day, coarse filled, climatology only."""
    condition = np.zeros(source.shape, np.uint8)
    if today is not None:
        reasons, suspect = today
        seen = source == Provenance.OBSERVED
        condition[seen & (reasons & Reason.SNOW > 0)] |= np.uint8(Condition.SNOW)
        condition[seen & (reasons & Reason.WATER > 0)] |= np.uint8(Condition.WATER)
        condition[seen & suspect] |= np.uint8(Condition.SUSPECT_OBSERVATION)
    predicted = (source != Provenance.OBSERVED) & (source != Provenance.MISSING)
    condition[predicted & (share < 0.5)] |= np.uint8(Condition.COARSE_FILLED)
    condition[source == Provenance.CLIMATOLOGY] |= np.uint8(Condition.CLIMATOLOGY_ONLY)
    return condition


def _days_to_observation(job: Job, block: BlockInput, day: int) -> np.ndarray:
    """Signed days from `day` to the nearest clear fine observation within the support (negative: earlier), FILL where none."""
    before, after = options_of(job.method, job.options).support()
    nearest = np.full(block.inner.shape, FILL, np.int16)
    offsets = {k: fine_day - day for k, fine_day in enumerate(block.fusion.fine_days) if -before <= fine_day - day <= after}
    unseen = np.ones(nearest.shape, bool)
    # From near to far; of two at one distance the earlier day counts.
    for k in sorted(offsets, key=lambda k: (abs(offsets[k]), offsets[k])):
        np.copyto(nearest, np.int16(offsets[k]), where=block.clear[k] & unseen)
        unseen &= ~block.clear[k]
        if not unseen.any():
            break
    return nearest


@lru_cache(maxsize=4)
def _method(name: str, options: str) -> Method:
    """The method with the options of a JSON text, built once per worker process."""
    made: dict[str, Any] = json.loads(options)
    return build(name, made)
