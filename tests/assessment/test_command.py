"""The command: an experiment on the smallest real set, its files, its page, and a second run that makes nothing again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipeline.fusion.registry import specs
from tests.assessment.sets import DATA, needs_data
from tests.integration.command import landfuse

EXPERIMENTS = Path(__file__).resolve().parents[2] / "benchmarks" / "experiments"
CONTROLS = {name for name, spec in specs().items() if spec.control}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assessment")
    done = landfuse("assess", EXPERIMENTS / "kranj-two-of-four.yaml", "--methods", "residual", "--data", DATA, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "On all pixels residual" in done.stdout
    assert "predict 7/7" in done.stderr
    return out


@needs_data
def test_tables_and_figures_stand_in_a_folder(folder: Path) -> None:
    made = folder / "kranj-two-of-four"
    tables = {"scores.md", "scores.csv", "scores.json", "differences.csv", "experiment.json"}
    expected = tables | {"scatter.png", "reliability.svg", "performance.svg"}
    assert expected <= {path.name for path in made.iterdir()}
    assert len(list(made.glob("errors-*.png"))) == 2
    assert len(list(made.glob("series-*.svg"))) == 3
    rows = json.loads((made / "scores.json").read_text())
    assert {row["name"] for row in rows} == {"residual"} | CONTROLS
    with (made / "scores.csv").open() as source:
        assert {row["stratum"] for row in csv.DictReader(source)} >= {"all", "changed", "unchanged"}
    assert json.loads((made / "experiment.json").read_text())["experiment"]["name"] == "kranj-two-of-four"


@needs_data
def test_the_page_holds_everything_and_loads_nothing(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    assert all(f"<td>{name}</td>" in text for name in CONTROLS | {"residual"})
    assert text.count("<svg") == 1 + 2 + 3, "the key, two diagrams and three series"
    assert text.count("data:image/png;base64,") == 3
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text


@needs_data
def test_a_second_run_predicts_nothing_again(folder: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npz")}
    before = (folder / "kranj-two-of-four" / "scores.csv").read_bytes()
    done = landfuse("assess", EXPERIMENTS / "kranj-two-of-four.yaml", "--methods", "residual", "--data", DATA, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"kranj-two-of-four"}
    assert {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npz")} == kept
    assert (folder / "kranj-two-of-four" / "scores.csv").read_bytes() == before


def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path) -> None:
    done = landfuse("assess", EXPERIMENTS / "cia-one-pair.yaml", "--methods", "residual", "--out", tmp_path)
    assert done.returncode == 1
    assert "--data FOLDER" in done.stderr
    done = landfuse("assess", EXPERIMENTS / "cia-one-pair.yaml", "--methods", "wishful", "--data", tmp_path, "--out", tmp_path)
    assert done.returncode == 1
    assert "no method 'wishful'" in done.stderr
