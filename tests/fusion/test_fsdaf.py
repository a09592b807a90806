"""FSDAF against the equations of the paper, pixel by pixel."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from pipeline.assessment.cases import cases_of
from pipeline.assessment.experiments import load_experiment
from pipeline.assessment.filesets import read_set
from pipeline.fusion.fsdaf import centres_of, class_changes, share_out
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.operators.resample import area_mean
from tests.assessment.sets import DATA, needs_data
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
WINDOW, SIMILAR, UNMIXING = 11, 6, 3
OPTIONS = {"window": WINDOW * 30.0, "similar": SIMILAR, "unmixing": UNMIXING * 240.0, "cell": 240.0}
REFERENCE, TARGET = FIRST + 50, FIRST + 70
CENTRES = [[0.08, 0.11], [0.18, 0.27], [0.3, 0.45]]
PARAMETERS = {"classes": [{"day": REFERENCE, "centres": CENTRES}]}


def one_image(hole=None) -> FusionInput:
    block = make_world(seed=2, size=48, cloud=0.0, every=12).block
    at = block.fine_days.index(REFERENCE)
    fine = block.fine[at : at + 1].clone()
    if hole is not None:
        fine[..., hole[0], hole[1]] = torch.nan
    return dataclasses.replace(block, fine=fine, fine_days=(REFERENCE,), fine_std=block.fine_std[at : at + 1])


def predicted(block, options=OPTIONS):
    method = build("fsdaf", options)
    return next(iter(method.days(method.prepare(block, PARAMETERS, CPU), [TARGET]))).mean.double().numpy()


def plain(block):
    """Equations 5–23 of Zhu et al. (2016) with loops; unmixing from a window of cells, drawn to the mean of the window by one pure cell."""
    fine = block.fine[0].double().numpy()
    then, now = (block.coarse[day - FIRST].double().numpy() for day in (REFERENCE, TARGET))
    change, s = now - then, block.scale
    bands, height, width = fine.shape
    centres = np.array(CENTRES)
    valid = np.isfinite(fine).all(axis=0)
    label = ((fine[None] - centres[:, :, None, None]) ** 2).sum(axis=1).argmin(axis=0)
    rows, cols, count = height // s, width // s, len(centres)
    cell = lambda y, x: (slice(y * s, (y + 1) * s), slice(x * s, (x + 1) * s))  # noqa: E731
    fraction = np.zeros((rows, cols, count))
    for y in range(rows):
        for x in range(cols):
            inside = label[cell(y, x)][valid[cell(y, x)]]
            if len(inside):
                fraction[y, x] = [(inside == c).mean() for c in range(count)]
    moved = np.zeros_like(fine)
    for y in range(rows):
        for x in range(cols):
            reach = UNMIXING // 2
            around = [
                (r, q)
                for r in range(max(y - reach, 0), min(y + reach + 1, rows))
                for q in range(max(x - reach, 0), min(x + reach + 1, cols))
            ]
            weight = np.array([valid[cell(*at)].mean() for at in around])
            design = np.array([fraction[at] for at in around])
            for band in range(bands):
                told = np.array([change[(band, *at)] for at in around])
                mean = (weight * told).sum() / weight.sum()
                left = (design * weight[:, None]).T @ design + np.eye(count)
                by_class = np.linalg.solve(left, (design * weight[:, None]).T @ told + mean)
                rest = change[band, y, x] - fraction[y, x] @ by_class
                # The spline through the cells around, the outermost repeated.
                near = [(r, q) for r in range(y - 3, y + 4) for q in range(x - 3, x + 4)]
                values = [now[band, min(max(r, 0), rows - 1), min(max(q, 0), cols - 1)] for r, q in near]
                pixels = [(y * s + i, x * s + j) for i in range(s) for j in range(s)]
                spline = RBFInterpolator(np.array(near, float), values, kernel="thin_plate_spline", degree=1)(
                    [((i + 0.5) / s - 0.5, (j + 0.5) / s - 0.5) for i, j in pixels]
                )
                share = []
                for (i, j), smooth in zip(pixels, spline, strict=True):
                    if not valid[i, j]:
                        continue
                    window = (slice(max(i - s // 2, 0), i + s // 2 + 1), slice(max(j - s // 2, 0), j + s // 2 + 1))
                    even = (label[window] == label[i, j])[valid[window]].mean()
                    surplus = smooth - fine[band, i, j] - by_class[label[i, j]]
                    alike = max(surplus * np.sign(rest), 0)
                    share.append(alike * even + abs(rest) * (1 - even) + 1e-6)
                share = np.array(share) / np.mean(share)
                share[share > 10] = 1
                share /= share.mean()
                for (i, j), part in zip([at for at in pixels if valid[at]], share, strict=True):
                    moved[band, i, j] = by_class[label[i, j]] + part * rest
    result = fine.copy()
    reach = WINDOW // 2
    for i in range(height):
        for j in range(width):
            if not valid[i, j]:
                continue
            near = [
                (r, q)
                for r in range(max(i - reach, 0), min(i + reach + 1, height))
                for q in range(max(j - reach, 0), min(j + reach + 1, width))
                if valid[r, q]
            ]
            near = sorted(near, key=lambda at: ((fine[:, at[0], at[1]] - fine[:, i, j]) ** 2).sum())[:SIMILAR]
            weight = np.array([1 / (1 + np.hypot(r - i, q - j) / (WINDOW / 2)) for r, q in near])
            weight /= weight.sum()
            result[:, i, j] += sum(w * moved[:, r, q] for w, (r, q) in zip(weight, near, strict=True))
    return result, valid


@pytest.mark.parametrize("hole", [None, (slice(5, 20), slice(18, 30))])
def test_a_day_is_what_the_equations_say(hole):
    block = one_image(hole)
    expected, valid = plain(block)
    found = predicted(block)
    apart = np.abs(found - expected)[:, valid]
    # A few pixels have two neighbours that differ from them alike.
    assert np.quantile(apart, 0.995) < 2e-5
    assert np.isfinite(found).all()


def test_class_changes_of_mixed_cells_are_found():
    generator = torch.Generator().manual_seed(1)
    fractions = torch.rand((3, 9, 9), generator=generator).pow(3)
    fractions /= fractions.sum(dim=0)
    truth = torch.tensor([[0.1, -0.05, 0.02], [0.0, 0.2, -0.1]])
    change = torch.einsum("bc,cyx->byx", truth, fractions)
    found = class_changes(fractions, change, torch.ones(9, 9), 4)[:, :, 4, 4]
    torch.testing.assert_close(found, truth, atol=0.025, rtol=0)
    assert class_changes(fractions, change, torch.zeros(9, 9), 4).abs().max() == 0


def test_a_class_that_no_cell_holds_takes_the_mean_change():
    fractions = torch.zeros((2, 5, 5))
    fractions[0] = 1.0
    found = class_changes(fractions, torch.full((1, 5, 5), 0.07), torch.ones(5, 5), 2)
    torch.testing.assert_close(found, torch.full_like(found, 0.07))


def test_the_residual_of_a_cell_is_kept_whatever_its_pixels_take():
    generator = torch.Generator().manual_seed(2)
    residual = torch.tensor([[0.05, -0.02], [0.0, 0.01]])
    surplus = torch.randn((16, 16), generator=generator) * 0.05
    valid = torch.rand((16, 16), generator=generator) > 0.3
    shared = share_out(residual, surplus, torch.rand((16, 16), generator=generator), valid)
    assert (shared[~valid] == 0).all()
    mean = area_mean(torch.where(valid, shared, torch.nan), 8)[0]
    torch.testing.assert_close(mean, residual, atol=1e-6, rtol=1e-4)
    even = share_out(residual, surplus, torch.zeros((16, 16)), valid)
    torch.testing.assert_close(even[:8, :8][valid[:8, :8]], torch.full((int(valid[:8, :8].sum()),), 0.05))


def test_with_a_gate_a_cell_of_changed_cover_tells_the_classes_nothing():
    block = one_image()
    coarse = block.coarse.clone()
    coarse[TARGET - FIRST, :, 2, 3] += 0.4
    struck = dataclasses.replace(block, coarse=coarse)
    wide = {**OPTIONS, "window": 90.0, "unmixing": 5 * 240.0}
    beside = np.ones((48, 48), bool)
    beside[7:33, 15:41] = False
    apart = {gate: np.abs(predicted(struck, {**wide, "gate": gate}) - predicted(block, {**wide, "gate": gate})) for gate in (0.0, 2.5)}
    assert apart[2.5][:, beside].mean() < 0.2 * apart[0.0][:, beside].mean()
    assert np.abs(predicted(struck, {**wide, "gate": 2.5}) - predicted(block, wide))[:, 16:24, 24:32].mean() > 0.3


def test_classes_and_errors_are_learnt_as_plain_numbers():
    world = make_world(seed=5, size=32, cloud=0.2)
    method = build("fsdaf", {**OPTIONS, "classes": 3})
    parameters = json.loads(json.dumps(method.estimate([world.block])))
    assert set(parameters) == {"classes", "floor", "change", "follow", "apart"}
    assert parameters == method.estimate([world.block])
    assert all(np.shape(entry["centres"]) == (3, 2) for entry in parameters["classes"])
    state = method.prepare(world.block, parameters, CPU)
    scaled = []
    for index in (4, 7, 9):
        day = next(iter(method.days(state, [world.block.fine_days[index]])))
        scaled.append(((day.mean - world.truth_of(day.day)) / day.std).square().mean().item())
    assert 0.3 < np.mean(scaled) < 3.0


def test_the_classes_of_the_nearest_season_are_taken():
    like = torch.zeros((1, 2, 2))
    learnt = {"classes": [{"day": FIRST, "centres": [[0.1]]}, {"day": FIRST + 180, "centres": [[0.2]]}]}
    assert centres_of(learnt, FIRST + 365 * 2 - 20, 4, like).item() == pytest.approx(0.1)
    assert centres_of(learnt, FIRST - 200, 4, like).item() == pytest.approx(0.2)
    assert centres_of({}, FIRST, 4, like).shape == (4, 1)


@needs_data
@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("cia-one-pair", 0.0351),
        pytest.param("boreas-one-pair", 0.0116, marks=pytest.mark.slow),
        pytest.param("boreas-one-pair-registered", 0.0113, marks=pytest.mark.slow),
    ],
)
def test_real_images_are_predicted_as_well_as_by_the_public_program(name, public):
    experiment = load_experiment(Path(__file__).resolve().parents[2] / "benchmarks" / "experiments" / f"{name}.yaml")
    (case,) = cases_of(experiment, read_set(experiment.place, DATA), DATA)
    method = build("fsdaf", {})
    state = method.prepare(case.block, method.estimate([case.block]), CPU)
    (day,) = method.days(state, case.targets)
    error = day.mean.numpy() - case.expected(day.day)
    assert np.sqrt(np.nanmean(error**2, axis=(1, 2))).mean() < 1.03 * public
