"""A run whose method needs the median NDVI and the 250 m composites: learnt and read for it, for no other, and part of every day."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from pipeline import steps
from pipeline.config import Area, load_area
from pipeline.fusion import registry
from pipeline.grid import Grid, day_number
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.operators.reach import SPIKE_REACH
from pipeline.planning import MAKE
from pipeline.restoration.smoother import restore
from pipeline.sandbox import SandboxSpec, write_sandbox
from pipeline.steps.recipe import read_parameters, versions_of
from pipeline.vocabulary import Outcome, Provenance, Reason
from tests.integration import witness
from tests.integration.conftest import run, write_area

GRID = Grid.from_bounds("EPSG:32633", (500175.0, 4900815.0, 500175.0 + 128 * 30, 4900815.0 + 128 * 30))
pytestmark = pytest.mark.slow

DAYS = date(2023, 6, 8), date(2023, 6, 10)
Q1, NDVI = "modis-09Q1-061", "modis-13Q1-061"
SCIENCE = {
    "grid": {"crs": GRID.crs, "bounds": list(GRID.bounds)},
    "start": DAYS[0],
    "end": DAYS[1],
    "bands": list(witness.BANDS),
    "coarse": [{"collection": "modis-43A4-061"}, {"collection": Q1}, {"collection": NDVI}],
    "screening": {"enabled": False},
    "block": 64,
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composites") / "sandbox"
    write_sandbox(folder, SandboxSpec(GRID, date(2023, 5, 20), date(2023, 6, 28), seed=3, cloudiness=0.3, composites=True), workers=2)
    return folder


@pytest.fixture(scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The witness is a method, here and in the processes of the cluster."""
    folder = tmp_path_factory.mktemp("packages")
    witness.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(__file__).parents[2])]))
        registry.specs.cache_clear()
        yield
    registry.specs.cache_clear()


@pytest.fixture(scope="module")
def shown(catalog: Path, tmp_path_factory: pytest.TempPathFactory, _installed: None) -> Area:
    """An area that publishes the layers."""
    folder = tmp_path_factory.mktemp("shown")
    area = load_area(write_area(folder, catalog, science=SCIENCE | {"method": {"name": "witness"}}))
    assert run(area).outcome is Outcome.PUBLISHED
    return area


def predicted(area: Area) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The bands (T, y, x) as published, and where they show the layers: on days without any fine image."""
    with xr.open_zarr(area.cube_path) as cube:
        return {name: cube[name].values for name in witness.BANDS}, cube.provenance.values == Provenance.EXTRAPOLATED


def test_the_median_ndvi_that_the_method_sees_is_that_of_the_clear_images(shown: Area) -> None:
    learnt = read_parameters(shown)
    assert learnt
    store = WorkingStore.open(observations_path(shown))
    first, last = (day_number(date.fromisoformat(learnt[key])) for key in ("trained_from", "trained_to"))
    fine = store.read_fine(shown.grid.window, first, last)
    red, nir = fine.values[:, 1].astype(float), fine.values[:, 2].astype(float)
    ndvi = np.where(fine.reasons & Reason.SNOW, np.nan, (nir - red) / (nir + red))
    count = np.isfinite(ndvi).sum(0)
    middle = np.take_along_axis(np.sort(ndvi, axis=0), np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    bands, where = predicted(shown)
    assert where.mean() > 0.3
    for day in range(len(where)):
        np.testing.assert_allclose(bands["green"][day][where[day]], witness.as_reflectance(middle)[where[day]], atol=2e-4)
    assert learnt["ndvi"]["pixels"] == (count > 0).sum()
    assert learnt["method"] == {"median": pytest.approx(np.nanmean(middle), abs=0.1), "bands": list(witness.BANDS)}


def test_the_composites_that_the_method_sees_are_those_of_the_store_restored_by_day(shown: Area) -> None:
    store, bands_and_where = WorkingStore.open(observations_path(shown)), predicted(shown)
    assert store.textures == {Q1: ("red", "nir08"), NDVI: ("ndvi",)}
    bands, where = bands_and_where
    days, far = np.arange(day_number(DAYS[0]), day_number(DAYS[1]) + 1), 12 + SPIKE_REACH
    for product, name in ((Q1, "red"), (NDVI, "nir08")):
        seen = store.read_coarse(shown.grid.window.coarse(8), days[0] - far, days[-1] + far, texture=product)
        values, std = torch.from_numpy(seen.values), torch.from_numpy(seen.std)
        mean = restore(values, std, seen.days, days, 12, 4.0)[0][:, 0].numpy()
        shown_as = mean if name == "red" else witness.as_reflectance(mean)
        np.testing.assert_allclose(bands[name][where], shown_as.repeat(8, 1).repeat(8, 2)[where], atol=2e-4)


def test_textures_are_no_part_of_the_coarse_series_and_not_read_for_other_methods(shown: Area, catalog: Path, tmp_path: Path) -> None:
    store = WorkingStore.open(observations_path(shown))
    assert {row.scene.product for row in store.rows() if row.scene.role == "coarse"} == {"modis-43A4-061", Q1, NDVI}
    assert set(store.read_coarse(shown.grid.window.coarse(8), 0, 1 << 30).product) == {"modis-43A4-061"}
    learnt = read_parameters(shown)
    assert learnt
    assert set(learnt["registration"]) == {"modis-43A4-061"}
    other = load_area(write_area(tmp_path, catalog, science=SCIENCE | {"method": {"name": "delta"}}))
    assert {scene.product for scene in steps.plan(other).scenes} == {"landsat-c2-l2", "modis-43A4-061"}
    assert observations_path(other).name == observations_path(shown).name, "what was read is of use to another method"


def test_another_median_makes_every_day_again(shown: Area, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shown.runtime.root, folder)
    area = load_area(folder / "area.yaml")
    assert not steps.plan(area).to_make
    versions = versions_of(area)
    learnt = versions.read(1)
    shutil.copytree(learnt["ndvi_median"], versions.next_layer("ndvi_median"))
    made = versions.save({**learnt, "ndvi": {**learnt["ndvi"], "digest": "other"}})
    assert json.loads((versions.folder / "v0002.json").read_text())["ndvi"]["digest"] == "other"
    versions.pin(made["version"])
    assert {day.status for day in steps.plan(area).days} == {MAKE}
