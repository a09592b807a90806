"""Write a sandbox: COGs, STAC items and a static catalog of everything the sensors saw of a world."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.crs
from rasterio.transform import Affine

from pipeline.errors import StoreError
from pipeline.grid import Grid, day_number, days_between
from pipeline.sandbox.items import (
    COMPOSITES,
    LANDSAT,
    MODIS,
    collection,
    composite_file,
    composite_item,
    landsat_files,
    landsat_item,
    modis_file,
    modis_id,
    modis_item,
)
from pipeline.sandbox.landsat import landsat_scenes
from pipeline.sandbox.landscape import Canvas
from pipeline.sandbox.modis import (
    AFTER,
    BEFORE,
    FILL,
    QUALITY_FILL,
    SINUSOIDAL,
    Lattice,
    Look,
    compose,
    lattices,
    looks,
    missing_day,
    views,
)
from pipeline.sandbox.modis250 import (
    PARTS,
    REFLECTANCE,
    VEGETATION,
    Mask,
    Series,
    SharpLook,
    reflectance_composite,
    sharp_looks,
    vegetation_composite,
    water_cells,
)
from pipeline.sandbox.noise import key_of, uniform
from pipeline.sandbox.orbit import Pass, passes
from pipeline.sandbox.sky import Sky
from pipeline.sandbox.world import Scenery, World
from pipeline.vocabulary import BANDS

MARGIN = 112
"""Fine pixels around the area that the simulation needs: scenes and footprints reach beyond it."""

_DAYS_PER_TASK = 8
_COMPOSE = {REFLECTANCE: reflectance_composite, VEGETATION: vegetation_composite}
_FILLS = {"sur_refl_b01": -28672, "sur_refl_b02": -28672, "sur_refl_state_250m": 65535, "250m_16_days_NDVI": -3000}
_FILLS |= {"250m_16_days_VI_Quality": 65535, "250m_16_days_composite_day_of_the_year": -1, "250m_16_days_pixel_reliability": -1}

Progress = Callable[[str, int, int], None]
_Task = tuple[Any, ...]


@dataclass(frozen=True)
class SandboxSpec:
    """What makes a sandbox: the same spec gives the same pixels.

    Parameters
    ----------
    grid : Grid
        The area. With a UTM grid of 30 m at 15 mod 30 m, the scenes of the western path lie on it without resampling.
    first_day, last_day : date
        Solar-local days of the scenes, both included.
    seed : int
    cloudiness : float
        Mean share of the sky that is covered, 0–1.
    landsat7 : bool
        Add Landsat 7 with its missing scan lines.
    composites : bool
        Add the 250 m products MOD09Q1, MYD09Q1 (reflectance of 8 days), MOD13Q1 and MYD13Q1 (NDVI of 16 days) of all
        composites that hold one of the days.
    """

    grid: Grid
    first_day: date
    last_day: date
    seed: int = 1
    cloudiness: float = 0.5
    landsat7: bool = False
    composites: bool = False

    def __post_init__(self) -> None:
        if self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} lies before first_day {self.first_day}")
        if not 0 <= self.cloudiness <= 1:
            raise ValueError(f"cloudiness {self.cloudiness} is not between 0 and 1")

    @property
    def world(self) -> World:
        """The world with its truth."""
        return World(self.seed, self.grid, self.first_day, self.last_day)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `from_dict` is its inverse.

        Without composites it is what it was before there were any, so what was kept by it is still found.
        """
        record = {**asdict(self), "first_day": self.first_day.isoformat(), "last_day": self.last_day.isoformat()}
        return record if self.composites else {key: value for key, value in record.items() if key != "composites"}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> SandboxSpec:
        """A spec from the mapping that `to_dict` made."""
        first, last = date.fromisoformat(record["first_day"]), date.fromisoformat(record["last_day"])
        return cls(**{**record, "grid": Grid(**record["grid"]), "first_day": first, "last_day": last})


def load_spec(folder: Path | str) -> SandboxSpec:
    """The spec of a written sandbox.

    Raises
    ------
    StoreError
        If the folder holds no sandbox.
    """
    path = Path(folder) / "sandbox.json"
    if not path.is_file():
        raise StoreError(f"no sandbox in {folder}: {path.name} is missing", "make one with write_sandbox")
    return SandboxSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))


def load_world(folder: Path | str) -> World:
    """The world behind a written sandbox, with its truth."""
    return load_spec(folder).world


def write_sandbox(folder: Path | str, spec: SandboxSpec, progress: Progress | None = None, workers: int | None = None) -> Path:
    """Simulate what Landsat and MODIS saw and write it as COGs with a static STAC catalog.

    Parameters
    ----------
    folder : Path or str
        New or empty.
    spec : SandboxSpec
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with stage ``"landsat and modis"`` or ``"modis products"``.
    workers : int, optional
        Processes (spawned, so that a script needs ``if __name__ == "__main__"``); 1 = work in this one.
        By default 1 for small sandboxes, else as many as there are cores, at most 4.

    Returns
    -------
    Path
        The ``catalog.json``: root → collections ``landsat-c2-l2`` and ``modis-43A4-061``, with `SandboxSpec.composites` also
        ``modis-09Q1-061`` and ``modis-13Q1-061`` → items, with relative links and hrefs.

    Raises
    ------
    StoreError
        If the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty", "give a new folder for the sandbox")
    folder.mkdir(parents=True, exist_ok=True)
    longitude = spec.grid.longitude
    flights = passes(longitude, _latitude(spec), spec.first_day, spec.last_day, spec.landsat7)
    composites = _composites(spec)
    days = _days_of_looks(spec, composites)
    first_tasks: list[_Task] = [(_write_pass, flight) for flight in flights]
    first_tasks += [(_look_at, chunk) for chunk in _chunks(days, _DAYS_PER_TASK)]
    items: list[tuple[str, dict[str, Any]]] = []
    seen: dict[date, list[list[Look]]] = {}
    sharp: dict[date, list[list[SharpLook]]] = {}
    with _crew(folder, spec, _worker_count(spec, workers)) as run:
        for result in run("landsat and modis", first_tasks, progress):
            if isinstance(result, list):
                items += result
            else:
                seen.update(result[0])
                sharp.update(result[1])
        second_tasks: list[_Task] = []
        for chunk in _chunks(days_between(spec.first_day, spec.last_day), _DAYS_PER_TASK):
            reach = days_between(chunk[0] - timedelta(days=BEFORE), chunk[-1] + timedelta(days=AFTER))
            second_tasks.append((_write_nbar, chunk, {day: seen[day] for day in reach}))
        for series, aqua, start in composites:
            second_tasks.append((_write_composite, series, aqua, start, [sharp[day] for day in _held(series, start)]))
        for result in run("modis products", second_tasks, progress):
            items += result
    (folder / "sandbox.json").write_text(json.dumps(spec.to_dict(), indent=1), encoding="utf-8")
    return _write_catalog(folder, spec, [item for _, item in sorted(items, key=lambda entry: entry[0])])


def _composites(spec: SandboxSpec) -> list[tuple[Series, bool, date]]:
    """Product, sensor and first day of the composites that a spec asks for."""
    if not spec.composites:
        return []
    every = [(series, aqua) for series in COMPOSITES for aqua in (False, True)]
    return [(series, aqua, start) for series, aqua in every for start in series.starts(aqua, spec.first_day, spec.last_day)]


def _held(series: Series, start: date) -> list[date]:
    """The days of a composite."""
    return days_between(start, start + timedelta(days=series.days - 1))


def _days_of_looks(spec: SandboxSpec, composites: Sequence[tuple[Series, bool, date]]) -> list[date]:
    """Days on which MODIS looks, so that all products of the period can be made."""
    days = days_between(spec.first_day - timedelta(days=BEFORE), spec.last_day + timedelta(days=AFTER))
    return sorted({*days, *(day for series, _, start in composites for day in _held(series, start))})


def _latitude(spec: SandboxSpec) -> float:
    _, south, _, north = spec.grid.lonlat_bounds
    return (south + north) / 2


def _worker_count(spec: SandboxSpec, workers: int | None) -> int:
    if workers is not None:
        return workers
    days = (spec.last_day - spec.first_day).days + 1
    small = (spec.grid.height + 2 * MARGIN) * (spec.grid.width + 2 * MARGIN) * days < 4e7
    return 1 if small else min(os.cpu_count() or 1, 4)


def _chunks(days: Sequence[date], size: int) -> list[list[date]]:
    return [list(days[start : start + size]) for start in range(0, len(days), size)]


@dataclass(frozen=True)
class _Studio:
    """What a process keeps between tasks."""

    folder: Path
    spec: SandboxSpec
    scenery: Scenery
    sky: Sky
    places: list[Lattice]
    water: list[Mask]

    @classmethod
    def build(cls, folder: Path, spec: SandboxSpec) -> _Studio:
        scenery = Scenery(spec.seed, Canvas.around(spec.grid, MARGIN), spec.world.latitude)
        places = lattices(spec.grid)
        water = [water_cells(scenery, spec.grid, place) for place in places] if spec.composites else []
        return cls(folder, spec, scenery, Sky(spec.seed, scenery.weather, spec.cloudiness), places, water)


_studio: _Studio | None = None


def _open_studio(folder: Path, spec: SandboxSpec) -> None:
    global _studio
    _studio = _Studio.build(folder, spec)


def _in_studio(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    assert _studio is not None
    return function(_studio, *arguments)


@contextmanager
def _crew(folder: Path, spec: SandboxSpec, workers: int) -> Iterator[Callable[[str, list[_Task], Progress | None], Iterator[Any]]]:
    """A function that runs tasks (function, *arguments) and yields their results as they come."""
    if workers == 1:
        studio = _Studio.build(folder, spec)

        def run_here(stage: str, tasks: list[_Task], progress: Progress | None) -> Iterator[Any]:
            for done, (function, *arguments) in enumerate(tasks, start=1):
                yield function(studio, *arguments)
                if progress:
                    progress(stage, done, len(tasks))

        yield run_here
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_open_studio, initargs=(folder, spec)) as pool:

        def run_there(stage: str, tasks: list[_Task], progress: Progress | None) -> Iterator[Any]:
            waiting = [pool.submit(_in_studio, function, tuple(arguments)) for function, *arguments in tasks]
            for done, future in enumerate(as_completed(waiting), start=1):
                yield future.result()
                if progress:
                    progress(stage, done, len(tasks))

        yield run_there


def _write_pass(studio: _Studio, flight: Pass) -> list[tuple[str, dict[str, Any]]]:
    written = []
    for scene in landsat_scenes(studio.scenery, studio.sky, studio.spec.grid, flight, studio.spec.grid.longitude):
        item = landsat_item(scene)
        home = studio.folder / LANDSAT / scene.id
        home.mkdir(parents=True)
        for key, (name, pixels) in landsat_files(scene).items():
            nodata = {"qa_pixel": 1, "qa_aerosol": 1, "qa_radsat": None}.get(key, 0)
            _write_cog(home / name, pixels, f"EPSG:{scene.epsg}", scene.transform, nodata)
        written.append((f"{LANDSAT}/{scene.day}/{scene.id}", item))
    return written


def _look_at(studio: _Studio, days: list[date]) -> tuple[dict[date, list[list[Look]]], dict[date, list[list[SharpLook]]]]:
    """What MODIS sees by day and lattice, on 500 m cells and, where the composites are asked for, on those of 250 m."""
    spec, places = studio.spec, studio.places
    coarse, sharp = {}, {}
    for day in days:
        seen = views(studio.scenery, studio.sky, day)
        coarse[day] = looks(seen, spec.seed, spec.grid, places)
        if spec.composites:
            sharp[day] = sharp_looks(seen, spec.seed, spec.grid, places, studio.water)
    return coarse, sharp


def _write_nbar(studio: _Studio, days: list[date], seen: dict[date, list[list[Look]]]) -> list[tuple[str, dict[str, Any]]]:
    written = []
    for day in days:
        if missing_day(studio.spec.seed, day):
            continue
        for index, place in enumerate(studio.places):
            nbar = compose({other: found[index] for other, found in seen.items()}, day, studio.scenery.latitude)
            if nbar is None:
                continue
            for produced in _productions(studio.spec, day):
                item_id = modis_id(place, day, produced)
                home = studio.folder / MODIS / item_id
                home.mkdir(parents=True)
                for number, band in enumerate(BANDS):
                    _write_cog(home / modis_file(item_id, band, False), nbar.values[number], SINUSOIDAL, place.transform, FILL)
                    _write_cog(home / modis_file(item_id, band, True), nbar.quality[number], SINUSOIDAL, place.transform, QUALITY_FILL)
                written.append((f"{MODIS}/{day}/{item_id}", modis_item(place, day, produced)))
    return written


def _write_composite(
    studio: _Studio, series: Series, aqua: bool, start: date, seen: list[list[list[SharpLook]]]
) -> list[tuple[str, dict[str, Any]]]:
    """One composite of one sensor, for every lattice; nothing where the sensor was out of order on all of its days."""
    written = []
    for index, place in enumerate(studio.places):
        used = [look for found in seen for look in found[index] if look.aqua == aqua]
        if not used:
            continue
        cells, files = place.divided(PARTS), _COMPOSE[series](used)
        item = composite_item(series, aqua, cells, start, {asset: str(pixels.dtype) for asset, pixels in files.items()})
        home = studio.folder / COMPOSITES[series] / item["id"]
        home.mkdir(parents=True)
        for asset, pixels in files.items():
            _write_cog(home / composite_file(item["id"], asset), pixels, SINUSOIDAL, cells.transform, _FILLS.get(asset))
        written.append((f"{COMPOSITES[series]}/{start}/{item['id']}", item))
    return written


def _productions(spec: SandboxSpec, day: date) -> list[datetime]:
    """When a granule was made: nine days later, sometimes once more."""
    first = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=9, hours=3, minutes=53, seconds=31)
    again = uniform(key_of(spec.seed, "made again"), day_number(day))[0] < 0.03
    return [first, first + timedelta(days=17, hours=2)] if again else [first]


def _write_cog(
    path: Path,
    pixels: npt.NDArray[Any],
    crs: str,
    transform: tuple[float, float, float, float, float, float],
    nodata: int | None,
) -> None:
    """A tiled, compressed GeoTIFF with its header in front; small enough to need no overviews."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=1,
        dtype=pixels.dtype,
        crs=_crs(crs),
        transform=Affine(*transform),
        nodata=nodata,
        tiled=True,
        blockxsize=_tile(pixels.shape[1]),
        blockysize=_tile(pixels.shape[0]),
        compress="deflate",
        predictor=2,
        zlevel=1,
    ) as target:
        target.write(np.ascontiguousarray(pixels), 1)


def _tile(size: int) -> int:
    """Edge of a tile: 256 or, for a small image, the multiple of 16 that holds all of it."""
    return min(256, -(-size // 16) * 16)


@lru_cache(maxsize=8)
def _crs(text: str) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_user_input(text)


def _write_catalog(folder: Path, spec: SandboxSpec, items: list[dict[str, Any]]) -> Path:
    """Items, collections and root, linked by relative hrefs."""
    bbox = list(spec.grid.lonlat_bounds)
    root_links = [_link("root", "./catalog.json")]
    for name in (LANDSAT, MODIS, *(COMPOSITES.values() if spec.composites else ())):
        mine = [item for item in items if item["collection"] == name]
        document = collection(name, bbox, spec.first_day, spec.last_day)
        document["links"] = [_link("root", "../catalog.json"), _link("parent", "../catalog.json")]
        for item in mine:
            item["links"] = [_link("root", "../../catalog.json"), *(_link(rel, "../collection.json") for rel in ("parent", "collection"))]
            _write_json(folder / name / item["id"] / f"{item['id']}.json", item)
            document["links"].append(_link("item", f"./{item['id']}/{item['id']}.json"))
        _write_json(folder / name / "collection.json", document)
        root_links.append(_link("child", f"./{name}/collection.json"))
    root = {
        "type": "Catalog",
        "id": "sandbox",
        "stac_version": "1.0.0",
        "description": f"Simulated scenes of {spec.first_day} to {spec.last_day}, seed {spec.seed}",
        "links": root_links,
    }
    _write_json(folder / "catalog.json", root)
    return folder / "catalog.json"


def _link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/geo+json" if rel == "item" else "application/json"}


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
