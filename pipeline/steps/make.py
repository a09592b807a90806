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
from pipeline.grid import Window, day_from_number, day_number
from pipeline.observations.location import observations_path
from pipeline.planning import DayPlan, Reach, day_digests, recipe_hash
from pipeline.steps.plan import Plan, load_plan
from pipeline.steps.recipe import (
    ALGORITHM,
    as_input,
    coarse_products,
    levels_path,
    parameters_path,
    reach_of,
    read_parameters,
    recipe_of,
)
from pipeline.steps.runs import Progress, save, silent, write_json
from pipeline.steps.screening import screen_images

AS_SEEN = "as each sensor saw it; angles are not normalised (science.normalise.geometry is off)"
"""What a cube says of its geometry whose area switches the normalisation off."""

SAMPLE_WINDOW = 128
SAMPLE_WINDOWS = 4
"""What is learnt about an area is learnt from so many windows of so many fine pixels, spread over it."""
WIDE_WINDOW = 512
"""Fine pixels along an axis of the parts of the area from which the shift of a coarse product is learnt, two at most."""


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
            learnt = read_parameters(area) or _estimate(area, cluster, job, planned, progress)
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
    save(area, run_id, "records", {"tasks": records, "seconds": seconds, "workers": workers, "screened": screened})
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
        levels=str(levels_path(area)),
        device=device,
        threads=area.runtime.compute.torch_threads,
    )


def with_parameters(job: Job, learnt: Mapping[str, Any]) -> Job:
    """The job with what was learnt about the area."""
    restoration = {**job.restoration, "bias": learnt["restoration"], "shifts": applied(learnt["registration"])}
    return replace(job, parameters=learnt["method"], restoration=restoration, levels=job.levels if learnt["rescue"]["pixels"] else "")


def _estimate(area: Area, cluster: Any, job: Any, planned: Plan, progress: Progress) -> dict[str, Any]:
    """Learn the parameters of the area on a worker and keep them, with the window they were learnt from."""
    from pipeline.compute.coarse import learn

    reach = reach_of(area)
    days = [day_number(scene.day) for scene in planned.scenes if scene.role == "fine"] or [day_number(planned.first)]
    first = max(min(days), day_number(planned.first) - reach.before)
    last = max(first, min(max(days), day_number(planned.last) + reach.after))
    shifting = area.science.normalise.coregistration
    footprints = {name: area.products[name].footprint for name in coarse_products(area)} if shifting else {}
    windows, wide = sample_windows(area), wide_windows(area)
    progress("estimate", 0, 1)
    rescue = _rescue(area, cluster, job, first, last) if area.science.mask.rescue else {"pixels": 0}
    job = replace(job, levels=job.levels if rescue["pixels"] else "")
    for _, learnt in cluster.map(learn, [(job, windows, first, last, wide, footprints)]):
        if isinstance(learnt, Exception):
            raise LandfuseError(f"the parameters of area {area.name!r} could not be estimated: {learnt!r}") from learnt
    progress("estimate", 1, 1)
    document = {
        **learnt,
        "rescue": rescue,
        "recipe": recipe_of(area),
        "trained_from": day_from_number(first).isoformat(),
        "trained_to": day_from_number(last).isoformat(),
    }
    document["digest"] = f"{int(recipe_hash(document)):016x}"
    write_json(parameters_path(area), document)
    return document


def _rescue(area: Area, cluster: Any, job: Job, first: int, last: int) -> dict[str, Any]:
    """Find the bright surfaces that the cloud mask takes for clouds: how many pixels, and where their levels are kept."""
    from pipeline.compute.rescue import create_levels, find_levels

    create_levels(job.levels, area.grid, area.science.block)
    pixels, digests = 0, {}
    calls = [(job, block, first, last) for block in area.grid.blocks(area.science.block)]
    for position, found in cluster.map(find_levels, calls):
        if isinstance(found, Exception):
            raise LandfuseError(f"bright surfaces of area {area.name!r} could not be looked for: {found!r}") from found
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


def _restore(area: Area, cluster: Any, job: Any, planned: Plan, learnt: str, progress: Progress) -> None:
    """Restore the coarse days that the stale days look at, where their inputs changed."""
    from pipeline.compute.coarse import restore_block
    from pipeline.observations.working import WorkingStore

    reach = reach_of(area)
    numbers = np.array([day_number(day.day) for day in planned.to_make])
    wanted = np.unique((numbers[:, None] + np.arange(-reach.fine_before, reach.fine_after + 1)).ravel())
    coarse = [as_input(area, scene) for scene in planned.scenes if scene.role == "coarse" and scene.id not in planned.failed]
    whole = [area.grid.window]
    own = Reach(0, 0, reach.window, 0)
    recipe = recipe_hash({"restoration": area.science.restoration.model_dump(), "parameters": learnt, "algorithm": ALGORITHM})
    digests = day_digests(wanted, whole, coarse, own, recipe)[:, 0]
    store = WorkingStore.open(observations_path(area))
    known = np.asarray(store.restored_digest[:])
    stale = wanted[known[wanted] != digests]
    blocks = list(area.grid.blocks(area.science.block))
    if not len(stale):
        return
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
