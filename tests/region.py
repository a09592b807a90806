"""The simulated region that several folders of tests share: its grid, its days, and area files over it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml

from pipeline import steps
from pipeline.config import Area
from pipeline.grid import Grid

GRID = Grid.from_bounds("EPSG:32633", (500175.0, 4900815.0, 500175.0 + 192 * 30, 4900815.0 + 192 * 30))
FIRST, LAST = date(2023, 6, 3), date(2023, 6, 8)


def write_area(folder: Path, sandbox: Path | str, **changes: dict) -> Path:
    """An area file over the simulated region: 2 × 2 blocks, a short support, changes merged into its parts."""
    document = {
        "version": 1,
        "name": "region",
        "science": {
            "grid": {"crs": GRID.crs, "bounds": list(GRID.bounds)},
            "start": FIRST,
            "end": LAST,
            "fine": [{"collection": "landsat-c2-l2"}],
            "coarse": [{"collection": "modis-43A4-061"}],
            "restoration": {"window": 12},
            "method": {"name": "residual", "options": {"days": 24}},
            "block": 96,
        },
        "runtime": {
            "catalogs": {"default": {"url": str(sandbox) if "://" in str(sandbox) else str(Path(sandbox) / "catalog.json")}},
            "compute": {"workers": 2, "days_per_task": 4},
        },
    }
    for part, change in changes.items():
        document[part] |= change
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "area.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def run(area: Area) -> steps.Report:
    """Plan and run without Prefect; a run in which nothing is stale is only planned."""
    made = steps.plan(area)
    return steps.run(area, steps.start_run(area, made)) if made.to_make else steps.nothing_to_make(made)
