"""The main job on real input: the example of a year of clouded Landsat NDVI, through the command line."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml

from pipeline.config import load_area
from pipeline.fusion.registry import specs
from pipeline.observations.location import observations_path
from pipeline.observations.scenes_table import read_table
from pipeline.vocabulary import Provenance
from tests.integration.command import PROGRAM, clean_environment, landfuse

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ifsdaf-ndvi-2015"
DATA = Path(os.environ.get("LANDFUSE_SHARED", ROOT / ".." / "shared")).resolve() / "data" / "ifsdaf-ndvi-2015"
WITHHELD = date(2015, 10, 14)
IMAGE = "LC81260382015287LGN00_ndvi.tif"
AROUND = "2015-10-08..2015-10-19"
CONTROLS = {name for name, spec in specs().items() if spec.control}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data set {DATA} is not here")


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The area file of the example with twelve days around the withheld one published."""
    area_file = set_up(tmp_path_factory.mktemp("ifsdaf"), DATA)
    answer("run", area_file, "--days", AROUND, "--no-prefect")
    return area_file


@pytest.fixture(scope="module")
def scored(around: Path) -> dict[str, dict[str, Any]]:
    """What ``landfuse score`` says of the withheld day, by image."""
    return score(around)


def test_the_withheld_image_is_in_the_catalog_and_reaches_no_observation(around: Path, scored: dict[str, dict[str, Any]]) -> None:
    area = load_area(around)
    assert list(area.science.withhold) == [WITHHELD]
    assert any(IMAGE in path.read_text() for path in (around.parent / "catalog").rglob("*.json"))
    rows = read_table(observations_path(area))
    assert {row.scene.day for row in rows if row.scene.role == "fine"} >= {date(2015, 9, 5), date(2015, 12, 10)}
    assert not [row.scene.id for row in rows if row.scene.role == "fine" and row.scene.day == WITHHELD]
    manifests = [json.loads(path.read_text()) for path in (area.runtime.root / "manifests").glob("*.json")]
    assert manifests
    assert not [entry for manifest in manifests for entry in manifest["inputs"] if "2015287" in entry["id"]]


def test_the_withheld_day_is_published_whole_and_no_pixel_of_it_is_observed(around: Path) -> None:
    with xr.open_zarr(load_area(around).cube_path) as cube:
        day = cube.sel(time=WITHHELD.isoformat())
        assert np.isfinite(day.ndvi).all()
        assert (day.uncertainty_ndvi > 0).all()
        assert not (day.provenance == Provenance.OBSERVED).any()
        assert (day.days_to_observation != 0).all()


def test_the_method_beats_every_control_on_the_withheld_image(scored: dict[str, dict[str, Any]]) -> None:
    assert set(scored) == {"published", "residual"} | CONTROLS
    assert len({row["pixels"] for row in scored.values()}) == 1
    assert scored["residual"]["pixels"] > 300_000
    best = min(scored[name]["rmse"] for name in CONTROLS)
    assert scored["residual"]["rmse"] < best
    assert scored["residual"]["rmse"] < 0.060
    assert scored["published"]["rmse"] == pytest.approx(scored["residual"]["rmse"], abs=1e-5)


@pytest.mark.slow
def test_no_bit_of_any_day_changes_when_the_withheld_image_is_noise(around: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    with rasterio.open(data / IMAGE, "r+") as image:
        image.write(np.random.default_rng(0).integers(-10000, 10000, image.shape).astype(image.dtypes[0]), 1)
    area_file = set_up(tmp_path / "noise", data)
    answer("run", area_file, "--days", AROUND, "--no-prefect")
    with (
        xr.open_zarr(load_area(around).cube_path, mask_and_scale=False) as expected,
        xr.open_zarr(load_area(area_file).cube_path, mask_and_scale=False) as made,
    ):
        layers = [name for name in expected.data_vars if expected[name].dims == ("time", "y", "x")]
        assert {"ndvi", "uncertainty_ndvi", "provenance"} <= set(layers)
        for name in layers:
            np.testing.assert_array_equal(made[name].values, expected[name].values, err_msg=str(name))
    assert score(area_file)["residual"]["rmse"] > 0.3, "the noise is what the day is scored on, so it was in reach"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_year_has_no_missing_day_and_is_scored_beside_the_controls(tmp_path: Path) -> None:
    area_file = set_up(tmp_path, DATA)
    answer("run", area_file, "--no-prefect", timeout=1500)
    status = json.loads(answer("status", area_file, "--json"))
    assert (status["published"], status["missing"]) == (365, [])
    with xr.open_zarr(load_area(area_file).cube_path) as cube:
        assert not (cube.provenance == Provenance.MISSING).any()
        assert np.isfinite(cube.ndvi).all()
    rows = score(area_file)
    assert set(rows) == {"published", "residual"} | CONTROLS
    assert all(math.isfinite(row[figure]) for row in rows.values() for figure in ("rmse", "mae", "cc"))
    assert rows["residual"]["rmse"] < min(0.060, *(rows[name]["rmse"] for name in CONTROLS))


def set_up(folder: Path, data: Path) -> Path:
    """The example with its catalog in a folder of its own, as its README says; returns the area file."""
    folder.mkdir(parents=True, exist_ok=True)
    document = yaml.safe_load((EXAMPLE / "area.yaml").read_text(encoding="utf-8"))
    document["runtime"]["catalogs"]["default"]["allow"] = [str(data)]
    area_file = folder / "area.yaml"
    area_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    shutil.copy(EXAMPLE / "index.sh", folder)
    environment = clean_environment()
    environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{environment['PATH']}"
    subprocess.run(["bash", folder / "index.sh", data], env=environment, check=True, capture_output=True, timeout=120)
    return area_file


def score(area_file: Path) -> dict[str, dict[str, Any]]:
    """What ``landfuse score`` says, by image."""
    return {row["name"]: row for row in json.loads(answer("score", area_file, "--json"))["rows"]}


def answer(*arguments: str | Path, timeout: float = 240) -> str:
    """Standard output of a ``landfuse`` command that must succeed."""
    done = landfuse(*arguments, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
