"""Single days of the coarse series that nothing confirms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.operators.reach import SPIKE_REACH
from pipeline.restoration.smoother import restore
from pipeline.restoration.spikes import doubted

DAYS = np.arange(40.0)


def factors(values, days=DAYS, std=0.015):
    """(N,) values of one band and cell → (N,) factor of their σ."""
    cube = torch.as_tensor(np.asarray(values), dtype=torch.float32)[:, None, None, None]
    return (doubted(cube, torch.full_like(cube, std), days) / std)[:, 0, 0, 0]


def noisy(seed=0, noise=0.01):
    return 0.2 + 0.1 * np.sin(DAYS / 15) + noise * np.random.default_rng(seed).normal(size=len(DAYS))


def damaged():
    """A noisy daily series (N, 2, 5, 6) with gaps, and residual cloud on 3 % of it."""
    rng = np.random.default_rng(4)
    clean = 0.2 + 0.1 * np.sin(np.arange(80.0) / 15)[:, None, None, None] + 0.01 * rng.normal(size=(80, 2, 5, 6))
    clean[np.broadcast_to(rng.random((80, 1, 5, 6)) < 0.3, clean.shape)] = np.nan
    cloud = np.broadcast_to(rng.random((80, 1, 5, 6)) < 0.03, clean.shape)
    return torch.as_tensor(clean, dtype=torch.float32), torch.as_tensor(clean + 0.3 * cloud, dtype=torch.float32)


@pytest.mark.parametrize("height", [0.3, -0.15])
def test_a_cloud_or_shadow_of_a_single_day_hardly_counts(height):
    values = noisy()
    values[20] += height
    found = factors(values)
    assert found[20] > 3
    assert (np.delete(found.numpy(), 20) == 1).all()


def test_noise_alone_raises_no_doubt():
    assert np.mean([(factors(noisy(seed)) > 1).numpy() for seed in range(40)]) < 1e-3


def test_a_cloud_is_doubted_in_all_bands_of_its_cell_and_in_no_other_cell():
    values = torch.full((40, 2, 1, 2), 0.2)
    values[20, 0, 0, 0] = 0.5
    found = doubted(values, torch.full_like(values, 0.015), DAYS) / 0.015
    assert (found[20, :, 0, 0] > 3).all()
    assert (found[..., 1] == 1).all()


@pytest.mark.parametrize("step", [0.3, -0.2])
@pytest.mark.parametrize("missing", [(), (18, 19, 21, 22), tuple(range(21, 29))])
def test_a_step_is_never_doubted_nor_delayed(step, missing):
    values = noisy()
    values[20:] += step
    values[list(missing)] = np.nan
    found = factors(values).numpy()
    assert (found[np.isfinite(values)] == 1).all()


def test_days_in_a_row_that_agree_are_an_event():
    values = noisy(noise=0.003)
    values[20:23] += 0.5
    assert (factors(values) == 1).all()


def test_what_has_nothing_on_one_side_is_left_alone():
    values = noisy()
    values[-1] += 0.5
    values[20] += 0.5
    values[21:30] = np.nan
    assert (factors(values).nan_to_num(1.0) == 1).all()


def test_composites_a_week_apart_do_not_judge_each_other():
    assert (factors([0.2, 0.2, 0.6, 0.2, 0.2], 8.0 * np.arange(5)) == 1).all()


def test_values_of_one_day_neither_confirm_nor_judge_each_other():
    days = np.repeat(np.arange(20.0), 2)
    values = np.full(40, 0.2)
    values[20:22] = 0.5
    assert (factors(values, days)[20:22] > 3).all()
    values[21] = 0.2
    found = factors(values, days)
    assert found[20] > 3
    assert found[21] == 1


def test_residual_cloud_costs_the_restored_series_less():
    clean, cloudy = damaged()
    std, days = torch.full_like(clean, 0.015), np.arange(80)
    truth = torch.as_tensor(0.2 + 0.1 * np.sin(days / 15), dtype=torch.float32)[:, None, None, None]
    error, aim = ((restore(part, std, days, days, 32, 4.0)[0] - truth).square().mean().sqrt() for part in (cloudy, clean))
    assert error < 1.5 * aim


def test_a_verdict_depends_on_what_its_own_cell_shows_around_it_only():
    _, values = damaged()
    std, days = torch.full_like(values, 0.015), np.arange(80.0)
    whole = doubted(values, std, days)
    assert (whole > std).any()
    assert torch.equal(doubted(values[..., 2:4, 1:3], std[..., 2:4, 1:3], days), whole[..., 2:4, 1:3])
    mixed = np.random.default_rng(1).permutation(80)
    assert torch.equal(doubted(values[mixed], std[mixed], days[mixed]), whole[mixed])
    near = slice(30 - SPIKE_REACH, 51 + SPIKE_REACH)
    assert torch.equal(doubted(values[near], std[near], days[near])[SPIKE_REACH:-SPIKE_REACH], whole[30:51])
    targets = np.arange(40, 44)
    far = slice(40 - 6 - SPIKE_REACH, 44 + 6 + SPIKE_REACH)
    for one, other in zip(
        restore(values, std, days, targets, 6, 4.0), restore(values[far], std[far], days[far], targets, 6, 4.0), strict=True
    ):
        assert torch.equal(one, other)


def test_an_empty_series_is_left_empty():
    assert doubted(torch.empty(0, 1, 2, 3), torch.empty(0, 1, 2, 3), np.empty(0)).shape == (0, 1, 2, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_accelerator_finds_the_same():
    _, values = damaged()
    std, days = torch.full_like(values, 0.015), np.arange(80.0)
    torch.testing.assert_close(doubted(values.cuda(), std.cuda(), days).cpu(), doubted(values, std, days))
