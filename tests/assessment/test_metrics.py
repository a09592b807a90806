"""Every metric of pixels against a figure worked out by hand, a maintained library, and itself when split into parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis, spectral_angle_mapper
from torchmetrics.functional.regression import r2_score

from pipeline.assessment.metrics import Figures, figures, grouping, moments, valid

TRUTH = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.2, 0.2], [0.4, 0.4]]])
PREDICTION = TRUTH + np.array([[[0.01, -0.01], [0.03, 0.01]], [[0.0, 0.02], [0.0, -0.02]]])
EVERYWHERE = np.ones((2, 2), bool)


def of(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray = EVERYWHERE, scale: float = 8.0, **more: np.ndarray) -> Figures:
    return figures(moments(prediction, truth, where, grouping(np.ones(where.shape, bool)), **more)[0], scale)


def test_root_mean_square_error_by_hand() -> None:
    # Band 1: sqrt((1 + 1 + 9 + 1) / 4) = sqrt(3) hundredths; band 2: sqrt((0 + 4 + 0 + 4) / 4) = sqrt(2) hundredths.
    made = of(PREDICTION, TRUTH)
    assert made.bands["rmse"] == pytest.approx([0.01 * math.sqrt(3), 0.01 * math.sqrt(2)])
    assert made.image["rmse"] == pytest.approx(0.005 * (math.sqrt(3) + math.sqrt(2)))


def test_mean_absolute_error_and_bias_by_hand() -> None:
    made = of(PREDICTION, TRUTH)
    assert made.bands["mae"] == pytest.approx([0.015, 0.01])
    assert made.bands["bias"] == pytest.approx([0.01, 0.0])


def test_correlation_by_hand() -> None:
    # p = 11 19 33 41, t = 10 20 30 40 (hundredths): covariance 130, variances 137 and 125.
    assert of(PREDICTION, TRUTH).bands["cc"][0] == pytest.approx(130 / math.sqrt(137 * 125))


def test_coefficient_of_determination_by_hand() -> None:
    # Band 1: squared error 12, spread of the truth 500 (hundredths squared); band 2: 8 and 400.
    assert of(PREDICTION, TRUTH).bands["r2"] == pytest.approx([1 - 12 / 500, 1 - 8 / 400])


def test_peak_signal_to_noise_by_hand() -> None:
    assert of(TRUTH + 0.1, TRUTH).bands["psnr"] == pytest.approx([20.0, 20.0])


def test_spectral_angle_by_hand() -> None:
    truth = np.array([[[1.0, 1.0]], [[0.0, 1.0]]])
    prediction = np.array([[[1.0, 2.0]], [[1.0, 2.0]]])
    # 45° for the first pixel; the second differs in brightness only, which is no angle.
    assert of(prediction, truth, np.ones((1, 2), bool)).image["sam"] == pytest.approx(math.pi / 8)


def test_ergas_by_hand() -> None:
    # RMSE / mean is 0.01·sqrt(3)/0.25 and 0.01·sqrt(2)/0.3.
    expected = 100 / 8 * math.sqrt((0.0003 / 0.0625 + 0.0002 / 0.09) / 2)
    assert of(PREDICTION, TRUTH).image["ergas"] == pytest.approx(expected)


def test_a_single_band_has_no_spectral_angle() -> None:
    assert math.isnan(of(PREDICTION[:1], TRUTH[:1]).image["sam"])


def test_a_perfect_image_has_no_error() -> None:
    made = of(TRUTH, TRUTH)
    assert made.bands["rmse"] == pytest.approx([0, 0])
    assert made.bands["cc"] == pytest.approx([1, 1])
    assert made.bands["r2"] == pytest.approx([1, 1])
    assert made.image["sam"] == pytest.approx(0, abs=1e-7)
    assert np.isinf(made.bands["psnr"]).all()


def test_a_constant_image_has_no_correlation() -> None:
    assert np.isnan(of(np.full_like(TRUTH, 0.2), TRUTH).bands["cc"]).all()


def test_no_pixels_give_no_figures() -> None:
    made = of(PREDICTION, TRUTH, np.zeros((2, 2), bool))
    assert made.pixels == 0
    assert all(math.isnan(value) for value in made.image.values())


def test_a_pixel_counts_only_where_every_band_of_every_image_is_finite() -> None:
    a, b = TRUTH.copy(), TRUTH.copy()
    a[0, 0, 0], b[1, 1, 1] = np.nan, np.inf
    assert valid(a, b).tolist() == [[False, True], [True, False]]


def test_counting_a_pixel_without_a_value_is_refused() -> None:
    hole = np.where(TRUTH == 0.1, np.nan, TRUTH)
    with pytest.raises(ValueError, match="not finite"):
        of(hole, TRUTH)


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        of(PREDICTION[:1], TRUTH)


def test_universal_quality_index_by_hand() -> None:
    # Band 1, hundredths: means 26 and 25, variances 137 and 125, covariance 130.
    assert of(PREDICTION, TRUTH).bands["uiqi"][0] == pytest.approx(4 * 130 * 26 * 25 / ((137 + 125) * (26**2 + 25**2)))


def test_change_by_hand() -> None:
    # True change 10 20 30 40, predicted 11 19 33 41, in hundredths over a black reference: covariance 130, variance of the truth 125.
    made = of(PREDICTION, TRUTH, reference=np.zeros_like(TRUTH))
    assert made.bands["change_slope"][0] == pytest.approx(130 / 125)
    assert made.bands["change_cc"][0] == pytest.approx(130 / math.sqrt(137 * 125))


def test_an_old_image_follows_no_change() -> None:
    made = of(np.full_like(TRUTH, 0.15), TRUTH, reference=np.full_like(TRUTH, 0.15))
    assert made.bands["change_slope"] == pytest.approx([0, 0])
    assert np.isnan(made.bands["change_cc"]).all()


def test_change_is_of_pixels_that_have_a_reference() -> None:
    reference = np.zeros_like(TRUTH)
    reference[:, 1, 1] = np.nan
    made = of(PREDICTION, TRUTH, reference=reference)
    assert made.bands["change_slope"][0] == pytest.approx(np.polyfit([10, 20, 30], [11, 19, 33], 1)[0])
    assert made.pixels == 4


def test_roughness_by_hand() -> None:
    second = np.array([[[0.01, -0.03], [np.nan, 0.02]]] * 2)
    assert of(PREDICTION, TRUTH, roughness=second).bands["roughness"] == pytest.approx([0.02, 0.02])


def test_a_stated_deviation_is_judged_by_hand() -> None:
    # Errors of band 1 in units of σ: 1, −1, 3 and 1.
    made = of(PREDICTION, TRUTH, std=np.full_like(TRUTH, 0.0100001))
    assert made.bands["z2"][0] == pytest.approx((1 + 1 + 9 + 1) / 4, rel=1e-4)
    assert made.bands["cover68"][0] == made.bands["cover95"][0] == 0.75
    assert np.isnan(of(PREDICTION, TRUTH).bands["z2"]).all()
    # 1.96 is the bound of 95 %: errors of 1.9599 σ lie inside, of 1.9601 σ outside.
    assert of(TRUTH + 0.19599, TRUTH, std=np.full_like(TRUTH, 0.1)).image["cover95"] == 1
    assert of(TRUTH + 0.19601, TRUTH, std=np.full_like(TRUTH, 0.1)).image["cover95"] == 0


def test_the_ranked_probability_score_by_hand() -> None:
    # In units of σ: 0.23370 at z = 0, 0.60244 at |z| = 1, 2.43657 at |z| = 3. Band 1 has |z| = 1, 1, 3, 1; band 2 has 0, 1, 0, 1 of 0.02.
    std = np.stack([np.full((2, 2), 0.01), np.full((2, 2), 0.02)])
    expected = [0.01 * (3 * 0.60244 + 2.43657) / 4, 0.02 * (0.23370 + 0.60244) / 2]
    assert of(PREDICTION, TRUTH, std=std).bands["crps"] == pytest.approx(expected, rel=1e-4)


def test_the_ranked_probability_score_is_the_integral_it_is_defined_by() -> None:
    y = np.linspace(-3, 3, 600_001)
    for d, sigma in ((0.0, 0.3), (0.2, 0.1), (-0.5, 0.25)):
        below = torch.special.ndtr(torch.from_numpy((y - d) / sigma)).numpy()
        integral = float(((below - (y >= 0)) ** 2).sum() * (y[1] - y[0]))
        made = of(np.full((1, 2, 2), d), np.zeros((1, 2, 2)), std=np.full((1, 2, 2), sigma))
        assert made.image["crps"] == pytest.approx(integral, rel=1e-4)


def test_a_forecast_without_a_deviation_scores_its_absolute_error() -> None:
    std = np.full_like(TRUTH, np.nan)
    assert of(PREDICTION, TRUTH, std=std).bands["crps"] == pytest.approx([0.015, 0.01])
    assert of(PREDICTION, TRUTH, std=np.full_like(TRUTH, 1e-7)).bands["crps"] == pytest.approx([0.015, 0.01], rel=1e-4)
    assert np.isnan(of(PREDICTION, TRUTH).bands["crps"]).all()


def test_groups_may_overlap_and_are_summed_alone() -> None:
    left = np.array([[True, False], [True, False]])
    both = moments(PREDICTION, TRUTH, EVERYWHERE, grouping(left, EVERYWHERE))
    np.testing.assert_allclose(both[0], moments(PREDICTION, TRUTH, left, grouping(EVERYWHERE))[0])
    np.testing.assert_allclose(both[1], moments(PREDICTION, TRUTH, EVERYWHERE, grouping(EVERYWHERE))[0])


def test_libraries_with_the_same_definitions_agree() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.05, 0.5, (4, 15, 15))
    prediction = truth + rng.normal(0.01, 0.04, truth.shape)
    made = of(prediction, truth, np.ones((15, 15), bool), scale=16)
    p, t = (torch.from_numpy(image)[None] for image in (prediction, truth))
    assert made.image["sam"] == pytest.approx(float(spectral_angle_mapper(p, t)), rel=1e-6)
    # The library's ratio is the number of fine pixels along a coarse one, as ours.
    assert made.image["ergas"] == pytest.approx(float(error_relative_global_dimensionless_synthesis(p, t, ratio=16)), rel=1e-6)
    for band in range(4):
        assert made.bands["psnr"][band] == pytest.approx(peak_signal_noise_ratio(truth[band], prediction[band], data_range=1.0))
        assert made.bands["r2"][band] == pytest.approx(float(r2_score(p[0, band].ravel(), t[0, band].ravel())), rel=1e-6)
        # UIQI is SSIM without its constants; one window as large as the image.
        whole = structural_similarity(truth[band], prediction[band], win_size=15, K1=0, K2=0, data_range=1.0, use_sample_covariance=False)
        assert made.bands["uiqi"][band] == pytest.approx(whole, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 6))
def test_parts_added_up_are_the_whole_and_agree_with_numpy(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, (3, 7, 5))
    prediction = truth + rng.normal(0, 0.1, truth.shape)
    where = rng.random((7, 5)) < 0.8
    where[0, 0] = where[-1, -1] = where[0, -1] = True
    above = np.arange(7)[:, None] < cut
    top, bottom = moments(prediction, truth, where, grouping(above & np.ones((7, 5), bool), ~above & np.ones((7, 5), bool)))
    whole, parts = of(prediction, truth, where), figures(top + bottom, 8)
    for name, value in whole.image.items():
        assert parts.image[name] == pytest.approx(value, rel=1e-9, nan_ok=True)
    p, t = prediction[:, where], truth[:, where]
    assert parts.bands["cc"] == pytest.approx([np.corrcoef(p[band], t[band])[0, 1] for band in range(3)])
    assert parts.bands["rmse"] == pytest.approx(np.sqrt(((p - t) ** 2).mean(axis=1)))
