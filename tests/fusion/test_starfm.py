"""STARFM against the equations of the paper, pixel by pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.fusion import starfm
from pipeline.fusion.registry import build
from pipeline.operators.resample import lift
from pipeline.operators.window import distances, padded
from pipeline.vocabulary import Provenance
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
OPTIONS = {"window": 330.0, "classes": 6, "uncertainty": 0.003}
RADIUS = 5
BEFORE, TARGET, AFTER = FIRST + 50, FIRST + 55, FIRST + 62


def predicted(block, options=OPTIONS):
    method = build("starfm", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def plain(pairs, today, y, x, band):
    """Equations 5–15 of Gao et al. (2006) for one pixel; `pairs` are (fine, lifted coarse) as (B, y, x) with NaN where clouded."""
    height, width = today.shape[1:]
    slack = 0.003 * np.sqrt(2)
    spectral = [np.abs(fine[band] - coarse[band]) for fine, coarse in pairs]
    temporal = [np.abs(coarse[band] - today[band]) for _, coarse in pairs]
    alike = max(plane[y, x] for plane in spectral) + slack
    steady = max(plane[y, x] for plane in temporal) + slack
    weights = values = 0.0
    rows = range(max(y - RADIUS, 0), min(y + RADIUS + 1, height))
    cols = range(max(x - RADIUS, 0), min(x + RADIUS + 1, width))
    for place, (fine, coarse) in enumerate(pairs):
        around = fine[band, rows.start : rows.stop, cols.start : cols.stop]
        tolerance = 2 * np.nanstd(around) / 6
        for row in rows:
            for col in cols:
                value = fine[band, row, col]
                if not abs(value - fine[band, y, x]) <= tolerance:
                    continue
                if spectral[place][row, col] > alike or temporal[place][row, col] > steady:
                    continue
                distance = 1 + np.hypot(row - y, col - x) / RADIUS
                weight = 1 / ((spectral[place][row, col] + 1e-4) * (temporal[place][row, col] + 1e-4) * distance)
                weights += weight
                values += weight * (value + today[band, row, col] - coarse[band, row, col])
    return values / weights


def clear_block(days, hole=None):
    block = make_world(seed=2, size=32, cloud=0.0, every=12).block
    chosen = [block.fine_days.index(day) for day in days]
    fine = block.fine[chosen].clone()
    if hole is not None:
        fine[..., hole[0], hole[1]] = torch.nan
    return dataclasses.replace(block, fine=fine, fine_days=tuple(days), fine_std=block.fine_std[chosen])


@pytest.mark.parametrize("days", [(BEFORE,), (BEFORE, AFTER)])
@pytest.mark.parametrize("hole", [None, (slice(10, 16), slice(12, 20))])
def test_a_pixel_is_what_the_equations_say(days, hole):
    block = clear_block(days, hole)
    day = predicted(block)
    coarse = {at: lift(block.coarse[at - FIRST], block.scale).double().numpy() for at in (*days, TARGET)}
    pairs = [(image.double().numpy(), coarse[at]) for image, at in zip(block.fine, days, strict=True)]
    for y, x in ((0, 0), (16, 17), (9, 21), (31, 5), (20, 20)):
        for band in range(2):
            assert day.mean[band, y, x].item() == pytest.approx(plain(pairs, coarse[TARGET], y, x, band), abs=2e-5)
    if hole is not None:
        torch.testing.assert_close(day.mean[:, *hole], lift(block.coarse[TARGET - FIRST], block.scale)[:, *hole])


def test_a_pixel_that_is_clouded_on_one_side_is_filled_from_the_other():
    block = clear_block((BEFORE, AFTER))
    fine = block.fine.clone()
    fine[0, :, 8:24, 8:24] = torch.nan
    day = predicted(dataclasses.replace(block, fine=fine))
    assert (day.source[8:24, 8:24] == int(Provenance.FUSED_ONE_SIDED)).all()
    assert (day.source[:8] == int(Provenance.FUSED_TWO_SIDED)).all()
    assert (day.mean - predicted(block).mean).abs().mean() < 0.01
    assert (day.std[:, 8:24, 8:24] > day.std[:, :8, :8].max()).all()


@pytest.mark.parametrize("targets", [1, 3, 8])
def test_offset_by_offset_adds_up_what_the_compiled_loop_does(targets):
    neighbours, change, limits, steady = added(targets)
    nearness = 1 / distances(3, 3)
    one, other = torch.zeros((2, 2, 19, 230, targets))
    starfm.add_similar(neighbours, change, limits, steady, nearness, one)
    starfm._add_by_offset(neighbours, change, limits, steady, nearness, other)
    assert (one[0] > 0).any()
    assert (one[0] == 0).any()
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("targets", range(2, 9))
def test_targets_that_are_added_up_together_are_what_each_is_alone(targets):
    neighbours, change, limits, steady = added(targets)
    nearness = 1 / distances(3, 3)
    together, alone = torch.zeros((2, 2, 19, 230, targets))
    starfm.add_similar(neighbours, change, limits, steady, nearness, together)
    for place in range(targets):
        part = slice(place, place + 1)
        sums = torch.zeros((2, 19, 230, 1))
        starfm.add_similar(neighbours, change[..., part].contiguous(), limits, steady[..., part].contiguous(), nearness, sums)
        alone[..., part] = sums
    assert torch.equal(together, alone)


def added(targets):
    """What is given to `add_similar`, rows wider than those it works on at once; some pixels are masked."""
    generator = torch.Generator().manual_seed(1)
    neighbours = padded(torch.rand((2, 19, 230), generator=generator), 3)
    change = torch.nn.functional.pad(torch.rand((19, 230, targets), generator=generator) - 0.5, (0, 0, 3, 3, 3, 3))
    limits = torch.rand((2, 19, 230), generator=generator)
    limits[0, 4:9, 20:60] = -1.0
    steady = torch.rand((19, 230, targets), generator=generator) / 2
    return neighbours, change, limits, steady


def test_days_between_the_same_pairs_and_others_are_what_each_is_alone():
    block = clear_block((BEFORE, AFTER), (slice(10, 16), slice(12, 20)))
    method = build("starfm", OPTIONS)
    targets = [BEFORE - 3, *range(BEFORE, AFTER + 1), AFTER + 2]
    together = list(method.days(method.prepare(block, {}, CPU), targets))
    assert [day.day for day in together] == targets
    for day in together:
        alone = next(iter(method.days(method.prepare(block, {}, CPU), [day.day])))
        assert torch.equal(day.mean, alone.mean)
        assert torch.equal(day.std, alone.std)


def test_the_error_is_learnt_at_withheld_images():
    world = make_world(seed=5, size=32, cloud=0.2)
    method = build("starfm", OPTIONS)
    parameters = method.estimate([world.block])
    assert set(parameters) == {"floor", "change", "follow", "apart"}
    state = method.prepare(world.block, parameters, CPU)
    scaled = []
    for index in (4, 7, 9):
        day = next(iter(method.days(state, [world.block.fine_days[index]])))
        scaled.append(((day.mean - world.truth_of(day.day)) / day.std).square().mean().item())
    assert 0.3 < np.mean(scaled) < 3.0
