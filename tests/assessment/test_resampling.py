"""Intervals over days and tiles: paired, as wide as theory says, and honest about a single date."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.assessment.resampling import interval, weights
from pipeline.assessment.scoring import Sample, gather, tiles


def samples(days: int, offset: float = 0.0, spread: float = 0.0, size: int = 24, tile: int = 8) -> list[Sample]:
    made = []
    for day in range(days):
        rng = np.random.default_rng(day)
        truth = rng.uniform(0.1, 0.5, (2, size, size))
        noise = rng.normal(0, 0.03, truth.shape) + rng.normal(0, spread)
        images = {"good": truth + noise, "bad": truth + noise + offset, "nearest": truth + 0.1}
        made.append(Sample(truth, images, {"all": np.ones((size, size), bool)}, day=day, tile=tile))
    return made


def test_every_draw_takes_as_many_days_and_tiles_as_there_are_on_average() -> None:
    drawn = weights({1: 4, 2: 9}, 4000, np.random.default_rng(0))
    assert {day: part.shape for day, part in drawn.items()} == {1: (4000, 4), 2: (4000, 9)}
    assert drawn[1].sum(axis=1).mean() == pytest.approx(4, rel=0.05)
    assert set((drawn[1].sum(axis=1) / 4 + drawn[2].sum(axis=1) / 9).tolist()) == {2.0}


def test_an_interval_of_independent_tiles_is_as_wide_as_theory_says() -> None:
    evidence = gather(samples(1, size=64, tile=8))
    (row,) = [row for row in evidence.rows(8, draws=600) if row.name == "good"]
    assert row.rmse_low < row.rmse < row.rmse_high
    # 1 σ of the RMSE of n independent normal errors is rmse / sqrt(2 n).
    expected = 2 * 1.96 * row.rmse / np.sqrt(2 * 2 * 64 * 64)
    assert row.rmse_high - row.rmse_low == pytest.approx(expected, rel=0.25)


def test_days_that_differ_widen_the_interval() -> None:
    alike, unlike = (
        next(row for row in gather(samples(8, spread=spread)).rows(8, draws=300) if row.name == "good") for spread in (0.0, 0.05)
    )
    assert alike.days == unlike.days == 8
    assert unlike.rmse_high - unlike.rmse_low > 5 * (alike.rmse_high - alike.rmse_low)


def test_a_paired_difference_is_far_surer_than_two_intervals_suggest() -> None:
    evidence = gather(samples(8, offset=0.02, spread=0.05))
    (found,) = evidence.differences([("good", "nearest")], 300)
    assert found.days == 8
    rows = {row.name: row for row in evidence.rows(8, draws=300)}
    assert rows["good"].rmse - rows["nearest"].rmse == pytest.approx(found.rmse)
    alone = gather(samples(8, offset=0.001, spread=0.0))
    (small,) = alone.differences([("bad", "good")], 300)
    rows = {row.name: row for row in alone.rows(8, draws=300)}
    assert small.high - small.low < rows["good"].rmse_high - rows["good"].rmse_low


def test_the_same_seed_gives_the_same_interval() -> None:
    evidence = gather(samples(3))
    first, again, other = ([(row.rmse_low, row.rmse_high) for row in evidence.rows(8, draws=50, seed=seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_figure_that_most_draws_lack_has_no_interval() -> None:
    assert np.isnan(interval(np.array([1.0, np.nan, np.nan, np.nan]))).all()


@pytest.mark.parametrize("edge", [0, 5, 8, 30])
def test_tiles_cover_every_pixel_once(edge: int) -> None:
    count = np.zeros((21, 17), int)
    for place in tiles(count.shape, edge):
        count[place] += 1
    assert (count == 1).all()
