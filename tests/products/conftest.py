"""A small published cube, made with the store's own template, with something to see in it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.grid import Grid, day_number
from pipeline.store.encoding import FILL, encode_reflectance
from pipeline.store.template import create_cube

START = date(2023, 6, 1)
BANDS = ("blue", "green", "red", "nir08")


@pytest.fixture(scope="session")
def grid() -> Grid:
    return Grid.from_bounds("EPSG:32633", (500_000, 4_900_000, 504_320, 4_902_880))


def fill_cube(path: Path, grid: Grid, bands: tuple[str, ...] = BANDS, days: int = 4, block: int = 64) -> Path:
    """`days` days: fields that green up, provenance that worsens from left to right day by day, a corner without values on the first."""
    create_cube(path, grid, bands, START, block)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    height, width = grid.shape
    rng = np.random.default_rng(0)
    fields = rng.uniform(0.2, 1.0, (height // 16 + 1, width // 16 + 1)).repeat(16, 0).repeat(16, 1)[:height, :width]
    season = np.linspace(0.5, 1.0, days)[:, None, None]
    for name, array in group.arrays():
        if array.metadata.dimension_names and array.metadata.dimension_names[0] == "time":
            array.resize((days, *array.shape[1:]))
        if name == "time":
            array[:] = np.arange(days, dtype=np.int32) + day_number(START)
    for number, band in enumerate(bands):
        high = {"nir08": 0.45, "ndvi": 0.8}.get(band, 0.05 + 0.03 * number)
        value = encode_reflectance(high * fields * (season if band in ("nir08", "ndvi") else 1.5 - season))
        value[0, :8, :8] = FILL
        group[band][:] = value
        group[f"uncertainty_{band}"][:] = 150
    provenance = np.ones((days, height, width), np.uint8)
    for day in range(days):
        provenance[day, :, width - day * (width // days) :] = min(day + 1, 4)
    provenance[0, :8, :8] = 0
    group["provenance"][:] = provenance
    group["maturity"][:] = np.array([1, 2, 3, 3] * -(-days // 4), np.uint8)[:days]
    zarr.consolidate_metadata(path)
    return path


@pytest.fixture(scope="session")
def cube(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> Path:
    return fill_cube(tmp_path_factory.mktemp("cube") / "fused.zarr", grid)
