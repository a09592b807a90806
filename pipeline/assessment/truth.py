"""A published cube, its method and the controls against the daily truth of a simulated world, split by what the day's scenes saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.assessment.contenders import Contender, predictions
from pipeline.assessment.scoring import Sample
from pipeline.compute.block import load_block
from pipeline.compute.job import Job
from pipeline.errors import ConfigurationError
from pipeline.grid import Block, Window, day_from_number, day_number
from pipeline.observations.working import WorkingStore
from pipeline.products.picture import day_at, opened
from pipeline.sandbox.world import World
from pipeline.store.encoding import decode_reflectance
from pipeline.vocabulary import BANDS, Provenance, Reason

PUBLISHED = "published"
"""Name of the row of the cube itself."""

CLEAR, CLOUDED, UNSEEN = "clear", "clouded", "unseen"
"""Strata: pixels observed on the day, pixels of the day's scenes that were hidden, and pixels that no scene of the day reached."""

STRATA = (CLEAR, CLOUDED, UNSEEN)

Truth = Callable[[int, Window], np.ndarray]
"""Day number and window of fine pixels → true reflectance (B, y, x), in the order of the cube's bands."""


def world_truth(world: World, bands: Sequence[str]) -> Truth:
    """The truth of a simulated world, window by window, in the order of `bands`.

    Raises
    ------
    ConfigurationError
        If the world does not know a band.
    """
    unknown = [band for band in bands if band not in BANDS]
    if unknown:
        raise ConfigurationError(f"the simulated world has no truth of {', '.join(unknown)}", f"it knows {', '.join(BANDS)}")
    layers = [BANDS.index(band) for band in bands]

    def truth(day: int, window: Window) -> np.ndarray:
        return world.scenery.surface(day_from_number(day), window).reflectance[layers]

    return truth


def world_samples(
    cube: Path | str, truth: Truth, job: Job, contenders: Sequence[Contender], days: Sequence[int], blocks: Sequence[Block]
) -> Iterator[Sample]:
    """What `score` needs: truth, the cube and every contender, block by block and day by day.

    ``published`` is what a user reads: observed where observed, filled elsewhere. The images of
    contenders are pure predictions that have not seen the day's own scenes, in every stratum.

    Parameters
    ----------
    cube : Path or str
        The published cube.
    truth : callable
        As `world_truth` makes it.
    job : Job
        The job of the area: its grid, observations and method.
    contenders : sequence of Contender
        As `line_up` makes them.
    days : sequence of int
        Day numbers, all published.
    blocks : sequence of Block
        Blocks of the area.
    """
    days = sorted(days)
    before = max(contender.support[0] for contender in contenders)
    after = max(contender.support[1] for contender in contenders)
    store = WorkingStore.open(job.observations)
    for block in blocks:
        # A contender may look further back than the area's method, for which load_block reads.
        loaded = load_block(job, block, [days[0] - before, days[-1] + after])
        rows, cols = loaded.inner.slices
        for day, images in predictions(loaded.fusion, contenders, days):
            published, provenance = read_published(cube, day, job.bands, block.window)
            observed = provenance == Provenance.OBSERVED
            reached = scene_cover(store, block.window, day)
            yield Sample(
                truth=truth(day, block.window),
                images={PUBLISHED: published, **{name: image[:, rows, cols] for name, image in images.items()}},
                strata={CLEAR: observed, CLOUDED: reached & ~observed, UNSEEN: ~reached & ~observed},
            )


def scene_cover(store: WorkingStore, window: Window, day: int) -> np.ndarray:
    """Pixels (y, x) of a window that a fine scene of the day covers, hidden or not."""
    cover = np.zeros(window.shape, bool)
    for row in store.rows():
        if row.scene.role == "fine" and row.usable and row.window is not None and day_number(row.scene.day) == day:
            part = row.window.relative_to(window).clipped(*window.shape)
            if part.height and part.width:
                there = Window(part.row + window.row, part.col + window.col, part.height, part.width)
                reasons = np.asarray(store.array("fine/reasons")[(row.index, *there.slices)])
                cover[part.slices] |= reasons & int(Reason.FILL) == 0
    return cover


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
