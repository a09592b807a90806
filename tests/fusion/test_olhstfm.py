"""Object-level methods against their equations, segment by segment."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.operators.interpolation import interpolate
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
OPTIONS = {"tile": 720.0, "box": 720.0, "detail": 300.0, "smallest": 1.0, "cell": 240.0}
REFERENCE, TARGET = FIRST + 50, FIRST + 70
METHODS = ("olstarfm", "olfitfc", "olhstfm")


def one_image(hole=None) -> FusionInput:
    block = make_world(seed=2, size=48, cloud=0.0, every=12).block
    at = block.fine_days.index(REFERENCE)
    fine = block.fine[at : at + 1].clone()
    if hole is not None:
        fine[..., hole[0], hole[1]] = torch.nan
    return dataclasses.replace(block, fine=fine, fine_days=(REFERENCE,), fine_std=block.fine_std[at : at + 1])


def predicted(name: str, block: FusionInput) -> tuple[np.ndarray, np.ndarray]:
    """The prediction, and the segments it was made with."""
    method = build(name, OPTIONS)
    state = method.prepare(block, {}, CPU)
    mean = next(iter(method.days(state, [TARGET]))).mean
    return mean.double().numpy(), state.analysis.labels.numpy()


def on_pixels(cells: np.ndarray, scale: int) -> np.ndarray:
    return cells.repeat(scale, -2).repeat(scale, -1)


def plain(block: FusionInput, labels: np.ndarray) -> dict[str, np.ndarray]:
    """OL-STARFM, OL-Fit-FC and OL-HSTFM (Guo et al. 2022, Guo & Shi 2023) with loops over segments."""
    fine = block.fine[0].double().numpy()
    valid = np.isfinite(fine).all(axis=0)
    fine = np.where(valid, fine, 0)
    s = block.scale
    cells = [block.coarse[day - FIRST].double().numpy() for day in (REFERENCE, TARGET)]
    then, now = (on_pixels(cell, s) for cell in cells)
    bands, height, width = fine.shape
    moved, fitted, gains = np.zeros_like(fine), np.zeros_like(fine), np.zeros_like(fine)
    for label in np.unique(labels):
        inside = labels == label
        rows, cols = np.nonzero(inside)
        seen = inside & valid
        if not seen.any():
            continue
        row, col = rows.sum() // len(rows) // s, cols.sum() // len(cols) // s
        box = np.zeros_like(valid)
        box[max(row - 1, 0) * s : (row + 2) * s, max(col - 1, 0) * s : (col + 2) * s] = True
        touched = len({(y // s, x // s) for y, x in zip(*np.nonzero(seen), strict=True)})
        told = seen if touched >= 3 and seen.sum() >= 4 * s**2 else box & valid
        for band in range(bands):
            moved[band, inside] = fine[band, inside] + np.median((now - then)[band, seen])
            covariance = np.cov(then[band, told], now[band, told], bias=True)
            gain = (covariance[0, 1] + 1e-6) / (covariance[0, 0] + 1e-6)
            bias = now[band, seen].mean() - gain * then[band, seen].mean()
            fitted[band, inside], gains[band, inside] = gain * fine[band, inside] + bias, gain
    rest = np.zeros_like(cells[0])
    for y in range(height // s):
        for x in range(width // s):
            cell = (slice(y * s, (y + 1) * s), slice(x * s, (x + 1) * s))
            if valid[cell].any():
                change = (moved - fine)[(slice(None), *cell)][:, valid[cell]].mean(axis=1)
                rest[:, y, x] = (cells[1] - cells[0])[:, y, x] - change
    moved += interpolate(torch.tensor(rest), s, "thin-plate").numpy()
    strength = np.zeros_like(fine)
    strength[:, :-1, :-1] = np.abs(fine[:, :-1, :-1] - fine[:, 1:, 1:]) + np.abs(fine[:, 1:, :-1] - fine[:, :-1, 1:])
    mixed, radius = fitted.copy(), 12
    for y, x in zip(*np.nonzero(valid), strict=True):
        window = (slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1))
        for band in range(bands):
            around = strength[(band, *window)][valid[window]]
            edge = min(abs(strength[band, y, x] - around.mean()) / (4 * around.std()), 1)
            gain = abs(gains[band, y, x])
            if edge > 0.1 and gain < 1:
                share = (1 - gain) * (1 - edge + 0.1)
                mixed[band, y, x] += share * (moved[band, y, x] - fitted[band, y, x])
    return {"olstarfm": moved, "olfitfc": fitted, "olhstfm": mixed}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("hole", [None, (slice(5, 20), slice(18, 30))])
def test_a_day_is_what_the_equations_say(name, hole):
    block = one_image(hole)
    found, labels = predicted(name, block)
    expected = plain(block, labels)[name]
    valid = torch.isfinite(block.fine[0]).all(dim=0).numpy()
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=2e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", METHODS)
def test_an_even_change_moves_every_pixel_alike(name):
    block = one_image()
    coarse = block.coarse.clone()
    coarse[TARGET - FIRST] = coarse[REFERENCE - FIRST] + 0.05
    found, _ = predicted(name, dataclasses.replace(block, coarse=coarse))
    np.testing.assert_allclose(found, block.fine[0].numpy() + 0.05, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_segment_of_which_the_coarse_says_nothing_stays_as_it_was(name):
    block = one_image()
    coarse = block.coarse.clone()
    coarse[TARGET - FIRST] = torch.nan
    found, _ = predicted(name, dataclasses.replace(block, coarse=coarse))
    np.testing.assert_allclose(found, block.fine[0].numpy(), atol=1e-6)


def test_errors_are_learnt_at_withheld_images():
    world = make_world(seed=5, size=32, cloud=0.2)
    method = build("olhstfm", OPTIONS)
    parameters = method.estimate([world.block])
    assert set(parameters) == {"floor", "change", "follow", "apart"}
    state = method.prepare(world.block, parameters, CPU)
    scaled = []
    for index in (4, 7, 9):
        day = next(iter(method.days(state, [world.block.fine_days[index]])))
        scaled.append(((day.mean - world.truth_of(day.day)) / day.std).square().mean().item())
    assert 0.3 < np.mean(scaled) < 3.0
