"""Masked means and distances of finite reach."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from pipeline.operators.spatial import box_sum, distance_to, tent_mean


def test_box_sum_equals_the_plain_sum():
    values = torch.rand(7, 9)
    sums = box_sum(values, 2)
    assert torch.isclose(sums[3, 4], values[1:6, 2:7].sum())
    assert torch.isclose(sums[0, 0], values[:3, :3].sum())


def test_tent_mean_of_a_constant_is_the_constant_and_ends_at_its_reach():
    weight = torch.zeros(40, 40)
    weight[20, 20] = 1.0
    mean, share = tent_mean(torch.full((2, 40, 40), 0.4), weight, 8)
    reached = share > 0
    torch.testing.assert_close(mean[:, reached], torch.full_like(mean[:, reached], 0.4))
    rows = torch.nonzero(reached.any(dim=1)).flatten()
    assert (int(rows.min()), int(rows.max())) == (12, 28)
    assert (mean[:, ~reached] == 0).all()


def test_tent_mean_does_not_read_masked_values():
    values = torch.rand(16, 16)
    weight = (torch.rand(16, 16) > 0.5).float()
    hidden = torch.where(weight > 0, values, torch.nan)
    torch.testing.assert_close(tent_mean(hidden, weight, 4)[0], tent_mean(values, weight, 4)[0])


def test_distance_equals_the_exact_euclidean_distance_up_to_its_reach():
    mask = torch.rand(50, 60, generator=torch.Generator().manual_seed(1)) > 0.97
    exact = np.minimum(distance_transform_edt(~mask.numpy()), 8)
    np.testing.assert_allclose(distance_to(mask, 7).numpy(), exact, atol=1e-5)


def test_a_block_with_halo_equals_the_whole_image():
    generator = torch.Generator().manual_seed(2)
    values = torch.rand(3, 192, 192, generator=generator)
    weight = (torch.rand(192, 192, generator=generator) > 0.6).float()
    halo, inner = 16, slice(16, -16)
    whole_mean, whole_share = tent_mean(values, weight, halo)
    whole_distance = distance_to(weight > 0, halo)
    for row, col in ((0, 0), (40, 64), (128, 96)):
        crop = (slice(row, row + 64), slice(col, col + 64))
        mean, share = tent_mean(values[:, crop[0], crop[1]], weight[crop], halo)
        keep = (slice(row + 16, row + 48), slice(col + 16, col + 48))
        assert torch.equal(mean[:, inner, inner], whole_mean[:, keep[0], keep[1]])
        assert torch.equal(share[inner, inner], whole_share[keep])
        assert torch.equal(distance_to(weight[crop] > 0, halo)[inner, inner], whole_distance[keep])
