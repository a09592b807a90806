"""A simulated place as an archive: what its sensors saw, read as a run reads it, and its daily truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from pipeline.assessment.archives import Archive, Days, Mask
from pipeline.assessment.digests import code_digest, digest
from pipeline.catalog.search import find_scenes
from pipeline.config import Area
from pipeline.grid import Grid, day_from_number, day_number
from pipeline.observations.ingest import ingest
from pipeline.observations.working import WorkingStore
from pipeline.restoration.textures import Texture
from pipeline.sandbox import LandCover, SandboxSpec, World, write_sandbox
from pipeline.sensors import Product
from pipeline.vocabulary import BANDS

Progress = Callable[[str, int, int], None]

_FINE, _COARSE = "landsat-c2-l2", "modis-43A4-061"
_TEXTURES = {"modis-09Q1-061": ("red", "nir08"), "modis-13Q1-061": ("ndvi",)}
"""Products of 250 m and their bands."""
_PARTS = ("days", "values", "std", "last")
"""Of a `Texture`, as they are kept."""
LATITUDE = 44.26
"""Degrees north, of the south-western corner of a place that names no other."""
_CRS = "EPSG:32633"
"""Of all places: Landsat files southern scenes in northern zones too, with negative northings."""
_WEST, _CELL, _OFFSET = 500_175.0, 240.0, 15.0
"""Western edge, and the lattice of coarse cells [m]."""
_ALL_DAYS = 32767
_COVERS: Mapping[str, tuple[LandCover, ...]] = {
    "fields": (LandCover.FIELD,),
    "forest": (LandCover.BROADLEAF_FOREST, LandCover.NEEDLE_FOREST),
    "water": (LandCover.WATER,),
    "town": (LandCover.TOWN,),
}


def sandbox_archive(
    seed: int,
    cloudiness: float,
    first: date,
    last: date,
    size: int,
    folder: Path,
    progress: Progress,
    composites: bool = False,
    latitude: float = LATITUDE,
) -> Archive:
    """Simulate a place and read its scenes; what was read stays in `folder` and is read again while nothing changed.

    Parameters
    ----------
    seed : int
    cloudiness : float
        Mean share of the sky that is covered, 0–1.
    first, last : date
        Days of the scenes.
    size : int
        Edge of the area, fine pixels; a whole number of cells of 8.
    folder : Path
    progress : callable
    composites : bool
        With the composites of 250 m (MOD09Q1, MYD09Q1, MOD13Q1, MYD13Q1) as textures.
    latitude : float
        Degrees, of the south-western corner, to the nearest coarse cell: sets sun, climate, seasons and geometry.
    """
    south = _south(latitude)
    grid = Grid.from_bounds(_CRS, (_WEST, south, _WEST + size * 30, south + size * 30))
    spec = SandboxSpec(grid, first, last, seed, cloudiness, composites=composites)
    path = folder / f"{digest(spec.to_dict(), code_digest(__name__))}.npz"
    if not path.exists():
        _observe(spec, path, progress)
    world, textures = spec.world, _TEXTURES if composites else {}
    with np.load(path, allow_pickle=False) as stored:
        return Archive(
            name=f"sandbox {seed}, {cloudiness:.0%} cloud" + ("" if latitude == LATITUDE else f", {abs(latitude):g}° {'SN'[latitude > 0]}"),
            bands=BANDS,
            resolution=grid.resolution,
            scale=grid.scale,
            coarse_pixel=500.0,
            fine_days=tuple(stored["fine_days"].tolist()),
            fine=stored["fine"],
            fine_std=stored["fine_std"],
            coarse_days=stored["coarse_days"],
            coarse=stored["coarse"],
            coarse_std=float(np.nanmedian(stored["coarse_std"])),
            restoration=(float(stored["window"]), float(stored["tau"])),
            layers={name: np.isin(world.land_cover, codes) for name, codes in _COVERS.items()},
            day_layers=_day_layers(world),
            changed=_changed(world),
            truth=cache(lambda day: world.truth(day_from_number(day))),
            fine_surface=stored["fine_surface"],
            footprint=float(stored["footprint"]),
            textures=tuple(Texture(bands, *(stored[f"{name}/{part}"] for part in _PARTS)) for name, bands in textures.items()),
        )


def _south(latitude: float) -> float:
    """Northing of the edge of a coarse cell near a latitude [m]."""
    _, northing = Transformer.from_crs("EPSG:4326", _CRS, always_xy=True).transform(15.0, latitude)
    return round((northing - _OFFSET) / _CELL) * _CELL + _OFFSET


def _observe(spec: SandboxSpec, path: Path, progress: Progress) -> None:
    """Write a sandbox beside `path`, read all its scenes, keep the arrays and drop the rest."""
    textures = _TEXTURES if spec.composites else {}
    work = path.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)  # a simulation that was interrupted
    catalog = write_sandbox(work / "sandbox", spec, progress, workers=1)
    science: dict[str, Any] = {
        "grid": {"crs": spec.grid.crs, "bounds": spec.grid.bounds},
        "start": spec.first_day,
        "bands": BANDS,
        "fine": [{"collection": _FINE}],
        "coarse": [{"collection": name} for name in (_COARSE, *textures)],
    }
    area = Area.model_validate({"name": "sandbox", "science": science, "runtime": {"catalogs": {"default": {"url": str(catalog)}}}})
    made, runtime, grid = area.science, area.runtime, spec.grid
    scenes = find_scenes((*made.fine, *made.coarse), runtime.catalogs, area.products, grid, spec.first_day, spec.last_day).scenes
    dated = [name for name in textures if area.products[name].day_layer]
    store = WorkingStore.create(work / "observations.zarr", grid, BANDS, [_COARSE], made.block, dated, textures)
    ingest(scenes, store, grid, BANDS, area.products, made.mask, made.normalise, runtime.catalogs, runtime.read_threads, progress)
    fine = store.read_fine(grid.window, 0, _ALL_DAYS)
    coarse = store.read_coarse(grid.window.coarse(grid.scale), 0, _ALL_DAYS)
    surface = np.zeros(fine.reasons.shape, np.uint8) if fine.surface is None else fine.surface
    texture: dict[str, Any] = {
        f"{name}/{key}": values for name in textures for key, values in _texture(store, area.products[name], name).items()
    }
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        fine_days=fine.days,
        fine=fine.values,
        fine_std=fine.std,
        fine_surface=surface,
        coarse_days=np.asarray(coarse.days, np.float64),
        coarse=coarse.values,
        coarse_std=coarse.std,
        footprint=area.products[_COARSE].footprint,
        window=made.restoration.window,
        tau=made.restoration.tau,
        **texture,
    )
    part.replace(path)
    shutil.rmtree(work)


def _texture(store: WorkingStore, product: Product, name: str) -> dict[str, np.ndarray]:
    """The parts of a `Texture` by name."""
    seen = store.read_coarse(store.grid.window.coarse(store.grid.scale), 0, _ALL_DAYS, texture=name)
    return dict(zip(_PARTS, (seen.days, seen.values, seen.std, seen.nominal + product.support.after), strict=True))


def _day_layers(world: World) -> Callable[[int], Mapping[str, Mask]]:
    def layers(day: int) -> Mapping[str, Mask]:
        when = day_from_number(day)
        snow = world.snow(when)
        return {"snow": snow, "snow-free": ~snow}

    return layers


def _changed(world: World) -> Callable[[Days, Days], Mask]:
    first, last = day_number(world.first_day), day_number(world.last_day)

    @cache
    def counted() -> NDArray[np.uint16]:
        """How often each pixel was changed from the first day up to and on each day, (T, y, x)."""
        return np.cumsum([world.events(day_from_number(day), within=1) for day in range(first, last + 1)], axis=0, dtype=np.uint16)

    def changed(start: Days, end: Days) -> Mask:
        times = counted()
        before, after = (np.take_along_axis(times, np.clip(days - first, 0, last - first)[None], axis=0) for days in (start, end))
        return np.asarray((after != before)[0])

    return changed
