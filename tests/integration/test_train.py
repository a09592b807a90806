"""Training on the observations of an area, as its user does it: from nothing, and from weights that are adapted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.fusion.networks.weights import SHIPPED, load
from tests.integration.command import landfuse

BUDGET = ("--budget", "3s")

pytestmark = pytest.mark.slow


def test_a_network_learns_from_an_area_and_its_weights_are_used_by_a_run(copied: Path, tmp_path: Path) -> None:
    told = json.loads(landfuse("train", str(copied), "--method", "corrected", *BUDGET, "--out", str(tmp_path), "--json").stdout)
    weights = load(Path(told["weights"]))
    assert weights.card["parameters"] > 10_000
    assert weights.card["data"]["train"][0].endswith("images")
    assert told["stages"]["fusion"]["rmse"] <= told["stages"]["fusion"]["start"]
    assert (tmp_path / "corrected" / "fusion" / "curve.csv").exists()
    assert list((tmp_path / "corrected" / "fusion").glob("events.out.tfevents*"))


@pytest.mark.skipif(not (SHIPPED / "realfusion.safetensors").exists(), reason="no weights are shipped")
def test_adapted_weights_are_kept_only_when_they_beat_those_they_began_with(copied: Path, tmp_path: Path) -> None:
    done = landfuse("train", str(copied), "--adapt", *BUDGET, "--out", str(tmp_path), "--json")
    told = json.loads(done.stdout)
    fusion = told["stages"]["fusion"]
    better = fusion["rmse"] < 0.995 * fusion["start"]
    assert (told["weights"] is not None) is better
    assert (done.returncode == 0) is better
    assert bool(list(tmp_path.glob("realfusion/*.safetensors"))) is better
