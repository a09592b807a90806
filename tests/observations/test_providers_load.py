"""The columns "load" and "right value" of the table of providers: every recorded item, read from a file of its exact grid.

A sparse file of the size, CRS and type of the real one holds known numbers around one place. They must come out at their
place, which is computed here by other means than the reader's, and decode to the value that the provider documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import CRS, Transformer
from rasterio.transform import Affine
from rasterio.windows import Window

from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.scene import Scene
from pipeline.grid import Grid
from pipeline.observations.cube import read_scene
from pipeline.observations.masking import physical, raw_type
from pipeline.sensors import builtin_products
from pipeline.sensors.product import Band

from ..catalog.conftest import recorded  # noqa: F401
from ..catalog.recorded import RECORDED, Row

PRODUCTS = builtin_products()
GOLDEN = {
    # USGS: "How do I use a scale factor with Landsat Level-2 science products?" prints 0.313.
    "landsat-c2-l2": (18639, 0.3125725, np.uint16),
    "hls2-l30": (-50, -0.005, np.int16),
    "modis-43A4-061": (2345, 0.2345, np.int16),
    "modis-09A1-061": (-100, -0.01, np.int16),
    "modis-09Q1-061": (16000, 1.6, np.int16),
    "modis-13Q1-061": (7654, 0.7654, np.int16),
}
"""Product → a number as stored, the value it means, the type of the files."""
SIDE = 64
"""Pixels along the edge of the square of known numbers; around it the file is fill."""
RADIUS = 6371007.181
"""Of the sphere of the MODIS grid [m]."""


def numbers_at(rows: np.ndarray, cols: np.ndarray, corner: tuple[int, int], golden: int, fill: float) -> np.ndarray:
    """What the file holds at pixels (row, column): the golden number in the middle of the square, others around it."""
    down, across = rows - corner[0], cols - corner[1]
    known = (down >= 0) & (down < SIDE) & (across >= 0) & (across < SIDE)
    middle = (down == SIDE // 2) & (across == SIDE // 2)
    return np.where(middle, golden, np.where(known, 1000 + down * SIDE + across, fill))


def write_sparse(path: Path, scene: Scene, corner: tuple[int, int], golden: int, fill: float, kind: type[np.generic]) -> str:
    height, width = scene.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": kind, "crs": scene.crs, "nodata": fill}
    with rasterio.open(path, "w", transform=Affine(*scene.transform), tiled=True, sparse_ok=True, compress="deflate", **profile) as dataset:
        rows, cols = np.mgrid[corner[0] : corner[0] + SIDE, corner[1] : corner[1] + SIDE]
        square = Window(corner[1], corner[0], SIDE, SIDE)
        dataset.write(numbers_at(rows, cols, corner, golden, fill).astype(kind), 1, window=square)
    return str(path)


def is_sinusoidal(scene: Scene) -> bool:
    return "sinu" in CRS.from_user_input(scene.crs).to_proj4()


def middle_of(scene: Scene, longitude: float) -> tuple[int, int]:
    """A pixel well inside of the scene; the middle of a tile at the edge of the sinusoidal world lies off the Earth."""
    a, _, west, _, e, north = scene.transform
    row = scene.shape[0] // 2
    if not is_sinusoidal(scene):
        return row, scene.shape[1] // 2
    latitude = (north + e * (row + 0.5)) / RADIUS
    return row, int((RADIUS * np.radians(longitude) * np.cos(latitude) - west) // a)


def areas(scene: Scene, row: int, col: int, anchor: tuple[float, float] | None) -> list[Grid]:
    """Areas around a pixel: in the CRS of the scene, in UTM for MODIS; of the south also in the southern CRS of the zone."""
    a, _, west, _, e, north = scene.transform
    x, y = west + a * (col + 0.5), north + e * (row + 0.5)
    if is_sinusoidal(scene):
        longitude, latitude = np.degrees(x / RADIUS / np.cos(y / RADIUS)), np.degrees(y / RADIUS)
        crs = f"EPSG:{326 if latitude >= 0 else 327}{int((longitude + 180) // 6) % 60 + 1:02d}"
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(longitude, latitude)
        places = [(crs, x, y)]
    else:
        places = [(scene.crs, x, y)]
        if y < 0 and scene.crs.startswith("EPSG:326"):
            places.append((scene.crs.replace("EPSG:326", "EPSG:327"), x, y + 1e7))
    reach = max(600, 3 * a)
    return [Grid.from_bounds(crs, (x - reach, y - reach, x + reach, y + reach), anchor=anchor) for crs, x, y in places]


def pixels_under(scene: Scene, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the scene under the centre of each pixel of the area."""
    a, _, west, _, e, north = scene.transform
    x, y = np.meshgrid(grid.x, grid.y)
    if is_sinusoidal(scene):
        longitude, latitude = np.radians(Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True).transform(x, y))
        x, y = RADIUS * longitude * np.cos(latitude), RADIUS * latitude
    elif grid.crs.startswith("EPSG:327"):
        y = y - 1e7
    # A centre on the edge of two pixels belongs to the southern and eastern one, whatever the last digit says.
    return np.floor(((y - north) / e).round(6)).astype(int), np.floor(((x - west) / a).round(6)).astype(int)


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row.file.removesuffix('.json')}::{row.id}")
def test_the_numbers_of_a_recorded_item_come_out_at_their_place_with_their_value(
    recorded: Callable[[str], list[dict[str, Any]]],  # noqa: F811
    tmp_path: Path,
    row: Row,
) -> None:
    item = next(item for item in recorded(row.file) if item["id"] == row.id)
    product = PRODUCTS[row.product]
    name = "ndvi" if "ndvi" in product.bands else "red"
    band: Band = product.bands[name]
    golden, value, kind = GOLDEN[row.product]
    scene = scene_from_item(item, row.product, product, row.longitude)
    assert band.nodata is not None
    at = middle_of(scene, row.longitude)
    corner = at[0] - SIDE // 2, at[1] - SIDE // 2
    href = write_sparse(tmp_path / "band.tif", scene, corner, golden, band.nodata, kind)
    scene = replace(scene, assets={name: href})
    dtype, fill = raw_type(band)
    # Pixels of HLS and Sentinel-2 have their edges at multiples of 30 m.
    for grid in areas(scene, *at, anchor=(0.0, 0.0) if row.product.startswith("hls") else None):
        numbers = read_scene(scene, [name], grid, dtype, fill, {})[0]
        rows, cols = pixels_under(scene, grid)
        expected = numbers_at(rows, cols, corner, golden, fill)
        assert np.array_equal(numbers, expected.astype(dtype), equal_nan=dtype.kind == "f")
        middle = (rows == at[0]) & (cols == at[1])
        assert middle.any()
        values = physical(numbers, band)
        assert np.all(np.abs(values[middle] - value) < 1e-15)
        assert np.array_equal(np.isnan(values), expected == fill if np.isfinite(fill) else np.isnan(expected))
