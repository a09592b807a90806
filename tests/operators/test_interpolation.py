"""Interpolation between cell centres."""

from __future__ import annotations

import pytest
import torch

from pipeline.operators.interpolation import REACH, interpolate
from pipeline.operators.resample import lift

RULES = pytest.mark.parametrize("rule", list(REACH))


@RULES
def test_a_constant_stays_and_a_block_equals_the_whole(rule):
    torch.testing.assert_close(interpolate(torch.full((2, 5, 6), 0.3), 4, rule), torch.full((2, 20, 24), 0.3))
    coarse = torch.rand((2, 14, 15), generator=torch.Generator().manual_seed(1))
    whole, reach = interpolate(coarse, 4, rule), REACH[rule]
    part = interpolate(coarse[:, 2:12, 3:13], 4, rule)
    keep = slice(4 * reach, 40 - 4 * reach)
    torch.testing.assert_close(part[:, keep, keep], whole[:, 8:48, 12:52][:, keep, keep])


def test_a_spline_follows_a_plane_and_goes_through_the_cells():
    rows, cols = torch.arange(12.0), torch.arange(11.0)
    plane = (0.02 * rows[:, None] + 0.05 * cols)[None]
    torch.testing.assert_close(interpolate(plane, 4, "thin-plate")[:, 16:-16, 16:-16], lift(plane, 4)[:, 16:-16, 16:-16])
    coarse = torch.rand((1, 8, 8), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(interpolate(coarse, 5, "thin-plate")[:, 2::5, 2::5], coarse)
    torch.testing.assert_close(interpolate(coarse, 5, "inverse-distance")[:, 2::5, 2::5], coarse)


@RULES
def test_beside_unknown_cells_the_bilinear_lift_stands_in(rule):
    coarse = torch.rand((1, 9, 9), generator=torch.Generator().manual_seed(3))
    coarse[:, 4, 4] = torch.nan
    fine = interpolate(coarse, 4, rule)
    assert torch.equal(torch.isnan(fine), torch.isnan(lift(coarse, 4)))
    torch.testing.assert_close(fine[:, 16:20, 8:28], lift(coarse, 4)[:, 16:20, 8:28], equal_nan=True)
