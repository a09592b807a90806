"""Validate and publish: what was staged is checked, then made visible under the lock with manifest and STAC documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.config import Area
from pipeline.errors import RejectedError
from pipeline.grid import day_from_number, day_number
from pipeline.planning import day_digests, inputs_of, maturities
from pipeline.steps.plan import Plan, load_plan
from pipeline.steps.recipe import as_input, current_recipe, reach_of, read_parameters
from pipeline.steps.report import day_outcomes, published_days
from pipeline.steps.runs import Progress, load, save, silent, started
from pipeline.vocabulary import Maturity, Provenance


def validate(area: Area, run_id: str, progress: Progress = silent) -> list[dict[str, Any]]:
    """Check the staged days.

    Raises
    ------
    RejectedError
        If a check that matters failed; nothing is published then, and the staging stays to be looked at.
    """
    from pipeline.store.check import failures
    from pipeline.store.validation import validate_staging

    progress("validate", 0, 1)
    found = validate_staging(staging_path(area, run_id), area.cube_path)
    progress("validate", 1, 1)
    checks = [check.to_dict() for check in found]
    save(area, run_id, "checks", checks)
    if broken := failures(found):
        raise RejectedError(
            f"run {run_id} of area {area.name!r} was rejected: " + "; ".join(f"{check.name}: {check.message}" for check in broken),
            f"look at {staging_path(area, run_id)}; nothing was published",
        )
    return checks


def staging_path(area: Area, run_id: str) -> Path:
    """The staging of a run."""
    from pipeline.store.layout import staging_folder

    return staging_folder(area.cube_path, run_id) / area.cube_path.name


def entry_cells(area: Area, run_id: str) -> list[tuple[int, int, int]]:
    """(day number, block row, block column) of everything the run made."""
    records = load(area, run_id, "records")["tasks"]
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
    kept, _ = publisher.accepted(entries)
    facts, new, every = _day_facts(area, run_id, kept)
    outcomes = day_outcomes(area, run_id)
    inputs = [as_input(area, scene) for scene in planned.scenes]
    used = np.any(inputs_of(np.array(numbers), [area.grid.window], inputs, reach_of(area)), axis=0)
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
        started=started(run_id),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        timings=load(area, run_id, "records")["seconds"],
        checks=load(area, run_id, "checks"),
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
    save(area, run_id, "published", summary_)
    return summary_


def _marks(area: Area, planned: Plan, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Digest and maturity of days × block rows × block columns, from the scenes that were really read."""
    windows = [block.window for block in area.grid.blocks(area.science.block)]
    inputs = [as_input(area, scene) for scene in planned.scenes if scene.id not in planned.failed and scene.id not in planned.unread]
    days, reach, shape = np.array(numbers), reach_of(area), area.grid.block_shape(area.science.block)
    digests = day_digests(days, windows, inputs, reach, current_recipe(area))
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
    for record in load(area, run_id, "records")["tasks"]:
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
