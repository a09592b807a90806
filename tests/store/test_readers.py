"""The published cube as others read it: xarray, rioxarray, GDAL and a CF checker."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr

from pipeline.grid import Grid
from pipeline.store.encoding import encode_reflectance
from pipeline.store.publish import Publisher
from pipeline.store.template import create_cube
from pipeline.vocabulary import Maturity

from .conftest import BLOCK, START, entries, made_up_day, small_grid, stage

BANDS = ("red", "nir08")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, Grid]:
    grid = small_grid((2, 2))
    cube = create_cube(
        tmp_path_factory.mktemp("area") / "fused.zarr", grid, BANDS, START, BLOCK, {"title": "made up", "method": "residual"}
    )
    Publisher(cube).publish(stage(cube, "a", [0, 1], grid, 2), entries([0, 1], grid, 1, Maturity.FINAL), method="residual")
    return cube, grid


def expected_counts(grid: Grid, index: int) -> np.ndarray:
    whole = np.empty((2, *grid.shape), np.int16)
    for block in grid.blocks(BLOCK):
        rows, cols = block.window.slices
        whole[:, rows, cols] = encode_reflectance(made_up_day(block.window.shape, 2, index).bands)
    return whole


def test_xarray_applies_scale_fill_time_and_crs_by_itself(published):
    cube, grid = published
    dataset = xr.open_zarr(cube, decode_coords="all")
    counts = expected_counts(grid, 1)[1]
    values = dataset.nir08.sel(time="2024-02-29").values
    assert np.array_equal(np.isnan(values), counts == -32768)
    assert np.allclose(values[counts != -32768], counts[counts != -32768] * 1e-4)
    assert dataset.rio.crs == rasterio.crs.CRS.from_user_input(grid.crs)
    assert dataset.nir08.rio.crs == dataset.rio.crs
    assert dataset.nir08.rio.transform() == rasterio.Affine(*grid.transform)
    assert dataset.days_to_observation.dtype.kind == "f"
    assert (dataset.uncertainty_red.values[np.isfinite(dataset.red.values)] > 0).all()


def test_gdal_opens_every_layer_with_georeference_fill_and_scale(published, tmp_path):
    cube, grid = published
    if tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2]) < (3, 11):
        # GDAL before 3.11 knows the codec that Zarr v3 calls "bytes" only by its draft name. All else is as published.
        source, cube = cube, tmp_path / "fused.zarr"
        cube.mkdir()
        for name in (*BANDS, "provenance", "time", "x", "y", "spatial_ref"):
            (cube / name).mkdir()
            document = json.loads((source / name / "zarr.json").read_bytes())
            document["codecs"][0]["name"] = "endian"
            (cube / name / "zarr.json").write_text(json.dumps(document))
            (cube / name / "c").symlink_to(source / name / "c")
        (cube / "zarr.json").write_text((source / "zarr.json").read_text())
    for index in range(2):
        for number, band in enumerate(BANDS):
            with rasterio.open(f'ZARR:"{cube}":/{band}:{index}') as layer:
                assert np.array_equal(layer.read(1), expected_counts(grid, index)[number])
                assert layer.crs == rasterio.crs.CRS.from_user_input(grid.crs)
                assert layer.transform == rasterio.Affine(*grid.transform)
                assert layer.nodata == -32768
                assert layer.scales == (1e-4,)
                assert layer.block_shapes == [(BLOCK, BLOCK)]
    with rasterio.open(f'ZARR:"{cube}":/provenance:0') as layer:
        assert layer.dtypes == ("uint8",)
        assert np.array_equal(layer.read(1)[:64, :64], made_up_day((64, 64), 2, 0).provenance)


def test_the_cf_checker_finds_no_error(published, tmp_path):
    suite = pytest.importorskip("compliance_checker.suite").CheckSuite
    cube, _ = published
    dataset = xr.open_zarr(cube, decode_coords="all").load()
    for variable in dataset.variables.values():
        # JSON has no typed attributes, netCDF has: CF wants flags and ranges in the type of the packed values.
        kind = variable.encoding["dtype"]
        for name in {"flag_values", "flag_masks", "valid_min", "valid_max"} & set(variable.attrs):
            variable.attrs[name] = np.asarray(variable.attrs[name], kind)
    for name in ("x", "y"):
        dataset[name].encoding["_FillValue"] = None  # writing netCDF would add one
    dataset.attrs = {name: value for name, value in dataset.attrs.items() if ":" not in name and name != "zarr_conventions"}
    dataset.to_netcdf(tmp_path / "cube.nc")
    suite.load_all_available_checkers()
    checks = suite()
    groups, crashes = checks.run_all(checks.load_dataset(str(tmp_path / "cube.nc")), ["cf:1.11"])["cf:1.11"]
    assert crashes == {}
    assert sum(group.value[1] for group in groups) > 400
    found = [f"{group.name}: {message}" for group in groups if group.value[0] < group.value[1] for message in group.msgs]
    # The checker keeps the list of packed types of CF 1.6 as a recommendation; its rule for CF 1.11 passes, which allows unsigned.
    unsigned = "Variable is not of type byte, short, or int as required for different type add_offset/scale_factor."
    assert set(found) <= {f"§8.1 Packed Data: {unsigned}"}
    assert len(found) <= len(BANDS)
