"""The two public views: scenes as their providers made them, and observations as the working store holds them.

Both are lazy xarray Datasets. Building one opens no raster and no chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from pipeline.catalog.scene import Scene
from pipeline.catalog.search import find_scenes
from pipeline.config import Area
from pipeline.errors import CatalogError
from pipeline.grid import EPOCH, Grid, Window, day_from_number
from pipeline.observations.coarse import sub_grid, subdivision
from pipeline.observations.cube import CHUNK, lazy_scenes
from pipeline.observations.location import observations_path
from pipeline.observations.masking import QA_TYPE, raw_type
from pipeline.observations.scenes_table import Row
from pipeline.observations.working import WorkingStore
from pipeline.sensors.product import Product
from pipeline.store.encoding import decode_reflectance, decode_std
from pipeline.vocabulary import HIDING


def open_scenes(area: Area, scenes: Sequence[Scene] | None = None, chunk: int = CHUNK) -> xr.Dataset:
    """Scenes on the grid of an area, in raw digital numbers, lazily.

    Parameters
    ----------
    area : Area
    scenes : sequence of Scene, optional
        By default all that the catalogs of the area know from its first day to its last, or to today.
    chunk : int
        Edge of a chunk [pixels].

    Returns
    -------
    Dataset
        For a fine product ``fine`` (scene, band, y, x) and ``qa_*`` (scene, y, x). For a coarse product
        ``coarse_<product>`` (scene_<product>, band, y_<product>, x_<product>) on its sub-pixels
        (see `pipeline.observations.coarse`), and ``qa_<product>_*``. Names of a second fine product end
        in its name. Coordinates: id, day, platform of each scene. Attributes: nodata, scale and offset per band.

    Raises
    ------
    CatalogError
        If there is no scene; ReadError while computing, if an asset cannot be read.
    """
    if scenes is None:
        last = area.science.end or datetime.now(UTC).date()
        sources = (*area.science.fine, *area.science.coarse)
        found = find_scenes(sources, area.runtime.catalogs, area.products, area.grid, area.science.start, last, bands=area.science.bands)
        scenes = found.scenes
    if not scenes:
        raise CatalogError(f"there is no scene over area {area.name!r}", "check its days, bounds and catalogs")
    parts = []
    main = next((scene.product for scene in scenes if scene.role == "fine"), None)
    for name in dict.fromkeys(scene.product for scene in scenes):
        product, own = area.products[name], [scene for scene in scenes if scene.product == name]
        if product.role == "fine":
            end = "" if name == main else f"_{name}"
            dims = (f"scene{end}", "y", "x")
            parts.append(_scenes_part(area, own, product, area.grid, f"fine{end}", "qa" if not end else f"qa_{name}", dims, chunk))
        else:
            grid = sub_grid(area.grid, Window(0, 0, *area.grid.coarse_shape), max(subdivision(area.grid, scene) for scene in own))
            dims = (f"scene_{name}", f"y_{name}", f"x_{name}")
            parts.append(_scenes_part(area, own, product, grid, f"coarse_{name}", f"qa_{name}", dims, chunk))
    return xr.merge(parts, compat="equals", join="exact").assign_attrs(crs=area.grid.crs)


def _scenes_part(
    area: Area, scenes: Sequence[Scene], product: Product, grid: Grid, variable: str, qa: str, dims: tuple[str, str, str], chunk: int
) -> xr.Dataset:
    catalogs = area.runtime.catalogs
    bands = [name for name in area.science.bands if name in product.bands]
    types = {repr(raw_type(product.bands[name])): raw_type(product.bands[name]) for name in bands}
    dtype, fill = next(iter(types.values())) if len(types) == 1 else (np.dtype(np.float32), np.nan)
    names = dict(zip(("scene", "y", "x"), dims, strict=True))
    cube = lazy_scenes(scenes, bands, grid, dtype, fill, catalogs, chunk).rename(names)
    cube.attrs = {
        "nodata": fill,
        "scale": [product.bands[name].scale for name in bands],
        "offset": [product.bands[name].offset for name in bands],
    }
    found = {variable: cube}
    layers = {layer.asset for scene in scenes for layer in product.layers_of(scene.platform)}
    layers |= {asset for name in bands if (asset := product.bands[name].quality_asset)}
    for asset in sorted(layers):
        if any(asset in scene.assets for scene in scenes):
            layer = lazy_scenes(scenes, [asset], grid, QA_TYPE, 0, catalogs, chunk, optional=True)
            found[f"{qa}_{asset.removeprefix('qa_')}"] = layer.isel(band=0, drop=True).rename(names)
    return xr.Dataset(found).assign_coords(_scene_coordinates(scenes, dims[0]))


def open_observations(area: Area) -> xr.Dataset:
    """The observations of an area as the working store holds them, masked, lazily.

    Parameters
    ----------
    area : Area

    Returns
    -------
    Dataset
        ``fine`` (scene, band, y, x) float32 reflectance, NaN where hidden, with ``reasons`` (scene, y, x);
        ``coarse_<product>``, ``coarse_std_<product>`` (scene_<product>, band, Y, X);
        ``restored``, ``restored_std`` (time, band, Y, X) once the coarse series was restored.
        Scenes are complete, not superseded, and ordered by day. Coordinates: id, day, platform of each scene.

    Raises
    ------
    StoreError
        If nothing was read yet.
    """
    store = WorkingStore.open(observations_path(area))
    grid = store.grid
    cell = grid.resolution * grid.scale
    rows, cols = grid.coarse_shape
    coordinates: dict[str, Any] = {
        "band": list(store.bands),
        "y": grid.y,
        "x": grid.x,
        "Y": grid.north - (np.arange(rows) + 0.5) * cell,
        "X": grid.west + (np.arange(cols) + 0.5) * cell,
    }
    usable = sorted((row for row in store.rows() if row.usable), key=lambda row: (row.scene.day, row.index))
    fine = [row for row in usable if row.scene.role == "fine"]
    reasons = _of_rows(store, "fine/reasons", fine)
    values = da.map_blocks(decode_reflectance, _of_rows(store, "fine/values", fine), dtype=np.float32)
    variables: dict[str, Any] = {
        "fine": (("scene", "band", "y", "x"), da.where((reasons & int(HIDING))[:, None] == 0, values, np.float32(np.nan))),
        "reasons": (("scene", "y", "x"), reasons),
    }
    coordinates |= _scene_coordinates([row.scene for row in fine], "scene")
    for product in store.products:
        own = [row for row in usable if row.scene.role == "coarse" and row.scene.product == product]
        dims = (f"scene_{product}", "band", "Y", "X")
        numbers, spread = (_of_rows(store, f"coarse/{product}/{name}", own) for name in ("values", "std"))
        variables[f"coarse_{product}"] = dims, da.map_blocks(decode_reflectance, numbers, dtype=np.float32)
        variables[f"coarse_std_{product}"] = dims, da.map_blocks(decode_std, spread, dtype=np.float32)
        coordinates |= _scene_coordinates([row.scene for row in own], dims[0])
    restored = np.flatnonzero(np.asarray(store.restored_digest[:]))
    if restored.size:
        days = slice(int(restored[0]), int(restored[-1]) + 1)
        coordinates["time"] = np.array([day_from_number(day) for day in range(days.start, days.stop)], "datetime64[ns]")
        for variable, name, decode in (("restored", "mean", decode_reflectance), ("restored_std", "std", decode_std)):
            numbers = _lazy(store, f"restored/{name}")[days]
            variables[variable] = ("time", "band", "Y", "X"), da.map_blocks(decode, numbers, dtype=np.float32)
    return xr.Dataset(variables, coordinates, attrs={"crs": grid.crs, "epoch": EPOCH.isoformat()})


def _lazy(store: WorkingStore, name: str) -> da.Array:
    array = store.array(name)
    return da.from_array(array, chunks=array.chunks, name=False)


def _of_rows(store: WorkingStore, name: str, rows: Sequence[Row]) -> da.Array:
    array = store.array(name)
    if not rows:
        return da.zeros((0, *array.shape[1:]), chunks=array.chunks, dtype=array.dtype)
    return _lazy(store, name)[[row.index for row in rows]]


def _scene_coordinates(scenes: Sequence[Scene], dim: str) -> dict[str, Any]:
    end = dim.removeprefix("scene")
    return {
        dim: np.arange(len(scenes)),
        f"id{end}": (dim, np.array([scene.id for scene in scenes], str)),
        f"day{end}": (dim, np.array([scene.day for scene in scenes], "datetime64[ns]")),
        f"platform{end}": (dim, np.array([scene.platform for scene in scenes], str)),
    }
