"""``landfuse catalog check``: what the catalogs of an area hold, and every kind of fault in them, before anything is read."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline.cli import main
from pipeline.config import load_area
from pipeline.errors import ConfigurationError
from pipeline.products.calendar import Found
from pipeline.sandbox.server import serve
from pipeline.steps import inventory
from pipeline.steps.check import Preflight, check
from pipeline.vocabulary import Outcome
from tests.catalog.conftest import free_port
from tests.region import write_area

DAYS = (date(2023, 5, 1), date(2023, 6, 30))
LATER = date(2023, 9, 1)
LANDSAT, MODIS = "landsat-c2-l2", "modis-43A4-061"


@pytest.fixture
def damaged(sandbox: Path, tmp_path: Path) -> Path:
    """A copy of the simulated region whose files a test may replace, not write into."""
    return Path(shutil.copytree(sandbox, tmp_path / "damaged", copy_function=os.link))


def looked(folder: Path, region: Path | str, days: tuple[date, date] = DAYS, **more: Any) -> Preflight:
    return check(load_area(write_area(folder / "area", region)), *days, as_of=LATER, **more)


def items(region: Path, collection: str, prefix: str = "") -> list[Path]:
    """Paths of the items of a collection, by day."""
    documents = [path for path in region.glob(f"{collection}/**/*.json") if path.name != "collection.json"]
    return sorted((path for path in documents if path.stem.startswith(prefix)), key=day_of)


def day_of(path: Path) -> str:
    properties = json.loads(path.read_text())["properties"]
    return str(properties.get("start_datetime") or properties["datetime"])


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit a JSON document and leave the file that it was linked to alone."""
    document = json.loads(path.read_text())
    edit(document)
    replace_file(path, json.dumps(document).encode())


def replace_file(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def drop(region: Path, item: Path) -> None:
    """Take an item out of its collection."""

    def without(document: dict[str, Any]) -> None:
        document["links"] = [link for link in document["links"] if not link["href"].endswith(f"{item.stem}.json")]

    change(region / item.relative_to(region).parts[0] / "collection.json", without)


def of_may(region: Path, collection: str) -> list[Path]:
    """Items of the newest processings of acquisitions in May."""
    newest: dict[str, Path] = {}
    for path in items(region, collection):
        if day_of(path)[:7] == "2023-05":
            newest[path.stem[:-14] if collection == MODIS else path.stem] = path
    return list(newest.values())


def test_a_sound_region_has_all_that_is_due_and_every_file_opens(sandbox: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = looked(tmp_path, sandbox, progress=lambda *state: told.append(state))
    fine, coarse = found.sources
    assert found.exit_code == 0
    assert not found.problems
    assert fine.sums()["found"] == fine.sums()["expected"] > 20
    assert coarse.sums()["expected"] == 61
    assert coarse.sums()["found"] + coarse.sums()["missing"] == 61
    assert fine.opened == len(fine.of(Found.CLEAR, Found.PARTLY, Found.CLOUDY))
    assert fine.bands == dict.fromkeys(("blue", "green", "red", "nir08", "swir16", "swir22"), 1.0)
    assert fine.newest is not None
    assert fine.newest <= DAYS[1]
    assert fine.latency is not None
    assert 1 < fine.latency < 20
    assert ("search", 2, 2) in told
    assert ("headers", fine.opened + coarse.opened, fine.opened + coarse.opened) in told


def test_the_calendar_is_a_picture_beside_the_stores_and_nothing_else_is_written(sandbox: Path, tmp_path: Path) -> None:
    found = looked(tmp_path, sandbox, headers=False)
    assert found.picture == tmp_path / "area" / "check" / "2023-05-01_2023-06-30.png"
    with Image.open(found.picture) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
    assert sorted(path.name for path in (tmp_path / "area").rglob("*")) == ["2023-05-01_2023-06-30.png", "area.yaml", "check"]


def test_months_add_up_to_the_whole(sandbox: Path, tmp_path: Path) -> None:
    found = looked(tmp_path, sandbox, headers=False)
    assert found.months == ["2023-05", "2023-06"]
    for source in found.sources:
        for key in ("found", "expected", "missing", "superseded"):
            assert source.sums("2023-05")[key] + source.sums("2023-06")[key] == source.sums("2023")[key] == source.sums()[key]


def test_without_headers_no_file_is_opened(damaged: Path, tmp_path: Path) -> None:
    for path in damaged.rglob("*.TIF"):
        path.unlink()
    found = looked(tmp_path, damaged, headers=False)
    assert found.exit_code == 0
    assert [source.opened for source in found.sources] == [0, 0]


def test_what_is_not_there_is_missing_on_its_day_and_platform(damaged: Path, tmp_path: Path) -> None:
    gone = of_may(damaged, MODIS)[9:12]
    before = looked(tmp_path / "before", damaged, headers=False).sources[1]
    for item in gone:
        drop(damaged, item)
    after = looked(tmp_path / "after", damaged, headers=False).sources[1]
    new = {entry.day for entry in after.of(Found.MISSING)} - {entry.day for entry in before.of(Found.MISSING)}
    assert len(new) == 3
    assert {entry.platform for entry in after.of(Found.MISSING)} == {"terra-aqua"}
    assert after.sums("2023-05")["missing_share"] == pytest.approx(after.sums("2023-05")["missing"] / 31)


def test_a_lost_scene_of_an_orbit_is_missed_though_the_day_has_another_row(damaged: Path, tmp_path: Path) -> None:
    lost = next(
        path for path in of_may(damaged, LANDSAT) if sum(day_of(path)[:10] == day_of(other)[:10] for other in of_may(damaged, LANDSAT)) > 1
    )
    drop(damaged, lost)
    fine = looked(tmp_path, damaged, headers=False).sources[0]
    assert [str(entry.day) for entry in fine.of(Found.MISSING)] == [day_of(lost)[:10]]


def test_what_cannot_have_been_delivered_yet_is_not_missing(sandbox: Path, tmp_path: Path) -> None:
    area = load_area(write_area(tmp_path / "area", sandbox))
    found = check(area, date(2023, 6, 1), date(2023, 7, 30), as_of=date(2023, 7, 15), headers=False)
    coarse = found.sources[1]
    assert coarse.due is not None
    assert coarse.latency is not None
    # Seven more days are observed, the item is made two days after, and the day of the check is not over.
    assert max(coarse.due) == date(2023, 7, 15) - timedelta(days=7 + 2 + 1)


def test_files_that_are_not_what_their_items_say_are_named_with_the_reason(damaged: Path, tmp_path: Path) -> None:
    cut, html, moved, gone = of_may(damaged, LANDSAT)[:4]
    for path in cut.parent.glob("*SR_B*.TIF"):
        replace_file(path, path.read_bytes()[:-200])
    for path in html.parent.glob("*SR_B*.TIF"):
        replace_file(path, b"<html>Sign in</html>")
    change(moved, lambda item: item["properties"]["proj:transform"].__setitem__(2, item["properties"]["proj:transform"][2] + 30))
    for path in gone.parent.glob("*SR_B*.TIF"):
        path.unlink()
    found = looked(tmp_path, damaged)
    failed = {entry.id: entry.note for entry in found.sources[0].of(Found.FAILED)}
    assert set(failed) == {path.stem for path in (cut, html, moved, gone)}
    assert "is not what its item says: its transform" in failed[moved.stem]
    assert all("asset " in note and ".TIF" in note for note in failed.values())
    assert found.exit_code == Outcome.DEGRADED.exit_code == 4
    assert f"4 of {found.sources[0].opened} scenes cannot be read" in found.problems[0].text


def test_a_source_of_which_no_file_opens_is_rejected(damaged: Path, tmp_path: Path) -> None:
    for path in (damaged / MODIS).rglob("*.tif"):
        replace_file(path, b"<html>Sign in</html>")
    found = looked(tmp_path, damaged, days=(date(2023, 6, 1), date(2023, 6, 5)))
    assert found.sources[1].opened == len(found.sources[1].of(Found.FAILED)) > 0
    assert found.exit_code == Outcome.REJECTED.exit_code == 5


def test_items_that_are_no_scene_are_counted_on_their_day_and_are_not_missing(damaged: Path, tmp_path: Path) -> None:
    item = of_may(damaged, LANDSAT)[2]
    change(item, lambda document: document["assets"].pop("nir08"))
    found = looked(tmp_path, damaged, headers=False)
    (skipped,) = found.sources[0].of(Found.SKIPPED)
    assert (skipped.id, str(skipped.day), skipped.platform) == (
        item.stem,
        day_of(item)[:10],
        json.loads(item.read_text())["properties"]["platform"],
    )
    assert "nir08" in skipped.note
    assert not found.sources[0].of(Found.MISSING)
    assert found.sources[0].sums("2023-05")["skipped"] == 1


def test_older_processings_and_scenes_of_a_second_catalog_are_told_apart(sandbox: Path, tmp_path: Path) -> None:
    area_file = write_area(tmp_path, sandbox, science={"fine": [{"collection": LANDSAT}, {"collection": LANDSAT, "catalog": "copy"}]})
    document = yaml.safe_load(area_file.read_text())
    document["runtime"]["catalogs"]["copy"] = document["runtime"]["catalogs"]["default"]
    area_file.write_text(yaml.safe_dump(document))
    found = check(load_area(area_file), *DAYS, as_of=LATER, headers=False)
    original, copy, _ = (source.sums() for source in found.sources)
    assert original["superseded"] == copy["superseded"] > 0
    assert (original["duplicates"], copy["duplicates"]) == (0, copy["found"])


def test_a_source_without_a_scene_is_rejected_and_the_others_are_told(sandbox: Path, tmp_path: Path) -> None:
    found = looked(tmp_path, sandbox, days=(date(2021, 5, 1), date(2021, 5, 31)))
    assert [source.sums()["found"] for source in found.sources] == [0, 0]
    assert [problem.outcome for problem in found.problems] == [Outcome.REJECTED, Outcome.REJECTED]
    assert found.exit_code == 5
    assert found.sources[0].absent == ("landsat-7", "landsat-8")  # those that observed in May 2021
    assert found.picture.is_file()


def test_a_band_that_no_scene_has_is_rejected(sandbox: Path, tmp_path: Path) -> None:
    area = load_area(write_area(tmp_path, sandbox))
    asked = area.model_copy(update={"science": area.science.model_copy(update={"bands": ("red", "ndvi")})})
    found = check(asked, *DAYS, as_of=LATER, headers=False)
    assert found.exit_code == 5
    assert [problem.text.partition(";")[0] for problem in found.problems] == [
        "no scene of any fine source has the band ndvi",
        "no scene of any coarse source has the band ndvi",
    ]


def test_a_catalog_that_is_down_fails_the_check_and_the_other_source_is_told(sandbox: Path, tmp_path: Path) -> None:
    area_file = write_area(tmp_path, sandbox, science={"fine": [{"collection": LANDSAT, "catalog": "down"}]})
    document = yaml.safe_load(area_file.read_text())
    document["runtime"]["catalogs"]["down"] = {"url": f"http://127.0.0.1:{free_port()}"}
    area_file.write_text(yaml.safe_dump(document))
    found = check(load_area(area_file), *DAYS, as_of=LATER, headers=False)
    assert found.exit_code == Outcome.FAILED.exit_code == 1
    assert "check the url" in found.sources[0].error
    assert found.sources[1].sums()["found"] > 50


def test_an_api_and_the_static_catalog_hold_the_same(sandbox: Path, tmp_path: Path) -> None:
    with serve(sandbox) as url:
        asked = looked(tmp_path / "api", url, days=(DAYS[0], date(2023, 5, 10)))
    read = looked(tmp_path / "static", sandbox, days=(DAYS[0], date(2023, 5, 10)))
    for one, other in zip(asked.sources, read.sources, strict=True):
        assert replace(one, entries=()) == replace(other, entries=())
        assert set(one.entries) == set(other.entries)


def test_days_that_end_before_they_begin_are_refused(sandbox: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no days from 2023-06-03 to 2020-12-31"):
        check(load_area(write_area(tmp_path, sandbox)), as_of=date(2021, 1, 1))


def test_an_archive_that_was_loaded_years_later_does_not_excuse_what_is_missing(
    sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_latency", lambda scenes: 2000.0)
    assert looked(tmp_path, sandbox, headers=False).sources[1].sums()["expected"] == 61


# The command


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def _call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["landfuse", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        written = capsys.readouterr()
        return int(left.value.code or 0), written.out, written.err

    return _call


def test_the_command_prints_a_table_and_the_path_of_the_calendar(
    call: Callable[..., tuple[int, str, str]], sandbox: Path, tmp_path: Path
) -> None:
    area_file = write_area(tmp_path, sandbox)
    code, out, _ = call("catalog", "check", area_file, "--days", "2023-05-01..2023-06-30", "--no-headers", "--as-of", "2023-09-01")
    assert code == 0
    assert "2023-05" in out
    assert "fine landsat-c2-l2 in default" in out
    picture = next(line.split(maxsplit=1)[1] for line in out.splitlines() if line.strip().startswith("calendar"))
    assert Path(picture).is_file()


def test_the_json_of_the_command_stands_alone_and_says_what_the_table_says(
    call: Callable[..., tuple[int, str, str]], damaged: Path, tmp_path: Path
) -> None:
    item = of_may(damaged, LANDSAT)[0]
    change(item, lambda document: document["properties"].update({"proj:shape": [7000, 7000]}))
    area_file = write_area(tmp_path / "area", damaged)
    code, out, err = call("catalog", "check", area_file, "--days", "2023-05-01..2023-05-20", "--as-of", "2023-09-01", "--json")
    document = json.loads(out)
    assert code == 4
    assert err.splitlines()[-1].startswith("headers ")
    assert document["problems"][0]["outcome"] == "degraded"
    ((failed, why),) = document["sources"][0]["failed_scenes"]
    assert failed == item.stem
    assert "shape" in why
    assert document["sources"][0]["months"][0]["failed"] == 1
    assert document["sources"][1]["days_behind"] > 90
    assert Path(document["picture"]).is_file()


def test_long_periods_are_told_by_year(call: Callable[..., tuple[int, str, str]], sandbox: Path, tmp_path: Path) -> None:
    area_file = write_area(tmp_path, sandbox)
    code, out, _ = call("catalog", "check", area_file, "--days", "2019-01-01..2023-06-30", "--no-headers")
    assert code == 0
    assert "2019 " in out
    assert "2023-05" not in out.replace("2023-05-", "")


def test_help_has_an_example(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("catalog", "check", "--help")
    assert code == 0
    assert "landfuse catalog check area.yaml" in " ".join(out.split())
    assert "--no-headers" in out
