"""What reading through the lazy cube and through ingest costs beside a plain rasterio loop and odc-stac, as Markdown or JSON.

Usage: python benchmarks/reading.py [--size 3660] [--rounds 7] [--folder FOLDER] [--json]

Needs the optional dependencies ``bench`` (odc-stac).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import odc.stac
import pystac
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from scipy import ndimage

from pipeline.catalog.scene import Scene
from pipeline.grid import Grid
from pipeline.observations.cube import CHUNK, lazy_scenes, read_scene
from pipeline.observations.warp import _gather_projected

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")
THREADS = 2
UTM = "EPSG:32633"
SINUSOIDAL = CRS.from_proj4("+proj=sinu +R=6371007.181 +units=m").to_wkt("WKT1_GDAL")
MODIS_PIXEL = 463.312716527917
TILE = (1111950.519667, 5559752.598333)
"""Upper left corner of MODIS tile h19v04 [m]."""


@dataclass(frozen=True)
class Case:
    """A scene in files, and the grid it is read on.

    Parameters
    ----------
    name : str
    scene : Scene
        With one local file for each of `BANDS`.
    grid : Grid
    dtype : str
    fill : int
    """

    name: str
    scene: Scene
    grid: Grid
    dtype: str
    fill: int

    @property
    def lazy(self) -> da.Array:
        """The lazy cube, (1, band, y, x)."""
        return lazy_scenes([self.scene], BANDS, self.grid, np.dtype(self.dtype), self.fill, {}).data

    @property
    def odc(self) -> da.Array:
        """odc-stac's, (band, y, x)."""
        part = odc.stac.load(
            [item_of(self.scene, self.dtype, self.fill)],
            bands=BANDS,
            geobox=GeoBox(self.grid.shape, Affine(*self.grid.transform), self.grid.crs),
            chunks={"x": CHUNK, "y": CHUNK},
            resampling="nearest",
            groupby="id",
        )
        return da.stack([part[name].data[0] for name in BANDS])


def plain(case: Case, threads: int) -> np.ndarray:
    """What one would write by hand: open each file, read the window, warp where the grid is another."""
    scene, grid = case.scene, case.grid
    out = np.full((len(BANDS), *grid.shape), case.fill, case.dtype)
    own = scene.crs == grid.crs

    def read(at: int) -> None:
        with rasterio.open(scene.assets[BANDS[at]]) as dataset:
            if own:
                left, top = round((grid.west - scene.transform[2]) / 30), round((scene.transform[5] - grid.north) / 30)
                inside = Window(left, top, grid.width, grid.height).intersection(Window(0, 0, *dataset.shape[::-1]))
                rows, cols = inside.row_off - top, inside.col_off - left
                out[at, rows : rows + inside.height, cols : cols + inside.width] = dataset.read(1, window=inside)
                return
            with WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=Affine(*grid.transform),
                width=grid.width,
                height=grid.height,
                resampling=Resampling.nearest,
                nodata=case.fill,
            ) as warped:
                out[at] = warped.read(1)

    _each(read, threads)
    return out


def ingest(case: Case, threads: int) -> np.ndarray:
    """The path of ingest, where one thread reads one scene."""
    out = np.empty((len(BANDS), *case.grid.shape), case.dtype)

    def read(at: int) -> None:
        out[at] = read_scene(case.scene, BANDS[at : at + 1], case.grid, np.dtype(case.dtype), case.fill, {})[0]

    if threads == 1:
        return read_scene(case.scene, BANDS, case.grid, np.dtype(case.dtype), case.fill, {})
    _each(read, threads)
    return out


def first_of_tile(case: Case, threads: int) -> np.ndarray:
    """Ingest of a tile and window not seen before: which pixel lies where is kept for the scenes to come."""
    _gather_projected.cache_clear()
    return ingest(case, threads)


def _each(read: Callable[[int], None], threads: int) -> None:
    if threads == 1:
        for at in range(len(BANDS)):
            read(at)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(len(BANDS))))


def lazy(case: Case, threads: int) -> np.ndarray:
    return _stored(case.lazy[0], case, threads)


def with_odc(case: Case, threads: int) -> np.ndarray:
    return _stored(case.odc, case, threads)


def _stored(cube: da.Array, case: Case, threads: int) -> np.ndarray:
    """Chunks go to their place as they come, as they do into a store; `compute` would copy all of them once more."""
    out = np.empty(cube.shape, case.dtype)
    options: dict[str, Any] = {"scheduler": "synchronous"} if threads == 1 else {"scheduler": "threads", "num_workers": threads}
    da.store(cube, out, lock=False, **options)
    return out


WAYS: dict[str, Callable[[Case, int], np.ndarray]] = {
    "plain rasterio loop": plain,
    "lazy cube (stackstac, SceneReader)": lazy,
    "ingest (`read_scene`)": ingest,
    "ingest, first scene of its tile": first_of_tile,
    "odc-stac": with_odc,
}


@dataclass(frozen=True)
class Result:
    """What one way of reading cost; ratios are the plain loop's time by its own, medians over the rounds.

    Parameters
    ----------
    case, way : str
    threads : int
    ratio, cpu_ratio : float
        Of wall clock and of processor time: above 1 is faster than the plain loop.
    seconds : float
        Wall clock, median.
    tasks : int
        Of the optimised graph; 0 without one.
    peak : float
        Memory that a process gained which reads once [MB].
    differing : float
        Share of the pixels that differ from those of the plain loop.
    """

    case: str
    way: str
    threads: int
    ratio: float
    cpu_ratio: float
    seconds: float
    tasks: int
    peak: float
    differing: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=3660, help="edge of the fine scene, pixels (at least 1024)")
    parser.add_argument("--rounds", type=int, default=7, help="repetitions, in which the ways of reading alternate")
    parser.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.size < 1024 or arguments.rounds < 1:
        parser.error(f"--size {arguments.size} --rounds {arguments.rounds}: expected 1024 or more, and 1 or more")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        cases = (fine_case(folder, arguments.size), coarse_case(folder, arguments.size))
        results = [result for case in cases for threads in (1, THREADS) for result in measure(case, threads, arguments.rounds)]
    print(json.dumps([asdict(result) for result in results], indent=1) if arguments.json else markdown(results))


def measure(case: Case, threads: int, rounds: int) -> list[Result]:
    pixels = {way: read(case, threads) for way, read in WAYS.items()}
    reference = next(iter(pixels.values()))
    differing = {way: float(np.mean(values != reference)) for way, values in pixels.items()}
    del pixels, reference
    wall: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        # Each way goes first once in a while: the first reads into memory that the system has to clear.
        ways = list(WAYS)
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            started, worked = time.perf_counter(), time.process_time()
            WAYS[way](case, threads)
            wall[way].append(time.perf_counter() - started)
            cpu[way].append(time.process_time() - worked)
    first = next(iter(WAYS))
    tasks = {"lazy cube (stackstac, SceneReader)": case.lazy, "odc-stac": case.odc}
    return [
        Result(
            case=case.name,
            way=way,
            threads=threads,
            ratio=_ratio(wall[first], wall[way]),
            cpu_ratio=_ratio(cpu[first], cpu[way]),
            seconds=statistics.median(wall[way]),
            tasks=len(dask.optimize(tasks[way])[0].__dask_graph__()) if way in tasks else 0,
            peak=peak_of(case, way, threads),
            differing=differing[way],
        )
        for way in WAYS
    ]


def _ratio(reference: list[float], own: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(reference, own, strict=True))


def peak_of(case: Case, way: str, threads: int) -> float:
    """Memory that a fresh process gains while it reads once [MB], its libraries and its first task apart."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_gained, (case, way, threads))


def _gained(case: Case, way: str, threads: int) -> float:
    part = case.odc[:, :8, :8] if way == "odc-stac" else case.lazy[:, :, :8, :8]
    part.compute(scheduler="synchronous")
    before = _resident("VmRSS")
    WAYS[way](case, threads)
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    """A figure of this process's memory as Linux gives it [MB]; that of `resource` is inherited from the parent."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def markdown(results: list[Result]) -> str:
    lines = []
    for case, threads in dict.fromkeys((result.case, result.threads) for result in results):
        lines += [
            f"\n{case}, {threads} thread{'s' * (threads > 1)}\n",
            "| way | ÷ plain loop (wall) | (processor) | s | tasks | peak MB | other pixels |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for result in results:
            if (result.case, result.threads) == (case, threads):
                figures = f"{result.ratio:.2f} | {result.cpu_ratio:.2f} | {result.seconds:.2f} | {result.tasks or '–'} | {result.peak:.0f}"
                lines.append(f"| {result.way} | {figures} | {result.differing:.2%} |")
    return "\n".join(lines)


def fine_case(folder: Path, size: int) -> Case:
    """Six bands as Landsat's, on the own pixels of the area; the grid starts where no block of the files does."""
    transform = (30.0, 0.0, 500025.0 - 30, 0.0, -30.0, 5100015.0)
    assets = {
        name: write(folder / f"fine_{size}_{name}.tif", landscape(at, size, 9000, 1500, np.uint16), UTM, transform, 0)
        for at, name in enumerate(BANDS)
    }
    west, north, edge = transform[2] + 90, transform[5] - 90, (size - 24) * 30
    grid = Grid.from_bounds(UTM, (west, north - edge, west + edge, north))
    return Case(f"own grid, {size}² uint16", scene(assets, UTM, transform, (size, size)), grid, "uint16", 0)


def coarse_case(folder: Path, size: int) -> Case:
    """Six bands of a MODIS tile, on the 60 m sub-pixels of the coarse cells of the same area."""
    transform = (MODIS_PIXEL, 0.0, TILE[0], 0.0, -MODIS_PIXEL, TILE[1])
    assets = {
        name: write(folder / f"coarse_{name}.tif", landscape(at, 2400, 1500, 800, np.int16), SINUSOIDAL, transform, 32767)
        for at, name in enumerate(BANDS)
    }
    to_utm = Transformer.from_crs(SINUSOIDAL, UTM, always_xy=True)
    west, north = to_utm.transform(TILE[0] + 600 * MODIS_PIXEL, TILE[1] - 1200 * MODIS_PIXEL)
    grid = Grid.from_bounds(UTM, (west, north - size * 30, west + size * 30, north), resolution=60.0, scale=4)
    name = f"MODIS tile in sinusoidal, {grid.height}² pixels of 60 m in UTM, int16"
    return Case(name, scene(assets, SINUSOIDAL, transform, (2400, 2400)), grid, "int16", 32767)


def landscape(seed: int, size: int, mean: float, spread: float, kind: type[np.generic]) -> np.ndarray:
    """Fields and noise that compress as satellite images do."""
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.normal(size=(size // 8 + 1, size // 8 + 1)), 2)
    smooth = ndimage.zoom(fields / fields.std(), 8, order=1)[:size, :size]
    return (mean + spread * smooth + random.normal(0, spread / 25, (size, size))).clip(1, 30000).astype(kind)


def write(path: Path, pixels: np.ndarray, crs: str, transform: tuple[float, ...], nodata: float) -> str:
    """A cloud-optimised GeoTIFF as the providers make them: blocks of 512, deflate, predictor, overviews."""
    if not path.exists():
        profile = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype, "crs": crs, "nodata": nodata}
        with rasterio.open(
            path, "w", driver="COG", transform=Affine(*transform), compress="deflate", predictor="YES", blocksize=512, **profile
        ) as dataset:
            dataset.write(pixels, 1)
    return str(path.resolve())


def scene(assets: dict[str, str], crs: str, transform: tuple[float, float, float, float, float, float], shape: tuple[int, int]) -> Scene:
    day = date(2024, 6, 1)
    return Scene(
        id="scene",
        collection="",
        product="",
        role="fine",
        acquisition="scene",
        datetime=datetime(2024, 6, 1, 10, tzinfo=UTC),
        day=day,
        first_day=day,
        last_day=day,
        centre=0.0,
        platform="",
        stamp="",
        tier=0,
        row=0,
        crs=crs,
        transform=transform,
        shape=shape,
        bounds=(14.0, 45.0, 16.0, 47.0),
        assets=assets,
        properties={},
    )


def item_of(scene: Scene, dtype: str, fill: int) -> pystac.Item:
    """The scene as odc-stac wants to see it."""
    west, south, east, north = scene.bounds
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    projection = {"proj:shape": list(scene.shape), "proj:transform": list(scene.transform)}
    projection |= {"proj:code": scene.crs} if scene.crs.startswith("EPSG") else {"proj:wkt2": scene.crs}
    item = pystac.Item(
        scene.id, {"type": "Polygon", "coordinates": [ring]}, list(scene.bounds), scene.datetime, projection, collection="bench"
    )
    item.stac_extensions = [
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    ]
    for name in BANDS:
        raster = {"raster:bands": [{"data_type": dtype, "nodata": fill}]}
        item.add_asset(name, pystac.Asset(scene.assets[name], media_type=pystac.MediaType.COG, roles=["data"], extra_fields=raster))
    return item


if __name__ == "__main__":
    main()
