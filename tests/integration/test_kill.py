"""A run that is killed at any moment, and the run after it: the same cube, and no scene read twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import steps
from pipeline.config import Area, load_area
from pipeline.observations.location import observations_path
from pipeline.observations.scenes_table import Row, read_table
from pipeline.steps.recipe import versions_of
from pipeline.store.verify import verify_cube
from tests.integration.command import PROGRAM, clean_environment, landfuse
from tests.integration.stores import chunks
from tests.region import write_area

Moment = Callable[[Area], bool]


def reading(area: Area) -> bool:
    """Some scenes are read, many are not."""
    return sum(row.state == "complete" for row in read_table(observations_path(area))) >= 15


def restoring(area: Area) -> bool:
    """A block of the coarse series is written."""
    return any((observations_path(area) / "restored" / "mean" / "c").glob("*/*/*/*"))


def fusing(area: Area) -> bool:
    """A chunk of a day is staged."""
    return any((area.runtime.root / "staging").glob("*/fused.zarr/swir22/c/*/*/*"))


def publishing(area: Area) -> bool:
    """The journal is written, and chunks begin to move."""
    return (area.runtime.root / "fused.zarr.journal").exists()


def visible(area: Area) -> bool:
    """The last chunk was moved."""
    return (area.cube_path / "swir22" / "c" / "5" / "1" / "1").exists()


def describing(area: Area) -> bool:
    """A quick-look is drawn."""
    return any((area.runtime.root / "quicklooks").glob("*.png"))


@pytest.mark.parametrize(
    "moment",
    [
        reading,
        publishing,
        pytest.param(restoring, marks=pytest.mark.slow),
        pytest.param(fusing, marks=pytest.mark.slow),
        pytest.param(visible, marks=pytest.mark.slow),
        pytest.param(describing, marks=pytest.mark.slow),
    ],
)
def test_the_run_after_a_killed_one_ends_in_the_same_cube_and_reads_no_scene_again(
    moment: Moment, sandbox: Path, published: Path, tmp_path: Path
) -> None:
    undisturbed = load_area(published)
    area = begun(moment, undisturbed, write_area(tmp_path, sandbox))
    kill_at(moment, area, tmp_path / "area.yaml")
    kept = {path: path.stat().st_mtime_ns for row in complete(area) for path in chunks_of(area, row)}
    assert len(kept) > 10

    done = landfuse("run", tmp_path / "area.yaml", "--no-prefect", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] in ("published", "unchanged")
    assert chunks(area.cube_path) == chunks(undisturbed.cube_path)
    assert [check for check in verify_cube(area.cube_path) if not check.passed] == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(complete(area)) == len(complete(undisturbed))
    assert beside(area) == beside(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-prefect"], []])
def test_an_interrupt_from_the_keyboard_ends_a_run_within_seconds_and_without_a_traceback(
    options: list[str], sandbox: Path, published: Path, tmp_path: Path
) -> None:
    area = begun(restoring, load_area(published), write_area(tmp_path, sandbox))
    command = [PROGRAM, "run", tmp_path / "area.yaml", *options]
    # A group of its own is interrupted as a whole, like the processes of a terminal.
    process = subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    when(lambda: restoring(area), process)
    os.killpg(process.pid, signal.SIGINT)
    _, written = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the next run takes up where this one stopped" in written
    assert "Traceback" not in written
    with steps.hold(area, "the next"):
        pass


def begun(moment: Moment, undisturbed: Area, area_file: Path) -> Area:
    """An area that knows what was learnt about the region and, where the kill comes later, its scenes."""
    area = load_area(area_file)
    shutil.copytree(versions_of(undisturbed).folder, versions_of(area).folder)
    if moment is not reading:
        shutil.copytree(observations_path(undisturbed), observations_path(area))
    if moment is restoring:
        for name in ("mean", "std", "observed", "digest"):
            shutil.rmtree(observations_path(area) / "restored" / name / "c")
    return area


def kill_at(moment: Moment, area: Area, area_file: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, "run", area_file, "--no-prefect"], env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        when(lambda: moment(area), process)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


def when(come: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Return in the moment that something has come, while a process runs."""
    deadline = time.monotonic() + 120
    while not come():
        assert process.poll() is None, "the run ended before the moment came"
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.001)


def complete(area: Area) -> list[Row]:
    return [row for row in read_table(observations_path(area)) if row.state == "complete"]


def chunks_of(area: Area, row: Row) -> list[Path]:
    """The files that hold what was read of a scene."""
    store = observations_path(area)
    group = store / "fine" if row.scene.role == "fine" else store / "coarse" / row.scene.product
    return [path for path in group.glob(f"*/c/{row.index}/**/*") if path.is_file()]


def beside(area: Area) -> set[str]:
    """STAC documents and pictures beside a cube, by name."""
    root = area.runtime.root
    return {str(path.relative_to(root)) for folder in ("stac", "quicklooks") for path in (root / folder).rglob("*.*")}
