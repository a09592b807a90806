"""Screening as a part of a run: only what changed is screened again, nothing that is withheld, and the report tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from pipeline import steps
from pipeline.catalog.scene import Scene
from pipeline.config import Area, load_area
from pipeline.grid import day_from_number, day_number
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.operators.reach import SPIKE_REACH
from pipeline.planning import MAKE
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.plan import Plan, load_plan
from pipeline.steps.recipe import reach_of, read_parameters
from pipeline.steps.report import screening_table
from pipeline.steps.runs import run_folder, silent
from pipeline.steps.screening import screen_images
from pipeline.vocabulary import Provenance
from tests.integration.conftest import FIRST, LAST


@dataclass
class Listing:
    """A cluster that runs nothing and says what it was asked to."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        self.calls += calls
        return ((position, []) for position in range(len(calls)))

    @property
    def days(self) -> list[date]:
        return sorted({day_from_number(day) for _, _, days in self.calls for day in days})

    @property
    def blocks(self) -> set[tuple[int, int]]:
        return {(block.row, block.col) for _, block, _ in self.calls}


def run_id_of(area: Area) -> str:
    return sorted(path.parent.name for path in (area.runtime.root / "runs").glob("*/plan.json"))[-1]


def asked(area: Area, planned: Plan) -> Listing:
    """What must be screened for a plan."""
    learnt = read_parameters(area) or {"digest": "", "restoration": {}, "registration": {}, "method": {}, "levels": "", "ndvi_median": ""}
    listing = Listing()
    screen_images(area, listing, with_parameters(job_of(area), learnt), planned, learnt["digest"], silent)
    return listing


def changed(path: Path, **science: object) -> Area:
    document = yaml.safe_load(path.read_text())
    document["science"] |= science
    path.write_text(yaml.safe_dump(document))
    return load_area(path)


def observed(area: Area) -> np.ndarray:
    with xr.open_zarr(area.cube_path, mask_and_scale=False) as cube:
        return np.asarray(cube.provenance.values == Provenance.OBSERVED)


def fine_days(planned: Plan) -> list[date]:
    return sorted({scene.day for scene in planned.scenes if scene.role == "fine"})


def test_what_was_screened_is_not_screened_again(copied: Path) -> None:
    area = load_area(copied)
    planned = load_plan(area, run_id_of(area))
    assert len(planned.to_make) == 6
    assert not asked(area, planned).calls
    again = asked(changed(copied, screening={"sigmas": 4.5}), planned)
    reach = timedelta(reach_of(area).before)
    assert again.days == [day for day in fine_days(planned) if FIRST - reach <= day <= LAST + reach]
    assert len(again.blocks) == 4


def test_a_new_scene_revises_the_verdicts_of_images_around_it_and_no_others(copied: Path) -> None:
    area = changed(copied, screening={"days": 8, "reach": 200.0})
    planned = load_plan(area, run_id_of(area))
    screened = asked(area, planned).days
    assert not asked(area, planned).calls
    day = screened[len(screened) // 2]
    new = next(scene for scene in planned.scenes if scene.role == "fine" and scene.day == day)
    found = asked(area, replace(planned, scenes=(*planned.scenes, renamed(new))))
    assert found.days == [other for other in screened if abs((other - day).days) <= 16]
    assert set(found.days) < set(screened)
    early = min((scene for scene in planned.scenes if scene.role == "coarse"), key=lambda scene: scene.day)
    found = asked(area, replace(planned, scenes=(*planned.scenes, renamed(new), renamed(early))))
    # The restored series around an image looks as far again as its window, and at what judges the values in it.
    reach = timedelta(16 + 12 + SPIKE_REACH + round(early.centre))
    assert found.days == [other for other in screened if other <= early.day + reach]
    assert set(found.days) < set(screened)


def renamed(scene: Scene) -> Scene:
    """The same scene as a newer processing."""
    return replace(scene, stamp=scene.stamp + "1")


def test_a_withheld_image_is_never_screened(copied: Path) -> None:
    area = load_area(copied)
    planned = load_plan(area, run_id_of(area))
    day = next(day for day in fine_days(planned) if FIRST <= day <= LAST)
    withholding = changed(copied, withhold=[day])
    again = steps.plan(withholding)
    assert {item.status for item in again.days} == {MAKE}
    asked_for = asked(withholding, again).days
    assert asked_for
    assert day not in asked_for


def test_an_area_without_screening_screens_nothing_and_looks_no_further_than_its_method(copied: Path) -> None:
    area = load_area(copied)
    plain = changed(copied, screening={"enabled": False})
    assert not asked(plain, load_plan(area, run_id_of(area))).calls
    assert job_of(plain).screening is None
    with_it, without = reach_of(area), reach_of(plain)
    assert (without.fine_before, without.fine_after) == (without.before, without.after)
    assert with_it.fine_before == without.before + 96
    assert with_it.halo > without.halo
    assert len(steps.plan(plain).to_make) == 6, "its pixels are others"


def test_a_run_tells_how_many_pixels_it_refused_and_why(published: Path) -> None:
    area = load_area(published)
    run_id = run_id_of(area)
    told = json.loads((run_folder(area, run_id) / "report.json").read_text())["screening"]
    assert {image["day"] for image in told} <= {day.isoformat() for day in fine_days(load_plan(area, run_id))}
    assert len(told) > 8
    for image in told:
        pixels = image["clear"] + sum(image["suspect"].values()) + sum(image["refused"].values())
        assert 0 < pixels <= area.grid.height * area.grid.width
        assert set(image["refused"]) <= {"cloud", "shadow"}
    assert 0 < sum(sum(image["refused"].values()) for image in told) < 0.05 * sum(image["clear"] for image in told)
    page = (run_folder(area, run_id) / "report.html").read_text()
    assert "Fine images screened in this run" in page
    assert told[0]["day"] in page


def test_the_table_names_the_worst_images_first() -> None:
    images = [
        {"day": f"2024-01-{day:02d}", "clear": 100 - day, "suspect": {}, "refused": {"cloud": day} if day else {}} for day in range(1, 29)
    ]
    images.append({"day": "2024-02-01", "clear": 50, "suspect": {"offset": 50}, "refused": {}})
    lines = screening_table(images).splitlines()
    assert lines[2].startswith("| all 29 | 2900 | 14.00% | cloud 406 | 1.72% | offset 50 |")
    assert lines[3].startswith("| 2024-02-01 | 100 | 0.00% | – | 50.00% | offset 50 |")
    assert lines[4].startswith("| 2024-01-28 |")
    assert len(lines) == 3 + 20
    assert screening_table([]) == ""


@pytest.mark.slow
def test_an_area_without_screening_publishes_every_clear_pixel_as_observed(copied: Path) -> None:
    before = observed(load_area(copied))
    area = changed(copied, screening={"enabled": False})
    made = steps.plan(area)
    report = steps.run(area, steps.start_run(area, made))
    assert report.screening == []
    assert report.counts == {"published": 6}
    now = observed(area)
    fine = WorkingStore.open(observations_path(area)).read_fine(area.grid.window, day_number(FIRST), day_number(LAST))
    for values, day in zip(fine.values, fine.days, strict=True):
        np.testing.assert_array_equal(now[int(day) - day_number(FIRST)], np.isfinite(values).all(axis=0))
    assert not (before & ~now).any()
    assert (now & ~before).any(), "some were refused"
