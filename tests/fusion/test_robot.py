"""ROBOT against its equation, solved by another solver, and what it does with clouds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from pipeline.fusion import robot
from pipeline.fusion.registry import build
from pipeline.operators.least_squares import non_negative
from pipeline.operators.resample import lift
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
TARGET = FIRST + 55
OPTIONS = {"days": 30, "window": 720.0}


def predicted(block, options=OPTIONS):
    method = build("robot", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def plain(gram, right):
    """Weights w ≥ 0 that minimise ½ w'Gw − r'w."""
    root = np.linalg.cholesky(gram)
    return nnls(root.T, np.linalg.solve(root, right))[0]


def test_the_weights_are_those_of_the_best_sum_without_negative_ones():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 6, 50)) + 2 * rng.normal(size=(20, 1, 50))
    gram = np.einsum("nkp,nlp->nkl", images, images)
    right = np.einsum("nkp,np->nk", images, rng.normal(size=(20, 50)) + images[:, 2] * 0.5) - 5
    start = torch.full((6, 20), 1 / 6, dtype=torch.float64)
    arguments = torch.from_numpy(gram).permute(1, 2, 0), torch.from_numpy(right).T, torch.ones((6, 20), dtype=torch.bool)
    found = non_negative(*arguments, start).T.numpy()
    expected = np.stack([plain(one, other) for one, other in zip(gram, right, strict=True)])
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_pixel_is_what_the_equation_says():
    block = make_world(seed=2, size=64, cloud=0.0).block
    chosen = [index for index, day in enumerate(block.fine_days) if abs(day - TARGET) <= 30]
    fine = block.fine[chosen].double().numpy()
    coarse = block.coarse[[block.fine_days[index] - FIRST for index in chosen]].double().numpy()
    today = block.coarse[TARGET - FIRST].double().numpy()
    before = max(place for place, index in enumerate(chosen) if block.fine_days[index] < TARGET)
    near = (fine[before] + fine[before + 1]) / 2
    weights, residual = np.zeros((len(chosen), 8, 8)), np.zeros_like(today)
    for y in range(8):
        for x in range(8):
            rows, cols = slice(max(y - 1, 0), min(y + 2, 8)), slice(max(x - 1, 0), min(x + 2, 8))
            pixels = (..., slice(rows.start * 8, rows.stop * 8), slice(cols.start * 8, cols.stop * 8))
            count = (rows.stop - rows.start) * (cols.stop - cols.start) * 64
            # A coarse image counts as many times as there are fine pixels.
            stacked = np.concatenate([coarse[..., rows, cols].reshape(len(chosen), -1) * 8, fine[pixels].reshape(len(chosen), -1)], axis=1)
            wanted = np.concatenate([today[..., rows, cols].ravel() * 8, near[pixels].ravel()])
            weight = plain(stacked @ stacked.T, stacked @ wanted - 2.0 * count / 900)
            weights[:, y, x] = weight
            if not 0.98 <= weight.sum() <= 1.02:
                residual[:, y, x] = today[:, y, x] - weight @ coarse[:, :, y, x]
    expected = lift(torch.from_numpy(residual), 8).numpy()
    for image, weight in zip(fine, weights, strict=True):
        expected += image * lift(torch.from_numpy(weight), 8).numpy()
    assert (residual != 0).any()
    assert (residual == 0).any()
    np.testing.assert_allclose(predicted(block).mean.numpy(), expected, atol=1e-4)


def test_an_image_that_is_mostly_hidden_has_no_say():
    world = make_world(seed=2, size=64, cloud=0.0)
    block, index = world.block, 3
    spoilt = block.fine.clone()
    spoilt[index] = 0.9
    shown = spoilt.clone()
    shown[index, :, :, 6:] = torch.nan
    without = block.fine.clone()
    without[index] = torch.nan
    days = [predicted(dataclasses.replace(block, fine=fine)) for fine in (shown, without)]
    torch.testing.assert_close(days[0].mean[:, :, 32:], days[1].mean[:, :, 32:], atol=1e-5, rtol=0)


def test_without_coarse_it_is_the_mean_of_the_images_before_and_after_however_dark():
    block = make_world(seed=2, size=32, cloud=0.0).block
    blind = dataclasses.replace(block, fine=0.1 * block.fine, coarse=torch.full_like(block.coarse, torch.nan))
    before = max(index for index, day in enumerate(block.fine_days) if day < TARGET)
    torch.testing.assert_close(predicted(blind).mean, blind.fine[before : before + 2].mean(dim=0))


def test_an_image_of_a_day_without_coarse_has_no_say_and_spoils_nothing():
    block = make_world(seed=2, size=32, cloud=0.0).block
    index = 4
    coarse = block.coarse.clone()
    coarse[block.fine_days[index] - FIRST] = torch.nan
    without = block.fine.clone()
    without[index] = torch.nan
    days = [predicted(dataclasses.replace(block, coarse=coarse)), predicted(dataclasses.replace(block, fine=without))]
    torch.testing.assert_close(days[0].mean, days[1].mean, atol=1e-5, rtol=0)


def test_clouds_cost_little():
    clear, clouded = make_world(seed=3, size=64, cloud=0.0), make_world(seed=3, size=64, cloud=0.3)
    errors = [(predicted(world.block).mean - world.truth_of(TARGET)).square().mean().sqrt() for world in (clear, clouded)]
    assert errors[0] < 0.01
    assert errors[1] < 0.02


def test_days_between_the_same_images_share_what_was_made_of_them(monkeypatch):
    block = make_world(seed=3, size=32, cloud=0.3).block
    made = []
    monkeypatch.setattr(robot, "_products", lambda images, scale, old=robot._products: made.append(0) or old(images, scale))
    method = build("robot", {"days": 30})
    list(method.days(method.prepare(block, {}, CPU), [FIRST + 52, FIRST + 53, FIRST + 54, FIRST + 60]))
    assert len(made) == 2


@pytest.mark.parametrize("cloud", [0.0, 0.3])
def test_the_error_is_learnt_at_withheld_images(cloud):
    world = make_world(seed=5, size=32, cloud=cloud)
    method = build("robot", {})
    state = method.prepare(world.block, method.estimate([world.block]), CPU)
    scaled = [
        ((day.mean - world.truth_of(day.day)) / day.std).square().mean().item()
        for day in method.days(state, [world.block.fine_days[index] for index in (4, 7, 9)])
    ]
    assert 0.3 < np.mean(scaled) < 3.0
