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
from pipeline.config import Area
from pipeline.errors import CatalogError, ConfigurationError, LandfuseError, StoreError
from pipeline.fusion.registry import options_of
from pipeline.grid import Block, Window, day_from_number, day_number, days_between, halo_cells
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
    used = {source.product or source.collection for source in (*science.fine, *science.coarse)}
    return {
        "algorithm": ALGORITHM,
        "grid": asdict(area.grid),
        "bands": list(science.bands),
        "products": {name: area.products[name].model_dump(mode="json") for name in sorted(used) if name in area.products},
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
            f"from {first} to {last}" + (f"; {len(found.skipped)} items could not be used, the first: {found.skipped[0]}" if found.skipped else ""),
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

    rows, cols = area.grid.block_shape(area.science.block)
    digests = np.zeros((len(days), rows, cols), np.uint64)
    maturity = np.zeros((len(days), rows, cols), np.uint8)
    state = read_state(area.cube_path)
    if state is None:
        return digests, maturity
    if state.digest.shape[1:] != (rows, cols) or state.start != area.science.start:
        raise StoreError(
            f"{area.cube_path} starts on {state.start} with {state.digest.shape[1:]} blocks; the area file says {area.science.start} and {(rows, cols)}",
            "start, grid and block are fixed when a cube is made: give the changed area another runtime.root",
        )
    for index, day in enumerate(days):
        slot = (day - area.science.start).days
        if slot < len(state.digest):
            digests[index], maturity[index] = state.digest[slot], state.maturity[slot]
    return digests, maturity


# ----------------------------------------------------------------------------------------------------------- run folder


def observations_path(area: Area) -> Path:
    """The working store of everything that decides what is read and how it is masked; another recipe gets another store."""
    recipe = {key: recipe_of(area)[key] for key in ("grid", "bands", "products", "mask")}
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
        else WorkingStore.create(path, area.grid, area.science.bands, _coarse_products(area), area.science.block)
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
    keep = {scene.identity for scene in made.scenes}
    store.select(keep, made.first, made.last)
    _save(area, run_id, "plan", plan(area, made.first, made.last, made.as_of).to_dict())
    failed = sum(record.state == "failed" for record in records)
    return {"read": len(records) - failed, "failed": failed}


def _coarse_products(area: Area) -> list[str]:
    names = []
    for source in area.science.coarse:
        name = source.product or product_of(area, source.collection)
        if name not in names:
            names.append(name)
    return names


def product_of(area: Area, collection: str) -> str:
    """Name of the product that describes a collection."""
    for name, product in area.products.items():
        if collection == name or collection in product.collections:
            return name
    raise ConfigurationError(
        f"no product describes collection {collection!r}; known: {', '.join(area.products)}",
        "name one in the source (product: …) or declare your own in science.products",
    )
