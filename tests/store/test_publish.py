from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.errors import StoreError
from pipeline.store.encoding import encode_reflectance
from pipeline.store.lock import StoreLock
from pipeline.store.manifest import read_manifest
from pipeline.store.objects import LocalObjects
from pipeline.store.publish import Entry, Publisher
from pipeline.store.staging import create_staging, write_block_day
from pipeline.store.state import read_state
from pipeline.store.template import create_cube
from pipeline.store.validation import validate_staging
from pipeline.store.verify import verify_cube
from pipeline.vocabulary import Maturity

from .conftest import BLOCK, FIRST, START, entries, made_up_day, small_grid, stage


def counts_of(grid, index: int, seed: int) -> np.ndarray:
    """What `stage` wrote of the red band, as counts."""
    whole = np.empty(grid.shape, np.int16)
    for block in grid.blocks(BLOCK):
        whole[block.window.slices] = encode_reflectance(made_up_day(block.window.shape, 1, seed * 1000 + index).bands)[0]
    return whole


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sound(cube: Path) -> bool:
    return all(check.passed for check in verify_cube(cube))


def test_published_days_are_read_as_they_were_staged(cube, grid):
    staging = stage(cube, "run-1", [0, 1, 2], grid, 1)
    result = Publisher(cube).publish(staging, entries([0, 1, 2], grid, 7), [("stac/a.json", b"{}")], {"run": "run-1"}, "residual")
    assert (result.length, result.generation, len(result.published), result.dropped) == (3, 2, 6, ())
    raw = zarr.open_group(cube, mode="r")
    assert all(np.array_equal(raw["red"][index], counts_of(grid, index, 0)) for index in range(3))
    dataset = xr.open_zarr(cube, decode_coords="all")
    assert dataset.time.values.astype("datetime64[D]").astype(str).tolist() == ["2024-02-28", "2024-02-29", "2024-03-01"]
    expected = made_up_day((40, 64), 1, 1)
    assert np.allclose(dataset.red[1, :, :64], expected.bands[0], atol=0.51e-4, equal_nan=True)
    assert np.array_equal(dataset.provenance[1, :, :64], expected.provenance)
    assert np.array_equal(dataset.days_to_observation[1, 4:, 4:64], expected.days_to_observation[4:, 4:])
    assert dataset.maturity.values.tolist() == [Maturity.NRT] * 3
    assert dataset.method.values.tolist() == [1, 1, 1]
    assert dataset.method.attrs["flag_meanings"] == "none residual"
    assert (cube.parent / "stac" / "a.json").read_bytes() == b"{}"
    assert read_manifest(cube, "run-1") == {"run": "run-1"}
    assert sorted(path.name for path in cube.parent.iterdir()) == ["fused.zarr", "manifests", "stac", "staging"]
    assert not list((cube.parent / "staging").iterdir())
    assert sound(cube)


def test_state_tells_planning_what_each_block_holds(cube, grid):
    assert read_state(cube).digest.shape == (0, 1, 2)
    Publisher(cube).publish(stage(cube, "a", [0, 2], grid, 1), entries([0, 2], grid, 2**63 + 5))
    state = read_state(cube)
    assert state.start == START
    assert state.digest[:, 0, 0].tolist() == [2**63 + 5, 0, 2**63 + 5]
    assert state.maturity[:, 0, 1].tolist() == [1, 0, 1]
    assert state.at(FIRST + 2)[0].tolist() == [[2**63 + 5] * 2]
    assert state.at(FIRST - 1)[0].tolist() == state.at(FIRST + 9)[0].tolist() == [[0, 0]]


def test_a_later_day_leaves_a_hole_that_is_filled_later_by_the_same_way(cube, grid):
    publisher = Publisher(cube)
    publisher.publish(stage(cube, "a", [3], grid, 1), entries([3], grid, 1))
    dataset = xr.open_zarr(cube)
    assert dataset.sizes["time"] == 4
    assert dataset.maturity.values.tolist() == [0, 0, 0, 1]
    assert dataset.red[:3].isnull().all()
    assert (dataset.provenance[:3] == 0).all()
    publisher.publish(stage(cube, "b", [1], grid, 1), entries([1], grid, 1, Maturity.FINAL))
    dataset = xr.open_zarr(cube)
    assert dataset.sizes["time"] == 4
    assert dataset.maturity.values.tolist() == [0, 3, 0, 1]
    assert np.array_equal(zarr.open_array(cube / "red")[1], counts_of(grid, 1, 0))
    assert sound(cube)


def test_a_better_maturity_replaces_and_a_worse_one_is_dropped_and_reported(cube, grid, caplog):
    publisher = Publisher(cube)
    publisher.publish(stage(cube, "a", [0], grid, 1, seed=1), entries([0], grid, 1, Maturity.INTERIM))
    publisher.publish(stage(cube, "b", [0], grid, 1, seed=2), entries([0], grid, 2, Maturity.FINAL))
    assert np.array_equal(zarr.open_array(cube / "red")[0], counts_of(grid, 0, 2))
    before = tree(cube)
    worse = entries([0], grid, 3, Maturity.NRT)
    assert publisher.accepted(worse) == ((), tuple(worse))
    result = publisher.publish(stage(cube, "c", [0], grid, 1, seed=3), worse, [("stac/c.json", b"{}")], {"run": "c"})
    assert result.published == ()
    assert result.dropped == tuple(worse)
    assert tree(cube) == before
    assert not (cube.parent / "stac").exists()
    assert read_manifest(cube, "c") == {"run": "c"}
    assert "better maturity" in caplog.text


def test_some_blocks_of_a_day_can_be_published_and_the_day_is_as_mature_as_the_least(cube, grid):
    publisher = Publisher(cube)
    first, second = entries([0], grid, 5, Maturity.FINAL)
    publisher.publish(stage(cube, "a", [0], grid, 1), [first])
    assert read_state(cube).digest[0].tolist() == [[5, 0]]
    assert zarr.open_array(cube / "maturity")[:].tolist() == [Maturity.FINAL]
    assert (zarr.open_array(cube / "provenance")[0, :, 64:] == 0).all()
    publisher.publish(stage(cube, "b", [0], grid, 1), [Entry(second.day, second.row, second.col, 6, Maturity.NRT)])
    assert zarr.open_array(cube / "maturity")[:].tolist() == [Maturity.NRT]
    assert sound(cube)


def test_what_cannot_be_published_is_refused_before_anything_changes(cube, grid):
    publisher = Publisher(cube)
    staging = stage(cube, "a", [0], grid, 1)
    before = tree(cube.parent)
    good = entries([0], grid, 1)
    for wrong, words in (
        (entries([1], grid, 1), "not whole"),
        (entries([-1], grid, 1), "before the start"),
        (entries([0], grid, 0), "digest 0"),
        (entries([0], grid, 1, Maturity.NONE), "maturity"),
        (good + good, "twice"),
    ):
        with pytest.raises(StoreError, match=words):
            publisher.publish(staging, wrong)
    for path in ("../x", "/etc/x", "fused.zarr/zarr.json", "staging/a", "a/../../b", ""):
        with pytest.raises(StoreError, match="not allowed"):
            publisher.publish(staging, good, [(path, b"")])
    with pytest.raises(StoreError, match="flag meaning"):
        publisher.publish(staging, good, method="two words")
    with pytest.raises(StoreError, match="secret"):
        publisher.publish(staging, good, manifest={"inputs": ["https://a.b/c.tif?st=1&sig=abc"]})
    assert tree(cube.parent) == before


class Faulty(LocalObjects):
    """Fails at the n-th call, before or after doing it."""

    def __init__(self, root: Path, at: int, after: bool) -> None:
        super().__init__(root)
        self.left = at
        self.after = after

    def _call(self, do):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise OSError("injected")
        result = do()
        if self.left == 0:
            raise OSError("injected")
        return result

    def read(self, key):
        return self._call(lambda: super(Faulty, self).read(key))

    def write(self, key, data):
        return self._call(lambda: super(Faulty, self).write(key, data))

    def list(self, prefix):
        return self._call(lambda: super(Faulty, self).list(prefix))

    def exists(self, key):
        return self._call(lambda: super(Faulty, self).exists(key))

    def move(self, source, target):
        return self._call(lambda: super(Faulty, self).move(source, target))

    def delete(self, key):
        return self._call(lambda: super(Faulty, self).delete(key))

    def settle(self, keys):
        return self._call(lambda: super(Faulty, self).settle(keys))


class Story:
    """A cube with days 0 and 2; a run improves 0, adds the missing 1 and appends 3."""

    def __init__(self, folder: Path) -> None:
        self.grid = small_grid((1, 1))
        before = folder / "before"
        cube = create_cube(before / "fused.zarr", self.grid, ("red",), START, BLOCK)
        Publisher(cube).publish(stage(cube, "first", [0, 2], self.grid, 1, seed=1), entries([0, 2], self.grid, 1))
        self.before = before
        self.staged = folder / "staged"
        stage(cube, "second", [0, 1, 3], self.grid, 1, seed=2)
        shutil.move(before / "staging" / "second", self.staged)
        self.old = {0: counts_of(self.grid, 0, 1), 2: counts_of(self.grid, 2, 1)}
        self.new = {index: counts_of(self.grid, index, 2) for index in (0, 1, 3)}
        undisturbed = self.start(folder / "undisturbed")
        self.run(undisturbed)
        self.after = tree(undisturbed)
        assert sound(undisturbed / "fused.zarr")

    def start(self, folder: Path) -> Path:
        shutil.copytree(self.before, folder)
        return folder

    def plan(self, folder: Path) -> list[Entry]:
        state = read_state(folder / "fused.zarr")
        wanted = entries([0, 1, 3], self.grid, 2, Maturity.INTERIM)
        return [entry for entry in wanted if state.at(entry.day)[0][entry.row, entry.col] != entry.digest]

    def run(self, folder: Path, objects=None) -> None:
        """What a run does: stage, publish; nothing when the plan is empty."""
        wanted = self.plan(folder)
        if not wanted:
            return
        staging = folder / "staging" / "second"
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(self.staged, staging)
        Publisher(folder / "fused.zarr", objects).publish(
            staging / "fused.zarr", wanted, [("stac/second.json", b"item")], {"run": "second"}, "residual"
        )

    def assert_readable(self, folder: Path) -> None:
        group = zarr.open_group(folder / "fused.zarr", mode="r", use_consolidated=True)
        red, generation = group["red"][:], group.attrs["generation"]
        assert np.array_equal(red[2], self.old[2])
        assert len(red) in (3, 4)
        assert (len(red) == 4) == (generation == 4)
        if len(red) == 4:
            assert all(np.array_equal(red[index], self.new[index]) for index in (0, 1, 3))
        if generation == 2:
            assert np.array_equal(red[0], self.old[0])
            assert (red[1] == -32768).all()
        assert group["time"][:].tolist() == [FIRST + index for index in range(len(red))]


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def memory():
    """A folder in memory where there is one: a hundred publications that wait for a disk take long."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(("after", "stride"), [(False, 1), (True, 3)], ids=["before", "after"])
def test_whatever_call_fails_readers_see_old_or_new_days_and_a_rerun_gives_the_same_store(story, memory, after, stride):
    at, seen = 1, set()
    while True:
        folder = story.start(memory / str(at))
        objects = Faulty(folder, at, after)
        try:
            story.run(folder, objects)
        except OSError:
            story.assert_readable(folder)
        if objects.left > 0:
            break
        seen.add(Publisher(folder / "fused.zarr").recover())
        story.assert_readable(folder)
        story.run(folder)
        assert tree(folder) == story.after, f"call {at}"
        shutil.rmtree(folder)
        at += stride
    assert at > 50
    assert seen == {"nothing", "replayed"}


@pytest.mark.parametrize(("at", "generation"), [(12, 3), (25, 3), (37, 4)], ids=["chunks", "documents", "committed"])
def test_a_killed_publication_is_finished_by_the_next_run(story, tmp_path, at, generation):
    folder = story.start(tmp_path / "killed")
    shutil.copytree(story.staged, folder / "staging" / "second")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipeline.store.objects import LocalObjects; from pipeline.store.publish import Publisher, Entry\n"
        "from pipeline.vocabulary import Maturity\n"
        "class Killer(LocalObjects):\n"
        "    left = int(sys.argv[2])\n"
        "    def move(self, source, target):\n"
        "        super().move(source, target); self.left -= 1\n"
        "        if self.left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "root = Path(sys.argv[1])\n"
        f"made = [Entry({FIRST} + i, 0, 0, 2, Maturity.INTERIM) for i in (0, 1, 3)]\n"
        "Publisher(root / 'fused.zarr', Killer(root)).publish(root / 'staging/second/fused.zarr', made,"
        " [('stac/second.json', b'item')], {'run': 'second'}, 'residual')\n"
    )
    # 1 odd root document, 18 chunks, manifest, 5 small arrays, 11 documents; the 37th rename is the commit.
    killed = subprocess.run([sys.executable, "-c", code, str(folder), str(at)], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    story.assert_readable(folder)
    assert zarr.open_group(folder / "fused.zarr", mode="r").attrs["generation"] == generation
    assert not sound(folder / "fused.zarr")
    assert Publisher(folder / "fused.zarr").recover() == "replayed"
    assert tree(folder) == story.after
    assert story.plan(folder) == []


@pytest.mark.parametrize("moves", [0, 1, 12, 30])
def test_a_publication_whose_staging_was_lost_is_dropped_and_made_again(story, tmp_path, moves):
    folder = story.start(tmp_path / "lost")
    objects = LocalObjects(folder)
    left = [moves]

    def move(source: str, target: str) -> None:
        if not left[0]:
            raise OSError("injected")
        left[0] -= 1
        LocalObjects.move(objects, source, target)

    objects.move = move  # type: ignore[method-assign]
    with pytest.raises(OSError):
        story.run(folder, objects)
    shutil.rmtree(folder / "staging" / "second")
    assert Publisher(folder / "fused.zarr").recover() == "dropped"
    group = zarr.open_group(folder / "fused.zarr", mode="r")
    assert group.attrs["generation"] % 2 == 0
    assert group["red"].shape[0] == 3
    assert not list(folder.glob("fused.zarr/*/c/3/*/*"))
    assert len(story.plan(folder)) == 3
    story.run(folder)
    found = {key: data for key, data in tree(folder).items() if key != "fused.zarr/zarr.json"}
    assert found == {key: data for key, data in story.after.items() if key != "fused.zarr/zarr.json"}
    assert sound(folder / "fused.zarr")


def test_a_run_that_finds_a_journal_finishes_it_first(story, tmp_path):
    folder = story.start(tmp_path / "next")
    with pytest.raises(OSError):
        story.run(folder, Faulty(folder, 50, False))
    cube = folder / "fused.zarr"
    assert (folder / "fused.zarr.journal").exists()
    Publisher(cube).publish(stage(cube, "third", [4], story.grid, 1, seed=3), entries([4], story.grid, 3))
    red = zarr.open_array(cube / "red")[:]
    assert np.array_equal(red[3], story.new[3])
    assert np.array_equal(red[4], counts_of(story.grid, 4, 3))
    assert sound(cube)


def test_a_second_publisher_is_refused_while_a_run_holds_the_store(cube, grid):
    staging = stage(cube, "a", [0], grid, 1)
    with StoreLock(cube, "daily-run") as lock:
        with pytest.raises(StoreError, match="in use by daily-run"):
            Publisher(cube).publish(staging, entries([0], grid, 1))
        assert Publisher(cube, lock=lock).publish(staging, entries([0], grid, 1)).length == 1
    assert sound(cube)


def test_a_run_that_lost_its_lock_publishes_nothing(cube, grid):
    staging = stage(cube, "a", [0], grid, 1)
    before = tree(cube)
    with StoreLock(cube, "slow") as lock:
        lock.path.unlink()
        with StoreLock(cube, "fast"), pytest.raises(StoreError, match="taken over by fast"):
            Publisher(cube, lock=lock).publish(staging, entries([0], grid, 1))
    assert tree(cube) == before


def test_stagings_nobody_works_on_are_swept(cube, grid):
    for run in ("old", "mine"):
        stage(cube, run, [0], grid, 1)
    assert Publisher(cube).sweep(keep=["mine"]) == ("old",)
    assert [path.name for path in (cube.parent / "staging").iterdir()] == ["mine"]


def test_the_axis_passes_the_end_of_its_chunks(cube, grid):
    far = 5000
    Publisher(cube).publish(stage(cube, "a", [0, far], grid, 1), entries([0, far], grid, 9))
    time = zarr.open_array(cube / "time")[:]
    assert np.array_equal(time, FIRST + np.arange(far + 1))
    assert np.flatnonzero(read_state(cube).digest[:, 0, 0]).tolist() == [0, far]
    Publisher(cube).publish(stage(cube, "b", [400], grid, 1), entries([400], grid, 9))
    assert np.flatnonzero(read_state(cube).digest[:, 0, 0]).tolist() == [0, 400, far]
    assert sound(cube)


def test_verification_names_what_is_damaged(cube, grid):
    Publisher(cube).publish(stage(cube, "a", [0, 1], grid, 1), entries([0, 1], grid, 1))
    os.unlink(cube / "red" / "c" / "1" / "0" / "1")
    (cube.parent / "fused.zarr.journal").write_text("{}")
    failed = {check.name: check for check in verify_cube(cube) if not check.passed}
    assert set(failed) == {"chunks", "journal"}
    assert failed["chunks"].days == (FIRST + 1,)
    assert "2024-02-29 block 0, 1: red" in failed["chunks"].message


def test_staged_days_pass_the_validators_and_a_broken_one_does_not(cube, grid):
    assert all(check.passed or check.severity == "warning" for check in validate_staging(stage(cube, "a", [0, 1], grid, 1), cube))
    blocks = list(grid.blocks(BLOCK))
    day = made_up_day((40, 64), 1, 1)
    hole = day.bands.copy()
    hole[0, 10, 10] = np.nan
    dark = np.full_like(day.bands, -0.5)
    certain = np.zeros_like(day.std)
    for broken, name in (
        (replace(day, bands=hole), "provenance"),
        (replace(day, bands=np.where(np.isnan(day.bands), np.nan, dark)), "range"),
        (replace(day, std=certain), "uncertainty"),
        (replace(day, provenance=np.full_like(day.provenance, 77)), "provenance"),
    ):
        staging = create_staging(cube, "b", [FIRST + 5])
        write_block_day(staging, blocks[0], 0, broken)
        failed = {check.name: check for check in validate_staging(staging, cube) if not check.passed and check.severity == "error"}
        assert set(failed) == {name}
        assert failed[name].days == (FIRST + 5,)
    os.unlink(staging / "condition" / "c" / "0" / "0" / "0")
    assert "complete" in {check.name for check in validate_staging(staging, cube) if not check.passed}


def test_a_large_step_from_the_published_day_before_is_a_warning(cube, grid):
    Publisher(cube).publish(stage(cube, "a", [0], grid, 1), entries([0], grid, 1))
    staging = create_staging(cube, "b", [FIRST + 1])
    day = made_up_day((40, 64), 1, 0)
    write_block_day(staging, next(iter(grid.blocks(BLOCK))), 0, replace(day, bands=day.bands + 0.5))
    step = next(check for check in validate_staging(staging, cube) if check.name == "step")
    assert not step.passed
    assert step.severity == "warning"
    assert "2024-02-29: 0.5" in step.message
