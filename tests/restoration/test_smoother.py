"""The coarse series without gaps."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.operators.reach import SPIKE_REACH
from pipeline.restoration.smoother import restore


def series(values, shape=(1, 2, 3)):
    """(N,) values on every cell."""
    return torch.as_tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, *shape).clone()


def restored(values, days, targets, window=32, tau=4.0, std=0.01):
    cube = series(values)
    mean, error, observed = restore(cube, torch.full_like(cube, std), np.asarray(days, float), np.asarray(targets), window, tau)
    return mean[:, 0, 0, 0], error[:, 0, 0, 0], observed[:, 0, 0]


def test_a_line_in_time_is_restored_as_a_line():
    days = np.arange(40)
    mean, _, observed = restored(0.1 + 0.005 * days, days, days[5:-5])
    torch.testing.assert_close(mean, torch.as_tensor(0.1 + 0.005 * days[5:-5], dtype=torch.float32), atol=5e-4, rtol=0)
    assert (observed == 1).all()


def test_composites_are_joined_nearly_linearly_between_their_centres():
    centres = 8.5 + 16 * np.arange(8)
    values = np.array([0.2, 0.25, 0.4, 0.6, 0.7, 0.6, 0.4, 0.3])
    targets = np.arange(30, 100)
    mean, _, observed = restored(values, centres, targets)
    expected = np.interp(targets, centres, values)
    assert np.abs(mean.numpy() - expected).max() < 0.03
    assert observed.min() < 0.2 < 0.8 < observed.max()


def test_a_gap_is_filled_from_both_sides_with_less_certainty():
    days = np.arange(41)
    values = np.where((days > 12) & (days < 28), np.nan, 0.2 + 0.004 * days)
    mean, error, observed = restored(values, days, days)
    assert np.abs(mean.numpy() - (0.2 + 0.004 * days)).max() < 5e-3
    assert error[20] > 1.2 * error[5]
    assert observed[20] < 0.2 < observed[5]


def test_the_variance_does_not_fall_with_dependent_neighbours():
    rng = np.random.default_rng(0)
    days = np.arange(30)
    _, error, _ = restored(0.3 + 0 * rng.normal(size=30), days, [15])
    assert error[0] >= 0.0099


def test_the_ends_do_not_run_away():
    days = np.arange(20)
    mean, _, observed = restored(0.1 + 0.02 * days, days, [19, 24, 34, 51])
    assert mean[1] <= 0.1 + 0.02 * 24
    assert (mean[1:] < 0.1 + 0.02 * 24).all()
    assert (mean > 0.3).all()
    assert (observed.diff() < 0).all()


def test_only_the_window_counts_and_nothing_in_it_is_nan():
    values = np.full(60, 0.3)
    values[10:50] = np.nan
    mean, error, observed = restored(values, np.arange(60), [30, 19, 5], window=12)
    assert torch.isnan(mean[0])
    assert torch.isnan(error[0])
    assert observed[0] == 0
    assert torch.isfinite(mean[1:]).all()
    values[:8] = 9.0
    again, _, _ = restored(values, np.arange(60), [20], window=12)
    torch.testing.assert_close(again, torch.tensor([0.3]))


def test_cells_and_targets_are_independent_of_their_company():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(50, 2, 6, 7, generator=generator)
    values[torch.rand(50, 1, 6, 7, generator=generator).expand_as(values) < 0.6] = torch.nan
    std = torch.full_like(values, 0.01)
    days = np.sort(np.random.default_rng(1).uniform(0, 80, 50))
    whole = restore(values, std, days, np.arange(80), 32, 4.0)
    part = restore(values[..., 2:4, 3:5], std[..., 2:4, 3:5], days, np.arange(40, 44), 32, 4.0)
    for one, other in zip(part, whole, strict=True):
        torch.testing.assert_close(one, other[40:44, ..., 2:4, 3:5], equal_nan=True)
    shuffled = np.random.default_rng(2).permutation(50)
    mixed = restore(values[shuffled], std[shuffled], days[shuffled], np.arange(80), 32, 4.0)
    torch.testing.assert_close(mixed[0], whole[0], equal_nan=True)


def test_an_uncertain_value_weighs_less():
    values, days = series([0.2, 0.6]), np.array([0.0, 2.0])
    std = torch.full_like(values, 0.01)
    std[1] = 0.1
    mean = restore(values, std, days, np.array([1]), 10, 4.0)[0]
    assert 0.19 < mean[0, 0, 0, 0] < 0.3


def test_an_empty_series_gives_nothing():
    mean, _, observed = restore(torch.empty(0, 1, 2, 3), torch.empty(0, 1, 2, 3), np.empty(0), np.arange(4), 10, 4.0)
    assert mean.shape == (4, 1, 2, 3)
    assert torch.isnan(mean).all()
    assert (observed == 0).all()


def test_what_lies_beyond_the_window_of_a_day_changes_nothing_of_it():
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(120, 2, 3, 3, generator=generator)
    std, days, targets = torch.full_like(values, 0.01), np.arange(120.0), np.arange(50, 60)
    near = (days >= 50 - 12 - SPIKE_REACH) & (days <= 59 + 12 + SPIKE_REACH)
    whole = restore(values, std, days, targets, 12, 4.0)
    for one, other in zip(whole, restore(values[near], std[near], days[near], targets, 12, 4.0), strict=True):
        assert torch.equal(one, other)
    mean, _, observed = restore(values, std, days, np.array([400]), 12, 4.0)
    assert torch.isnan(mean).all()
    assert (observed == 0).all()
