"""Experiments: files that say what is withheld, cases that know nothing of it, predictions made once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.assessment import cases as cases_module
from pipeline.assessment.assess import ALL, Answer, assess
from pipeline.assessment.cases import BEYOND, cases_of, departed
from pipeline.assessment.experiments import Experiment, Nowcast, load_experiment
from pipeline.assessment.figures import _cropped
from pipeline.assessment.filesets import FILE_SETS, read_set
from pipeline.assessment.predicting import Entrant, _key, entrants, predict
from pipeline.assessment.roles import Role, Roles
from pipeline.assessment.simulated import LATITUDE, _changed, _south
from pipeline.errors import ConfigurationError
from pipeline.fusion.registry import specs
from pipeline.grid import Grid, day_from_number, day_number
from pipeline.sandbox import World
from pipeline.vocabulary import Surface
from tests.assessment.places import FIRST, small_archive
from tests.assessment.sets import DATA, needs_data
from tests.methods import ALL_METHODS

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
MIDDLE = FIRST + 32


def silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""


@pytest.fixture(autouse=True)
def _small_place_may_be_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cases_module.roles()
    every = (day_from_number(FIRST), day_from_number(FIRST + 1000), Role.TEST)
    monkeypatch.setattr(cases_module, "roles", lambda: Roles({**whole.sets, "small": (every,)}, whole.seeds))


def experiment(**keys: object) -> Experiment:
    return Experiment.model_validate({"name": "e", "title": "E", "set": "small", "withhold": [day_from_number(MIDDLE)], **keys})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_committed_experiment_can_be_read_and_keeps_to_its_role(path: Path) -> None:
    made = load_experiment(path)
    assert made.name == path.stem
    roles = cases_module.roles()
    if made.sandbox:
        roles.allow_seed(made.role, made.sandbox.seed)
    elif isinstance(made.withhold, tuple):
        roles.allow(made.role, made.place, made.withhold)


def test_a_file_that_says_what_is_not_known_is_refused_by_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("title: T\nset: small\nwithold: [2001-01-01]\n")
    with pytest.raises(ConfigurationError, match="withold: Extra inputs are not permitted"):
        load_experiment(path)
    path.write_text("title: T\nwithhold: [2001-01-01]\n")
    with pytest.raises(ConfigurationError, match="name either a set or a sandbox"):
        load_experiment(path)
    path.write_text("[]")
    with pytest.raises(ConfigurationError, match="is a list, expected keys and values"):
        load_experiment(path)


def test_a_withheld_image_is_in_nothing_that_methods_see() -> None:
    (case,) = cases_of(experiment(), small_archive())
    assert MIDDLE not in case.block.fine_days
    assert len(case.block.fine) == 4
    assert MIDDLE in case.block.coarse_days, "the coarse of the day stays: it is what methods predict from"
    np.testing.assert_array_equal(case.expected(MIDDLE), small_archive().fine[2])


@pytest.mark.parametrize("method", ALL_METHODS)
@pytest.mark.parametrize("references", ["archive", "pairs"])
def test_no_bit_of_a_prediction_changes_when_the_withheld_image_is_noise(method: str, references: str) -> None:
    archive = small_archive(clouds=0.2)
    noise = archive.fine.copy()
    noise[2] = np.random.default_rng(5).random(noise[2].shape)
    made = []
    for fine in (archive.fine, noise):
        (case,) = cases_of(experiment(references=references, haze=None), replace(archive, fine=fine))
        made.append((case, predict(Entrant(method, method), case.block, [MIDDLE])))
    (case, said), (other, also) = made
    assert case.block.fine_doubt is not None, "the images that are left are screened"
    assert torch.equal(case.block.fine_doubt, other.block.fine_doubt)
    assert not np.array_equal(case.expected(MIDDLE), other.expected(MIDDLE), equal_nan=True), "the noise is what is scored on"
    for layer in ("fine", "coarse", "coarse_std", "fine_std"):
        assert torch.equal(getattr(case.block, layer).nan_to_num(-1), getattr(other.block, layer).nan_to_num(-1)), layer
    median, noisy = case.block.layers["ndvi_median"], other.block.layers["ndvi_median"]
    assert torch.isfinite(median).float().mean() > 0.5
    assert torch.equal(median.nan_to_num(-9), noisy.nan_to_num(-9))
    np.testing.assert_array_equal(said.mean[MIDDLE], also.mean[MIDDLE])
    np.testing.assert_array_equal(said.std[MIDDLE], also.std[MIDDLE])


def test_a_nowcast_has_only_what_was_published_by_its_day() -> None:
    archive = small_archive(count=6)
    first, second = cases_of(experiment(withhold={"every": 3, "start": 2}, nowcast={"fine_delay": 17, "coarse_delay": 9}), archive)
    assert [day - FIRST for day in first.targets + second.targets] == [32, 80]
    assert [day - FIRST for day in first.block.fine_days] == [0], "the image of day 16 comes a day too late"
    assert [day - FIRST for day in second.block.fine_days] == [0, 16, 48], "what is withheld is in no case"
    known = torch.isfinite(first.block.coarse).all(3).all(2).all(1)
    assert max(day for day, some in zip(first.block.coarse_days, known, strict=True) if some) == FIRST + 32 - 9
    assert FIRST + 32 in first.block.coarse_days


@pytest.mark.parametrize("method", ["residual", "smoother", "starfm"])
def test_no_bit_of_a_nowcast_changes_when_all_that_was_published_later_is_noise(method: str) -> None:
    archive = replace(small_archive(count=6, clouds=0.2), restoration=(16.0, 8.0))
    target, rng = FIRST + 64, np.random.default_rng(5)
    fine, coarse = archive.fine.copy(), archive.coarse.copy()
    late_fine, late_coarse = np.array(archive.fine_days) + 16 > target, archive.coarse_days + 9 > target
    fine[late_fine], coarse[late_coarse] = rng.random(fine[late_fine].shape), rng.random(coarse[late_coarse].shape)
    made = experiment(withhold=[day_from_number(target)], nowcast={"fine_delay": 16, "coarse_delay": 9})
    (case,), (other,) = (cases_of(made, given) for given in (archive, replace(archive, fine=fine, coarse=coarse)))
    said, also = (predict(Entrant(method, method), each.block, [target]) for each in (case, other))
    assert np.isfinite(said.mean[target]).mean() > 0.9
    np.testing.assert_array_equal(said.mean[target], also.mean[target])
    np.testing.assert_array_equal(said.std[target], also.std[target])


def test_the_coarse_of_a_nowcast_is_less_sure_the_longer_ago_the_last_was_published() -> None:
    archive = replace(small_archive(count=6), restoration=(16.0, 8.0))
    made = experiment(withhold=[day_from_number(FIRST + 64)])
    prompt, late = (
        cases_of(made.model_copy(update={"nowcast": Nowcast(coarse_delay=delay)}), archive)[0].block.coarse_std[BEYOND].mean()
        for delay in (0, 9)
    )
    assert late > 1.2 * prompt


def test_a_nowcast_of_a_day_before_which_nothing_was_published_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no image that was published by"):
        cases_of(experiment(withhold=[day_from_number(FIRST)], nowcast={}), small_archive())


@needs_data
@pytest.mark.parametrize("name", ["boreas-two-pairs-registered", pytest.param("ifsdaf-archive", marks=pytest.mark.slow)])
def test_real_cases_are_the_same_when_the_withheld_image_is_noise(name: str) -> None:
    made = load_experiment(FOLDER / f"{name}.yaml")
    archive = read_set(made.place, DATA)
    noise = archive.fine.copy()
    (target,) = cases_module.withheld_days(made, archive)
    noise[archive.fine_days.index(target)] = np.random.default_rng(0).random(noise[0].shape)
    (case,), (other,) = (cases_of(made, replace(archive, fine=fine), DATA) for fine in (archive.fine, noise))
    for layer in ("fine", "coarse", "coarse_std", "fine_std"):
        assert torch.equal(getattr(case.block, layer).nan_to_num(-1), getattr(other.block, layer).nan_to_num(-1)), layer


def test_the_bias_of_the_coarse_is_learnt_again_without_the_image() -> None:
    archive = small_archive(size=64)
    coarse = archive.coarse * 0.9 + 0.02
    biased, plain = (cases_of(experiment(coarse={"bias": bias}), replace(archive, coarse=coarse))[0].block for bias in ("learnt", "none"))
    day = MIDDLE - FIRST
    truth = archive.coarse[day]
    assert np.abs(biased.coarse[day].numpy() - truth).mean() < 0.3 * np.abs(plain.coarse[day].numpy() - truth).mean()


def test_references_are_the_archive_the_pairs_the_nearest_or_the_days_named() -> None:
    archive = small_archive()

    def days(references: object) -> list[int]:
        (case,) = cases_of(experiment(references=references), archive)
        return [day - FIRST for day in case.block.fine_days]

    assert days("archive") == [0, 16, 48, 64]
    assert days("pairs") == [16, 48]
    assert days("pair") == [16]
    assert days([day_from_number(FIRST + 64)]) == [64]
    (apart,) = cases_of(experiment(references="pairs", apart=17), archive)
    assert [day - FIRST for day in apart.block.fine_days] == [0, 64]
    (before,) = cases_of(experiment(references="pair", apart=17), archive)
    assert [day - FIRST for day in before.block.fine_days] == [0]
    with pytest.raises(ValueError, match="apart is 17 days, but references are no pairs"):
        experiment(apart=17)
    with pytest.raises(ConfigurationError, match="no reference on"):
        days([day_from_number(MIDDLE)])


def test_every_nth_image_is_withheld_together_and_pairs_make_a_case_each() -> None:
    (case,) = cases_of(experiment(withhold={"every": 2}), small_archive())
    assert [day - FIRST for day in case.targets] == [16, 48]
    assert [day - FIRST for day in case.block.fine_days] == [0, 32, 64]
    first, second = cases_of(experiment(withhold={"every": 2}, references="pairs"), small_archive())
    assert [[day - FIRST for day in case.block.fine_days] for case in (first, second)] == [[0, 32], [32, 64]]


def test_a_day_without_an_image_cannot_be_withheld() -> None:
    with pytest.raises(ConfigurationError, match="small has no image of"):
        cases_of(experiment(withhold=[day_from_number(MIDDLE + 1)]), small_archive())


def test_an_image_that_is_for_tuning_is_not_tested_on() -> None:
    days = small_archive()
    with pytest.raises(ConfigurationError, match="is for tune, and this is to test"):
        cases_of(
            Experiment.model_validate({"name": "e", "title": "E", "set": "ifsdaf-ndvi-2015", "withhold": ["2015-12-10"]}),
            replace(days, fine_days=(16779,), fine=days.fine[:1], fine_std=days.fine_std[:1]),
        )


@needs_data
def test_settings_are_chosen_without_a_test_image_among_the_references() -> None:
    made = load_experiment(FOLDER / "ifsdaf-tune.yaml")
    days = read_set("ifsdaf-ndvi-2015", DATA).fine_days
    (test,) = [day for day in days if day_from_number(day).isoformat() == "2015-10-14"]
    assert not [day for day in days if cases_module.roles().hides(Role.TEST, "ifsdaf-ndvi-2015", day_from_number(day))]
    assert [day for day in days if cases_module.roles().hides(made.role, "ifsdaf-ndvi-2015", day_from_number(day))] == [test]
    (case,) = cases_of(made, read_set("ifsdaf-ndvi-2015", DATA), DATA)
    assert test not in case.block.fine_days
    assert len(case.block.fine_days) == len(days) - 1 - 3


@needs_data
@pytest.mark.parametrize("source", ["clouds", "stripes"])
def test_masks_hide_references_and_never_the_truth(source: str) -> None:
    archive = small_archive()
    (case,) = cases_of(experiment(masks={"source": source, "share": 0.4}), archive, DATA)
    hidden = torch.isnan(case.block.fine).all(1).float().mean((1, 2))
    assert hidden.tolist() == pytest.approx([0.4] * 4, abs=0.002)
    assert np.isfinite(case.expected(MIDDLE)).all()
    (clear,) = cases_of(experiment(masks={"source": source, "share": 0.0}), archive, DATA)
    assert torch.isfinite(clear.block.fine).all()
    (dark,) = cases_of(experiment(masks={"source": source, "share": 1.0}), archive, DATA)
    assert torch.isnan(dark.block.fine).all()


def test_masks_without_a_folder_of_sets_say_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="--data FOLDER"):
        cases_of(experiment(masks={"source": "clouds", "share": 0.4}), small_archive())


def test_references_are_screened_in_front_of_every_method_and_the_truth_never_is() -> None:
    archive = small_archive(size=64)
    fine = archive.fine.copy()
    # The same cloud over a part of a reference and of the image that is withheld.
    fine[[2, 3], :, 16:40, 16:40] = 0.5
    made = {on: cases_of(experiment(screening=on), replace(archive, fine=fine))[0] for on in (True, False)}
    assert np.isnan(made[True].block.fine[2, :, 16:40, 16:40].numpy()).mean() > 0.9
    assert torch.isfinite(made[False].block.fine).all()
    for case in made.values():
        np.testing.assert_array_equal(case.expected(MIDDLE), fine[2])
        assert np.isfinite(case.archive.fine).all(), "strata are those of the images as they came"


def test_the_surface_of_the_images_that_are_left_goes_with_them() -> None:
    archive = small_archive()
    surface = np.zeros((5, 48, 48), np.uint8)
    surface[[1, 2], :8] = Surface.SNOW
    (case,) = cases_of(experiment(), replace(archive, fine_surface=surface))
    assert case.block.fine_surface is not None
    np.testing.assert_array_equal(case.block.fine_surface.numpy(), surface[[0, 1, 3, 4]])


@needs_data
def test_haze_falls_on_the_nearest_image_alone() -> None:
    archive = small_archive()
    (case,) = cases_of(experiment(haze={"opacity": 0.1, "share": 0.5}), archive, DATA)
    changed = (case.archive.fine != archive.without([MIDDLE]).fine).any(1).mean((1, 2))
    assert changed.tolist() == pytest.approx([0, 0.5, 0, 0], abs=0.01)


def test_a_simulated_coarse_is_the_mean_of_the_fine_images() -> None:
    archive = small_archive()
    (case,) = cases_of(experiment(coarse={"source": "simulated", "bias": "none"}), archive)
    expected = archive.fine[2].reshape(2, 6, 8, 6, 8).mean((2, 4))
    np.testing.assert_allclose(case.block.coarse[MIDDLE - case.block.coarse_days[0]], expected, atol=1e-6)


def test_the_nearest_clear_image_and_its_age_are_found_pixel_by_pixel() -> None:
    archive = small_archive()
    archive.fine[1, 0, :8] = np.nan
    (case,) = cases_of(experiment(), archive)
    image, age = case.nearest(MIDDLE)
    assert (age[8:] == 16).all()
    assert (age[:8] == 16).all(), "the image after is as near"
    np.testing.assert_array_equal(image[:, :8], archive.fine[3][:, :8])
    np.testing.assert_array_equal(image[:, 8:], archive.fine[1][:, 8:])
    strata = case.strata(MIDDLE, archive.fine[2])
    assert strata["clouded reference"][:8].all()
    assert not strata["clouded reference"][8:].any()
    assert strata["9–16 days"].all()
    assert strata["upper half"].sum() == 24 * 48


def test_a_pixel_is_seen_on_both_sides_or_on_one() -> None:
    archive = small_archive()
    archive.fine[3:, :, :8] = np.nan
    archive.fine[:2, 0, 40:] = np.nan
    (case,) = cases_of(experiment(), archive)
    strata = case.strata(MIDDLE, archive.fine[2])
    np.testing.assert_array_equal(strata["one-sided"].all(axis=1), np.r_[[True] * 8, [False] * 32, [True] * 8])
    np.testing.assert_array_equal(strata["two-sided"], ~strata["one-sided"])
    start, end, _, _ = case.sides(MIDDLE)
    assert (start[0, 0] - FIRST, end[0, 0] - FIRST) == (16, 32), "up to the target where nothing comes after it"
    assert (start[-1, 0] - FIRST, end[-1, 0] - FIRST) == (32, 48)


def test_an_event_counts_where_it_lies_in_the_gap_between_neighbouring_clear_images() -> None:
    archive = small_archive()
    archive.fine[3:, :, :8] = np.nan

    def changed(event: int) -> dict[str, np.ndarray]:
        known = replace(archive, changed=lambda start, end: (start < FIRST + event) & (FIRST + event <= end))
        (case,) = cases_of(experiment(), known)
        return dict(case.strata(MIDDLE, archive.fine[2]))

    assert not changed(16)["changed"].any(), "the last image before shows it"
    assert changed(20)["changed"].all()
    np.testing.assert_array_equal(changed(20)["changed, one-sided"], np.arange(48)[:, None].repeat(48, 1) < 8)
    np.testing.assert_array_equal(changed(20)["changed, two-sided"], changed(40)["changed"])
    assert not changed(40)["changed"][:8].any(), "it is still to come, and no later image shows it"
    assert not changed(49)["changed"].any()


def test_events_of_a_simulated_place_are_those_between_two_days() -> None:
    corner, first, last = (500_175.0, 4_900_815.0), date(2023, 4, 1), date(2023, 4, 30)
    world = World(201, Grid.from_bounds("EPSG:32633", (*corner, corner[0] + 1920, corner[1] + 1920)), first, last)
    changed = _changed(world)
    found = {day: world.events(date(2023, 4, day), within=1) for day in range(2, 31)}
    day = next(day for day, where in found.items() if 0 < where.mean() < 1)
    start = np.full((64, 64), day_number(date(2023, 4, day)))
    np.testing.assert_array_equal(changed(start - 1, start), found[day])
    start[:32] += 1
    assert not changed(start - 1, start)[32:][~found[day][32:]].any(), "each pixel has days of its own"
    whole = np.full((64, 64), day_number(first))
    np.testing.assert_array_equal(changed(whole, whole + 29), np.any(list(found.values()), axis=0))
    assert not changed(whole, whole).any()


def test_a_simulated_place_lies_where_it_is_told_to_and_on_the_cells_of_the_others() -> None:
    assert _south(LATITUDE) == 4_900_815.0, "the place that experiments without a latitude are about"
    assert (
        Experiment.model_validate({"name": "e", "title": "E", "sandbox": {"seed": 100}, "withhold": {"every": 4}}).sandbox.latitude
        == LATITUDE
    )
    for latitude in (60.0, -33.0):
        south = _south(latitude)
        assert (south - 4_900_815.0) % 240 == 0
        grid = Grid.from_bounds("EPSG:32633", (500_175.0, south, 502_095.0, south + 1920))
        assert grid.shape == (64, 64), "no cell more"
        assert abs(World(1, grid, date(2023, 1, 1), date(2023, 1, 2)).latitude - latitude) < 0.1


def test_a_withheld_image_errs_itself_and_a_simulated_truth_does_not() -> None:
    archive = small_archive()
    std = np.full((2, 48, 48), 0.003, np.float32)
    (case,) = cases_of(experiment(), archive)
    np.testing.assert_allclose(case.error_std(MIDDLE, std), 0.005, rtol=1e-5, err_msg="3, 4, 5")
    (simulated,) = cases_of(experiment(), replace(archive, truth=lambda day: archive.fine[2]))
    np.testing.assert_array_equal(simulated.error_std(MIDDLE, std), std)


def test_a_series_is_drawn_from_a_part_of_the_block_with_all_its_layers() -> None:
    (case,) = cases_of(experiment(), replace(small_archive(size=192), fine_surface=np.zeros((5, 192, 192), np.uint8)))
    part, at = _cropped(case, 12, 100)
    assert at == (12, 84), "two cells of the twelve to the left are cut off"
    assert part.fine_doubt is not None
    assert part.fine_surface is not None
    assert {layer.shape[-2:] for layer in (part.fine, part.fine_doubt, part.fine_surface)} == {(96, 168)}
    assert torch.equal(part.fine[:, :, 12, 84], case.block.fine[:, :, 12, 100])


def test_change_is_what_lies_off_the_line_by_three_robust_sigma() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.01, (1, 100, 100))
    truth[0, :5] += 0.2
    assert departed(truth, np.zeros_like(truth))[:5].all()
    assert departed(truth, np.zeros_like(truth))[5:].mean() < 0.02


def test_controls_look_as_far_as_the_farthest_method() -> None:
    line = entrants({"long": Entrant("long", "residual", {"days": 128})})
    assert {entrant.label for entrant in line} == {"long"} | {name for name, spec in specs().items() if spec.control}
    assert all(entrant.support[0] >= 128 for entrant in line)


@needs_data
def test_the_kranj_set_is_read_with_its_gaps_and_units() -> None:
    archive = read_set("kranj-imagefusion", DATA)
    assert archive.fine.shape == (4, 6, 40, 40)
    assert 0 < np.nanmedian(archive.fine[:, 3]) < 0.6
    assert 0 < np.nanmedian(archive.coarse[:, 3]) < 0.6
    assert np.isnan(archive.fine).any()


def test_a_set_that_is_unknown_or_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="known sets"):
        read_set("elsewhere", tmp_path)
    with pytest.raises(ConfigurationError, match="--data FOLDER"):
        read_set("cia-3date-50m", tmp_path)


def assessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Experiment, methods: list[str]) -> Answer:
    archive = small_archive(clouds=0.2)
    monkeypatch.setitem(FILE_SETS, "small", lambda folder: archive)
    (tmp_path / "data" / "small").mkdir(parents=True, exist_ok=True)
    return assess(made, methods, tmp_path / "data", tmp_path / "cache", silent)


def test_every_table_holds_the_six_controls_on_the_same_pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = assessed(monkeypatch, tmp_path, experiment(withhold={"every": 2}, roughness=True), ["residual"])
    rows = [row for row in answer.rows if row.stratum == ALL]
    assert {row.name for row in rows} == {"residual"} | {name for name, spec in specs().items() if spec.control}
    assert len({row.pixels for row in rows}) == 1
    assert {row.days for row in rows} == {2}
    assert all(row.rmse_low <= row.rmse <= row.rmse_high for row in rows)
    assert all(np.isfinite(row.roughness) for row in rows)
    assert {(found.name, found.other) for found in answer.differences} == {("residual", answer.best_control)}
    assert answer.verdicts()[0].startswith("On all pixels residual")


def test_seconds_are_those_of_a_megapixel_of_a_band_of_a_day(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = assessed(monkeypatch, tmp_path, experiment(withhold={"every": 2}), ["residual"])
    efforts = {effort.name: effort for effort in answer.efforts()}
    assert efforts.keys() == {entrant.label for entrant in answer.line}
    values = 2 * small_archive().fine[0].size
    assert efforts["residual"].seconds == pytest.approx(1e6 * answer.seconds("residual") / values)
    assert efforts["residual"].parameters is None
    assert efforts["linear"].control


def test_weights_are_known_by_their_card_and_their_hash_is_part_of_what_a_prediction_follows_from(tmp_path: Path) -> None:
    (case,) = cases_of(experiment(), small_archive())
    keys = []
    for digits in ("ab", "cd"):
        card = {"sha256": 32 * digits, "parameters": 7, "multiply_adds": 8}
        (tmp_path / "mine.json").write_text(json.dumps(card))
        entrant = Entrant("edcstfn", "edcstfn", {"weights": str(tmp_path / "mine.safetensors")})
        assert entrant.card == card
        keys.append(_key(entrant, case.block, [MIDDLE], None))
    assert keys[0] != keys[1]
    assert Entrant("residual", "residual").card == {}


def test_what_did_not_change_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = assessed(monkeypatch, tmp_path, experiment(), [])
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npz")}
    assert len(kept) == 6
    again = assessed(monkeypatch, tmp_path, experiment(title="another title"), [])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npz")} == kept
    assert [row.rmse for row in again.rows if row.stratum == ALL] == [row.rmse for row in first.rows if row.stratum == ALL]
    assessed(monkeypatch, tmp_path, experiment(coarse={"shift": [4, 0]}), [])
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 12


def test_a_method_that_breaks_is_named_and_the_others_are_scored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pipeline.fusion.residual import Residual

    def broken(self: Residual, samples: object) -> dict[str, object]:
        raise RuntimeError("no convergence")

    monkeypatch.setattr(Residual, "estimate", broken)
    answer = assessed(monkeypatch, tmp_path, experiment(), ["residual"])
    assert answer.failed == {"residual": "RuntimeError: no convergence"}
    assert {row.name for row in answer.rows} == {name for name, spec in specs().items() if spec.control}
