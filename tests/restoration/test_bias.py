"""The bias between the sensors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import area_mean
from pipeline.operators.spatial import tent_mean
from pipeline.restoration.bias import apply_bias, estimate_bias, learn_bias
from pipeline.vocabulary import Surface


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


def footprint_sample(edge=192, scale=8, footprint=480.0, gain=1.0, images=4, seed=0):
    """Patchy fine images, and a coarse series that sees them through a tent of a radius of `footprint` metres."""
    generator = torch.Generator().manual_seed(seed)
    fine = 0.3 + 0.1 * torch.randn(images, 2, edge // 12, edge // 12, generator=generator)
    fine = fine.repeat_interleave(12, -1).repeat_interleave(12, -2)
    seen = area_mean(tent_mean(fine, torch.ones(edge, edge), round(footprint / 30))[0], scale)[0]
    coarse = torch.full((2 * images, *seen.shape[1:]), torch.nan)
    coarse[::2] = seen / gain
    return FusionInput(
        fine=fine,
        fine_days=tuple(range(0, 2 * images, 2)),
        fine_std=torch.full((images, 2), 0.01),
        coarse=coarse,
        coarse_std=torch.full_like(coarse, 0.01),
        coarse_days=tuple(range(2 * images)),
        scale=scale,
        resolution=30.0,
    )


def test_the_blur_of_the_footprint_is_no_gain():
    sample = footprint_sample(gain=1.1)
    assert learn_bias([sample], 480.0)["gain"] == pytest.approx([1.1, 1.1], abs=0.01)
    assert min(learn_bias([sample], 0.0)["gain"]) > 1.2


def test_samples_of_different_days_and_sizes_make_one_bias():
    samples = [footprint_sample(gain=1.1), footprint_sample(edge=96, gain=1.1, images=2, seed=1)]
    alone = [learn_bias([sample], 480.0)["cells"][0] for sample in samples]
    together = learn_bias(samples, 480.0)
    assert together["cells"] == [sum(alone)] * 2
    assert together["gain"] == pytest.approx([1.1, 1.1], abs=0.01)


def test_what_lies_under_snow_or_cloud_says_nothing_of_the_bias():
    sample = footprint_sample(gain=1.1)
    fine, surface = sample.fine.clone(), torch.zeros(4, 192, 192, dtype=torch.uint8)
    fine[0] += 0.4
    surface[0] = Surface.SNOW
    fine[1, 0, :100] = torch.nan
    assert learn_bias([replace(sample, fine=fine, fine_surface=surface)], 480.0)["gain"] == pytest.approx([1.1, 1.1], abs=0.02)


def test_without_a_coarse_value_on_a_day_of_a_fine_image_nothing_is_learnt():
    sample = replace(footprint_sample(), fine_days=(20, 22, 24, 26))
    assert learn_bias([sample], 480.0)["gain"] == [1.0, 1.0]
