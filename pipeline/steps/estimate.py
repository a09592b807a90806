"""Estimate: learn about an area from what was read of it, and keep it as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.compute.job import Job
from pipeline.config import Area
from pipeline.errors import LandfuseError
from pipeline.fusion.interface import NDVI_MEDIAN
from pipeline.fusion.registry import spec_of
from pipeline.grid import Block, Window, day_from_number, day_number
from pipeline.planning import recipe_hash
from pipeline.steps.parameters import LEVELS, NDVI
from pipeline.steps.plan import Plan
from pipeline.steps.recipe import coarse_products, reach_of, recipe_of, versions_of
from pipeline.steps.runs import Progress

SAMPLE_WINDOW = 128
SAMPLE_WINDOWS = 4
"""What is learnt about an area is learnt from so many windows of so many fine pixels, spread over it."""
WIDE_WINDOW = 512
"""Fine pixels along an axis of the parts of the area from which the shift of a coarse product is learnt, two at most."""


def estimate(area: Area, cluster: Any, job: Job, planned: Plan, progress: Progress) -> dict[str, Any]:
    """Learn the parameters of the area on a worker from the scenes of a plan that were read, and keep them as a version.

    The same observations give the same version. Which version runs use is left as it is.

    Parameters
    ----------
    cluster : Cluster
        Where it is learnt.

    Returns
    -------
    dict
        A version, as `Versions.read` gives it: a new one, or the one that holds the same.

    Raises
    ------
    LandfuseError
        If a worker could not learn them.
    """
    from pipeline.compute.coarse import learn
    from pipeline.compute.ndvi import find_median
    from pipeline.compute.rescue import find_levels
    from pipeline.operators.ndvi import has_ndvi

    first, last = training_days(area, planned)
    wide = wide_windows(area) if area.science.normalise.coregistration else []
    footprints = {name: area.products[name].footprint for name in coarse_products(area)}
    versions = versions_of(area)
    progress("estimate", 0, 1)
    layers: dict[str, Any] = {"rescue": {"pixels": 0}}
    if area.science.mask.rescue:
        levels = str(versions.next_layer(LEVELS))
        found = _layer(area, cluster, levels, find_levels, replace(job, levels=levels), first, last)
        layers["rescue"], job = found, replace(job, levels=levels if found["pixels"] else "")
    if NDVI_MEDIAN in spec_of(job.method).needs and has_ndvi(job.bands):
        median = str(versions.next_layer(NDVI))
        found = _layer(area, cluster, median, find_median, replace(job, ndvi=median), first, last)
        layers["ndvi"], job = found, replace(job, ndvi=median if found["pixels"] else "")
    for _, learnt in cluster.map(learn, [(job, sample_windows(area), first, last, footprints, wide)]):
        if isinstance(learnt, Exception):
            raise LandfuseError(f"the parameters of area {area.name!r} could not be estimated: {learnt!r}") from learnt
    progress("estimate", 1, 1)
    return versions.save(
        {
            **learnt,
            **layers,
            "recipe": recipe_of(area),
            "trained_from": day_from_number(first).isoformat(),
            "trained_to": day_from_number(last).isoformat(),
        }
    )


def training_days(area: Area, planned: Plan) -> tuple[int, int]:
    """First and last day that is learnt from: those of the fine images that were read, in the support of the planned days."""
    reach, missing = reach_of(area), {*planned.unread, *planned.failed}
    seen = [day_number(scene.day) for scene in planned.scenes if scene.role == "fine" and scene.id not in missing]
    days = seen or [day_number(planned.first)]
    first = max(min(days), day_number(planned.first) - reach.before)
    return first, max(first, min(max(days), day_number(planned.last) + reach.after))


def _layer(
    area: Area, cluster: Any, path: str, find: Callable[[Job, Block, int, int], tuple[int, str]], job: Job, first: int, last: int
) -> dict[str, Any]:
    """Learn a layer of every block with `find`, which writes it to `path`: how many pixels are known, and a digest of all."""
    from pipeline.compute.learnt import create_layer

    create_layer(path, area.grid, area.science.block)
    pixels, digests = 0, {}
    calls = [(job, block, first, last) for block in area.grid.blocks(area.science.block)]
    for position, found in cluster.map(find, calls):
        if isinstance(found, Exception):
            raise LandfuseError(f"{Path(path).name} of area {area.name!r} could not be made: {found!r}") from found
        pixels += found[0]
        digests[str(position)] = found[1]
    return {"pixels": pixels, "digest": f"{int(recipe_hash(digests)):016x}"}


def sample_windows(area: Area) -> list[Window]:
    """Windows on whole coarse cells, spread evenly over the area along its diagonals."""
    grid = area.grid
    edge = min(SAMPLE_WINDOW // grid.scale, *grid.coarse_shape)
    rows, cols = grid.coarse_shape
    places = ((0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))[:SAMPLE_WINDOWS]
    found = {(round(down * (rows - edge)), round(right * (cols - edge))) for down, right in places}
    return [Window(row, col, edge, edge).fine(grid.scale) for row, col in sorted(found)]


def wide_windows(area: Area) -> list[Window]:
    """Windows on whole coarse cells that do not overlap: all of a small area, parts of its four quarters of a large one."""
    part = WIDE_WINDOW // area.grid.scale

    def spans(count: int) -> list[tuple[int, int]]:
        return [(0, count)] if count <= 2 * part else [(half * (count // 2) + (count // 2 - part) // 2, part) for half in (0, 1)]

    rows, cols = (spans(count) for count in area.grid.coarse_shape)
    return [Window(row, col, height, width).fine(area.grid.scale) for row, height in rows for col, width in cols]
