"""The steps of a run as plain functions: plan → ingest → make (estimate, restore, fuse) → validate → publish → describe.

They run without Prefect; the flows only schedule, retry and report them. What one step
leaves for the next lies in the run's folder as small JSON files, so a step can be
repeated and a run can be read afterwards. This room sees the whole area file.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.catalog.scene import Scene
from pipeline.catalog.search import product_of
from pipeline.config import Area
from pipeline.errors import CatalogError, ConfigurationError, LandfuseError, RejectedError, StoreError
from pipeline.fusion.registry import options_of
from pipeline.grid import Window, day_from_number, day_number, days_between, halo_cells
from pipeline.operators.reach import BLEND_HALO
from pipeline.planning import MAKE, DayPlan, Input, Reach, day_digests, inputs_of, maturities, plan_days, recipe_hash, summary
from pipeline.vocabulary import Maturity, Outcome, Provenance

ALGORITHM = 1
"""Raised when a change in the code changes pixels: days made before are then made again."""

SAMPLE_WINDOW = 256
SAMPLE_WINDOWS = 4
"""What is learnt about an area is learnt from so many windows of so many fine pixels, spread over it."""

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """A progress callback that says nothing."""


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    first, last, as_of : date
        The days asked for, and the day the plan is made for.
    days : tuple of DayPlan
    scenes : tuple of Scene
        Every scene the days may look at: newest processing of each acquisition, withheld days left out.
    unread : tuple of str
        Ids of the scenes that the working store does not hold yet.
    failed : mapping
        Scenes that cannot be read and are not tried again: id → error.
    skipped : tuple of (str, str)
        Items of the catalogs that are no usable scene, and why.
    """

    first: date
    last: date
    as_of: date
    days: tuple[DayPlan, ...]
    scenes: tuple[Scene, ...]
    unread: tuple[str, ...]
    failed: dict[str, str]
    skipped: tuple[tuple[str, str], ...]

    @property
    def to_make(self) -> list[DayPlan]:
        return [day for day in self.days if day.status == MAKE]

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "as_of": self.as_of.isoformat(),
            "summary": summary(self.days),
            "days": [day.to_dict() for day in self.days],
            "scenes": [scene.to_dict() for scene in self.scenes],
            "unread": list(self.unread),
            "failed": self.failed,
            "skipped": [list(pair) for pair in self.skipped],
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Plan:
        return cls(
            first=date.fromisoformat(record["first"]),
            last=date.fromisoformat(record["last"]),
            as_of=date.fromisoformat(record["as_of"]),
            days=tuple(DayPlan.from_dict(day) for day in record["days"]),
            scenes=tuple(Scene.from_dict(scene) for scene in record["scenes"]),
            unread=tuple(record["unread"]),
            failed=dict(record["failed"]),
            skipped=tuple((pair[0], pair[1]) for pair in record["skipped"]),
        )


@dataclass(frozen=True)
class Report:
    """What became of a run."""

    run_id: str
    outcome: Outcome
    days: tuple[tuple[date, Outcome, str], ...]
    seconds: dict[str, float]
    counts: dict[str, int]
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outcome": str(self.outcome),
            "days": [{"day": day.isoformat(), "outcome": str(outcome), "reason": reason} for day, outcome, reason in self.days],
        }


# ---------------------------------------------------------------------------------------------------------------- plan


def reach_of(area: Area) -> Reach:
    """How far a day of the area looks in time and space."""
    options = options_of(area.science.method.name, area.science.method.options)
    before, after = options.support()
    grid = area.grid
    cells = halo_cells(max(options.halo(), BLEND_HALO), grid.resolution, grid.scale)
    return Reach(before, after, area.science.restoration.window, cells * grid.scale)


def recipe_of(area: Area) -> dict[str, Any]:
    """Everything but scenes and parameters that changes a pixel of the area."""
    science = area.science
    used = {product_of(source, area.products) for source in (*science.fine, *science.coarse)}
    return {
        "algorithm": ALGORITHM,
        "grid": asdict(area.grid),
        "bands": list(science.bands),
        "products": {name: area.products[name].model_dump(mode="json") for name in sorted(used)},
        "mask": science.mask.model_dump(mode="json"),
        "restoration": science.restoration.model_dump(mode="json"),
        "method": science.method.name,
        "options": options_of(science.method.name, science.method.options).model_dump(mode="json"),
    }


def default_days(area: Area, as_of: date) -> tuple[date, date]:
    """From the start of the area to its end, or to the day before `as_of`."""
    last = as_of - timedelta(days=1)
    return area.science.start, min(last, area.science.end) if area.science.end else last


def plan(area: Area, first: date | None = None, last: date | None = None, as_of: date | None = None, progress: Progress = silent) -> Plan:
    """Search the catalogs and compare what could be made with what is published.

    Starts neither Prefect nor Dask nor torch, and opens no scene.

    Raises
    ------
    ConfigurationError
        If the days lie outside the area's range.
    CatalogError
        If a catalog does not answer, or none of them knows a scene.
    """
    as_of = as_of or datetime.now(UTC).date()
    start, end = default_days(area, as_of)
    first, last = first or start, last or end
    if first < start or last > end or first > last:
        raise ConfigurationError(
            f"days {first}..{last} do not lie in the area's range {start}..{end}",
            "give days of that range, or change science.start or science.end",
        )
    reach = reach_of(area)
    progress("search", 0, 1)
    found = _search(area, first - timedelta(days=reach.coarse_before), last + timedelta(days=reach.coarse_after))
    progress("search", 1, 1)
    scenes = tuple(scene for scene in found.scenes if not (scene.role == "fine" and scene.day in area.science.withhold))
    if not scenes:
        raise CatalogError(
            f"no scene of {', '.join(s.collection for s in (*area.science.fine, *area.science.coarse))} lies over area {area.name!r} "
            f"from {first} to {last}; {len(found.skipped)} items could not be used" + "".join(f"\n  {pair}" for pair in found.skipped[:1]),
            "check science.grid.bounds, the collections and the catalogs with: landfuse catalog search",
        )
    states = _row_states(area)
    done = {identity for identity, (state, *_) in states.items() if state == "complete"}
    failed = {
        scene.id: states[scene.identity][2]
        for scene in scenes
        if scene.identity in states and states[scene.identity][0] == "failed" and states[scene.identity][1] >= area.runtime.attempts
    }
    unread = tuple(scene.id for scene in scenes if scene.identity not in done and scene.id not in failed)
    usable = [scene for scene in scenes if scene.id not in failed]
    asked = days_between(first, last)
    days = plan_days(
        asked,
        area.grid,
        area.science.block,
        [_input(area, scene) for scene in usable],
        unread,
        reach,
        _recipe_hash(area),
        _published(area, asked),
        as_of,
    )
    return Plan(first, last, as_of, tuple(days), scenes, unread, failed, tuple(found.skipped))


def _search(area: Area, first: date, last: date) -> Any:
    from pipeline.catalog.search import find_scenes

    science = area.science
    return find_scenes((*science.fine, *science.coarse), area.runtime.catalogs, area.products, area.grid, first, last)


def _row_states(area: Area) -> dict[str, tuple[str, int, str]]:
    """Identity → (state, attempts, error) of every scene the working store knows."""
    from pipeline.observations.scenes_table import read_table

    return {row.scene.identity: (row.state, row.attempts, row.error) for row in read_table(observations_path(area))}


def _input(area: Area, scene: Scene) -> Input:
    return Input(scene.id, scene.identity, scene.role, day_number(scene.day) + round(scene.centre), scene_window(area, scene))


def scene_window(area: Area, scene: Scene) -> Window:
    """The fine pixels of the area inside the outline of a scene."""
    return area.grid.window_of(area.grid.project_bounds(scene.raster_bounds, scene.crs))


def _recipe_hash(area: Area) -> np.uint64:
    learnt = read_parameters(area)
    return recipe_hash({"recipe": recipe_of(area), "parameters": learnt["digest"] if learnt else None})


def _published(area: Area, days: Sequence[date]) -> tuple[np.ndarray, np.ndarray]:
    """Digest and maturity of the days as published, zero where nothing is."""
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    shape = area.grid.block_shape(area.science.block)
    if state.start is None:
        return np.zeros((len(days), *shape), np.uint64), np.zeros((len(days), *shape), np.uint8)
    if state.digest.shape[1:] != shape or state.start != area.science.start:
        raise StoreError(
            f"{area.cube_path} starts on {state.start} with {state.digest.shape[1:]} blocks; "
            f"the area file says {area.science.start} and {shape}",
            "start, grid and block are fixed when a cube is made: give the changed area another runtime.root",
        )
    cells = [state.at(day_number(day)) for day in days]
    return np.stack([digest for digest, _ in cells]), np.stack([maturity for _, maturity in cells])


# ----------------------------------------------------------------------------------------------------------- run folder


def observations_path(area: Area) -> Path:
    """The working store of everything that decides what is read and how it is masked; another recipe gets another store."""
    recipe = {"block": area.science.block} | {key: recipe_of(area)[key] for key in ("grid", "bands", "products", "mask")}
    return area.runtime.root / "work" / f"observations-{int(recipe_hash(recipe)):016x}.zarr"


def parameters_path(area: Area) -> Path:
    """The parameters learnt for the recipe of the area. Immutable: another recipe gets another file."""
    return area.runtime.root / "work" / f"parameters-{int(recipe_hash(recipe_of(area))):016x}.json"


def read_parameters(area: Area) -> dict[str, Any] | None:
    """The parameters of the area, or None before they were estimated."""
    path = parameters_path(area)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def run_folder(area: Area, run_id: str) -> Path:
    """Where the steps of a run leave what the next step needs."""
    return area.runtime.root / "runs" / run_id


def start_run(area: Area, made: Plan) -> str:
    """Give a plan a run id and a folder."""
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(2).hex()}"
    _save(area, run_id, "plan", made.to_dict())
    return run_id


def load_plan(area: Area, run_id: str) -> Plan:
    """The plan of a run."""
    return Plan.from_dict(_load(area, run_id, "plan"))


def _save(area: Area, run_id: str, name: str, document: Any) -> None:
    write_json(run_folder(area, run_id) / f"{name}.json", document)


def _load(area: Area, run_id: str, name: str) -> Any:
    return json.loads((run_folder(area, run_id) / f"{name}.json").read_text(encoding="utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write a small document so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(temporary, path)


# -------------------------------------------------------------------------------------------------------------- ingest


def ingest(area: Area, run_id: str, progress: Progress = silent) -> dict[str, int]:
    """Read the scenes that the working store does not hold yet, then plan again with what was really read.

    Returns
    -------
    dict
        Scenes ``read`` and ``failed`` in this step.
    """
    from pipeline.observations.ingest import ingest as read_scenes
    from pipeline.observations.working import WorkingStore

    made = load_plan(area, run_id)
    path = observations_path(area)
    store = (
        WorkingStore.open(path)
        if path.exists()
        else WorkingStore.create(path, area.grid, area.science.bands, coarse_products(area), area.science.block)
    )
    wanted = [scene for scene in made.scenes if scene.id in set(made.unread)]
    records = read_scenes(
        wanted,
        store,
        area.grid,
        area.science.bands,
        area.products,
        area.science.mask,
        area.runtime.catalogs,
        area.runtime.read_threads,
        progress,
    )
    store.select({scene.identity for scene in made.scenes})
    _save(area, run_id, "plan", plan(area, made.first, made.last, made.as_of).to_dict())
    failed = sum(record.state == "failed" for record in records)
    return {"read": len(records) - failed, "failed": failed}


def coarse_products(area: Area) -> list[str]:
    """Names of the products of the coarse sources, each once."""
    return list(dict.fromkeys(product_of(source, area.products) for source in area.science.coarse))


# ---------------------------------------------------------------------------------------------------------------- make


def make(area: Area, run_id: str, progress: Progress = silent) -> dict[str, Any]:
    """Estimate what is not known yet, restore the coarse series, and fuse every stale block into staging.

    One Dask cluster lives for this step. A block that fails is recorded and leaves the
    other blocks alone.

    Returns
    -------
    dict
        ``days`` made, ``tasks`` run, ``failed`` tasks, and ``workers``.
    """
    from pipeline.compute.cluster import open_cluster
    from pipeline.compute.job import Job
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
        job = Job(
            observations=str(observations_path(area)),
            staging=str(staging),
            grid=area.grid,
            bands=science.bands,
            method=science.method.name,
            options=science.method.options,
            restoration=science.restoration.model_dump(),
            device=cluster.device,
            threads=compute.torch_threads,
        )
        with _timed(seconds, "estimate"):
            learnt = read_parameters(area) or _estimate(area, cluster, job, planned, progress)
        job = replace(job, parameters=learnt["method"], restoration={**job.restoration, "bias": learnt["restoration"]})
        with _timed(seconds, "restore"):
            _restore(area, cluster, job, planned, learnt["digest"], progress)
        with _timed(seconds, "fuse"):
            records = _fuse(area, cluster, job, todo, progress)
        workers = cluster.workers
    for record in records:
        for part, spent in record["seconds"].items():
            seconds[f"fuse.{part}"] = seconds.get(f"fuse.{part}", 0.0) + spent
    _save(area, run_id, "records", {"tasks": records, "seconds": seconds, "workers": workers})
    failed = sum(bool(record["error"]) for record in records)
    return {"days": len(todo), "tasks": len(records), "failed": failed, "workers": workers}


def _estimate(area: Area, cluster: Any, job: Any, planned: Plan, progress: Progress) -> dict[str, Any]:
    """Learn the parameters of the area on a worker and keep them, with the window they were learnt from."""
    from pipeline.compute.coarse import learn

    reach = reach_of(area)
    days = [day_number(scene.day) for scene in planned.scenes if scene.role == "fine"] or [day_number(planned.first)]
    first = max(min(days), day_number(planned.first) - reach.before)
    last = max(first, min(max(days), day_number(planned.last) + reach.after))
    windows = sample_windows(area)
    progress("estimate", 0, 1)
    for _, learnt in cluster.map(learn, [(job, windows, first, last)]):
        if isinstance(learnt, Exception):
            raise LandfuseError(f"the parameters of area {area.name!r} could not be estimated: {learnt!r}") from learnt
    progress("estimate", 1, 1)
    document = {
        **learnt,
        "recipe": recipe_of(area),
        "trained_from": day_from_number(first).isoformat(),
        "trained_to": day_from_number(last).isoformat(),
    }
    document["digest"] = f"{int(recipe_hash(document)):016x}"
    write_json(parameters_path(area), document)
    return document


def sample_windows(area: Area) -> list[Window]:
    """Windows on whole coarse cells, spread evenly over the area along its diagonals."""
    grid = area.grid
    edge = min(SAMPLE_WINDOW // grid.scale, *grid.coarse_shape)
    rows, cols = grid.coarse_shape
    places = ((0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))[:SAMPLE_WINDOWS]
    found = {(round(down * (rows - edge)), round(right * (cols - edge))) for down, right in places}
    return [Window(row, col, edge, edge).fine(grid.scale) for row, col in sorted(found)]


def _restore(area: Area, cluster: Any, job: Any, planned: Plan, learnt: str, progress: Progress) -> None:
    """Restore the coarse days that the stale days look at, where their inputs changed."""
    from pipeline.compute.coarse import restore_block
    from pipeline.observations.working import WorkingStore

    reach = reach_of(area)
    numbers = np.array([day_number(day.day) for day in planned.to_make])
    wanted = np.unique((numbers[:, None] + np.arange(-reach.before, reach.after + 1)).ravel())
    coarse = [_input(area, scene) for scene in planned.scenes if scene.role == "coarse" and scene.id not in planned.failed]
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


def block_tasks(area: Area, todo: Sequence[DayPlan]) -> list[Any]:
    """One task per block and at most ``runtime.compute.days_per_task`` of its days."""
    from pipeline.compute.job import Task

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
    }


class _timed:
    """Adds the seconds of a ``with`` block to a mapping."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + time.perf_counter() - self.started


# ------------------------------------------------------------------------------------------------- validate and publish


def validate(area: Area, run_id: str, progress: Progress = silent) -> list[dict[str, Any]]:
    """Check the staged days.

    Raises
    ------
    RejectedError
        If a check that matters failed; nothing is published then, and the staging stays to be looked at.
    """
    from pipeline.store.validation import validate_staging

    progress("validate", 0, 1)
    checks = [asdict(check) for check in validate_staging(staging_path(area, run_id), area.cube_path, entry_cells(area, run_id))]
    progress("validate", 1, 1)
    _save(area, run_id, "checks", checks)
    broken = [check for check in checks if not check["passed"] and check["severity"] == "error"]
    if broken:
        raise RejectedError(
            f"run {run_id} of area {area.name!r} was rejected: " + "; ".join(f"{check['name']}: {check['message']}" for check in broken),
            f"look at {staging_path(area, run_id)}; nothing was published",
        )
    return checks


def staging_path(area: Area, run_id: str) -> Path:
    """The staging of a run."""
    from pipeline.store.layout import staging_folder

    return staging_folder(area.cube_path, run_id) / area.cube_path.name


def entry_cells(area: Area, run_id: str) -> list[tuple[int, int, int]]:
    """(day number, block row, block column) of everything the run made."""
    records = _load(area, run_id, "records")["tasks"]
    return sorted((day, *record["block"]) for record in records if not record["error"] for day in record["days"])


def publish(area: Area, run_id: str, progress: Progress = silent) -> dict[str, Any]:
    """Publish what was made, under the lock, with its manifest and STAC documents.

    Returns
    -------
    dict
        ``published`` and ``dropped`` block-days, ``length`` of the time axis, ``generation``.
    """
    from pipeline.products.stac import stac_objects
    from pipeline.store.manifest import Manifest
    from pipeline.store.publish import Entry, Publisher

    planned = load_plan(area, run_id)
    cells = entry_cells(area, run_id)
    numbers = sorted({day for day, _, _ in cells})
    digests, ripeness = _marks(area, planned, numbers)
    rank = {number: index for index, number in enumerate(numbers)}
    entries = [
        Entry(day, row, col, int(digests[rank[day], row, col]), Maturity(int(ripeness[rank[day], row, col]))) for day, row, col in cells
    ]
    progress("publish", 0, 1)
    publisher = Publisher(area.cube_path)
    publisher.recover()
    kept, _ = publisher.accepted(entries)
    facts, new, every = _day_facts(area, run_id, kept)
    outcomes = day_outcomes(area, run_id)
    used = inputs_of(np.array(numbers), [area.grid.window], [_input(area, scene) for scene in planned.scenes], reach_of(area)).any(0)
    manifest = Manifest(
        run=run_id,
        area=area.name,
        science_digest=area.science_digest,
        parameters_digest=(read_parameters(area) or {"digest": ""})["digest"],
        inputs=[
            {"id": scene.id, "collection": scene.collection, "stamp": scene.stamp, "error": planned.failed.get(scene.id)}
            for scene, looked_at in zip(planned.scenes, used, strict=True)
            if looked_at
        ],
        days={day.isoformat(): str(outcome) for day, outcome, _ in outcomes},
        started=_started(run_id),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        timings=_load(area, run_id, "records")["seconds"],
        checks=_load(area, run_id, "checks"),
        notes={"skipped": [list(pair) for pair in planned.skipped], "as_of": planned.as_of.isoformat()},
    )
    result = publisher.publish(
        staging_path(area, run_id),
        entries,
        stac_objects(facts, new, every) if kept else [],
        manifest.to_dict(),
        method=area.science.method.name,
    )
    progress("publish", 1, 1)
    summary_ = {
        "published": len(result.published),
        "dropped": len(result.dropped),
        "length": result.length,
        "generation": result.generation,
    }
    _save(area, run_id, "published", summary_)
    return summary_


def _marks(area: Area, planned: Plan, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Digest and maturity of days × block rows × block columns, from the scenes that were really read."""
    windows = [block.window for block in area.grid.blocks(area.science.block)]
    inputs = [_input(area, scene) for scene in planned.scenes if scene.id not in planned.failed and scene.id not in planned.unread]
    days, reach, shape = np.array(numbers), reach_of(area), area.grid.block_shape(area.science.block)
    digests = day_digests(days, windows, inputs, reach, _recipe_hash(area))
    ripeness = maturities(days, windows, inputs, reach, planned.as_of)
    return digests.reshape(-1, *shape), ripeness.reshape(-1, *shape)


def _day_facts(area: Area, run_id: str, kept: Sequence[Any]) -> tuple[Any, list[Any], list[date]]:
    """What STAC documents need: facts of the cube, of every day that is published now, and all days once it is."""
    from pipeline.products.stac import CubeFacts, DayFacts
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    shares = _shares(area, run_id, kept)
    by_day: dict[int, list[Any]] = defaultdict(list)
    for entry in kept:
        by_day[entry.day].append(entry)
    outcomes = {day_number(day): outcome for day, outcome, _ in day_outcomes(area, run_id)}
    now = datetime.now(UTC)
    new = []
    for number, entries in sorted(by_day.items()):
        _, maturity = state.at(number)
        levels = maturity.copy() if maturity.size else np.zeros(area.grid.block_shape(area.science.block), np.uint8)
        for entry in entries:
            levels[entry.row, entry.col] = entry.maturity
        new.append(
            DayFacts(
                day=day_from_number(number),
                maturity=Maturity(int(levels[levels > 0].min())),
                method=area.science.method.name,
                outcome=outcomes[number],
                generation=state.generation + 2,
                shares=shares[number],
                run_id=run_id,
                input_digest=f"{int(np.bitwise_xor.reduce([np.uint64(entry.digest) for entry in entries])):016x}",
                updated=now,
                quicklook=area.runtime.quicklooks,
            )
        )
    facts = CubeFacts(
        area=area.name,
        title=area.title or f"Daily seamless images of {area.name}",
        grid=area.grid,
        bands=area.science.bands,
        description=f"One image for every day, by method {area.science.method.name} of landfuse {__version__}.",
        software={"landfuse": __version__},
    )
    return facts, new, sorted({*published_days(area), *(day.day for day in new)})


def _shares(area: Area, run_id: str, kept: Sequence[Any]) -> dict[int, dict[Provenance, float]]:
    """Share of the area's pixels per provenance: of the blocks made now from their records, of the others from the cube."""
    counts: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(len(Provenance), np.int64))
    fresh = {(entry.day, entry.row, entry.col) for entry in kept}
    for record in _load(area, run_id, "records")["tasks"]:
        for count in record["counts"]:
            if (count["day"], *record["block"]) in fresh:
                counts[count["day"]] += np.array(count["provenance"])
    total = area.grid.height * area.grid.width
    for number, made in counts.items():
        if made.sum() < total:
            made += _published_counts(area, number, {(row, col) for day, row, col in fresh if day == number})
    return {number: {kind: float(made[kind] / total) for kind in Provenance} for number, made in counts.items()}


def _published_counts(area: Area, number: int, without: set[tuple[int, int]]) -> np.ndarray:
    """Pixels per provenance of the blocks of a published day, some left out."""
    import zarr

    counts = np.zeros(len(Provenance), np.int64)
    layer = zarr.open_array(area.cube_path / "provenance", mode="r")
    slot = number - day_number(area.science.start)
    for block in area.grid.blocks(area.science.block):
        if (block.row, block.col) in without:
            continue
        if slot < layer.shape[0]:
            counts += np.bincount(np.asarray(layer[(slot, *block.window.slices)]).ravel(), minlength=len(Provenance))
        else:
            counts[Provenance.MISSING] += block.window.height * block.window.width
    return counts


def published_days(area: Area) -> list[date]:
    """Every day of which the cube holds at least one block."""
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    if state.start is None:
        return []
    return [state.start + timedelta(days=int(slot)) for slot in np.flatnonzero((state.maturity > 0).any((1, 2)))]


# ------------------------------------------------------------------------------------------------- describe and report


def describe(area: Area, run_id: str, progress: Progress = silent) -> str:
    """Quick-looks, a contact sheet and the report of a run.

    Returns
    -------
    str
        The report in Markdown.
    """
    made = [day for day, outcome, _ in day_outcomes(area, run_id) if outcome in (Outcome.PUBLISHED, Outcome.DEGRADED)]
    if made and area.runtime.quicklooks:
        _draw(area, run_id, made, progress)
    report = load_report(area, run_id)
    _save(area, run_id, "report", report.to_dict())
    markdown = report_markdown(area, report)
    (run_folder(area, run_id) / "report.md").write_text(markdown, encoding="utf-8")
    return markdown


def _draw(area: Area, run_id: str, days: Sequence[date], progress: Progress) -> None:
    from pipeline.products.contact_sheet import contact_sheet_png
    from pipeline.products.picture import read_picture
    from pipeline.products.quicklook import draw_quicklook
    from pipeline.products.stac import Layout

    folder = area.runtime.root / Layout().quicklooks
    folder.mkdir(parents=True, exist_ok=True)
    small = []
    for done, day in enumerate(days, start=1):
        picture = read_picture(area.cube_path, (day - area.science.start).days)
        (folder / f"{day.isoformat()}.png").write_bytes(draw_quicklook(picture, title=area.name))
        small.append(picture)
        progress("describe", done, len(days))
    sheet = contact_sheet_png(small, area.title or area.name, f"run {run_id} · {days[0]} to {days[-1]}")
    (run_folder(area, run_id) / "contact-sheet.png").write_bytes(sheet)
    (area.runtime.root / "contact-sheet.png").write_bytes(sheet)


def day_outcomes(area: Area, run_id: str) -> list[tuple[date, Outcome, str]]:
    """(day, outcome, reason) of every day that was asked for."""
    planned = load_plan(area, run_id)
    records = _load(area, run_id, "records")["tasks"] if (run_folder(area, run_id) / "records.json").exists() else []
    broken: dict[int, str] = {}
    good: set[int] = set()
    for record in records:
        for day in record["days"]:
            if record["error"]:
                broken[day] = record["error"]
            else:
                good.add(day)
    reasons = {day.day: day for day in planned.days}
    result = []
    for day, plan_ in reasons.items():
        number = day_number(day)
        if number in broken:
            result.append((day, Outcome.DEGRADED if number in good else Outcome.FAILED, broken[number]))
        elif plan_.status == MAKE:
            result.append((day, Outcome.PUBLISHED if number in good else Outcome.FAILED, plan_.reason if number in good else "not made"))
        else:
            result.append((day, Outcome(plan_.status), plan_.reason))
    return result


_WORST_FIRST = (
    Outcome.FAILED,
    Outcome.REJECTED,
    Outcome.DEGRADED,
    Outcome.PUBLISHED,
    Outcome.DEFERRED,
    Outcome.UNCHANGED,
    Outcome.EXPECTED_EMPTY,
)


def load_report(area: Area, run_id: str) -> Report:
    """What became of a run, from what its steps left."""
    days = day_outcomes(area, run_id)
    records = _load(area, run_id, "records") if (run_folder(area, run_id) / "records.json").exists() else {"seconds": {}, "tasks": []}
    checked = sum(count["checked"] for record in records["tasks"] for count in record["counts"])
    squared = sum(count["squared_error"] for record in records["tasks"] for count in record["counts"])
    message = f"prediction against {checked} clear values it was not shown: RMSE {np.sqrt(squared / checked):.4f}" if checked else ""
    failed = load_plan(area, run_id).failed
    if failed:
        message += ("; " if message else "") + f"{len(failed)} scenes could not be read: {', '.join(list(failed)[:3])}"
    return Report(run_id, _overall(days), tuple(days), records["seconds"], _counts(days), message)


def nothing_to_make(made: Plan) -> Report:
    """The report of a plan in which nothing is stale."""
    days = [(day.day, Outcome(day.status), day.reason) for day in made.days]
    return Report("", _overall(days), tuple(days), {}, _counts(days))


def _overall(days: Sequence[tuple[date, Outcome, str]]) -> Outcome:
    present = {outcome for _, outcome, _ in days}
    return next((outcome for outcome in _WORST_FIRST if outcome in present), Outcome.UNCHANGED)


def _counts(days: Iterable[tuple[date, Outcome, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, outcome, _ in days:
        counts[str(outcome)] = counts.get(str(outcome), 0) + 1
    return counts


def report_markdown(area: Area, report: Report) -> str:
    """The report of a run for people: an artifact, or a file."""
    lines = [
        f"# {area.name}: {report.outcome}",
        "",
        f"run `{report.run_id}` · method `{area.science.method.name}` · cube `{area.cube_path}`",
        "",
        report.message,
        "",
        "| day | outcome | why |",
        "|---|---|---|",
        *(f"| {day} | {outcome} | {reason} |" for day, outcome, reason in report.days),
        "",
        "| part | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in report.seconds.items()),
    ]
    return "\n".join(lines) + "\n"


def status(area: Area) -> dict[str, Any]:
    """What is published, without searching a catalog."""
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    days = published_days(area)
    levels = [Maturity(int(level[level > 0].min())) for level in state.maturity if (level > 0).any()]
    runs = sorted(path.parent.name for path in (area.runtime.root / "runs").glob("*/plan.json"))
    return {
        "area": area.name,
        "cube": str(area.cube_path),
        "published": len(days),
        "first": days[0].isoformat() if days else None,
        "last": days[-1].isoformat() if days else None,
        "missing": [day.isoformat() for day in days_between(days[0], days[-1]) if day not in set(days)] if days else [],
        "maturity": {level.name.lower(): levels.count(level) for level in Maturity if level in levels},
        "generation": state.generation,
        "last_run": runs[-1] if runs else None,
    }


def run(area: Area, run_id: str, progress: Progress = silent) -> Report:
    """All steps after the plan, one after the other, without Prefect."""
    ingest(area, run_id, progress)
    if make(area, run_id, progress)["days"]:
        validate(area, run_id, progress)
        publish(area, run_id, progress)
    describe(area, run_id, progress)
    return load_report(area, run_id)


def _started(run_id: str) -> str:
    return datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).isoformat()
