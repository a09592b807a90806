from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StoreError
from pipeline.grid import Grid
from pipeline.store.layout import pixel_layers
from pipeline.store.state import read_state
from pipeline.store.template import check_cube, create_cube

from .conftest import BLOCK, START


def test_a_new_cube_has_all_layers_and_no_day(cube, grid):
    dataset = xr.open_zarr(cube, decode_coords="all")
    assert dataset.sizes == {"time": 0, "y": grid.height, "x": grid.width}
    assert {"red", "uncertainty_red", "provenance", "condition", "days_to_observation", "coarse_valid", "maturity", "method"} == set(
        dataset.data_vars
    )
    assert np.array_equal(dataset.x, grid.x)
    assert np.array_equal(dataset.y, grid.y)
    assert dataset.red.encoding["chunks"] == (1, BLOCK, BLOCK)
    assert dataset.red.encoding["shards"] is None
    assert dataset.attrs["generation"] == 0
    assert dataset.attrs["proj:code"] == "EPSG:32633"
    assert dataset.attrs["spatial:transform"] == list(grid.transform)


def test_consolidated_metadata_are_those_zarr_itself_would_write(cube):
    import zarr

    ours = json.loads((cube / "zarr.json").read_bytes())
    zarr.consolidate_metadata(cube)
    theirs = json.loads((cube / "zarr.json").read_bytes())
    found, expected = (document["consolidated_metadata"]["metadata"] for document in (ours, theirs))
    found["state"]["consolidated_metadata"] = expected["state"]["consolidated_metadata"]
    assert found == expected


def test_a_cube_of_an_index_says_what_it_is(tmp_path, grid):
    dataset = xr.open_zarr(create_cube(tmp_path / "fused.zarr", grid, ("ndvi",), START, BLOCK), decode_coords="all")
    assert dataset.ndvi.attrs["standard_name"] == "normalized_difference_vegetation_index"
    assert dataset.ndvi.attrs["valid_min"] == -10000
    assert dataset.uncertainty_ndvi.attrs["standard_name"] == "normalized_difference_vegetation_index standard_error"


def test_a_grid_without_a_code_keeps_its_projection(tmp_path):
    local = "+proj=tmerc +lat_0=0 +lon_0=15.5 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m"
    grid = Grid(local, 15.0, 4815.0, 30.0, 64, 64)
    cube = create_cube(tmp_path / "fused.zarr", grid, ("red",), START, BLOCK)
    check_cube(cube, grid, ("red",), START, BLOCK)
    attributes = xr.open_zarr(cube).attrs
    assert "proj:code" not in attributes
    assert "Transverse Mercator" in attributes["proj:wkt2"]


@pytest.mark.parametrize("band", ["provenance", "time", "uncertainty_x", "../red", "a b", ""])
def test_a_band_whose_name_cannot_be_used_is_refused(band):
    with pytest.raises(StoreError, match="band"):
        pixel_layers(("red", band))


def test_a_path_that_holds_something_else_is_left_alone(tmp_path, grid):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(StoreError, match="something lies there"):
        create_cube(tmp_path / "notes", grid, ("red",), START, BLOCK)
    with pytest.raises(StoreError, match=r"no zarr\.json"):
        check_cube(tmp_path / "notes", grid, ("red",), START, BLOCK)
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(StoreError, match="did not make"):
        read_state(tmp_path / "other.zarr")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"
    assert not list(tmp_path.glob("*creating*"))


def test_the_cube_of_the_area_passes_and_every_drift_is_named(cube, grid):
    check_cube(cube, grid, ("red",), START, BLOCK)
    for changed, words in (
        ({"grid": replace(grid, west=grid.west + 240)}, "transform"),
        ({"grid": replace(grid, crs="EPSG:32634")}, "crs"),
        ({"grid": replace(grid, height=grid.height + 8)}, "shape"),
        ({"bands": ("red", "nir08")}, "nir08: missing"),
        ({"start": date(2024, 1, 1)}, "start: found 2024-02-28"),
        ({"block": 32}, "red.chunks"),
    ):
        with pytest.raises(StoreError, match=words):
            check_cube(cube, **{"grid": grid, "bands": ("red",), "start": START, "block": BLOCK, **changed})


def test_planning_needs_neither_zarr_nor_xarray_nor_dask_nor_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from pipeline.store import state, lock, manifest, publish, verify, staging, template\n"
        f"assert state.read_state(Path({str(tmp_path / 'none.zarr')!r})).start is None\n"
        "print(sorted({'zarr', 'xarray', 'dask', 'torch', 'prefect'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
