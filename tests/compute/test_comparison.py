"""Days as two versions of the parameters make them: what is compared is what a run makes, and nothing of a run is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.compute import comparison
from pipeline.compute.comparison import Difference, made_days
from pipeline.compute.job import Job
from pipeline.config import Area, load_area
from pipeline.grid import Window, day_number
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.recipe import reach_of, read_parameters
from tests.region import FIRST

WINDOW = Window(16, 48, 64, 64)


def pinned_job(area: Area) -> Job:
    learnt = read_parameters(area)
    assert learnt
    return with_parameters(job_of(area), learnt)


def stored(area: Area, name: str, index: int) -> np.ndarray:
    return np.asarray(zarr.open_array(area.cube_path / name, mode="r")[(index, *WINDOW.slices)])


def test_a_sample_is_what_a_run_publishes_and_leaves_the_working_store_alone(published: Path, tmp_path: Path) -> None:
    area = load_area(published)
    before = {path: path.stat().st_mtime_ns for path in (area.runtime.root / "work").rglob("*")}
    days = [day_number(FIRST) + index for index in (1, 4)]
    made = list(made_days(pinned_job(area), WINDOW, days, reach_of(area), str(tmp_path)))
    for index, (values, std) in zip((1, 4), made, strict=True):
        for band, name in enumerate(area.science.bands):
            for array, layer in ((values, name), (std, f"uncertainty_{name}")):
                off = np.abs(array[band].astype(int) - stored(area, layer, index))
                assert off.max() <= 1, "the last count may be rounded otherwise"
                assert (off > 0).mean() < 0.002
    assert {path: path.stat().st_mtime_ns for path in (area.runtime.root / "work").rglob("*")} == before
    assert not list(tmp_path.iterdir())


def test_versions_are_compared_pixel_by_pixel(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = load_area(published)
    job, day = pinned_job(area), day_number(FIRST)
    bias = job.restoration["bias"]
    shifted = {**bias, "offset": [offset + 0.01 for offset in bias["offset"]]}
    made: list[tuple[np.ndarray, np.ndarray]] = []

    def kept(*arguments: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for values in made_days(*arguments):
            made.append(values)
            yield values

    monkeypatch.setattr(comparison, "made_days", kept)
    other = replace(job, restoration={**job.restoration, "bias": shifted})
    found = comparison.compare_days(job, other, WINDOW, [day], reach_of(area), str(tmp_path))
    (old, old_std), (new, new_std) = made
    for band, difference in enumerate(found):
        steps = np.abs(old[band].astype(int) - new[band])
        assert dict(difference.apart) == {int(step): int((steps == step).sum()) for step in np.unique(steps)}
        assert max(difference.apart) > 0
        assert difference.std == (old_std[band].sum(), new_std[band].sum())
        assert difference.alone == 0


def test_differences_add_up() -> None:
    total = Difference(Counter({0: 2, 5: 1}), (3.0, 6.0), 1) + Difference(Counter({5: 4}), (1.0, 2.0), 0)
    assert total == Difference(Counter({0: 2, 5: 5}), (4.0, 8.0), 1)
