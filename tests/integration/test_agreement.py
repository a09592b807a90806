"""What each normalisation step leaves, measured on an area's own observations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import load_area
from pipeline.errors import StoreError
from pipeline.steps.agreement import agreement, to_records
from tests.region import write_area


def test_images_of_adjacent_paths_agree_better_in_the_published_geometry(published: Path) -> None:
    records = to_records(agreement(load_area(published)))
    overlaps = {record["band"]: record for record in records if record["pairs"].startswith("adjacent paths")}
    assert {record["step"] for record in overlaps.values()} == {"geometry"}, "the sandbox flies OLI only: no bandpass is moved"
    assert overlaps["nir08"]["cells"] > 500
    for band in ("green", "red", "nir08", "swir16", "swir22"):
        assert overlaps[band]["rmse_after"] < 0.8 * overlaps[band]["rmse_before"], band
        assert abs(overlaps[band]["median_after"]) < abs(overlaps[band]["median_before"]), band


def test_fine_and_coarse_of_a_day_are_compared_under_one_sun(published: Path) -> None:
    records = to_records(agreement(load_area(published)))
    against = {record["band"]: record for record in records if record["pairs"] == "landsat-c2-l2 against modis-43A4-061"}
    assert against["red"]["rmse_after"] < against["red"]["rmse_before"]
    assert against["swir16"]["rmse_after"] < against["swir16"]["rmse_before"]


def test_observations_of_another_normalisation_are_other_observations(tmp_path: Path, sandbox: Path) -> None:
    off = write_area(tmp_path, sandbox, science={"normalise": {"geometry": False}})
    with pytest.raises(StoreError, match="no working store"):
        agreement(load_area(off))


def test_the_command_prints_a_table_and_json(published: Path) -> None:
    shown = CliRunner().invoke(app, ["agreement", str(published)])
    assert shown.exit_code == 0
    assert "adjacent paths within 3 days" in shown.output
    printed = CliRunner().invoke(app, ["agreement", str(published), "--json"])
    assert {"pairs", "step", "band", "rmse_before", "rmse_after"} <= set(json.loads(printed.stdout)[0])
