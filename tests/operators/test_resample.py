"""Area mean and lift."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.operators.resample import Lifting, area_mean, lift


def test_area_mean_averages_the_finite_pixels_and_says_their_share():
    fine = torch.tensor([[1.0, 3.0, torch.nan, torch.nan], [5.0, torch.nan, torch.nan, torch.nan]])
    mean, share = area_mean(fine, 2)
    torch.testing.assert_close(mean, torch.tensor([[3.0, torch.nan]]), equal_nan=True)
    torch.testing.assert_close(share, torch.tensor([[0.75, 0.0]]))


def test_area_mean_refuses_broken_cells():
    with pytest.raises(ValueError, match="whole number of cells"):
        area_mean(torch.zeros(5, 4), 2)


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_lift_reproduces_a_plane_between_the_outermost_centres(scale):
    size = 6
    centre = (torch.arange(size) + 0.5) * scale
    coarse = 2.0 * centre[:, None] - 0.5 * centre[None, :]
    pixel = torch.arange(size * scale) + 0.5
    expected = 2.0 * pixel[:, None] - 0.5 * pixel[None, :]
    inner = slice(scale, -scale)
    torch.testing.assert_close(lift(coarse, scale)[inner, inner], expected[inner, inner])


def test_lift_replicates_the_edge():
    lifted = lift(torch.tensor([[1.0, 2.0]]), 4)
    assert lifted[0, 0] == lifted[3, 1] == 1.0
    assert lifted[0, -1] == 2.0


@settings(max_examples=20, deadline=None)
@given(row=st.integers(1, 5), col=st.integers(1, 5), scale=st.sampled_from([2, 5, 8]), seed=st.integers(0, 99))
def test_lift_gives_the_same_bits_wherever_the_block_is_cut(row, col, scale, seed):
    coarse = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(seed))
    whole = lift(coarse, scale)
    block = lift(coarse[:, row - 1 : row + 5, col - 1 : col + 5], scale)
    inner = slice(scale, 5 * scale)
    expected = whole[:, row * scale : (row + 4) * scale, col * scale : (col + 4) * scale]
    torch.testing.assert_close(block[:, inner, inner], expected, rtol=0, atol=2e-7)


def test_lift_renormalises_over_the_finite_cells():
    coarse = torch.full((4, 4), 0.3)
    coarse[1, 1] = torch.nan
    lifted = lift(coarse, 4)
    finite = torch.isfinite(lifted)
    torch.testing.assert_close(lifted[finite], torch.full_like(lifted[finite], 0.3))
    assert finite.float().mean() > 0.9
    assert torch.isnan(lift(torch.full((2, 2), torch.nan), 4)).all()


@pytest.mark.parametrize("scale", [1, 4, 5])
def test_lifting_gives_the_parts_of_lift_bit_by_bit(scale):
    coarse = torch.rand(2, 3, 9, 5)
    whole = lift(coarse, scale)
    for first, last in ((0, 2), (3, 6), (7, 9), (0, 9)):
        lifting = Lifting(coarse, scale, (first, last), (1, 4))
        expected = whole[1, :, first * scale : last * scale, scale : 4 * scale]
        assert torch.equal(lifting.plane(1), expected)
        assert torch.equal(Lifting(coarse, scale, (first, last), (1, 4), chosen=[1]).plane(0), expected)
        assert torch.equal(lifting.plane(1, torch.empty(3, (last - first) * scale, 3 * scale)), expected)
