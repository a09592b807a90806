"""Screening as a part of a run: which images must be screened again, and what was found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.compute.job import Job
from pipeline.config import Area
from pipeline.errors import LandfuseError
from pipeline.grid import day_from_number, day_number
from pipeline.observations.location import observations_path
from pipeline.planning import day_digests, recipe_hash
from pipeline.steps.plan import Plan
from pipeline.steps.recipe import ALGORITHM, as_input, coarse_products, reach_of, screening_reach, screening_recipe
from pipeline.steps.runs import Progress
from pipeline.vocabulary import Cause, Verdict

IMAGES_PER_TASK = 32
"""Images of a block that are screened together: a worker holds those that speak for and against them too, about as many again."""


def screen_images(area: Area, cluster: Any, job: Job, planned: Plan, learnt: str, progress: Progress) -> list[dict[str, Any]]:
    """Screen the fine images that the stale days look at, block by block, where what speaks for or against them changed.

    Parameters
    ----------
    cluster : Cluster
        Where blocks are screened.
    learnt : str
        Digest of what was learnt about the area: the coarse series follows from it.

    Returns
    -------
    list of dict
        What was found of each image that was screened now: ``day``, pixels that are ``clear``, and those that are ``suspect`` and
        ``refused`` by cause, all of the blocks that were screened.
    """
    from pipeline.compute.screening import screen_block
    from pipeline.observations.verdicts import read_digests, write_digests
    from pipeline.observations.working import WorkingStore

    if job.screening is None:
        return []
    series = set(coarse_products(area))
    scenes = [scene for scene in planned.scenes if scene.role == "fine" or scene.product in series]
    reach, inputs = reach_of(area), [as_input(area, scene) for scene in scenes if scene.id not in planned.failed]
    numbers = np.array([day_number(day.day) for day in planned.to_make])
    images = np.array(sorted({item.day for item in inputs if item.role == "fine"}), np.int64)
    offset = images[:, None] - numbers[None, :]
    images = images[((offset >= -reach.before) & (offset <= reach.after)).any(axis=1)]
    if not len(images):
        return []
    blocks = list(area.grid.blocks(area.science.block))
    recipe = recipe_hash(
        {
            "screening": screening_recipe(area),
            "restoration": area.science.restoration.model_dump(),
            "parameters": learnt,
            "algorithm": ALGORITHM,
        }
    )
    digests = day_digests(images, [block.window for block in blocks], inputs, screening_reach(area), recipe)
    digests = digests.reshape(-1, *area.grid.block_shape(area.science.block))
    store = WorkingStore.open(observations_path(area))
    stale = read_digests(store, images) != digests
    if not stale.any():
        return []
    calls = [(job, block, [int(day) for day in part]) for block in blocks for part in _batches(images[stale[:, block.row, block.col]])]
    # A run that is killed leaves no verdicts under a digest that they do not follow from.
    write_digests(store, images, np.where(stale, np.uint64(0), digests))
    counts: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    progress("screen", 0, len(calls))
    for done, (_, result) in enumerate(cluster.map(screen_block, calls), start=1):
        if isinstance(result, Exception):
            raise LandfuseError(f"the fine images of area {area.name!r} could not be screened: {result!r}") from result
        for image in result:
            counts[image.day].update(image.pixels)
        progress("screen", done, len(calls))
    write_digests(store, images, digests)
    return [_screened(day, counts[day]) for day in sorted(counts)]


def _batches(days: np.ndarray) -> list[np.ndarray]:
    return [days[start : start + IMAGES_PER_TASK] for start in range(0, len(days), IMAGES_PER_TASK)]


def _screened(day: int, pixels: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    """What became of an image, in words."""

    def by_cause(kind: Verdict) -> dict[str, int]:
        return {Cause(cause).name.lower(): count for (verdict, cause), count in sorted(pixels.items()) if verdict == kind}

    return {
        "day": day_from_number(day).isoformat(),
        "clear": pixels.get((Verdict.CLEAR, Cause.NONE), 0),
        "suspect": by_cause(Verdict.SUSPECT),
        "refused": by_cause(Verdict.REFUSED),
    }
