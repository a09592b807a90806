"""Fit-FC against the equations of the paper, pixel by pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.fusion.fitfc import fitted_change
from pipeline.fusion.registry import build
from pipeline.operators.resample import lift
from pipeline.vocabulary import Provenance
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
OPTIONS = {"window": 330.0, "similar": 7, "regression": 720.0}
RADIUS, CELLS = 5, 2
BEFORE, TARGET = FIRST + 50, FIRST + 58


def predicted(block, options=OPTIONS):
    method = build("fitfc", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def block_of(hole=None):
    block = make_world(seed=2, size=48, cloud=0.0, bands=3).block
    chosen = [block.fine_days.index(BEFORE)]
    fine = block.fine[chosen].clone()
    if hole is not None:
        fine[..., hole[0], hole[1]] = torch.nan
    return dataclasses.replace(block, fine=fine, fine_days=(BEFORE,), fine_std=block.fine_std[chosen])


def plain_lines(then, now):
    """The slope of the line of every cell and the rest of it, by least squares that a variance of 1e-6 draws to a slope of one."""
    slope, rest = np.ones_like(then), np.zeros_like(then)
    for y, x in np.ndindex(then.shape):
        around = (slice(max(y - CELLS, 0), y + CELLS + 1), slice(max(x - CELLS, 0), x + CELLS + 1))
        one, other = then[around].ravel(), now[around].ravel()
        slope[y, x] = (np.cov(one, other, ddof=0)[0, 1] + 1e-6) / (one.var() + 1e-6)
        # The level of the line and what it leaves, which are interpolated together.
        rest[y, x] = now[y, x] - slope[y, x] * then[y, x]
    return slope, rest


def plain(fine, slope, rest, y, x):
    """Equations 4–8 for one pixel."""
    rows = range(max(y - RADIUS, 0), min(y + RADIUS + 1, fine.shape[1]))
    cols = range(max(x - RADIUS, 0), min(x + RADIUS + 1, fine.shape[2]))
    places = [(row, col) for row in rows for col in cols if np.isfinite(fine[0, row, col])]
    places.sort(key=lambda at: (((fine[:, at[0], at[1]] - fine[:, y, x]) ** 2).sum(), np.hypot(at[0] - y, at[1] - x)))
    row, col = np.array(places[:7]).T
    weight = 1 / (1 + np.hypot(row - y, col - x) / (RADIUS + 0.5))
    return ((slope * fine + rest)[:, row, col] * weight).sum(axis=1) / weight.sum()


@pytest.mark.parametrize("hole", [None, (slice(10, 16), slice(12, 20))])
def test_a_pixel_is_what_the_equations_say(hole):
    block = block_of(hole)
    day = predicted(block)
    then, now = (block.coarse[at - FIRST].double().numpy() for at in (BEFORE, TARGET))
    lines = [plain_lines(one, other) for one, other in zip(then, now, strict=True)]
    slope, rest = (lift(torch.from_numpy(np.stack(part)), block.scale).numpy() for part in zip(*lines, strict=True))
    fine = block.fine[0].double().numpy()
    for y, x in ((0, 0), (16, 17), (9, 21), (47, 5), (30, 30), (22, 40)):
        np.testing.assert_allclose(day.mean[:, y, x].numpy(), plain(fine, slope, rest, y, x), atol=2e-5)


def test_a_change_that_is_a_line_everywhere_is_found_exactly():
    then = torch.rand((2, 9, 11), generator=torch.Generator().manual_seed(2))
    slope, level, left = fitted_change(then, 0.8 * then + 0.05, 2)
    torch.testing.assert_close(slope, torch.full_like(then, 0.8), atol=1e-4, rtol=0)
    torch.testing.assert_close(level, torch.full_like(then, 0.05), atol=1e-4, rtol=0)
    torch.testing.assert_close(left, torch.zeros_like(then), atol=1e-4, rtol=0)


def test_cells_that_are_unknown_are_left_out_of_a_line_and_no_cell_leaves_no_change():
    then = torch.rand((1, 9, 11), generator=torch.Generator().manual_seed(2))
    now = 0.8 * then + 0.05
    now[:, 3:5, 4] = torch.nan
    then[:, 7, 7] = torch.nan
    slope, _, left = fitted_change(then, now, 2)
    torch.testing.assert_close(slope, torch.full_like(then, 0.8), atol=1e-4, rtol=0)
    assert (left[:, 3:5, 4] == 0).all()
    slope, level, left = fitted_change(then, torch.full_like(then, torch.nan), 2)
    assert (slope == 1).all()
    assert (level == 0).all()
    assert (left == 0).all()


def test_one_image_is_used_and_said_so():
    world = make_world(seed=4, size=32, cloud=0.3)
    method = build("fitfc", OPTIONS)
    day = next(iter(method.days(method.prepare(world.block, {}, CPU), [TARGET])))
    assert (day.source == int(Provenance.FUSED_ONE_SIDED)).all()
    assert (day.mean - world.truth_of(TARGET)).abs().mean() < 0.02
