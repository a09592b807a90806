"""Plan: search the catalogs and compare what could be made with what is published. Imports neither torch nor Dask nor Prefect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.catalog.scene import Scene
from pipeline.catalog.search import Search, find_scenes
from pipeline.config import Area, SourcePart
from pipeline.errors import CatalogError, ConfigurationError, StoreError
from pipeline.fusion.registry import spec_of
from pipeline.grid import day_number, days_between
from pipeline.observations.location import observations_path
from pipeline.planning import MAKE, DayPlan, plan_days, summary
from pipeline.steps.recipe import as_input, current_recipe, earlier_recipes, reach_of, recipe_with, used_sources
from pipeline.steps.runs import Progress, load, new_run_id, save, silent


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
        If the days lie outside the area's range, or the method needs a coarse source and there is none.
    CatalogError
        If a catalog does not answer, or none of them knows a scene.
    """
    method = area.science.method.name
    if not area.science.coarse and "coarse" in spec_of(method).needs:
        raise ConfigurationError(
            f"method {method!r} needs a coarse source; the area has none", "name one in science.coarse, or another method"
        )
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
    found = search(area, first - timedelta(days=reach.coarse_before), last + timedelta(days=reach.coarse_after))
    progress("search", 1, 1)
    scenes = tuple(scene for scene in found.scenes if not (scene.role == "fine" and scene.day in area.science.withhold))
    if not scenes:
        raise CatalogError(
            f"no scene of {', '.join(s.collection for s in (*area.science.fine, *area.science.coarse))} lies over area {area.name!r} "
            f"from {first} to {last}; {len(found.skipped)} items could not be used" + "".join(f"\n  {pair}" for pair in found.skipped[:1]),
            "check science.grid.bounds, the collections and the catalogs with: landfuse catalog search",
        )
    return compare(area, (first, last), as_of, scenes, found.skipped)


def compare(
    area: Area,
    span: tuple[date, date],
    as_of: date,
    scenes: tuple[Scene, ...],
    skipped: tuple[tuple[str, str], ...],
    tried: Collection[str] = (),
    learnt: str | None = None,
) -> Plan:
    """The plan of the days of a span from scenes that were found, and from what is read and published already.

    Parameters
    ----------
    tried : collection of str
        Ids of scenes that this run has tried to read: those that could not be read are left out of it,
        those that could explain why a day is stale.
    learnt : str, optional
        Digest of the parameters; of the pinned ones when left out.
    """
    states = _row_states(area)
    unread, failed = [], {}
    for scene in scenes:
        state, attempts, error = states.get(scene.identity, ("unread", 0, ""))
        if state == "failed" and (attempts >= area.runtime.attempts or scene.id in tried):
            failed[scene.id] = error
        elif state != "complete":
            unread.append(scene.id)
    days = days_between(*span)
    planned = plan_days(
        days,
        area.grid,
        area.science.block,
        [as_input(area, scene) for scene in scenes if scene.id not in failed],
        {*unread, *tried},
        reach_of(area),
        recipe_with(area, learnt) if learnt else current_recipe(area),
        _published(area, days),
        as_of,
        earlier_recipes(area),
    )
    return Plan(*span, as_of, tuple(planned), scenes, tuple(unread), failed, skipped)


def search(area: Area, first: date, last: date, sources: Sequence[SourcePart] = ()) -> Search:
    """The scenes of some sources of the area, or of all that are used, whose support touches the days."""
    science = area.science
    sources = sources or used_sources(area)
    return find_scenes(sources, area.runtime.catalogs, area.products, area.grid, first, last, bands=science.bands)


def _row_states(area: Area) -> dict[str, tuple[str, int, str]]:
    """Identity → (state, attempts, error) of every scene the working store knows."""
    from pipeline.observations.scenes_table import read_table

    return {row.scene.identity: (row.state, row.attempts, row.error) for row in read_table(observations_path(area))}


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


def start_run(area: Area, made: Plan) -> str:
    """Give a plan a run id and a folder."""
    run_id = new_run_id()
    save(area, run_id, "plan", made.to_dict())
    return run_id


def load_plan(area: Area, run_id: str) -> Plan:
    """The plan of a run."""
    return Plan.from_dict(load(area, run_id, "plan"))
