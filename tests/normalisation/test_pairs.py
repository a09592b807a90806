"""The table of what a step leaves."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.normalisation.pairs import Pair, agreement, residuals

BANDS = ("red", "nir08")
RNG = np.random.default_rng(5)
GROUND = RNG.uniform(0.05, 0.4, (2, 40, 50))
CLEAR = np.ones((40, 50), bool)


def test_offset_slope_and_noise_are_found() -> None:
    ground = GROUND.ravel()
    found = agreement(ground, 0.01 + 1.1 * ground + RNG.normal(0, 0.005, ground.size))
    assert found.n == ground.size
    assert found.median == pytest.approx(0.01 + 0.1 * np.median(ground), abs=0.002)
    assert found.slope == pytest.approx(1.1, abs=0.01)
    assert found.rmse >= abs(found.median)


def test_a_twentieth_of_changed_pixels_moves_neither_median_nor_slope() -> None:
    first = GROUND.ravel()
    second = first + RNG.normal(0, 0.004, first.size)
    spoilt = second.copy()
    spoilt[::20] = 0.9
    clean, changed = agreement(first, second), agreement(first, spoilt)
    assert changed.median == pytest.approx(clean.median, abs=0.001)
    assert changed.slope == pytest.approx(clean.slope, abs=0.01)
    assert changed.rmse == pytest.approx(clean.rmse, rel=0.15)


def test_the_major_axis_does_not_flatten_what_is_noisy_in_both() -> None:
    """Ordinary least squares would find 0.8 here."""
    truth = GROUND.ravel()
    first, second = (truth + RNG.normal(0, 0.05, truth.size) for _ in range(2))
    assert agreement(first, second).slope == pytest.approx(1, abs=0.05)


def test_a_good_step_makes_the_rows_smaller_over_all_pairs_pooled() -> None:
    second = 1.08 * GROUND + RNG.normal(0, 0.003, GROUND.shape)
    before = [Pair(GROUND, second, CLEAR), Pair(GROUND, second, CLEAR)]
    after = [Pair(GROUND, second / 1.08, CLEAR), Pair(GROUND, second / 1.08, CLEAR)]
    rows = residuals(before, after, BANDS)
    assert [row.band for row in rows] == list(BANDS)
    for row in rows:
        assert row.before.n == row.after.n == 2 * CLEAR.size
        assert abs(row.after.median) < abs(row.before.median) / 10
        assert row.after.rmse < row.before.rmse / 2


def test_before_and_after_are_compared_on_the_pixels_that_both_have() -> None:
    holes = GROUND.copy()
    holes[0, :, :10] = np.nan
    hidden = CLEAR.copy()
    hidden[:5] = False
    rows = residuals([Pair(GROUND, holes, CLEAR)], [Pair(GROUND, GROUND, hidden)], BANDS)
    assert [row.before.n for row in rows] == [row.after.n for row in rows] == [35 * 40, 35 * 50]


def test_without_a_common_pixel_there_is_a_row_that_says_so() -> None:
    nothing = [Pair(GROUND, GROUND, ~CLEAR)]
    for row in residuals(nothing, nothing, BANDS) + residuals([], [], BANDS):
        assert row.before.n == 0
        assert np.isnan(row.before.median)


def test_other_numbers_of_pairs_before_and_after_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        residuals([Pair(GROUND, GROUND, CLEAR)], [], BANDS)
