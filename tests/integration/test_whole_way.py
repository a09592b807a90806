"""From a STAC search to a published daily cube, on a real Dask cluster of processes."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from pipeline import steps
from pipeline.config import load_area
from pipeline.grid import day_number
from pipeline.observations.location import observations_path
from pipeline.observations.scenes_table import read_table
from pipeline.observations.verdicts import judge
from pipeline.observations.working import WorkingStore
from pipeline.planning import MAKE
from pipeline.sandbox import load_world
from pipeline.steps.recipe import reach_of, versions_of
from pipeline.store.manifest import read_manifest
from pipeline.store.state import read_state
from pipeline.store.verify import verify_cube
from pipeline.vocabulary import Maturity, Outcome, Provenance
from tests.integration.conftest import FIRST, LAST, run, write_area


def test_every_day_is_published_whole_with_uncertainty_and_provenance(published: Path) -> None:
    area = load_area(published)
    with xr.open_zarr(area.cube_path) as cube:
        assert cube.sizes["time"] == 6
        assert cube.time.values[0] == np.datetime64(FIRST, "ns")
        for band in area.science.bands:
            assert np.isfinite(cube[band]).all()
            assert (cube[f"uncertainty_{band}"] > 0).all()
        assert set(np.unique(cube.provenance)) <= {int(kind) for kind in Provenance} - {int(Provenance.MISSING)}
    assert all(check.passed for check in verify_cube(area.cube_path))
    assert (read_state(area.cube_path).maturity == Maturity.FINAL).all()


def test_what_was_observed_is_kept_bit_for_bit(published: Path) -> None:
    area = load_area(published)
    store = WorkingStore.open(observations_path(area))
    seen = 0
    with xr.open_zarr(area.cube_path, mask_and_scale=False) as cube:
        fine = store.read_fine(area.grid.window, day_number(FIRST), day_number(LAST))
        judge(store, area.grid.window, fine)
        for k, day in enumerate(fine.days):
            image = cube.isel(time=int(day) - day_number(FIRST))
            clear = np.isfinite(fine.values[k]).all(0)
            np.testing.assert_array_equal(image.provenance.values == Provenance.OBSERVED, clear)
            assert (image.days_to_observation.values[clear] == 0).all()
            for number, band in enumerate(area.science.bands):
                np.testing.assert_array_equal(image[band].values[clear], np.rint(fine.values[k, number][clear] * 1e4).astype(np.int16))
            seen += int(clear.sum())
    assert seen > 1000


def test_the_cube_is_near_the_truth_of_the_simulated_region(published: Path, sandbox: Path) -> None:
    area = load_area(published)
    world = load_world(sandbox)
    with xr.open_zarr(area.cube_path) as cube:
        made = np.stack([cube[band].isel(time=3).values for band in area.science.bands])
    error = made - world.truth(FIRST + timedelta(3))
    assert np.sqrt(np.mean(error**2)) < 0.03


def test_a_second_run_reads_no_scene_and_changes_nothing(copied: Path) -> None:
    area = load_area(copied)
    shutil.rmtree(area.runtime.root / "staging", ignore_errors=True)
    before = {path: path.stat().st_mtime_ns for path in area.runtime.root.rglob("*") if path.is_file()}
    report = run(area)
    assert report.outcome == Outcome.UNCHANGED
    assert report.outcome.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in area.runtime.root.rglob("*") if path.is_file()} == before


def test_a_runtime_key_changes_no_day_and_a_science_key_changes_all(copied: Path) -> None:
    document = yaml.safe_load(copied.read_text())
    document["runtime"]["compute"]["workers"] = 1
    copied.write_text(yaml.safe_dump(document))
    assert not steps.plan(load_area(copied)).to_make
    document["science"]["restoration"]["tau"] = 6.0
    copied.write_text(yaml.safe_dump(document))
    assert len(steps.plan(load_area(copied)).to_make) == 6


def test_adding_a_scene_makes_exactly_the_days_whose_support_holds_it(sandbox: Path, tmp_path: Path) -> None:
    start, count = FIRST - timedelta(25), 31
    short = {"method": {"name": "delta2", "options": {"days": 3}}, "restoration": {"window": 6}, "screening": {"days": 8}, "start": start}
    mine = tmp_path / "sandbox"
    shutil.copytree(sandbox, mine)
    held_back = _landsat_item(mine, FIRST, LAST)
    day = date.fromisoformat(json.loads(held_back.read_text())["properties"]["datetime"][:10])
    hidden = held_back.read_bytes()
    collection = mine / "landsat-c2-l2" / "collection.json"
    links = collection.read_text()
    _unlink(collection, held_back)
    area = load_area(write_area(tmp_path / "area", mine, science=short))
    assert run(area).outcome == Outcome.PUBLISHED
    before = read_state(area.cube_path)

    held_back.write_bytes(hidden)
    collection.write_text(links)
    planned = steps.plan(area)
    reach = 3 + 2 * 8
    assert (reach_of(area).fine_before, reach_of(area).fine_after) == (reach, reach)
    expected = [start + timedelta(n) for n in range(count) if abs((start + timedelta(n) - day).days) <= reach]
    assert 1 < len(expected) < count
    assert [item.day for item in planned.to_make] == expected
    assert all(held_back.stem in item.reason for item in planned.to_make)
    report = run(area)
    assert report.counts == {"published": len(expected), "unchanged": count - len(expected)}
    after = read_state(area.cube_path)
    changed = (before.digest != after.digest).any((1, 2))
    assert [start + timedelta(int(n)) for n in np.flatnonzero(changed)] == expected
    assert len(read_table(observations_path(area))) == len(steps.plan(area).scenes)
    assert after.generation > before.generation
    seen = {item["day"] for item in report.screening}
    assert seen
    assert all(abs((date.fromisoformat(when) - day).days) <= 2 * 8 for when in seen), "verdicts that it says nothing of are kept"


def test_a_corrupt_asset_is_a_recorded_fact_and_the_other_scenes_make_the_days(sandbox: Path, tmp_path: Path) -> None:
    mine = tmp_path / "sandbox"
    shutil.copytree(sandbox, mine)
    item = _landsat_item(mine, FIRST, LAST)
    asset = item.parent / json.loads(item.read_text())["assets"]["red"]["href"]
    asset.write_bytes(asset.read_bytes()[: asset.stat().st_size // 3])
    area = load_area(write_area(tmp_path / "area", mine, runtime={"attempts": 2, **_runtime(mine)}))
    report = run(area)
    assert report.outcome == Outcome.PUBLISHED
    assert item.stem in report.message
    (row,) = [row for row in read_table(observations_path(area)) if row.scene.id == item.stem]
    assert row.state == "failed"
    assert "red" in row.error.lower() or asset.name in row.error
    manifest = read_manifest(area.cube_path, report.run_id)
    assert next(entry for entry in manifest["inputs"] if entry["id"] == item.stem)["error"]

    assert steps.plan(area).unread == (item.stem,), "it is tried once more"
    assert run(area).outcome == Outcome.UNCHANGED
    (row,) = [row for row in read_table(observations_path(area)) if row.scene.id == item.stem]
    assert row.attempts == 2
    assert not steps.plan(area).to_make, "and then never again"


def test_the_manifest_and_the_stac_items_name_the_inputs_and_hold_no_secret(published: Path) -> None:
    area = load_area(published)
    (manifest,) = (area.runtime.root / "manifests").glob("*.json")
    inputs = {entry["id"] for entry in json.loads(manifest.read_text())["inputs"]}
    assert any(name.startswith("LC0") for name in inputs)
    assert any(name.startswith("MCD43A4") for name in inputs)
    items = sorted((area.runtime.root / "stac").rglob("region-*.json"))
    assert len(items) == 6
    for item in items:
        document = json.loads(item.read_text())
        for asset in document["assets"].values():
            assert "?" not in asset["href"]
            assert (item.parent / asset["href"]).exists()


def test_a_day_outside_the_range_is_refused(published: Path) -> None:
    with pytest.raises(Exception, match=r"2023-05-01.*2023-06-03\.\.2023-06-08"):
        steps.plan(load_area(published), date(2023, 5, 1), date(2023, 6, 4))


def test_withheld_days_are_withheld_from_everything(sandbox: Path, published: Path, tmp_path: Path) -> None:
    day = date.fromisoformat(json.loads(_landsat_item(sandbox, FIRST, LAST).read_text())["properties"]["datetime"][:10])
    area = load_area(write_area(tmp_path, sandbox, science={"withhold": [day]}))
    planned = steps.plan(area)
    assert not [scene for scene in planned.scenes if scene.role == "fine" and scene.day == day]
    assert [scene for scene in planned.scenes if scene.role == "coarse" and scene.day == day]
    assert {item.status for item in planned.days} == {MAKE}
    assert versions_of(area).folder.name != versions_of(load_area(published)).folder.name, "what was learnt has seen the image"


def _runtime(sandbox: Path) -> dict:
    return {"catalogs": {"default": {"url": str(sandbox / "catalog.json")}}, "compute": {"workers": 2}}


def _landsat_item(sandbox: Path, first: date, last: date) -> Path:
    """The item of the latest Landsat acquisition between two days that was processed only once."""
    found: dict[str, list[Path]] = {}
    for path in (sandbox / "landsat-c2-l2").rglob("*.json"):
        document = json.loads(path.read_text())
        if document.get("type") == "Feature":
            found.setdefault(document["id"], []).append(path)
    inside = [
        paths[0]
        for paths in found.values()
        if len(paths) == 1 and first <= date.fromisoformat(json.loads(paths[0].read_text())["properties"]["datetime"][:10]) <= last
    ]
    return max(inside, key=lambda path: json.loads(path.read_text())["properties"]["datetime"])


def _unlink(collection: Path, item: Path) -> None:
    document = json.loads(collection.read_text())
    document["links"] = [link for link in document["links"] if (collection.parent / link["href"]).resolve() != item.resolve()]
    collection.write_text(json.dumps(document))
    item.unlink()
