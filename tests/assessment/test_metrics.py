"""Every metric against a figure worked out by hand, and against itself when split into parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.assessment.metrics import figures, sums, valid

TRUTH = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.2, 0.2], [0.4, 0.4]]])
PREDICTION = TRUTH + np.array([[[0.01, -0.01], [0.03, 0.01]], [[0.0, 0.02], [0.0, -0.02]]])
EVERYWHERE = np.ones((2, 2), bool)


def of(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray = EVERYWHERE, scale: float = 8.0):
    return figures(sums(prediction, truth, where), scale)


def test_root_mean_square_error_by_hand() -> None:
    # Band 1: sqrt((1 + 1 + 9 + 1) / 4) = sqrt(3) hundredths; band 2: sqrt((0 + 4 + 0 + 4) / 4) = sqrt(2) hundredths.
    made = of(PREDICTION, TRUTH)
    assert made.rmse == pytest.approx([0.01 * math.sqrt(3), 0.01 * math.sqrt(2)])
    assert made.means()["rmse"] == pytest.approx(0.005 * (math.sqrt(3) + math.sqrt(2)))


def test_mean_absolute_error_and_bias_by_hand() -> None:
    made = of(PREDICTION, TRUTH)
    assert made.mae == pytest.approx([0.015, 0.01])
    assert made.bias == pytest.approx([0.01, 0.0])


def test_correlation_by_hand() -> None:
    # p = 11 19 33 41, t = 10 20 30 40 (hundredths): covariance 130, variances 137 and 125.
    assert of(PREDICTION, TRUTH).cc[0] == pytest.approx(130 / math.sqrt(137 * 125))


def test_coefficient_of_determination_by_hand() -> None:
    # Band 1: squared error 12, spread of the truth 500 (hundredths squared); band 2: 8 and 400.
    assert of(PREDICTION, TRUTH).r2 == pytest.approx([1 - 12 / 500, 1 - 8 / 400])


def test_peak_signal_to_noise_by_hand() -> None:
    assert of(TRUTH + 0.1, TRUTH).psnr == pytest.approx([20.0, 20.0])


def test_spectral_angle_by_hand() -> None:
    truth = np.array([[[1.0, 1.0]], [[0.0, 1.0]]])
    prediction = np.array([[[1.0, 2.0]], [[1.0, 2.0]]])
    # 45° for the first pixel; the second differs in brightness only, which is no angle.
    assert of(prediction, truth, np.ones((1, 2), bool)).sam == pytest.approx(math.pi / 8)


def test_ergas_by_hand() -> None:
    # RMSE / mean is 0.01·sqrt(3)/0.25 and 0.01·sqrt(2)/0.3.
    expected = 100 / 8 * math.sqrt((0.0003 / 0.0625 + 0.0002 / 0.09) / 2)
    assert of(PREDICTION, TRUTH).ergas == pytest.approx(expected)


def test_a_single_band_has_no_spectral_angle() -> None:
    assert math.isnan(of(PREDICTION[:1], TRUTH[:1]).sam)


def test_a_perfect_image_has_no_error() -> None:
    made = of(TRUTH, TRUTH)
    assert made.rmse == pytest.approx([0, 0])
    assert made.cc == pytest.approx([1, 1])
    assert made.r2 == pytest.approx([1, 1])
    assert made.sam == pytest.approx(0, abs=1e-7)
    assert np.isinf(made.psnr).all()


def test_a_constant_image_has_no_correlation() -> None:
    assert np.isnan(of(np.full_like(TRUTH, 0.2), TRUTH).cc).all()


def test_no_pixels_give_no_figures() -> None:
    made = of(PREDICTION, TRUTH, np.zeros((2, 2), bool))
    assert made.pixels == 0
    assert all(math.isnan(value) for value in made.means().values())


def test_a_pixel_counts_only_where_every_band_of_every_image_is_finite() -> None:
    a, b = TRUTH.copy(), TRUTH.copy()
    a[0, 0, 0], b[1, 1, 1] = np.nan, np.inf
    assert valid(a, b).tolist() == [[False, True], [True, False]]


def test_counting_a_pixel_without_a_value_is_refused() -> None:
    hole = np.where(TRUTH == 0.1, np.nan, TRUTH)
    with pytest.raises(ValueError, match="not finite"):
        sums(hole, TRUTH, EVERYWHERE)


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        sums(PREDICTION[:1], TRUTH, EVERYWHERE)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 6))
def test_parts_added_up_are_the_whole_and_agree_with_numpy(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, (3, 7, 5))
    prediction = truth + rng.normal(0, 0.1, truth.shape)
    where = rng.random((7, 5)) < 0.8
    where[0, 0] = where[-1, -1] = where[0, -1] = True
    whole = sums(prediction, truth, where)
    parts = sums(prediction[:, :cut], truth[:, :cut], where[:cut]) + sums(prediction[:, cut:], truth[:, cut:], where[cut:])
    for name, value in figures(whole, 8).means().items():
        assert figures(parts, 8).means()[name] == pytest.approx(value, rel=1e-9)
    p, t = prediction[:, where], truth[:, where]
    assert figures(parts, 8).cc == pytest.approx([np.corrcoef(p[band], t[band])[0, 1] for band in range(3)])
    assert figures(parts, 8).rmse == pytest.approx(np.sqrt(((p - t) ** 2).mean(axis=1)))
