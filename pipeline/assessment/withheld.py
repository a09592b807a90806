"""Images against fine images that were withheld from everything: the honest score where there is no simulated truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.assessment.contenders import Contender, predictions
from pipeline.assessment.scoring import Sample
from pipeline.assessment.truth import PUBLISHED, read_published
from pipeline.compute.block import load_block
from pipeline.compute.job import Job
from pipeline.grid import Block
from pipeline.observations.working import WorkingStore

WITHHELD = "withheld"
"""The stratum of these samples: clear pixels of the withheld images."""


def withheld_samples(
    cube: Path | str, images: WorkingStore, job: Job, contenders: Sequence[Contender], days: Sequence[int], blocks: Sequence[Block]
) -> Iterator[Sample]:
    """What `score` needs: withheld images, the cube and every contender, block by block and day by day.

    Parameters
    ----------
    cube : Path or str
        The published cube.
    images : WorkingStore
        A store of the withheld images alone, which nothing else reads. Days it does not show are left out.
    job : Job
        The job of the area: its grid, observations (without these images) and method.
    contenders : sequence of Contender
        As `line_up` makes them.
    days : sequence of int
        Day numbers, all published.
    blocks : sequence of Block
        Blocks of the area.
    """
    before = max(contender.support[0] for contender in contenders)
    after = max(contender.support[1] for contender in contenders)
    for block in blocks:
        for day in days:
            shown = images.read_fine(block.window, day, day)
            if not len(shown.days):
                continue
            loaded = load_block(job, block, [day - before, day + after])
            rows, cols = loaded.inner.slices
            published, _ = read_published(cube, day, job.bands, block.window)
            for _, made in predictions(loaded.fusion, contenders, [day]):
                yield Sample(
                    truth=shown.values[0],
                    images={PUBLISHED: published, **{name: image[:, rows, cols] for name, image in made.items()}},
                    strata={WITHHELD: np.ones(block.window.shape, bool)},
                )
