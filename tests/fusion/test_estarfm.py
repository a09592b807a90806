"""ESTARFM against the equations of the paper, pixel by pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import f as f_distribution

from pipeline.fusion import estarfm
from pipeline.fusion.pairs import pair_of, recipe_of
from pipeline.fusion.references import References
from pipeline.fusion.registry import build
from pipeline.operators.resample import area_mean, lift
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
OPTIONS = {"window": 330.0, "classes": 3, "uncertainty": 0.002}
RADIUS = 5
BEFORE, TARGET, AFTER = FIRST + 38, FIRST + 50, FIRST + 74


def predicted(block, options=OPTIONS):
    method = build("estarfm", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def block_of(days, hole=None, bands=3, scale=8):
    world = make_world(seed=2, size=32, cloud=0.0, bands=bands, scale=scale)
    block = world.block
    chosen = [block.fine_days.index(day) for day in days]
    fine = block.fine[chosen].clone()
    if hole is not None:
        fine[..., hole[0], hole[1]] = torch.nan
    return dataclasses.replace(block, fine=fine, fine_days=tuple(days), fine_std=block.fine_std[chosen])


def plain(pairs, today, y, x):
    """Equations 9–19 of Zhu et al. (2010) for one pixel; `pairs` are (fine, lifted coarse) as (B, y, x) with NaN where clouded."""
    bands, height, width = today.shape
    rows = slice(max(y - RADIUS, 0), min(y + RADIUS + 1, height))
    cols = slice(max(x - RADIUS, 0), min(x + RADIUS + 1, width))
    similar = np.ones((rows.stop - rows.start, cols.stop - cols.start), dtype=bool)
    for fine, _ in pairs:
        for band in range(bands):
            around = fine[band, rows, cols]
            similar &= np.abs(around - fine[band, y, x]) <= 2 * np.nanstd(around) / 3
    row, col = np.nonzero(similar)
    row, col = row + rows.start, col + cols.start
    fine = np.concatenate([image[:, row, col] for image, _ in pairs])
    coarse = np.concatenate([image[:, row, col] for _, image in pairs])
    correlation = np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(fine.T, coarse.T, strict=True)])
    distance = 1 + np.hypot(row - y, col - x) / RADIUS
    weight = 1 / ((1 - correlation + 1e-4) * distance)
    weight /= weight.sum()
    result = []
    for band in range(bands):
        slope = 1.0
        if len(pairs) == 2 and len(row) > 5:
            one, other = coarse[[band, band + bands]].ravel(), fine[[band, band + bands]].ravel()
            fitted = np.cov(one, other)[0, 1] / np.var(one, ddof=1)
            explained = np.corrcoef(one, other)[0, 1] ** 2
            ratio = explained / (1 - explained) * (len(one) - 2)
            moved = abs(coarse[band].mean() - coarse[band + bands].mean())
            if f_distribution.sf(ratio, 1, len(one) - 2) <= 0.05 and 0 < fitted <= 5 and moved >= 0.002:
                slope = fitted
        values, apart = [], []
        for image, cells in pairs:
            change = today[band] - cells[band]
            values.append(image[band, y, x] + slope * (weight * change[row, col]).sum())
            apart.append(abs(change[rows, cols].sum()) + 1e-10)
        share = 1 / np.array(apart)
        result.append((share * values).sum() / share.sum())
    return result


@pytest.mark.parametrize("days", [(BEFORE,), (BEFORE, AFTER)])
@pytest.mark.parametrize("hole", [None, (slice(10, 16), slice(12, 20))])
@pytest.mark.parametrize("scale", [8, 4])
def test_a_pixel_is_what_the_equations_say(days, hole, scale):
    block = block_of(days, hole, scale=scale)
    day = predicted(block)
    coarse = {at: lift(block.coarse[at - FIRST], block.scale).double().numpy() for at in (*days, TARGET)}
    pairs = [(image.double().numpy(), coarse[at]) for image, at in zip(block.fine, days, strict=True)]
    far = []
    for y in range(0, 32, 3):
        for x in range(0, 32, 5):
            if hole is None or np.isfinite(pairs[0][0][0, y, x]):
                far.append(np.abs(day.mean[:, y, x].numpy() - plain(pairs, coarse[TARGET], y, x)).max())
    # A neighbour on the border between similar and not may fall to either side.
    assert np.quantile(far, 0.95) < 5e-5
    assert max(far) < 5e-3


def test_cells_narrower_than_a_knot_are_joined_on_the_lattice():
    coarse = torch.rand((2, 32, 32), generator=torch.Generator().manual_seed(6))
    moved = coarse + torch.linspace(0, 1, 32)[:, None] - 0.5 * torch.linspace(0, 1, 32)
    fine = torch.rand((1, 2, 32, 32), generator=torch.Generator().manual_seed(3))
    narrow = block_of((BEFORE,), bands=2)
    for scale in (1, 2, 4):
        cells = area_mean(torch.stack([coarse, moved]), scale)[0]
        block = dataclasses.replace(
            narrow,
            fine=fine,
            coarse=cells,
            coarse_std=torch.full_like(cells, 0.01),
            coarse_days=(BEFORE, BEFORE + 1),
            scale=scale,
            origin=(3, 2) if scale == 1 else (0, 0),
        )
        method = build("estarfm", {"window": 30.0})
        state = method.prepare(block, {}, CPU)
        day = next(iter(method.days(state, [BEFORE + 1])))
        assert state.analysis.knots.size == 4
        assert torch.isfinite(day.mean).all()
        # A plane is the same through any knots, but for the outermost, which are replicated and may be cut.
        inside = (..., slice(4, -10), slice(4, -10))
        torch.testing.assert_close((day.mean - fine[0])[inside], (moved - coarse)[inside], atol=1e-5, rtol=0)


def test_weights_by_knot_add_up_to_one_and_offset_by_offset_gives_the_same():
    block = block_of((BEFORE, AFTER), hole=(slice(4, 9), slice(20, 32)))
    # Wider than the part of a row that the kernel works on at once.
    fine, coarse, std = (part.tile(13) for part in (block.fine, block.coarse, block.coarse_std))
    references = References.of(dataclasses.replace(block, fine=fine, coarse=coarse, coarse_std=std), CPU)
    pairs = [pair_of(references, recipe_of(references, main, [0, 1])) for main in (0, 1)]
    method = build("estarfm", OPTIONS)
    one, other = (method._neighbourhood(references, pairs, RADIUS) for _ in range(2))
    terms = estarfm._regression_terms(pairs, one.valid, 8, 24, RADIUS)
    sums, others = terms.new_zeros((2, 16, one.valid.shape[1], terms.shape[-1]))
    estarfm.add_similar(one, terms, 8, sums)
    estarfm._add_by_offset(other, terms, 8, others)
    torch.testing.assert_close(others, sums, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(other.weights, one.weights, atol=1e-2, rtol=1e-4)
    weights = method.analyse(references, pairs).weights.sum(dim=-1)
    valid = one.valid.view(4, 8, -1, 8).permute(0, 2, 1, 3)
    torch.testing.assert_close(weights, valid.float())


def test_neighbours_are_told_apart_down_to_a_step_and_beyond_the_largest_value_alike():
    block = block_of((BEFORE, AFTER), bands=1)
    fine = torch.full_like(block.fine, 0.2)
    fine[..., :, 8:16] = 0.2 + 5 / estarfm._STEPS
    fine[..., :, 16:24] = 2.0
    fine[..., :, 24:] = 3.0
    references = References.of(dataclasses.replace(block, fine=fine), CPU)
    pairs = [pair_of(references, recipe_of(references, main, [0, 1])) for main in (0, 1)]
    around = build("estarfm", {**OPTIONS, "classes": 100_000})._neighbourhood(references, pairs, RADIUS)
    terms = estarfm._regression_terms(pairs, around.valid, 8, 24, RADIUS)
    sums = terms.new_zeros((16, 32, terms.shape[-1]))
    estarfm.add_similar(around, terms, 8, sums)
    rows = 2 * RADIUS + 1
    for first, last in ((0, 7), (8, 15), (16, 31)):
        expected = [rows * (min(x + RADIUS, last) - max(x - RADIUS, first) + 1) for x in range(first, last + 1)]
        assert sums[0, first : last + 1, 0].tolist() == expected


def test_targets_between_the_same_images_share_the_search_for_neighbours(monkeypatch):
    block = block_of((BEFORE, AFTER))
    method = build("estarfm", OPTIONS)
    searched = []
    analyse = method.analyse
    monkeypatch.setattr(method, "analyse", lambda *arguments: searched.append(1) or analyse(*arguments))
    days = list(method.days(method.prepare(block, {}, CPU), range(BEFORE + 1, AFTER)))
    assert len(days) == AFTER - BEFORE - 1
    assert len(searched) == 1
