"""EFAST against the equation of the paper, pixel by pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.fusion.registry import build
from pipeline.operators.resample import lift
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
TARGET = FIRST + 55
REACH = 4


def predicted(block, options):
    method = build("efast", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def ramp(hidden, scale):
    """Weight of every cell: 0 at one cell from a clouded one, 1 at `REACH` cells."""
    height, width = (size // scale for size in hidden.shape)
    clouded = hidden.reshape(height, scale, width, scale).any(axis=(1, 3))
    rows, cols = np.nonzero(clouded)
    weight = np.ones((height, width))
    for y in range(height):
        for x in range(width):
            if len(rows):
                weight[y, x] = np.clip((np.hypot(rows - y, cols - x).min() - 1) / (REACH - 1), 0, 1)
    return lift(torch.from_numpy(weight), scale).numpy()


def test_a_pixel_is_what_the_equation_says():
    block = make_world(seed=4, size=96, cloud=0.08).block
    coarse = {day: lift(block.coarse[day - FIRST], block.scale).double().numpy() for day in (*block.fine_days, TARGET)}
    total, weights = 0.0, 0.0
    for image, day in zip(block.fine.double().numpy(), block.fine_days, strict=True):
        if abs(day - TARGET) > 40:
            continue
        hidden = np.isnan(image).any(axis=0)
        weight = np.exp(-0.5 * ((day - TARGET) / 20) ** 2) * ramp(hidden, block.scale) * ~hidden
        total = total + weight * np.nan_to_num(image - coarse[day])
        weights = weights + weight
    far = weights > 0.05
    assert far.mean() > 0.5
    expected = coarse[TARGET] + total / np.where(far, weights, 1)
    day = predicted(block, {"days": 40, "sigma": 20.0, "cloud_reach": REACH * 240.0})
    # Pixels beside clouds keep a small weight instead of none.
    np.testing.assert_allclose(day.mean.numpy()[:, far], expected[:, far], atol=2e-3)
    np.testing.assert_allclose(day.mean.numpy()[:, weights > 0.9], expected[:, weights > 0.9], atol=3e-4)


def test_without_clouds_only_time_weighs():
    block = make_world(seed=4, size=32, cloud=0.0).block
    chosen = [block.fine_days.index(FIRST + 50), block.fine_days.index(FIRST + 62)]
    block = dataclasses.replace(
        block, fine=block.fine[chosen], fine_days=tuple(block.fine_days[item] for item in chosen), fine_std=block.fine_std[chosen]
    )
    share = 1 / (1 + np.exp(-0.5 * (7**2 - 5**2) / 20**2))
    moved = [
        image + lift(block.coarse[TARGET - FIRST] - block.coarse[day - FIRST], block.scale)
        for image, day in zip(block.fine, block.fine_days, strict=True)
    ]
    torch.testing.assert_close(predicted(block, {}).mean, share * moved[0] + (1 - share) * moved[1])


def test_an_image_many_sigmas_away_speaks_where_it_is_the_only_one():
    block = make_world(seed=4, size=32, cloud=0.0).block
    far = dataclasses.replace(block, fine=block.fine[:1], fine_days=block.fine_days[:1], fine_std=block.fine_std[:1])
    day = predicted(far, {"sigma": 1.0})
    torch.testing.assert_close(day.mean, far.fine[0] + lift(block.coarse[TARGET - FIRST] - block.coarse[2], block.scale))


@pytest.mark.parametrize("cloud", [0.0, 0.3])
def test_the_error_is_learnt_at_withheld_images(cloud):
    world = make_world(seed=5, size=32, cloud=cloud)
    method = build("efast", {})
    parameters = method.estimate([world.block])
    state = method.prepare(world.block, parameters, CPU)
    scaled = [
        ((day.mean - world.truth_of(day.day)) / day.std).square().mean().item()
        for day in method.days(state, [world.block.fine_days[index] for index in (4, 7, 9)])
    ]
    assert 0.3 < np.mean(scaled) < 3.0
