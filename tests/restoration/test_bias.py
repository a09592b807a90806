"""The bias between the sensors."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.restoration.bias import apply_bias, estimate_bias


def samples(gain, offset, noise, spread=0.08, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = 0.3 + spread * torch.randn(4, 2, 20, 20, generator=generator)
    coarse = (truth - offset) / gain + noise * torch.randn(truth.shape, generator=generator)
    fine = truth + noise * torch.randn(truth.shape, generator=generator)
    return coarse, fine, torch.ones(4, 20, 20)


def test_gain_and_offset_are_found_and_removed():
    coarse, fine, share = samples(1.1, -0.02, 0.005)
    bias = estimate_bias(coarse, fine, share)
    assert bias["gain"] == pytest.approx([1.1, 1.1], abs=0.015)
    assert bias["offset"] == pytest.approx([-0.02, -0.02], abs=0.006)
    corrected, std = apply_bias(coarse, torch.full_like(coarse, 0.01), bias)
    assert (corrected - fine).mean().abs() < 1e-3
    assert std[0, 0, 0, 0] == pytest.approx(0.011, abs=2e-4)
    json.dumps(bias)


def test_outliers_and_cloudy_cells_do_not_decide():
    coarse, fine, share = samples(0.95, 0.01, 0.005)
    fine[:, :, ::7, ::5] += 0.4
    share[:, :4] = 0.5
    fine[:, :, :4] = 0.9
    assert estimate_bias(coarse, fine, share)["gain"] == pytest.approx([0.95, 0.95], abs=0.02)


def test_without_common_variance_the_gain_stays_one_and_the_mean_is_met():
    coarse, fine, share = samples(1.0, 0.03, 0.03, spread=0.001)
    bias = estimate_bias(coarse, fine, share)
    assert bias["gain"] == pytest.approx([1.0, 1.0], abs=0.05)
    corrected, _ = apply_bias(coarse, coarse, bias)
    assert (corrected - fine).mean().abs() < 2e-3


def test_too_few_cells_leave_the_coarse_as_it_is():
    coarse, fine, share = samples(1.3, 0.1, 0.005)
    bias = estimate_bias(coarse, fine, share * 0.1)
    assert (bias["gain"], bias["offset"]) == ([1.0, 1.0], [0.0, 0.0])
    assert bias["rmse"] == [None, None]
