"""Bad input through the command: the value and the remedy are named, what was there before is untouched, nothing is half published.

What a catalog or an asset does wrong is tested where they are read; a wrong call and most wrong values of an area file in `test_cli`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr
import yaml

from pipeline.config import load_area
from tests.integration.command import landfuse
from tests.region import GRID, write_area

MEBIBYTE = 2**20


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder and what it holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(*arguments: str | Path) -> str:
    """Standard error of a command that must end with an error a user can mend: exit status 1, a remedy, no traceback, no answer."""
    done = landfuse(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "landfuse: " in done.stderr
    assert "→" in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ({"crs": "EPSG:4326", "bounds": [15.0, 44.2, 15.1, 44.3]}, "crs 'EPSG:4326' is in degrees; give a projected CRS in metres"),
        ({"resolution": 0.00027}, "resolution 0.00027: expected 1 to 10000 m: the unit is metres, not degrees or kilometres"),
        ({"resolution": 30_000}, "resolution 30000: expected 1 to 10000 m"),
        ({"bounds": [15.0, 44.2, 15.1, 44.3]}, "smaller than one coarse cell of 240 m; expected metres of the CRS"),
    ],
)
def test_a_grid_in_the_wrong_unit_is_refused_before_anything_is_searched_or_written(
    sandbox: Path, tmp_path: Path, grid: dict[str, object], named: str
) -> None:
    area_file = write_area(tmp_path, sandbox, science={"grid": {"crs": GRID.crs, "bounds": list(GRID.bounds)} | grid})
    assert named in refused("run", area_file, "--no-prefect")
    assert list(contents(tmp_path)) == ["area.yaml"]


def test_an_output_folder_that_is_a_file_is_refused(sandbox: Path, tmp_path: Path) -> None:
    area_file = write_area(tmp_path, sandbox, runtime={"root": "notes.txt"})
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    said = refused("run", area_file, "--no-prefect")
    assert str(tmp_path / "notes.txt") in said
    assert contents(tmp_path) == before


def plain_folder(path: Path) -> None:
    path.mkdir()
    (path / "a.txt").write_text("mine")


def foreign_zarr(path: Path) -> None:
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(path, zarr_format=3)


def plain_file(path: Path) -> None:
    path.write_text("mine")


@pytest.mark.parametrize("made", [plain_folder, foreign_zarr, plain_file])
def test_an_output_path_that_holds_something_else_is_left_alone(sandbox: Path, tmp_path: Path, made: Callable[[Path], None]) -> None:
    area_file = write_area(tmp_path, sandbox)
    cube = tmp_path / "fused.zarr"
    made(cube)
    before = contents(tmp_path)
    said = refused("run", area_file, "--no-prefect", "--days", "2023-06-03")
    assert str(cube) in said
    after = contents(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.startswith(("manifests", "stac", "quicklooks"))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many bytes."""
    mounted: list[Path] = []

    def make(size: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_at_once_is_named_and_nothing_is_begun(sandbox: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(4 * MEBIBYTE)
    area_file = write_area(disk, sandbox)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 50_000))
    said = refused("run", area_file, "--no-prefect", "--days", "2023-06-03")
    assert f"the disk of {disk} is full" in said
    assert not (disk / "work").exists()
    assert not (disk / "fused.zarr").exists()


@pytest.mark.slow
def test_a_disk_that_gets_full_while_scenes_are_read_is_named_and_the_next_run_goes_on(
    sandbox: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64 * MEBIBYTE)
    area_file = write_area(disk, sandbox)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 2 * MEBIBYTE))
    said = refused("run", area_file, "--no-prefect", "--days", "2023-06-03")
    assert f"the disk of {disk} is full" in said
    assert (disk / "work").exists(), "it was meant to get full later than this"
    assert not (disk / "fused.zarr").exists()
    ballast.unlink()
    done = landfuse("run", area_file, "--no-prefect", "--days", "2023-06-03")
    assert done.returncode == 0, done.stdout + done.stderr
    with xr.open_zarr(load_area(area_file).cube_path) as cube:
        assert bool((cube.provenance.sel(time="2023-06-03") > 0).all())


@pytest.mark.slow
def test_a_disk_that_cannot_hold_the_new_days_leaves_the_published_ones_as_they_were(
    published: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64 * MEBIBYTE)
    shutil.copytree(published.parent, disk / "region")
    area_file = disk / "region" / "area.yaml"
    document = yaml.safe_load(area_file.read_text())
    document["science"]["restoration"]["tau"] = 5.0
    area_file.write_text(yaml.safe_dump(document))
    cube = load_area(area_file).cube_path
    before = contents(cube)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - MEBIBYTE))
    said = refused("run", area_file, "--no-prefect")
    assert "free" in said or "No space left" in said
    assert contents(cube) == before
    os.unlink(disk / "ballast")
    done = landfuse("run", area_file, "--no-prefect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(cube) != before
