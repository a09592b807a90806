"""Refit: a planned new version that says what it changes; until it is pinned, runs go on as before."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline import steps
from pipeline.cli import _show_refit
from pipeline.config import Area, load_area
from pipeline.errors import LandfuseError, StoreError
from pipeline.planning import MAKE
from pipeline.steps.estimate import estimate, sample_windows
from pipeline.steps.make import job_of
from pipeline.steps.recipe import pinned_parameters, versions_of
from pipeline.steps.refit import BandChange, Parameter, Refit, days_to_remake, pin, refit, spread
from pipeline.store.manifest import read_manifest
from tests.integration.command import landfuse
from tests.integration.conftest import FIRST, LAST, run, write_area


class Here:
    """A cluster of this process."""

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        return ((position, function(*call)) for position, call in enumerate(calls))


def another(area: Area) -> dict[str, Any]:
    """A version that holds something else than the pinned one."""
    learnt = pinned_parameters(area)
    bias = {**learnt["restoration"], "offset": [offset + 0.02 for offset in learnt["restoration"]["offset"]]}
    return versions_of(area).save({**learnt, "restoration": bias})


def reasons(area: Area) -> set[str]:
    return {day.reason for day in steps.plan(area).days if day.status == MAKE}


def test_the_same_observations_give_the_same_bytes(copied: Path) -> None:
    area = load_area(copied)
    versions = versions_of(area)
    on_workers = (versions.folder / "v0001.json").read_bytes()
    assert json.loads(on_workers)["trained_from"] < FIRST.isoformat() < LAST.isoformat() < json.loads(on_workers)["trained_to"]
    shutil.rmtree(versions.folder)
    assert estimate(area, Here(), job_of(area), steps.plan(area), steps.silent)["version"] == 1
    assert (versions.folder / "v0001.json").read_bytes() == on_workers
    assert versions.pinned is None, "who estimates does not pin"


def test_a_pinned_version_makes_all_days_again_and_the_plan_says_so_until_the_earlier_one_is_pinned_again(copied: Path) -> None:
    area = load_area(copied)
    other = another(area)
    assert not reasons(area), "a version that is not pinned changes nothing"
    assert days_to_remake(area, steps.plan(area), other) == [FIRST + timedelta(n) for n in range(6)]
    assert days_to_remake(area, steps.plan(area), pinned_parameters(area)) == []
    before, pinned = pin(area, 2)
    assert (before, pinned["version"], pinned["digest"]) == (1, 2, other["digest"])
    assert reasons(area) == {"the parameters changed: version 1 → 2"}
    assert len(steps.plan(area).to_make) == 6
    assert steps.status(area)["parameters"] == {**pinned, "versions": [1, 2]}
    assert pin(area, 1)[0] == 2
    assert not reasons(area), "the digests are what they were"


def test_nothing_is_pinned_while_a_run_holds_the_stores(copied: Path) -> None:
    area = load_area(copied)
    another(area)
    with steps.hold(area, "of today"), pytest.raises(StoreError, match="in use by run of today"):
        pin(area, 2)
    assert versions_of(area).pinned == 1


def test_what_cannot_be_done_is_said_with_a_remedy(copied: Path, sandbox: Path, tmp_path: Path) -> None:
    unknown = landfuse("refit", copied, "--pin", "9")
    assert unknown.returncode == 1
    assert "no version 9" in unknown.stderr
    assert "there is 1" in unknown.stderr
    area = load_area(write_area(tmp_path / "new", sandbox))
    for call in (lambda: refit(area), lambda: pin(area, 1)):
        with pytest.raises(LandfuseError, match=r"nothing was learnt about area 'region' yet\n.*landfuse run"):
            call()
    (versions_of(load_area(copied)).folder / "v0001.json").unlink()
    lost = landfuse("plan", copied)
    assert lost.returncode == 1
    assert "no version 1" in lost.stderr


def test_sample_days_are_spread_over_all_with_both_ends() -> None:
    days = [FIRST + timedelta(n) for n in range(100)]
    assert spread(days, 12)[0] == days[0]
    assert spread(days, 12)[-1] == days[-1]
    assert len(set(spread(days, 12))) == 12
    assert spread(days[:5], 12) == days[:5]


def test_the_answer_names_what_differs_the_days_and_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    learnt = {"digest": "a", "trained_from": "2023-05-10", "trained_to": "2023-07-02"}
    parameters = (Parameter("method.tau", "d", 45.0, 30.0), Parameter("restoration.gain", "1", [1.0, 1.1], [1.0, 1.1]))
    change = BandChange("red", 100, 0.0012, 0.002, 0.0055, 0.01, 0.02, 0.019, 3)
    days = tuple(FIRST + timedelta(n) for n in range(6))
    pinned, candidate = learnt | {"version": 1}, learnt | {"version": 2, "digest": "b", "trained_to": "2024-07-02"}
    found = Refit("region", pinned, candidate, True, parameters, days, 2, days[:2], (change,), 4)
    _show_refit(found, Path("area.yaml"))
    said = capsys.readouterr()
    assert re.search(r"method\.tau +│ d +│ 45 +│ 30 ", said.out)
    assert "restoration.gain" not in said.out
    assert "1 other the same" in said.out
    assert "version 2 (learnt from 2023-05-10..2024-07-02)" in said.out
    assert "6 published days would be made again, 2023-06-03..2023-06-08, 2 of them by the next run anyway" in said.out
    assert re.search(r"red +│ 0\.0012 +│ 0\.0020 +│ 0\.0055 +│ 0\.0100 +│ 0\.0200 +│ 0\.0190 ", said.out)
    assert "3 values known to one version only" in said.out
    assert "version 2 is saved; runs use version 1. To change over: landfuse refit area.yaml --pin 2" in said.out
    assert "4 scenes not read yet" in said.err
    _show_refit(replace(found, candidate=pinned, new=False, days=(), bands=()), Path("area.yaml"))
    assert "what is learnt now is what is pinned, version 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_refit_that_finds_nothing_else_makes_no_version(copied: Path) -> None:
    area = load_area(copied)
    before = {path: path.read_bytes() for path in versions_of(area).folder.iterdir()}
    found = landfuse("refit", copied)
    assert found.returncode == 0, found.stderr
    assert "what is learnt now is what is pinned, version 1" in found.stdout
    assert {path: path.read_bytes() for path in versions_of(area).folder.iterdir()} == before
    assert not reasons(area)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_refit_tells_the_days_and_the_change_that_pinning_its_version_really_makes(copied: Path) -> None:
    area = load_area(copied)
    learnt, versions = pinned_parameters(area), versions_of(area)
    shutil.rmtree(versions.folder)
    bias = {**learnt["restoration"], "offset": [offset + 0.02 for offset in learnt["restoration"]["offset"]]}
    versions.save({**learnt, "restoration": bias, "trained_to": "2023-06-01"})
    pin_first = versions.pin(1)
    report = run(area)
    assert report.parameters["digest"] == pin_first["digest"], "a run uses the pinned version, and learns nothing"
    assert versions.numbers == [1]
    old = cube(area)

    told = landfuse("refit", copied, "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["pinned"]["version"], found["candidate"]["version"], found["new"], found["equal"]) == (1, 2, True, False)
    assert found["candidate"]["digest"] == learnt["digest"]
    offset = next(parameter for parameter in found["parameters"] if parameter["name"] == "restoration.offset")
    assert (offset["unit"], offset["before"], offset["after"]) == ("1", bias["offset"], learnt["restoration"]["offset"])
    assert found["days"] == {"count": 6, "first": FIRST.isoformat(), "last": LAST.isoformat(), "stale_anyway": 0}
    assert versions.pinned == 1
    assert not steps.plan(area).to_make

    pinned = landfuse("refit", copied, "--pin", "2")
    assert "version 2 (learnt from 2023-05-10..2023-07-02) is pinned, in place of version 1" in pinned.stdout
    report = run(area)
    assert {reason for *_, reason in report.days} == {"the parameters changed: version 1 → 2"}
    assert [day for day, *_ in report.days] == [FIRST + timedelta(n) for n in range(6)]
    assert report.parameters["version"] == 2
    written = json.loads((area.runtime.root / "runs" / report.run_id / "report.json").read_text())
    assert written["parameters"] == report.parameters
    assert read_manifest(area.cube_path, report.run_id)["parameters_digest"] == learnt["digest"]

    new = cube(area)
    assert [change["band"] for change in found["bands"]] == list(area.science.bands)
    for change in found["bands"]:
        apart = 1e-4 * np.abs(new[change["band"]] - old[change["band"]])
        assert change["pixels"] == apart.size
        assert change["mean"] == pytest.approx(apart.mean(), abs=2e-6)
        assert change["rms"] == pytest.approx(np.sqrt((apart**2).mean()), abs=2e-6)
        assert change["p99"] == pytest.approx(np.quantile(apart, 0.99), abs=1.5e-4)
        assert change["largest"] == pytest.approx(apart.max(), abs=1.5e-4)
        assert change["mean"] > 1e-4
        for name, stated in (("std_before", old), ("std_after", new)):
            assert change[name] == pytest.approx(1e-4 * stated[f"uncertainty_{change['band']}"].mean(), abs=2e-6)

    pin(area, 1)
    assert reasons(area) == {"the parameters changed: version 2 → 1"}
    assert run(area).counts == {"published": 6}
    for name, values in cube(area).items():
        np.testing.assert_array_equal(values, old[name], err_msg="an earlier version makes what it made")


def cube(area: Area) -> dict[str, np.ndarray]:
    """The layers of the sample windows, as stored."""
    layers = [name for band in area.science.bands for name in (band, f"uncertainty_{band}")]
    whole = {name: np.asarray(zarr.open_array(area.cube_path / name, mode="r")[:]).astype(int) for name in layers}
    return {name: np.stack([values[(..., *window.slices)] for window in sample_windows(area)]) for name, values in whole.items()}
