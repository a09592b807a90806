"""Small GeoTIFFs and the scene records that describe them, for the tests of this room."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.transform import Affine

from pipeline.catalog.scene import Scene
from pipeline.config import NormalisePart
from pipeline.grid import Grid
from pipeline.sensors import Product, builtin_products

UTM33 = "EPSG:32633"
LOCAL = (
    'PROJCS["local",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",14.3],PARAMETER["scale_factor",1],PARAMETER["false_easting",400000],'
    'PARAMETER["false_northing",0],UNIT["metre",1]]'
)
"""A projected CRS without an EPSG code."""
SINUSOIDAL = (
    'PROJCS["unnamed",GEOGCS["Unknown datum based upon the custom spheroid",DATUM["Not specified (based on custom spheroid)",'
    'SPHEROID["Custom spheroid",6371007.181,0]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
    'PROJECTION["Sinusoidal"],PARAMETER["longitude_of_center",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["Meter",1]]'
)
MODIS_PIXEL = 463.312716527917
H19V04 = (1111950.519667, 5559752.598333)
"""Upper left corner of MODIS tile h19v04 in the sinusoidal grid [m]."""

LANDSAT = builtin_products()["landsat-c2-l2"]
MCD43 = builtin_products()["modis-43A4-061"]
DAY = date(2024, 6, 1)
AS_SEEN = NormalisePart(geometry=False, bandpass=False)
"""Reflectance as the providers made it."""


def small_grid(crs: str = UTM33, size: int = 960) -> Grid:
    """An area of `size` metres whose corner lies at 15 mod 240 m."""
    west = 400095.0 if crs == LOCAL else 500175.0
    return Grid.from_bounds(crs, (west, 5090175.0, west + size, 5090175.0 + size))


def write_tiff(
    path: Path, bands: np.ndarray, crs: str | None, transform: tuple[float, ...], nodata: float | None = None, tile: int = 64
) -> str:
    """Write a tiled GeoTIFF, (y, x) or (band, y, x)."""
    layers = bands[None] if bands.ndim == 2 else bands
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=layers.shape[1],
        width=layers.shape[2],
        count=layers.shape[0],
        dtype=layers.dtype,
        crs=crs,
        transform=Affine(*transform[:6]),
        nodata=nodata,
        tiled=True,
        blockxsize=tile,
        blockysize=tile,
        compress="deflate",
    ) as dataset:
        dataset.write(layers)
    return str(path)


def make_scene(
    name: str,
    assets: Mapping[str, str],
    crs: str,
    transform: tuple[float, float, float, float, float, float],
    shape: tuple[int, int],
    day: date = DAY,
    product: str = "landsat-c2-l2",
    **changes: Any,
) -> Scene:
    known: Product = builtin_products()[product]
    record: dict[str, Any] = {
        "id": name,
        "collection": product,
        "product": product,
        "role": known.role,
        "acquisition": name,
        "datetime": datetime(day.year, day.month, day.day, 10, tzinfo=UTC),
        "day": day,
        "first_day": day - timedelta(days=known.support.before),
        "last_day": day + timedelta(days=known.support.after),
        "centre": known.support.centre,
        "platform": "landsat-8" if known.role == "fine" else "terra-aqua",
        "stamp": "20240610",
        "tier": 1 if known.role == "fine" else 0,
        "row": 28 if known.role == "fine" else 0,
        "crs": crs,
        "transform": transform,
        "shape": shape,
        "bounds": (15.0, 45.9, 15.1, 46.0),
        "assets": dict(assets),
        "properties": {},
    }
    return Scene(**{**record, **changes})


def landsat_scene(
    folder: Path,
    name: str,
    *,
    crs: str = UTM33,
    west: float,
    north: float,
    shape: tuple[int, int],
    day: date = DAY,
    seed: int = 0,
    qa: np.ndarray | None = None,
    **changes: Any,
) -> Scene:
    """A Landsat scene of random DN (reflectance 0.02–0.35), clear unless `qa` says otherwise."""
    random = np.random.default_rng(seed)
    transform = (30.0, 0.0, west, 0.0, -30.0, north)
    assets = {}
    for band in LANDSAT.bands:
        numbers = random.integers(8000, 20000, shape).astype(np.uint16)
        assets[band] = write_tiff(folder / f"{name}_{band}.tif", numbers, crs, transform, nodata=0)
    quality = np.full(shape, 1 << 6, np.uint16) if qa is None else qa.astype(np.uint16)
    assets["qa_pixel"] = write_tiff(folder / f"{name}_qa_pixel.tif", quality, crs, transform, nodata=1)
    assets["qa_radsat"] = write_tiff(folder / f"{name}_qa_radsat.tif", np.zeros(shape, np.uint16), crs, transform)
    return make_scene(name, assets, crs, transform, shape, day, **changes)


def modis_scene(folder: Path, name: str, grid: Grid, *, day: date = DAY, seed: int = 1, **changes: Any) -> Scene:
    """An MCD43A4 granule: the part of tile h19v04 around the grid, with some pixels without data and of low quality."""
    random = np.random.default_rng(seed)
    west, south, east, north = Transformer.from_crs(grid.crs, SINUSOIDAL, always_xy=True).transform_bounds(*grid.bounds)
    left = int((west - H19V04[0]) // MODIS_PIXEL) - 3
    top = int((H19V04[1] - north) // MODIS_PIXEL) - 3
    shape = int((north - south) // MODIS_PIXEL) + 8, int((east - west) // MODIS_PIXEL) + 8
    transform = (MODIS_PIXEL, 0.0, H19V04[0] + left * MODIS_PIXEL, 0.0, -MODIS_PIXEL, H19V04[1] - top * MODIS_PIXEL)
    assets = {}
    for at, (name_of_band, band) in enumerate(MCD43.bands.items()):
        numbers = random.integers(100, 4000, shape).astype(np.int16)
        numbers[random.random(shape) < 0.1] = 32767
        assets[name_of_band] = write_tiff(folder / f"{name}_{name_of_band}.tif", numbers, SINUSOIDAL, transform)
        quality = random.choice([0, 1, 255], shape, p=[0.6, 0.3, 0.1]).astype(np.uint8)
        assert band.quality_asset is not None
        assets[band.quality_asset] = write_tiff(folder / f"{name}_q{at}.tif", quality, SINUSOIDAL, transform)
    return make_scene(name, assets, SINUSOIDAL, transform, shape, day, "modis-43A4-061", **changes)
