"""SSIM, EDGE and LBP: by hand, against scikit-image, and on windows that are wholly clear."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from pipeline.assessment.metrics import Figures, figures, grouping, moments
from pipeline.assessment.structure import Structure, binary_pattern, roberts


def of(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray) -> Figures:
    return figures(moments(prediction, truth, where, grouping(np.ones(where.shape, bool)), Structure(truth, where))[0], 8)


def images(seed: int = 0, shape: tuple[int, int, int] = (2, 30, 34)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 0.2 + 0.1 * np.sin(np.arange(shape[2]) / 3) + rng.normal(0, 0.02, shape)
    return truth + rng.normal(0, 0.02, shape), truth


@pytest.mark.parametrize(("name", "percentiles"), [("ssim", None), ("ssim_range", (1, 99))])
def test_ssim_is_that_of_scikit_image(name: str, percentiles: tuple[int, int] | None) -> None:
    p, t = images()
    made = of(p, t, np.ones(t.shape[1:], bool)).bands[name]
    for band in range(2):
        span = 1.0 if percentiles is None else float(np.diff(np.percentile(t[band], percentiles))[0])
        expected = structural_similarity(t[band], p[band], data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        assert made[band] == pytest.approx(expected, rel=1e-9)


def test_roberts_gradient_by_hand() -> None:
    image = np.array([[1.0, 4.0], [2.0, 8.0]])
    assert roberts(image)[0, 0] == abs(1 - 8) + abs(2 - 4)


def test_edge_by_hand() -> None:
    # One step in the truth, of height 1; the prediction has it half as high: (1 − 2) / (1 + 2) in each of the windows on the step.
    truth = np.zeros((1, 12, 12))
    truth[:, :, 6:] = 1.0
    made = of(truth / 2, truth, np.ones((12, 12), bool))
    # The highest tenth of 121 windows is the step of 11 windows and ties at nothing: the 90th percentile itself is zero.
    assert np.quantile(roberts(truth[0])[:-1, :-1], 0.9) == 0
    steep = np.zeros((1, 40, 40))
    steep[:, :, ::4] = np.linspace(0.1, 1, 40)[:, None]
    halved = of(steep / 2, steep, np.ones((40, 40), bool))
    assert halved.bands["edge"][0] == pytest.approx(-1 / 3, abs=1e-3)
    assert of(steep, steep, np.ones((40, 40), bool)).bands["edge"][0] == 0
    assert made.bands["edge"][0] == pytest.approx(-1 / 3 * 11 / 121, abs=1e-4)


def test_local_binary_pattern_by_hand() -> None:
    image = np.full((3, 3), 0.2)
    image[0, 0], image[0, 1], image[1, 0] = 0.3, 0.204, 0.21
    # Upper left counts 1; the one above exceeds by less than the tolerance; left is the last of eight, clockwise.
    assert binary_pattern(image)[1, 1] == (1 + 128) / 255


def test_lbp_by_hand() -> None:
    truth = np.full((1, 3, 3), 0.2)
    truth[0, 0, 0] = truth[0, 0, 1] = 0.3
    prediction = np.full((1, 3, 3), 0.2)
    prediction[0, 0, 0] = 0.3
    # Codes 1 and 1 + 2: (1 − 3) / (1 + 3).
    assert of(prediction, truth, np.ones((3, 3), bool)).bands["lbp"][0] == pytest.approx(-0.5, abs=1e-2)


def test_windows_with_a_hidden_pixel_do_not_count() -> None:
    p, t = images()
    where = np.ones(t.shape[1:], bool)
    where[:, 17] = False
    spoilt = p.copy()
    spoilt[:, :, 17] = np.nan
    made = of(spoilt, t, where)
    left, right = (of(p[:, :, part], t[:, :, part], np.ones(t[:, :, part].shape[1:], bool)) for part in (slice(17), slice(18, None)))
    sizes = [7, 6]  # columns of whole windows on either side
    assert made.bands["ssim"] == pytest.approx((sizes[0] * left.bands["ssim"] + sizes[1] * right.bands["ssim"]) / sum(sizes))
    inner = [15, 14]
    assert made.bands["lbp"] == pytest.approx((inner[0] * left.bands["lbp"] + inner[1] * right.bands["lbp"]) / sum(inner))


def test_without_a_clear_window_there_is_no_figure() -> None:
    p, t = images(shape=(1, 8, 8))
    where = np.indices((8, 8)).sum(0) % 2 == 0
    made = of(p, t, where)
    assert np.isnan([made.image[name] for name in ("ssim", "ssim_range", "edge", "lbp")]).all()
    assert made.image["rmse"] > 0


def test_a_smoothed_image_is_below_zero_and_a_sharpened_one_above() -> None:
    _, t = images(shape=(1, 60, 60))
    smooth = np.stack([(t[0] + np.roll(t[0], 1, 0) + np.roll(t[0], 1, 1)) / 3])
    everywhere = np.ones((60, 60), bool)
    assert of(smooth, t, everywhere).image["edge"] < -0.1
    assert of(t.mean() + 2 * (t - t.mean()), t, everywhere).image["edge"] > 0.1
