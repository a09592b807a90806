"""Losses: what they are worth, what hidden pixels may do to them, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pipeline.assessment.structure import roberts
from pipeline.training.losses import charbonnier, edges, laplace_likelihood, structural


def images(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand((2, 3, 18, 20), generator=generator, dtype=dtype) * 0.4
    predicted = truth + 0.03 * torch.randn(truth.shape, generator=generator, dtype=dtype)
    mask = torch.ones((2, 1, 18, 20), dtype=dtype)
    mask[0, 0, :5, 8:] = 0
    mask[1, 0, 12, 3] = 0
    return predicted, truth, mask


LOSSES = {
    "charbonnier": charbonnier,
    "structural": lambda p, t, mask: structural(p, t, mask, 0.4),
    "edges": edges,
    "laplace": lambda p, t, mask: laplace_likelihood(p, t, torch.full_like(t, -3.0), mask),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_is_hidden_changes_neither_loss_nor_gradient(loss):
    predicted, truth, mask = images()
    hidden = mask.expand_as(truth) == 0
    found = []
    for fill in (0.0, 7.0, math.nan):
        given = predicted.clone().requires_grad_()
        value = loss(given, torch.where(hidden, fill, truth), mask)
        value.backward()
        found.append((float(value), given.grad))
    assert found[0][0] == found[1][0] == found[2][0] != 0
    for _, gradient in found:
        assert bool(torch.isfinite(gradient).all())
        assert not bool(gradient[hidden].any())
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_with_nothing_clear_a_loss_is_zero_and_teaches_nothing(loss):
    predicted, truth, mask = images()
    predicted.requires_grad_()
    value = loss(predicted, torch.full_like(truth, math.nan), torch.zeros_like(mask))
    value.backward()
    assert float(value) == 0
    assert not bool(predicted.grad.any())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    predicted, truth, mask = images()
    predicted, truth, mask = predicted[:1, :1, 2:11, 4:13], truth[:1, :1, 2:11, 4:13], mask[:1, :, 2:11, 4:13]
    mask = torch.ones_like(mask)
    mask[..., 0, 0] = 0
    assert torch.autograd.gradcheck(lambda given: loss(given, truth, mask), predicted.clone().requires_grad_())


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_prediction_in_bfloat16_is_judged_in_full_precision(loss):
    predicted, truth, mask = images(dtype=torch.float32)
    rounded = predicted.bfloat16()
    value = loss(rounded, truth, mask)
    assert value.dtype == torch.float32
    assert float(value) == float(loss(rounded.float(), truth, mask))


def test_charbonnier_is_the_absolute_error_of_what_is_clear():
    predicted, truth, mask = images()
    clear = mask.expand_as(truth) > 0
    expected = (predicted - truth).abs()[clear].mean()
    assert float(charbonnier(predicted, truth, mask, eps=1e-9)) == pytest.approx(float(expected))
    assert float(charbonnier(truth, truth, mask)) == pytest.approx(1e-3)


def test_charbonnier_weighs_bands_by_ratio():
    predicted, truth, mask = images()
    single = [float(charbonnier(predicted[:, [band]], truth[:, [band]], mask)) for band in range(3)]
    for unit in (1.0, 5.0):
        value = charbonnier(predicted, truth, mask, weights=unit * torch.tensor([1.0, 2.0, 5.0]))
        assert float(value) == pytest.approx(float(np.average(single, weights=[1, 2, 5])))


def test_a_pixel_of_half_weight_counts_half():
    predicted, truth = torch.tensor([0.1, 0.4]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    assert float(charbonnier(predicted, truth, torch.tensor([1.0, 0.5]).view(1, 1, 1, 2), eps=0)) == pytest.approx((0.1 + 0.2) / 1.5)


def test_structural_is_one_minus_ssim_of_windows_that_are_clear():
    predicted, truth, mask = images()
    found = []
    for image in range(2):
        for band in range(3):
            _, full = structural_similarity(
                truth[image, band].numpy(), predicted[image, band].numpy(), data_range=0.4, full=True, use_sample_covariance=False
            )
            for row in range(3, 15):
                for column in range(3, 17):
                    if bool(mask[image, 0, row - 3 : row + 4, column - 3 : column + 4].all()):
                        found.append(full[row, column])
    assert 0 < len(found) < 6 * 12 * 14
    assert float(structural(predicted, truth, mask, 0.4)) == pytest.approx(1 - np.mean(found))
    assert float(structural(truth, truth, mask, 0.4)) == pytest.approx(0, abs=1e-9)


def test_edges_are_the_steepest_tenth_by_the_gradient_of_the_metric():
    predicted, truth, mask = images()
    shares = []
    for image in range(2):
        clear = mask[image, 0].numpy() > 0
        square = clear[:-1, :-1] & clear[1:, 1:] & clear[1:, :-1] & clear[:-1, 1:]
        for band in range(3):
            e_p, e_t = (roberts(values[image, band].numpy())[:-1, :-1] for values in (predicted, truth))
            steep = square & (e_t >= np.quantile(e_t[square], 0.9))
            assert steep.sum() == pytest.approx(0.1 * square.sum(), abs=2)
            shares.extend((np.abs(e_p - e_t) / (e_p + e_t + 1e-5))[steep])
    assert float(edges(predicted, truth, mask)) == pytest.approx(np.mean(shares))


def test_smoothed_and_sharpened_edges_both_cost_and_flat_truth_has_none():
    _, truth, mask = images()
    assert float(edges(truth * 0.5, truth, mask)) == pytest.approx(1 / 3, abs=1e-4)
    assert float(edges(truth * 2, truth, mask)) == pytest.approx(1 / 3, abs=1e-4)
    assert float(edges(truth, torch.full_like(truth, 0.2), mask)) == 0


def test_without_weighting_the_likelihood_is_that_of_laplace():
    predicted, truth, mask = images()
    log_std = torch.linspace(-5, -1, truth.numel(), dtype=truth.dtype).view_as(truth)
    expected = -torch.distributions.Laplace(predicted, log_std.exp() / math.sqrt(2)).log_prob(truth)
    value = laplace_likelihood(predicted, truth, log_std, mask, beta=0)
    assert float(value) == pytest.approx(float(expected[mask.expand_as(truth) > 0].mean()))


def test_with_half_beta_the_mean_learns_as_from_the_absolute_error_and_sigma_as_from_the_likelihood():
    predicted, truth, mask = images()
    log_std = torch.linspace(-5, -1, truth.numel(), dtype=truth.dtype).view_as(truth).requires_grad_()
    predicted.requires_grad_()
    weighted = torch.autograd.grad(laplace_likelihood(predicted, truth, log_std, mask), [predicted, log_std])
    plain = torch.autograd.grad(laplace_likelihood(predicted, truth, log_std, mask, beta=0), [predicted, log_std])
    absolute = torch.autograd.grad(charbonnier(predicted, truth, mask, eps=1e-12), predicted)[0]
    torch.testing.assert_close(weighted[0], math.sqrt(2) * absolute)
    torch.testing.assert_close(weighted[1], plain[1] * log_std.detach().exp())


def test_the_likelihood_is_least_at_the_true_sigma():
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand((1, 1, 300, 300), generator=generator, dtype=torch.float64) - 0.5
    truth = -0.02 / math.sqrt(2) * uniform.sign() * torch.log1p(-2 * uniform.abs())
    mask = torch.ones(1, 1, 300, 300)
    sigma = [0.012, 0.016, 0.02, 0.025, 0.03]
    for beta in (0.0, 0.5):
        slopes = []
        for value in sigma:
            log_std = torch.full_like(truth, math.log(value)).requires_grad_()
            slopes.append(
                float(torch.autograd.grad(laplace_likelihood(torch.zeros_like(truth), truth, log_std, mask, beta), log_std)[0].sum())
            )
        assert slopes[1] < 0 < slopes[3]
        assert abs(slopes[2]) < min(abs(slopes[1]), slopes[3]) / 4
