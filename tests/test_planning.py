"""Digests, maturity and the plan: what changes a day, and what does not."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.grid import Grid, Window, day_number, days_between
from pipeline.planning import MAKE, Input, Reach, day_digests, inputs_of, maturities, plan_days, recipe_hash, spans, summary
from pipeline.vocabulary import Maturity, Outcome

GRID = Grid("EPSG:32633", 15.0, 15.0 + 30 * 128, 30.0, 128, 128)
REACH = Reach(before=10, after=10, window=4, halo=8)
FIRST = date(2024, 2, 1)
DAYS = days_between(FIRST, date(2024, 3, 10))
NUMBERS = np.array([day_number(day) for day in DAYS])
WINDOWS = [block.window for block in GRID.blocks(64)]
WHOLE = Window(0, 0, 128, 128)
RECIPE = recipe_hash({"method": "residual"})
LATE = date(2024, 12, 1)


def fine(day: date, name: str | None = None, window: Window = WHOLE) -> Input:
    name = name or f"L{day:%m%d}"
    return Input(name, f"landsat/{name}", "fine", day_number(day), window)


def coarse(day: date) -> Input:
    return Input(f"M{day:%m%d}", f"modis/M{day:%m%d}", "coarse", day_number(day), WHOLE)


SCENES = [coarse(day) for day in days_between(date(2024, 1, 15), date(2024, 3, 25))] + [fine(date(2024, 2, 5)), fine(date(2024, 2, 21))]


def digests(scenes: list[Input], recipe: np.uint64 = RECIPE) -> np.ndarray:
    return day_digests(NUMBERS, WINDOWS, scenes, REACH, recipe)


def planned(scenes: list[Input], fresh: set[str], published: tuple[np.ndarray, np.ndarray], as_of: date = LATE, **more: object) -> list:
    return plan_days(DAYS, GRID, 64, scenes, fresh, REACH, RECIPE, published, as_of, **more)


def nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(DAYS), 2, 2), np.uint64), np.zeros((len(DAYS), 2, 2), np.uint8)


def everything(scenes: list[Input], as_of: date = LATE) -> tuple[np.ndarray, np.ndarray]:
    return digests(scenes).reshape(-1, 2, 2), maturities(NUMBERS, WINDOWS, scenes, REACH, as_of).reshape(-1, 2, 2)


def test_the_order_of_scenes_does_not_matter() -> None:
    np.testing.assert_array_equal(digests(SCENES), digests(SCENES[::-1]))


def test_a_fine_scene_changes_exactly_the_days_whose_support_holds_it() -> None:
    when = date(2024, 2, 18)
    changed = (digests([*SCENES, fine(when)]) != digests(SCENES)).any(1)
    assert [day for day, differs in zip(DAYS, changed, strict=True) if differs] == days_between(when - timedelta(10), when + timedelta(10))


def test_a_coarse_scene_reaches_as_far_as_support_and_restoration_together() -> None:
    when = date(2024, 2, 18)
    extra = replace(coarse(when), id="other", identity="modis/other")
    changed = (digests([*SCENES, extra]) != digests(SCENES)).any(1)
    assert [day for day, differs in zip(DAYS, changed, strict=True) if differs] == days_between(when - timedelta(14), when + timedelta(14))


def test_a_scene_reaches_as_far_as_support_and_screening_together() -> None:
    screened = replace(REACH, screening=3)

    def changed(extra: Input) -> list[date]:
        with_it, without = (day_digests(NUMBERS, WINDOWS, scenes, screened, RECIPE) for scenes in ([*SCENES, extra], SCENES))
        return [day for day, differs in zip(DAYS, (with_it != without).any(1), strict=True) if differs]

    when = date(2024, 2, 18)
    assert changed(fine(when, "L-new")) == [day for day in DAYS if abs((day - when).days) <= 10 + 3]
    assert changed(replace(coarse(when), id="other", identity="modis/other")) == [
        day for day in DAYS if abs((day - when).days) <= 10 + 3 + 4
    ]


def test_a_scene_changes_only_the_blocks_it_lies_over_with_their_halo() -> None:
    corner = fine(date(2024, 2, 10), window=Window(0, 0, 50, 50))
    changed = (digests([*SCENES, corner]) != digests(SCENES)).any(0)
    assert changed.tolist() == [True, False, False, False]
    edge = fine(date(2024, 2, 10), window=Window(0, 0, 50, 60))
    assert (digests([*SCENES, edge]) != digests(SCENES)).any(0).tolist() == [True, True, False, False]


def test_a_reprocessed_scene_and_another_recipe_change_the_digest() -> None:
    again = [*SCENES[:-1], replace(SCENES[-1], identity="landsat/L0221/reprocessed")]
    assert (digests(again) != digests(SCENES)).any()
    assert (digests(SCENES, recipe_hash({"method": "other"})) != digests(SCENES)).all()


def test_unchanged_days_are_not_made_again() -> None:
    plans = planned(SCENES, set(), everything(SCENES))
    assert summary(plans) == {str(Outcome.UNCHANGED): len(DAYS)}


def test_the_plan_names_the_new_scene_and_makes_exactly_its_days() -> None:
    new = fine(date(2024, 2, 29))
    plans = planned([*SCENES, new], {new.id}, everything(SCENES))
    made = [plan for plan in plans if plan.status == MAKE]
    assert [plan.day for plan in made] == [day for day in DAYS if abs((day - date(2024, 2, 29)).days) <= 10]
    assert all("new in its support: L0229" in plan.reason for plan in made)


def test_a_day_that_was_never_published_says_so() -> None:
    plans = planned(SCENES, {scene.id for scene in SCENES}, nothing())
    assert {plan.reason for plan in plans} == {"not published yet"}
    assert all(len(plan.blocks) == 4 for plan in plans)


def test_a_changed_recipe_is_given_as_the_reason() -> None:
    old = digests(SCENES, recipe_hash({"method": "older"})).reshape(-1, 2, 2)
    plans = planned(SCENES, set(), (old, everything(SCENES)[1]))
    assert all(plan.status == MAKE and "changed since" in plan.reason for plan in plans)


def test_a_version_of_the_parameters_is_given_as_the_reason_with_the_scenes_that_are_new_beside_it() -> None:
    first, second = recipe_hash({"parameters": "first"}), recipe_hash({"parameters": "second"})
    earlier = {"version 1 → 3": first, "version 2 → 3": second}
    as_published = everything(SCENES)[1]
    old = digests(SCENES, second).reshape(-1, 2, 2), as_published
    assert {plan.reason for plan in planned(SCENES, set(), old, earlier=earlier)} == {"version 2 → 3"}
    new = fine(date(2024, 2, 29))
    plans = planned([*SCENES, new], {new.id}, old, earlier=earlier)
    reached = [plan for plan in plans if abs((plan.day - date(2024, 2, 29)).days) <= 10]
    assert all(plan.reason.startswith("version 2 → 3; new in its support: L0229") for plan in reached)
    assert {plan.reason for plan in plans if plan not in reached} == {"version 2 → 3"}
    mixed = old[0].copy()
    mixed[:, 0, 0] = digests(SCENES, first).reshape(-1, 2, 2)[:, 0, 0]
    assert all("changed since" in plan.reason for plan in planned(SCENES, set(), (mixed, as_published), earlier=earlier))


def test_a_day_without_any_input_is_waited_for_and_then_expected_empty() -> None:
    assert planned([], set(), nothing(), as_of=date(2024, 3, 11))[-1].status == Outcome.DEFERRED
    assert planned([], set(), nothing(), as_of=LATE)[-1].status == Outcome.EXPECTED_EMPTY


def test_a_scene_that_only_screening_looks_at_does_not_make_a_day() -> None:
    days, scene = [LATE - timedelta(1)], fine(LATE - timedelta(1 + 12))
    empty = np.zeros((1, 2, 2), np.uint64), np.zeros((1, 2, 2), np.uint8)
    for screening, looked_at in ((0, False), (5, True)):
        reach = replace(REACH, screening=screening)
        assert bool(inputs_of(np.array([day_number(days[0])]), WINDOWS, [scene], reach).any()) == looked_at
        (plan,) = plan_days(days, GRID, 64, [scene], set(), reach, RECIPE, empty, LATE)
        assert plan.status == Outcome.DEFERRED


@pytest.mark.parametrize(
    ("scenes", "expected"),
    [
        ([coarse(FIRST)], Maturity.NRT),
        ([coarse(FIRST), fine(FIRST + timedelta(5))], Maturity.INTERIM),
        ([coarse(FIRST), coarse(FIRST + timedelta(2)), fine(FIRST + timedelta(5))], Maturity.FINAL),
    ],
)
def test_maturity_grows_with_a_later_fine_scene_and_the_coarse_window(scenes: list[Input], expected: Maturity) -> None:
    assert maturities(NUMBERS[:1], WINDOWS, scenes, REACH, FIRST + timedelta(6))[0].tolist() == [expected] * 4


def test_a_day_whose_support_has_passed_is_final_as_it_is() -> None:
    assert (maturities(NUMBERS[:1], WINDOWS, [coarse(FIRST)], REACH, FIRST + timedelta(11)) == Maturity.FINAL).all()


def test_a_worse_maturity_never_replaces_a_better_one() -> None:
    digest, _ = everything(SCENES)
    published = (digest + np.uint64(1), np.full(digest.shape, Maturity.FINAL, np.uint8))
    plans = planned([scene for scene in SCENES if scene.role == "coarse"], set(), published, as_of=DAYS[-1])
    assert plans[-1].status == Outcome.UNCHANGED
    assert "better maturity" in plans[-1].reason


def test_planning_a_year_of_a_whole_landsat_tile_takes_little_time() -> None:
    grid = Grid("EPSG:32633", 15.0, 15.0 + 30 * 3664, 30.0, 3664, 3664)
    days = days_between(date(2023, 1, 1), date(2023, 12, 31))
    scenes = [coarse(day) for day in days] + [fine(day, f"L{n}") for n, day in enumerate(days[::4])]
    empty = np.zeros((len(days), 8, 8), np.uint64), np.zeros((len(days), 8, 8), np.uint8)
    plans = plan_days(days, grid, 512, scenes, set(), Reach(64, 64, 32, 40), RECIPE, empty, LATE)
    assert len(plans) == 365
    assert all(len(plan.blocks) == 64 for plan in plans)


def test_spans_join_consecutive_days() -> None:
    days = [date(2024, 2, 27), date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 5)]
    assert spans(days) == [(date(2024, 2, 27), date(2024, 2, 29)), (date(2024, 3, 5), date(2024, 3, 5))]
