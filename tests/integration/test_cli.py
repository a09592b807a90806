"""The command line: answers, exit codes, errors that say what to do, and what it does not start."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pipeline import steps
from pipeline.cli import main
from pipeline.config import load_area
from pipeline.observations.location import observations_path
from pipeline.observations.scenes_table import read_table
from tests.integration.command import clean_environment, landfuse
from tests.region import FIRST, LAST, write_area


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


Call = Callable[..., Answer]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command in this process, for what starts nothing."""

    def _call(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["landfuse", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        written = capsys.readouterr()
        return Answer(int(left.value.code or 0), written.out, written.err)

    return _call


def change(area_file: Path, **parts: dict) -> Path:
    """Merge changes into the parts of an area file."""
    document = yaml.safe_load(area_file.read_text())
    for part, changed in parts.items():
        document[part] |= changed
    area_file.write_text(yaml.safe_dump(document))
    return area_file


# What is started


@pytest.mark.parametrize("command", ["status", "plan", "run"])
def test_what_finds_nothing_stale_starts_neither_torch_nor_dask_nor_prefect(published: Path, command: str) -> None:
    heavy = "torch prefect dask distributed xarray rasterio zarr"
    code = f"""
import sys, atexit
from pipeline.cli import main
atexit.register(lambda: print("loaded:", *sorted(set("{heavy}".split()) & set(sys.modules)), file=sys.stderr))
sys.argv = ["landfuse", "{command}", {str(published)!r}]
main()"""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert time.perf_counter() - started < 5
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"
    assert "6 days" in done.stdout


# Answers


def test_init_writes_a_file_that_a_plan_can_read_and_replaces_none(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "new" / "field.yaml"
    made = call("init", path, "--crs", "EPSG:32736", "--bounds", "300000", "7000000", "330000", "7030000", "--start", "2024-05-01")
    assert made.code == 0
    assert f"landfuse plan {path}" in made.out
    area = load_area(path)
    assert (area.name, area.science.grid.crs, str(area.science.start)) == ("field", "EPSG:32736", "2024-05-01")
    before = path.read_bytes()
    again = call("init", path)
    assert again.code == 1
    assert "exists already" in again.err
    assert path.read_bytes() == before


def test_init_leaves_no_file_that_would_be_refused(call: Call, tmp_path: Path) -> None:
    made = call("init", tmp_path / "field.yaml", "--crs", "EPSG:4326")
    assert made.code == 1
    assert "EPSG:4326" in made.err
    assert "projected" in made.err
    assert not list(tmp_path.iterdir())


def test_plan_says_what_would_be_made_and_why_and_makes_nothing(call: Call, sandbox: Path, tmp_path: Path) -> None:
    area_file = write_area(tmp_path, sandbox)
    text = call("plan", area_file)
    assert text.code == 0
    assert "2023-06-03..2023-06-08" in text.out
    assert "not published yet" in text.out
    assert "6 of 6 days to make" in text.out
    document = call("plan", area_file, "--days", "2023-06-04..2023-06-05", "--json").json
    assert [(day["day"], day["status"]) for day in document["days"]] == [("2023-06-04", "make"), ("2023-06-05", "make")]
    assert document["scenes"] == len(document["unread"]) > 50
    assert list(tmp_path.iterdir()) == [area_file]


def test_answers_for_machines_are_json_alone_and_progress_goes_to_standard_error(published: Path) -> None:
    done = landfuse("run", published, "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["outcome"] == "unchanged"
    assert report["counts"] == {"unchanged": 6}
    assert {day["outcome"] for day in report["days"]} == {"unchanged"}
    assert done.stderr == "search 1/1\n"


def test_status_says_what_is_published_and_what_to_do_where_nothing_is(call: Call, published: Path, sandbox: Path, tmp_path: Path) -> None:
    document = call("status", published, "--json").json
    assert (document["first"], document["last"], document["published"], document["missing"]) == (str(FIRST), str(LAST), 6, [])
    assert document["maturity"] == {"final": 6}
    text = call("status", published).out
    assert re.search(r"missing +none", text)
    assert document["cube"] in text
    nothing = call("status", write_area(tmp_path, sandbox))
    assert nothing.code == 0
    assert f"landfuse run {tmp_path / 'area.yaml'}" in nothing.out


def test_methods_are_listed_with_what_they_need_and_how_far_they_look(call: Call) -> None:
    rows = {row["name"]: row for row in call("methods", "--json").json}
    assert {name for name, row in rows.items() if row["control"]} == {"nearest", "linear", "harmonic", "coarse", "delta", "delta2"}
    assert rows["residual"]["support_days"] == [64, 64]
    assert rows["nearest"]["needs"] == ["references"]
    assert rows["harmonic"]["options"]["days"] == 183
    text = call("methods").out
    assert all(name in text for name in rows)
    assert "300 m" in text


def test_a_search_lists_the_scenes_a_run_would_look_at(call: Call, published: Path) -> None:
    found = call("catalog", "search", published, "--days", str(FIRST), "--json").json
    days = {scene["day"] for scene in found["scenes"] if scene["role"] == "fine"}
    assert min(days) >= str(FIRST - timedelta(days=36))
    assert max(days) <= str(FIRST + timedelta(days=36))
    assert found["scenes"][0]["id"] in call("catalog", "search", published, "--days", str(FIRST)).out


def test_a_folder_of_plain_files_becomes_a_catalog_that_can_be_read(call: Call, published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    assets = sorted((published.parent / "quicklooks").glob("*.png"))
    assert assets, "the published region has quick-looks"
    asset = next(iter(_fine_assets(published)))
    shutil.copy(asset, folder / "scene_2023154_red.tif")
    (folder / "notes.txt").write_text("not an image")
    built = call("catalog", "build", folder, "--template", "scene_{date:%Y%j}_{asset}.tif", "--json").json
    assert (built["items"], built["files"], built["collection"]) == (1, 1, "plain")
    assert json.loads(Path(built["catalog"]).read_text())["type"] == "Catalog"
    nothing = call("catalog", "build", tmp_path / "none", "--template", "x")
    assert nothing.code == 1
    assert str(tmp_path / "none") in nothing.err


def test_withheld_days_are_scored_beside_the_six_controls(copied: Path, call: Call) -> None:
    rows = read_table(observations_path(load_area(copied)))
    day = next(row.scene.day for row in rows if row.scene.role == "fine" and FIRST <= row.scene.day <= LAST)
    change(copied, science={"withhold": [day]})
    assert landfuse("run", copied, "--no-prefect").returncode == 0
    document = call("score", copied, "--json").json
    names = {row["name"] for row in document["rows"]}
    assert names == {"published", "residual", "nearest", "linear", "harmonic", "coarse", "delta", "delta2"}
    assert all(row["pixels"] > 100 for row in document["rows"])
    assert len({row["pixels"] for row in document["rows"]}) == 1
    assert str(day) in document["title"]
    text = call("score", copied).out
    assert document["verdict"] in " ".join(text.split())


# Exit codes


def test_a_day_whose_scenes_are_still_to_come_is_deferred_and_one_that_never_had_any_is_expected_empty(call: Call, copied: Path) -> None:
    area = load_area(change(copied, science={"end": "2023-12-31"}))
    last = max(row.scene.day for row in read_table(observations_path(area)))
    day = last + timedelta(days=24 + 12 + 1)
    waiting = call("run", copied, "--days", str(day), "--as-of", str(day + timedelta(days=2)))
    assert waiting.code == 3
    assert waiting.out.startswith("deferred")
    assert "no scene of any source lies in its support" in waiting.out
    over = call("run", copied, "--days", str(day), "--as-of", str(day + timedelta(days=60)))
    assert over.code == 0
    assert over.out.startswith("expected-empty")


def test_days_that_fail_validation_are_rejected_and_nothing_is_published(copied: Path, tmp_path: Path) -> None:
    plugins = _plugin(tmp_path / "plugins")
    shutil.rmtree(copied.parent / "fused.zarr")
    change(copied, science={"method": {"name": "shouting"}})
    done = landfuse("run", copied, "--days", "2023-06-04", "--no-prefect", PYTHONPATH=str(plugins))
    assert done.returncode == 5, done.stderr
    assert "share of values outside of the valid range" in done.stderr
    assert "nothing was published" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nothing is published" in landfuse("status", copied).stdout


def test_a_second_run_is_told_who_holds_the_stores(call: Call, copied: Path) -> None:
    area = load_area(change(copied, science={"restoration": {"window": 12, "tau": 5.0}}))
    with steps.hold(area, "the-first"):
        second = call("run", copied, "--no-prefect")
    assert second.code == 1
    assert "in use by run the-first" in second.err
    assert "→ wait" in second.err
    assert second.out == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("plan", "{area}", "--days", "2023-6-4"), "'2023-6-4' is not a day; write days as YYYY-MM-DD"),
        (("plan", "{area}", "--days", "2023-06-05..2023-06-04"), "ends before it begins"),
        (("run", "{area}", "--as-of", "today"), "'today' is not a day"),
        (("plan",), "Missing argument"),
        (("plan", "{area}", "--nonsense"), "--nonsense"),
        (("publish", "{area}"), "No such command 'publish'"),
        (("demo", "{area}", "--size", "3"), "--size"),
    ],
)
def test_a_wrong_call_is_a_usage_error(call: Call, published: Path, arguments: tuple[str, ...], named: str) -> None:
    answer = call(*(argument.format(area=published) for argument in arguments))
    assert answer.code == 2
    assert named in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("changes", "named", "remedy"),
    [
        ({"science": {"sceince": 1}}, "science.sceince: there is no such key", "docs/area-file.md"),
        ({"science": {"method": {"name": "starfm2"}}}, "no method 'starfm2'", "known methods: residual, "),
        ({"science": {"method": {"options": {"dayz": 3}}}}, "dayz", "allowed keys: days (days before and after"),
        ({"science": {"end": "2023-05-01"}}, "end 2023-05-01 lies before start 2023-06-03", "docs/area-file.md"),
        ({"science": {"coarse": [{"collection": "modis-1"}]}}, "collection 'modis-1'", "name the product"),
        ({"runtime": {"catalogs": {}}}, "default", "catalogs"),
        ({"runtime": {"catalogs": {"default": {"url": "none/catalog.json"}}}}, "none/catalog.json", "check the url"),
    ],
)
def test_a_wrong_area_file_is_named_with_its_remedy(
    call: Call, sandbox: Path, tmp_path: Path, changes: dict[str, dict], named: str, remedy: str
) -> None:
    answer = call("plan", write_area(tmp_path, sandbox, **changes))
    assert answer.code == 1
    assert answer.err.startswith("landfuse: ")
    assert named in answer.err
    assert remedy in answer.err.partition("\n")[2]
    assert answer.out == ""


def test_a_missing_area_file_and_a_day_outside_the_range_are_named(call: Call, published: Path, tmp_path: Path) -> None:
    missing = call("status", tmp_path / "none.yaml")
    assert missing.code == 1
    assert f"landfuse init {tmp_path / 'none.yaml'}" in missing.err
    outside = call("plan", published, "--days", "2023-06-04..2023-07-01")
    assert outside.code == 1
    assert "2023-06-04..2023-07-01 do not lie in the area's range 2023-06-03..2023-06-08" in outside.err


def test_an_area_where_no_scene_lies_is_not_taken_for_one_without_work(call: Call, sandbox: Path, tmp_path: Path) -> None:
    elsewhere = {"crs": "EPSG:32636", "bounds": [300000, 100000, 306000, 106000]}
    answer = call("run", write_area(tmp_path, sandbox, science={"grid": elsewhere}))
    assert answer.code == 1
    assert "no scene of landsat-c2-l2, modis-43A4-061 lies over area 'region'" in answer.err
    assert "landfuse catalog search" in answer.err


def test_a_catalog_that_does_not_answer_is_named(call: Call, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        answer = call("run", write_area(tmp_path, url))
    assert answer.code == 1
    assert url in answer.err
    assert "→ check the url of the catalog" in answer.err
    assert "Traceback" not in answer.err


# The demonstration


def test_a_demo_is_not_mixed_with_one_of_other_settings(call: Call, tmp_path: Path) -> None:
    (tmp_path / "area.yaml").write_text(yaml.safe_dump({"science": {"start": "2020-01-01"}}))
    answer = call("demo", tmp_path, "--size", "64", "--days", "2")
    assert answer.code == 1
    assert "holds a demo of other settings" in answer.err
    assert "→ give another folder" in answer.err


@pytest.mark.slow
def test_the_demo_simulates_publishes_and_scores_a_region(tmp_path: Path) -> None:
    made = landfuse("demo", tmp_path / "demo", "--size", "128", "--days", "6", "--json", timeout=600)
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert document["report"]["outcome"] == "published"
    assert {row["name"] for row in document["score"]["rows"]} >= {"published", "residual", "nearest", "delta2"}
    again = landfuse("demo", tmp_path / "demo", "--size", "128", "--days", "6", timeout=600)
    assert again.returncode == 0
    assert again.stdout.startswith("unchanged demo")
    assert document["score"]["verdict"] in " ".join(again.stdout.split())
    assert (tmp_path / "demo" / "contact-sheet.png").is_file()


def _fine_assets(area_file: Path) -> list[Path]:
    rows = read_table(observations_path(load_area(area_file)))
    return [Path(row.scene.assets["red"]) for row in rows if row.scene.role == "fine"]


def _plugin(folder: Path) -> Path:
    """An installed package with a method that is wrong everywhere."""
    described = folder / "shouting-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[landfuse.methods]\nshouting = shouting:SPEC\n")
    (folder / "shouting.py").write_text(
        """
from dataclasses import replace
from pipeline.fusion.interface import MethodSpec
from pipeline.fusion.options import ControlOptions

SPEC = MethodSpec("shouting", "the nearest, and much more of it", "-", "shouting:Shouting", ControlOptions)

def __getattr__(name):
    from pipeline.fusion.controls import Nearest

    class Shouting(Nearest):
        def days(self, state, targets):
            for prediction in super().days(state, targets):
                yield replace(prediction, mean=prediction.mean + 3)

    return Shouting
"""
    )
    return folder
