"""The whole room on a simulated archive with its catalog, and on a real set without georeference."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.catalog.search import find_scenes
from pipeline.config import Area, MaskPart
from pipeline.grid import Grid, Window, day_from_number
from pipeline.observations.ingest import ingest
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.sandbox.archive import SandboxSpec, write_sandbox
from pipeline.sensors import Product
from pipeline.sensors.product import Band

from .scenes import AS_SEEN, UTM33, make_scene

MODIS = "modis-43A4-061"


def test_a_simulated_archive_is_read_in_place_and_in_its_units(tmp_path: Path) -> None:
    grid = Grid.from_bounds(UTM33, (500175.0, 5090175.0, 503055.0, 5093055.0))
    spec = SandboxSpec(grid, date(2024, 6, 8), date(2024, 6, 17), cloudiness=0.3)
    catalog = write_sandbox(tmp_path / "sandbox", spec, workers=1)
    science = {
        "grid": {"crs": grid.crs, "bounds": grid.bounds},
        "start": "2024-06-08",
        "fine": [{"collection": "landsat-c2-l2"}],
        "coarse": [{"collection": MODIS}],
        "block": 64,
    }
    runtime = {"root": str(tmp_path), "catalogs": {"default": {"url": str(catalog)}}}
    area = Area.model_validate({"name": "area", "science": science, "runtime": runtime})
    sources = (*area.science.fine, *area.science.coarse)
    scenes = find_scenes(sources, area.runtime.catalogs, area.products, grid, spec.first_day, spec.last_day).scenes
    zones = {scene.crs for scene in scenes if scene.role == "fine"}
    assert len(zones) == 2, "the sandbox has scenes of the own and of a neighbouring zone"
    store = WorkingStore.create(observations_path(area), grid, area.science.bands, [MODIS], 64)
    records = ingest(scenes, store, grid, area.science.bands, area.products, MaskPart(), AS_SEEN, area.runtime.catalogs, 2)
    assert {record.error for record in records} == {""}
    fine = store.read_fine(grid.window, 0, 30000)
    zone_of = {scene.day: scene.crs for scene in scenes if scene.role == "fine"}
    checked = set()
    for number, values in zip(fine.days, fine.values, strict=True):
        day = day_from_number(number)
        if np.isfinite(values).mean() > 0.5:
            checked.add(zone_of[day])
            away = min(_difference(values, spec.world.truth(day), shift) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)))
            # In reflectance, and nowhere closer to the truth than where it lies.
            assert _difference(values, spec.world.truth(day), (0, 0)) < min(away, 0.01)
    assert checked == zones
    coarse = store.read_coarse(Window(0, 0, *grid.coarse_shape), 0, 30000)
    assert len(coarse.days) == 10
    assert np.nanmedian(coarse.values[:, 3]) == pytest.approx(np.nanmedian(fine.values[:, 3]), abs=0.08)


def _difference(values: np.ndarray, truth: np.ndarray, shift: tuple[int, int]) -> float:
    """RMS of an image against the truth moved by some pixels, haze (a difference of the means) apart."""
    error = (values - np.roll(truth, shift, (1, 2)))[:, 2:-2, 2:-2]
    return float(np.sqrt(np.nanmean((error - np.nanmean(error, (1, 2), keepdims=True)) ** 2)))


def test_a_real_set_without_georeference_keeps_its_numbers(tmp_path: Path) -> None:
    shared = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).parents[2] / ".." / "shared"))
    path = shared / "data" / "ifsdaf-ndvi-2015" / "mod_ndvi_16day_2015.tif"
    if not path.is_file():
        pytest.skip(f"the shared data set {path} is not here")
    grid = Grid.from_bounds("EPSG:32649", (0.0, 0.0, 17280.0, 16560.0), anchor=(0.0, 0.0))
    product = Product(role="coarse", bands={"ndvi": Band(asset="ndvi", scale=1e-4, valid=(-10000, 10000))}, std=0.03)
    scenes = [
        make_scene(
            f"composite-{band}",
            {"ndvi": f"{path}#band={band}"},
            grid.crs,
            (240.0, 0.0, 0.0, 0.0, -240.0, 16560.0),
            (69, 72),
            date(2015, 1, band),
            role="coarse",
            properties={"landfuse:georeference": "assigned"},
        )
        for band in (1, 12, 23)
    ]
    store = WorkingStore.create(tmp_path / "o.zarr", grid, ["ndvi"], ["landsat-c2-l2"], 288)
    records = ingest(scenes, store, grid, ["ndvi"], {"landsat-c2-l2": product}, MaskPart(reflectance=(-1, 1)), AS_SEEN, {}, 2)
    assert {record.error for record in records} == {""}
    with rasterio.open(path) as dataset:
        numbers = dataset.read([1, 12, 23])
    values = store.read_coarse(Window(0, 0, 69, 72), 0, 30000).values[:, 0]
    assert np.array_equal(np.rint(values * 1e4).astype(np.int16), numbers)
