"""Lazy cubes: bit-exact, unshifted, independent of chunks, and the same by both paths."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from pipeline.config import CatalogPart
from pipeline.errors import ReadError
from pipeline.grid import Grid
from pipeline.observations.cube import epsg_code, lazy_scenes, read_scene

from .scenes import LOCAL, UTM33, landsat_scene, make_scene, modis_scene, small_grid, write_tiff


@pytest.mark.parametrize("crs", [UTM33, LOCAL])
def test_scenes_of_the_own_grid_are_bit_exact_and_unshifted(tmp_path: Path, crs: str) -> None:
    grid = small_grid(crs)
    # Two scenes of other origins, as those of two rows have; both start at 15 mod 30 m.
    one = landsat_scene(tmp_path, "one", crs=crs, west=grid.west - 300, north=grid.north + 600, shape=(80, 60), seed=1)
    two = landsat_scene(tmp_path, "two", crs=crs, west=grid.west + 90, north=grid.north - 120, shape=(60, 80), seed=2)
    cube = lazy_scenes([one, two], ["red", "nir08"], grid, np.uint16, 0, {}, chunk=16)
    assert cube.dims == ("scene", "band", "y", "x")
    assert cube.dtype == np.uint16
    assert np.array_equal(cube.y, grid.y)
    assert np.array_equal(cube.x, grid.x)
    values = cube.compute(scheduler="synchronous").values
    for band, name in enumerate(("red", "nir08")):
        with rasterio.open(one.assets[name]) as dataset:
            assert np.array_equal(values[0, band], dataset.read(1)[20:52, 10:42])
        with rasterio.open(two.assets[name]) as dataset:
            assert np.array_equal(values[1, band, 4:, 3:], dataset.read(1)[:28, :29])
        assert np.all(values[1, band, :4] == 0)
        assert np.all(values[1, band, :, :3] == 0)
    for scene, expected in zip((one, two), values, strict=True):
        assert np.array_equal(read_scene(scene, ["red", "nir08"], grid, np.dtype(np.uint16), 0, {}), expected)


@pytest.mark.parametrize("crs", [UTM33, LOCAL])
def test_chunks_do_not_change_warped_pixels(tmp_path: Path, crs: str) -> None:
    grid = small_grid(crs)
    scene = modis_scene(tmp_path, "m", grid)
    fine = lazy_scenes([scene], ["red", "blue"], grid, np.int16, 32767, {}, chunk=1000).values
    assert np.isin(fine, (32767,)).mean() < 0.5
    for chunk, together in ((8, 1), (24, 2)):
        cube = lazy_scenes([scene], ["red", "blue"], grid, np.int16, 32767, {}, chunk=chunk, assets_per_task=together)
        assert cube.data.npartitions == (32 // together if chunk == 8 else 4)
        assert np.array_equal(cube.values, fine)
    assert np.array_equal(read_scene(scene, ["red", "blue"], grid, np.dtype(np.int16), 32767, {}), fine[0])


def test_a_scene_of_the_neighbouring_zone_lands_where_it_is(tmp_path: Path) -> None:
    grid = Grid.from_bounds(UTM33, (262000.0, 5090175.0, 264000.0, 5092175.0))
    to_32 = Transformer.from_crs(UTM33, "EPSG:32632", always_xy=True)
    west, _, _, north = to_32.transform_bounds(*grid.bounds)
    left, top = west // 30 * 30 - 285, north // 30 * 30 + 315
    # Pixels that hold their own column and row.
    rows, cols = np.mgrid[0:120, 0:120]
    transform = (30.0, 0.0, left, 0.0, -30.0, top)
    assets = {"row": rows, "col": cols}
    hrefs = {name: write_tiff(tmp_path / f"{name}.tif", data.astype(np.uint16), "EPSG:32632", transform) for name, data in assets.items()}
    scene = make_scene("n", hrefs, "EPSG:32632", transform, (120, 120))
    row, col = lazy_scenes([scene], ["row", "col"], grid, np.uint16, 65535, {}).values[0]
    eastings, northings = to_32.transform(*np.meshgrid(grid.x, grid.y))
    assert np.array_equal(col, np.floor((eastings - left) / 30))
    assert np.array_equal(row, np.floor((top - northings) / 30))


def test_a_scene_that_misses_the_grid_stays_in_the_cube_as_fill(tmp_path: Path) -> None:
    grid = small_grid()
    near = landsat_scene(tmp_path, "near", west=grid.west, north=grid.north, shape=(32, 32))
    far = landsat_scene(tmp_path, "far", west=grid.west + 90000, north=grid.north, shape=(32, 32))
    cube = lazy_scenes([far, near], ["red"], grid, np.uint16, 0, {})
    assert cube.shape == (2, 1, 32, 32)
    assert not cube[0].values.any()
    assert cube[1].values.all()


def test_building_opens_nothing_and_the_graph_is_small_and_holds_no_secret() -> None:
    grid = Grid.from_bounds(UTM33, (500175.0, 5060175.0, 531000.0, 5091135.0))
    transform = (30.0, 0.0, grid.west, 0.0, -30.0, grid.north)
    href = "https://account.blob.core.windows.net/container/none.TIF"
    catalogs = {"pc": CatalogPart(url="https://host/stac", sign="planetary-computer")}
    bands = ["blue", "green", "red"]
    scenes = [
        make_scene(f"s{at}", dict.fromkeys(bands, href), UTM33, transform, grid.shape, properties={"catalog": "pc"}) for at in range(10)
    ]
    opened: list[object] = []
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and str(args[0]).lower().endswith(".tif") else None)
    cube = lazy_scenes(scenes, bands, grid, np.uint16, 0, catalogs, chunk=512)
    assert not opened
    # Per asset two tasks that make the reader, and one per chunk: a dask that fuses or splits them otherwise changes this number.
    assert len(dask.optimize(cube.data)[0].__dask_graph__()) == 10 * 3 * (2 + 9)
    graph = pickle.dumps(cube.data.__dask_graph__())
    assert b"planetary-computer" in graph
    assert b"sig=" not in graph
    assert b"token" not in graph.lower().replace(b"tokenize", b"")


def test_a_read_error_stops_the_computation(tmp_path: Path) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "s", west=grid.west, north=grid.north, shape=(32, 32))
    Path(scene.assets["red"]).unlink()
    with pytest.raises(ReadError, match=r"s_red\.tif cannot be read"):
        lazy_scenes([scene], ["blue", "red"], grid, np.uint16, 0, {}).compute(scheduler="synchronous")


def test_a_missing_asset_is_an_error_unless_it_is_optional(tmp_path: Path) -> None:
    grid = small_grid()
    scene = landsat_scene(tmp_path, "s", west=grid.west, north=grid.north, shape=(32, 32))
    with pytest.raises(ReadError, match="scene s has no asset 'qa_aerosol'"):
        lazy_scenes([scene], ["qa_aerosol"], grid, np.int32, 0, {})
    assert not lazy_scenes([scene], ["qa_aerosol"], grid, np.int32, 0, {}, optional=True).values.any()


def test_only_an_exact_code_takes_the_path_of_codes() -> None:
    assert epsg_code("EPSG:32633") == 32633
    assert epsg_code(LOCAL) is None
