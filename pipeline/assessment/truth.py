"""A published cube, its method and the controls against the daily truth of a simulated world, split by what the day's scenes saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.assessment.contenders import Contender, predictions
from pipeline.assessment.scoring import Row, Sample, score
from pipeline.compute.block import BlockInput, load_block
from pipeline.compute.job import Job
from pipeline.grid import Block, Window, day_number
from pipeline.products.picture import day_at, opened
from pipeline.store.encoding import decode_reflectance
from pipeline.vocabulary import Provenance, Reason

PUBLISHED = "published"
"""Name of the row of the cube itself."""

CLEAR, CLOUDED, UNSEEN = "clear", "clouded", "unseen"
"""Strata: pixels observed on the day, pixels of the day's scenes that were hidden, and pixels that no scene of the day reached."""

Truth = Callable[[int, Window], np.ndarray]
"""Day number and window of fine pixels → true reflectance (B, y, x), in the order of the cube's bands."""


def score_world(
    cube: Path | str, truth: Truth, job: Job, contenders: Sequence[Contender], days: Sequence[int], blocks: Sequence[Block]
) -> list[Row]:
    """Score the cube and the contenders over some days and blocks.

    The row ``published`` is what a user reads: observed where observed, filled elsewhere. The rows of
    contenders are pure predictions that have not seen the day's own scenes, on both strata.

    Parameters
    ----------
    cube : Path or str
        The published cube.
    truth : callable
    job : Job
        The job of the area: its grid, observations and method.
    contenders : sequence of Contender
        As `line_up` makes them.
    days : sequence of int
        Day numbers to score, all published.
    blocks : sequence of Block
        Blocks of the area to score.
    """
    samples = world_samples(cube, truth, job, contenders, days, blocks)
    return score(samples, job.grid.scale, frozenset(contender.name for contender in contenders if contender.control))


def world_samples(
    cube: Path | str, truth: Truth, job: Job, contenders: Sequence[Contender], days: Sequence[int], blocks: Sequence[Block]
) -> Iterator[Sample]:
    """The samples of `score_world`, block by block and day by day."""
    days = sorted(days)
    before = max(contender.support[0] for contender in contenders)
    after = max(contender.support[1] for contender in contenders)
    for block in blocks:
        # A contender may look further back than the area's method, for which load_block reads.
        loaded = load_block(job, block, [days[0] - before, days[-1] + after])
        rows, cols = loaded.inner.slices
        for day, images in predictions(loaded.fusion, contenders, days):
            published, provenance = read_published(cube, day, job.bands, block.window)
            observed = provenance == Provenance.OBSERVED
            reached = _reached(loaded, day)[rows, cols]
            yield Sample(
                truth=truth(day, block.window),
                images={PUBLISHED: published, **{name: image[:, rows, cols] for name, image in images.items()}},
                strata={CLEAR: observed, CLOUDED: reached & ~observed, UNSEEN: ~reached & ~observed},
            )


def _reached(loaded: BlockInput, day: int) -> np.ndarray:
    """Pixels (y, x) of the window that a fine scene of the day covers, hidden or not."""
    if day not in loaded.fusion.fine_days:
        return np.zeros(loaded.reasons.shape[-2:], bool)
    return loaded.reasons[loaded.fusion.fine_days.index(day)] & Reason.FILL == 0


def read_published(cube: Path | str, day: int, bands: Sequence[str], window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Values (B, y, x) float32 with NaN for fill, and provenance (y, x), of one day of a cube.

    Raises
    ------
    ValueError
        If the cube does not hold the day.
    """
    with opened(cube) as dataset:
        index = day - day_number(day_at(dataset, 0))
        if not 0 <= index < dataset.sizes["time"]:
            raise ValueError(f"day {day} is not in the cube, which holds {dataset.sizes['time']} days")
        rows, cols = window.slices
        part = dataset.isel(time=index, y=rows, x=cols)
        return np.stack([decode_reflectance(part[band].values) for band in bands]), part["provenance"].values
