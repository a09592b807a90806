"""The demonstration: a simulated region, a month published from it, and its score against the known truth."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.config import Area
from pipeline.errors import ConfigurationError
from pipeline.grid import Grid, days_between
from pipeline.observations.location import observations_path
from pipeline.steps import Progress, silent

if TYPE_CHECKING:
    from pipeline.steps.score import Score

FIRST = date(2023, 6, 1)
"""First published day; the archive around it is as long as the default method looks."""

SCORED = 6
"""About so many days are scored, spread over the published ones."""

ARCHIVE = 72
"""Days of simulated observations before and after the published month."""


def prepare(folder: Path, size: int, days: int, seed: int, workers: int, progress: Progress = silent) -> Path:
    """Simulate the region, unless it is there already, and write its area file.

    Returns
    -------
    Path
        The area file.

    Raises
    ------
    ConfigurationError
        If the folder holds a demo of other settings.
    """
    from pipeline.sandbox import SandboxSpec, write_sandbox

    folder = folder.resolve()
    last = FIRST + timedelta(days=days - 1)
    west, south = 15 + 240 * 2084, 15 + 240 * 20420
    bounds = (float(west), float(south), float(west + size * 30), float(south + size * 30))
    grid = Grid.from_bounds("EPSG:32633", bounds)
    spec = SandboxSpec(grid, FIRST - timedelta(days=ARCHIVE), last + timedelta(days=ARCHIVE), seed)
    area_file = folder / "area.yaml"
    document = _area_document(bounds, last, workers)
    if area_file.exists() and yaml.safe_load(area_file.read_text(encoding="utf-8"))["science"] != document["science"]:
        raise ConfigurationError(f"{folder} holds a demo of other settings", "give another folder, or remove this one")
    if not (folder / "sandbox" / "catalog.json").exists():
        shutil.rmtree(folder / "sandbox", ignore_errors=True)  # a simulation that was interrupted
        write_sandbox(folder / "sandbox", spec, progress)
    area_file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return area_file


def _area_document(bounds: tuple[float, float, float, float], last: date, workers: int) -> dict[str, object]:
    return {
        "version": 1,
        "name": "demo",
        "title": "Simulated region of landfuse",
        "science": {
            "grid": {"crs": "EPSG:32633", "bounds": list(bounds)},
            "start": FIRST.isoformat(),
            "end": last.isoformat(),
            "fine": [{"collection": "landsat-c2-l2"}],
            "coarse": [{"collection": "modis-43A4-061"}],
        },
        "runtime": {"catalogs": {"default": {"url": "sandbox/catalog.json"}}, "compute": {"workers": workers}},
    }


def score(area: Area, progress: Progress = silent) -> Score:
    """Score some published days against the truth of the simulated region."""
    from pipeline.assessment.truth import world_truth
    from pipeline.sandbox import load_world
    from pipeline.steps.score import score_truth

    truth = world_truth(load_world(area.runtime.root / "sandbox"), area.science.bands)
    return score_truth(area, truth, scored_days(area), progress)


def scored_days(area: Area) -> list[date]:
    """Up to `SCORED` published days spread over the month: as many with a Landsat scene as without one, where there are."""
    from pipeline.observations.scenes_table import read_table

    scenes = {row.scene.day for row in read_table(observations_path(area)) if row.scene.role == "fine" and row.clear_share > 0.02}
    every = days_between(FIRST, area.science.end or FIRST)
    with_scene, without = [day for day in every if day in scenes], [day for day in every if day not in scenes]
    half = SCORED // 2
    return sorted(day for days in (with_scene, without) for day in days[:: max(1, -(-len(days) // half))])


def next_steps(area: Area, area_file: Path) -> list[str]:
    """What a newcomer may try now."""
    steps = {
        f"landfuse run {area_file}": "again: unchanged, in seconds",
        f"landfuse status {area_file}": "",
        f"xarray.open_zarr('{area.cube_path}')": "in Python",
        f"{area.runtime.root / 'contact-sheet.png'}": "all days at a glance",
    }
    width = max(map(len, steps))
    return ["next:", *(f"  {step:<{width}}  # {why}" if why else f"  {step}" for step, why in steps.items())]
