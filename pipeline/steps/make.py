"""Make: estimate what is not known yet, restore the coarse series, screen the fine images, fuse every stale block into staging."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pipeline.compute.job import Job, Task, applied
from pipeline.config import Area
from pipeline.errors import LandfuseError
from pipeline.grid import day_number
from pipeline.observations.location import observations_path
from pipeline.planning import DayPlan, Reach, day_digests, recipe_hash
from pipeline.steps.estimate import estimate
from pipeline.steps.parameters import LEVELS, NDVI, about
from pipeline.steps.plan import Plan, load_plan
from pipeline.steps.recipe import ALGORITHM, as_input, coarse_products, reach_of, read_parameters, versions_of
from pipeline.steps.runs import Progress, save, silent
from pipeline.steps.screening import screen_images

AS_SEEN = "as each sensor saw it; angles are not normalised (science.normalise.geometry is off)"
"""What a cube says of its geometry whose area switches the normalisation off."""


def make(area: Area, run_id: str, progress: Progress = silent) -> dict[str, Any]:
    """Estimate what is not known yet, restore the coarse series, screen the fine images, and fuse every stale block into staging.

    One Dask cluster lives for this step. A block that fails is recorded and leaves the
    other blocks alone.

    Returns
    -------
    dict
        ``days`` of which a block was made, ``tasks`` run, ``failed`` tasks, and ``workers``.
    """
    from pipeline.compute.cluster import open_cluster
    from pipeline.store.staging import create_staging, require_space
    from pipeline.store.template import check_cube, create_cube

    planned = load_plan(area, run_id)
    todo = planned.to_make
    if not todo:
        return {"days": 0, "tasks": 0, "failed": 0, "workers": 0}
    science, compute = area.science, area.runtime.compute
    require_space(area.cube_path, len(science.bands), science.block, sum(len(day.blocks) for day in todo))
    if area.cube_path.exists():
        check_cube(area.cube_path, area.grid, science.bands, science.start, science.block)
    else:
        create_cube(area.cube_path, area.grid, science.bands, science.start, science.block, _cube_attributes(area))
    numbers = [day_number(day.day) for day in todo]
    staging = create_staging(area.cube_path, run_id, numbers)
    seconds: dict[str, float] = {}
    with open_cluster(compute.scheduler, compute.workers, compute.torch_threads, compute.memory_limit, compute.gpu) as cluster:
        job = job_of(area, str(staging), cluster.device)
        with _timed(seconds, "estimate"):
            learnt = read_parameters(area) or _first(area, cluster, job, planned, progress)
        job = with_parameters(job, learnt)
        with _timed(seconds, "restore"):
            _restore(area, cluster, job, planned, learnt["digest"], progress)
        with _timed(seconds, "screen"):
            screened = screen_images(area, cluster, job, planned, learnt["digest"], progress)
        with _timed(seconds, "fuse"):
            records = _fuse(area, cluster, job, todo, progress)
        workers = cluster.workers
    for record in records:
        for part, spent in record["seconds"].items():
            seconds[f"fuse.{part}"] = seconds.get(f"fuse.{part}", 0.0) + spent
    left = {"tasks": records, "seconds": seconds, "workers": workers, "screened": screened, "parameters": about(learnt)}
    save(area, run_id, "records", left)
    made = {day for record in records if not record["error"] for day in record["days"]}
    return {"days": len(made), "tasks": len(records), "failed": sum(bool(record["error"]) for record in records), "workers": workers}


def job_of(area: Area, staging: str = "", device: str = "cpu") -> Job:
    """What workers must know of an area, before anything is learnt about it."""
    science = area.science
    return Job(
        observations=str(observations_path(area)),
        staging=staging,
        grid=area.grid,
        bands=science.bands,
        method=science.method.name,
        options=science.method.options,
        restoration=science.restoration.model_dump(),
        screening=science.screening if science.screening.enabled else None,
        device=device,
        threads=area.runtime.compute.torch_threads,
    )


def with_parameters(job: Job, learnt: Mapping[str, Any]) -> Job:
    """The job with what was learnt about the area."""
    restoration = {**job.restoration, "bias": learnt["restoration"], "shifts": applied(learnt["registration"])}
    return replace(job, parameters=learnt["method"], restoration=restoration, levels=learnt[LEVELS], ndvi=learnt[NDVI])


def _first(area: Area, cluster: Any, job: Job, planned: Plan, progress: Progress) -> dict[str, Any]:
    """The first version of the parameters, which runs use until another is pinned."""
    return versions_of(area).pin(estimate(area, cluster, job, planned, progress)["version"])


def _restore(area: Area, cluster: Any, job: Any, planned: Plan, learnt: str, progress: Progress) -> None:
    """Restore the coarse days that the stale days look at, where their inputs changed."""
    from pipeline.compute.coarse import restore_block
    from pipeline.observations.working import WorkingStore

    reach = reach_of(area)
    numbers = np.array([day_number(day.day) for day in planned.to_make])
    wanted = np.unique((numbers[:, None] + np.arange(-reach.fine_before, reach.fine_after + 1)).ravel())
    series = set(coarse_products(area))
    coarse = [as_input(area, scene) for scene in planned.scenes if scene.product in series and scene.id not in planned.failed]
    whole = [area.grid.window]
    own = Reach(0, 0, reach.window, 0, spikes=reach.spikes)
    recipe = recipe_hash({"restoration": area.science.restoration.model_dump(), "parameters": learnt, "algorithm": ALGORITHM})
    digests = day_digests(wanted, whole, coarse, own, recipe)[:, 0]
    store = WorkingStore.open(observations_path(area))
    known = np.asarray(store.restored_digest[:])
    stale = wanted[known[wanted] != digests]
    blocks = list(area.grid.blocks(area.science.block))
    if not len(stale):
        return
    # A run that is killed leaves no series under a digest that it does not follow from: pinned parameters may come back.
    store.restored_digest[:] = np.where(np.isin(np.arange(len(known)), stale), np.uint64(0), known)
    progress("restore", 0, len(blocks))
    calls = [(job, block, [int(day) for day in stale]) for block in blocks]
    for done, (_, result) in enumerate(cluster.map(restore_block, calls), start=1):
        if isinstance(result, Exception):
            raise LandfuseError(f"the coarse series of area {area.name!r} could not be restored: {result!r}") from result
        progress("restore", done, len(blocks))
    known[wanted] = digests
    store.restored_digest[:] = known


def _fuse(area: Area, cluster: Any, job: Any, todo: Sequence[DayPlan], progress: Progress) -> list[dict[str, Any]]:
    """Fuse the stale blocks, some days at a time, and collect what became of them."""
    from pipeline.compute.block import process_block

    tasks = block_tasks(area, todo)
    records = []
    progress("fuse", 0, len(tasks))
    for done, (position, result) in enumerate(cluster.map(process_block, [(job, task) for task in tasks]), start=1):
        task = tasks[position]
        if isinstance(result, Exception):
            records.append(
                {"block": [task.block.row, task.block.col], "days": list(task.days), "counts": [], "seconds": {}, "error": repr(result)}
            )
        else:
            records.append({**asdict(result), "error": ""})
        progress("fuse", done, len(tasks))
    return records


def block_tasks(area: Area, todo: Sequence[DayPlan]) -> list[Task]:
    """One task per block and at most ``runtime.compute.days_per_task`` of its days."""
    blocks = {(block.row, block.col): block for block in area.grid.blocks(area.science.block)}
    slots: dict[tuple[int, int], list[int]] = defaultdict(list)
    for slot, day in enumerate(todo):
        for block in day.blocks:
            slots[block].append(slot)
    size = area.runtime.compute.days_per_task
    tasks = []
    for key, mine in slots.items():
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            tasks.append(Task(blocks[key], tuple(day_number(todo[slot].day) for slot in part), tuple(part)))
    return tasks


def _cube_attributes(area: Area) -> dict[str, Any]:
    return {
        "title": area.title or f"Daily seamless images of {area.name}",
        "area": area.name,
        "method": area.science.method.name,
        "science_digest": area.science_digest,
        **({} if area.science.normalise.geometry else {"geometry": AS_SEEN}),
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of a ``with`` block to a mapping."""
    started = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
