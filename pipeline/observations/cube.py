"""Scenes as lazy cubes on a grid: stackstac behind one adapter, and a second path for grids without an EPSG code.

Both paths read through the same reader, so they give the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dask.array as da
import numpy as np
import stackstac
import xarray as xr
from dask.base import tokenize
from pyproj import CRS
from stackstac.raster_spec import RasterSpec

from pipeline.catalog.hrefs import CatalogLike
from pipeline.catalog.scene import Scene
from pipeline.errors import ReadError
from pipeline.grid import Grid, Window
from pipeline.observations.reader import SceneReader, locate, read_window
from pipeline.observations.warp import Lattice

Chunks = tuple[int, int, int, int]

CHUNK = 2048
"""Edge of a chunk of a lazy cube [pixels]: each task costs milliseconds, and reads blocks of the file that its neighbours read too."""


def lazy_scenes(
    scenes: Sequence[Scene],
    assets: Sequence[str],
    grid: Grid,
    dtype: np.dtype[Any] | type[np.generic],
    fill: float,
    catalogs: Mapping[str, CatalogLike],
    chunk: int = CHUNK,
    assets_per_task: int = 1,
    optional: bool = False,
) -> xr.DataArray:
    """Raw numbers of some assets of some scenes on a grid, lazily.

    A scene on the pixels of the grid is handed through bit by bit; others are warped by nearest
    neighbour with exact coordinates, so that the chunks do not change the pixels.

    Parameters
    ----------
    scenes : sequence of Scene
        At least one.
    assets : sequence of str
        Keys of ``scene.assets``: band common names or QA layers.
    grid : Grid
    dtype : dtype
        Type of the result. It must hold all numbers of the files.
    fill : float
        Value outside of a raster, of `dtype`. With NaN, the files' own nodata becomes NaN as well.
    catalogs : mapping of str to CatalogPart
        By name; says how the hrefs of a catalog are signed.
    chunk : int
        Edge of a chunk [pixels].
    assets_per_task : int
        Bands of a chunk: more make a smaller graph, and are read one after the other.
    optional : bool
        A scene may lack an asset, and is `fill` there.

    Returns
    -------
    DataArray, (scene, band, y, x)
        One task reads one chunk of one scene. Its graph holds no signature and no open file.

    Raises
    ------
    ReadError
        If a scene lacks an asset; and, while computing, if an asset cannot be read as its item describes it.
    """
    kind = np.dtype(dtype)
    table = [
        [None if optional and asset not in scene.assets else asset_url(scene, asset, catalogs) for asset in assets] for scene in scenes
    ]
    epsg = epsg_code(grid.crs)
    chunks = (1, assets_per_task, chunk, chunk)
    if epsg is not None:
        values = _by_stackstac(table, grid, epsg, kind, kind.type(fill), chunks)
    else:
        values = _by_dask(table, grid, kind, kind.type(fill), chunks)
    return xr.DataArray(
        values,
        dims=("scene", "band", "y", "x"),
        coords={"scene": np.arange(len(scenes)), "band": list(assets), "y": grid.y, "x": grid.x},
    )


def read_scene(
    scene: Scene, assets: Sequence[str], grid: Grid, dtype: np.dtype[Any], fill: float, catalogs: Mapping[str, CatalogLike]
) -> np.ndarray:
    """What `lazy_scenes` of one scene computes to, (band, y, x), read at once into one array: for who wants all of it now.

    Parameters and errors as there.
    """
    kind = np.dtype(dtype)
    target = Lattice.of(grid.crs, grid.transform)
    out = np.empty((len(assets), *grid.shape), kind)
    for at, asset in enumerate(assets):
        read_window(asset_url(scene, asset, catalogs), target, grid.window, kind.type(fill), out[at])
    return out


@lru_cache(maxsize=64)
def epsg_code(crs: str) -> int | None:
    """The EPSG code that a CRS is exactly, or None."""
    system = CRS.from_user_input(crs)
    code = system.to_epsg(min_confidence=100)
    return int(code) if code is not None and CRS.from_epsg(code).equals(system, ignore_axis_order=True) else None


def asset_url(scene: Scene, asset: str, catalogs: Mapping[str, CatalogLike]) -> str:
    """What a reader is given of one asset of a scene; see `locate`.

    Raises
    ------
    ReadError
        If the scene has no such asset.
    """
    href = scene.assets.get(asset)
    if href is None:
        raise ReadError(f"scene {scene.id} has no asset {asset!r}; it has {', '.join(sorted(scene.assets))}")
    catalog = catalogs.get(str(scene.properties.get("catalog", "")))
    assigned = bool(scene.properties.get("landfuse:georeference"))
    return locate(href, scene.crs, scene.transform, scene.shape, catalog.sign if catalog else "none", assigned)


def _by_stackstac(
    table: Sequence[Sequence[str | None]], grid: Grid, epsg: int, dtype: np.dtype[Any], fill: np.generic, chunks: Chunks
) -> da.Array:
    names = [f"asset-{column}" for column in range(len(table[0]))]
    # Plain dicts, because pystac rewrites proj:epsg. As outline of an item stands that of the grid: stackstac silently
    # drops items whose outline (in degrees, where their CRS has no code) misses the grid. The reader knows better.
    items = [
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": str(number),
            "properties": {"datetime": "1970-01-01T00:00:00Z", "proj:epsg": epsg, "proj:bbox": list(grid.bounds)},
            "assets": {name: {"href": url} for name, url in zip(names, urls, strict=True) if url is not None},
        }
        for number, urls in enumerate(table)
    ]
    if not all(item["assets"] for item in items):
        # An item without any asset would be dropped too.
        return _by_dask(table, grid, dtype, fill, chunks)
    stack = stackstac.stack(
        items,
        assets=names,
        epsg=epsg,
        resolution=grid.resolution,
        bounds=grid.bounds,
        snap_bounds=False,
        chunksize=chunks,
        dtype=dtype,
        fill_value=fill,
        rescale=False,
        sortby_date=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=SceneReader,
    )
    return stack.data


def _by_dask(table: Sequence[Sequence[str | None]], grid: Grid, dtype: np.dtype[Any], fill: np.generic, size: Chunks) -> da.Array:
    shape = (len(table), len(table[0]), *grid.shape)
    chunks = da.core.normalize_chunks(size, shape, dtype=dtype)
    # stackstac's spec with the CRS as it is in the place of its code.
    spec = RasterSpec(epsg=grid.crs, bounds=grid.bounds, resolutions_xy=(grid.resolution, grid.resolution))
    target = SceneReader(url="", spec=spec, dtype=dtype, fill_value=fill).target
    name = "read-window-" + tokenize(table, spec, dtype, fill, size)
    firsts = np.cumsum((0, *chunks[1][:-1]))
    tops = np.cumsum((0, *chunks[2][:-1]))
    lefts = np.cumsum((0, *chunks[3][:-1]))
    tasks = {
        (name, scene, part, row, col): (
            _read_chunk,
            list(table[scene][firsts[part] : firsts[part] + chunks[1][part]]),
            target,
            Window(int(tops[row]), int(lefts[col]), chunks[2][row], chunks[3][col]),
            dtype,
            fill,
        )
        for scene in range(shape[0])
        for part in range(len(firsts))
        for row in range(len(tops))
        for col in range(len(lefts))
    }
    return da.Array(tasks, name, chunks, dtype=dtype)


def _read_chunk(urls: Sequence[str | None], target: Lattice, window: Window, dtype: np.dtype[Any], fill: np.generic) -> np.ndarray:
    out = np.full((1, len(urls), *window.shape), fill, dtype)
    for at, url in enumerate(urls):
        if url is not None:
            read_window(url, target, window, fill, out[0, at])
    return out
