"""The method of residuals."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.vocabulary import Provenance
from tests.fusion.worlds import FIRST, World, make_world

CPU = torch.device("cpu")
CONTROLS = ("nearest", "linear", "harmonic", "coarse", "delta", "delta2")


def predict(block: FusionInput, target: int, name="residual", parameters=None, options=None):
    method = build(name, options or {})
    return next(iter(method.days(method.prepare(block, parameters or {}, CPU), [target])))


def rmse(world: World, targets: list[int], name: str, parameters=None) -> float:
    errors = [(predict(world.block, day, name, parameters).mean - world.truth_of(day)).square().mean() for day in targets]
    return float(torch.stack(errors).mean().sqrt())


@pytest.fixture(scope="module")
def worlds():
    return make_world(seed=1), make_world(seed=2)


@pytest.fixture(scope="module")
def parameters(worlds):
    return build("residual", {}).estimate([worlds[0].block])


def test_the_parameters_are_json_and_per_band(parameters):
    assert json.loads(json.dumps(parameters)) == parameters
    assert len(parameters["process"]) == len(parameters["coarse_gain"]) == len(parameters["std_scale"]) == 2


def test_nothing_is_estimated_from_nothing(worlds):
    block = worlds[0].block
    method = build("residual", {})
    assert method.estimate([]) == {}
    assert method.estimate([dataclasses.replace(block, fine=torch.full_like(block.fine, torch.nan))]) == {}


def test_it_beats_every_control_on_another_world(worlds, parameters):
    targets = [FIRST + 45, FIRST + 68, FIRST + 92, FIRST + 110]
    ours = rmse(worlds[1], targets, "residual", parameters)
    assert ours < min(rmse(worlds[1], targets, name) for name in CONTROLS)


def test_the_std_is_the_size_of_the_error(worlds, parameters):
    ratios = []
    for day in (FIRST + 45, FIRST + 68, FIRST + 92):
        made = predict(worlds[1].block, day, parameters=parameters)
        ratios.append(((made.mean - worlds[1].truth_of(day)) / made.std).square().mean())
    assert 0.3 < float(torch.stack(ratios).mean().sqrt()) < 1.7


def test_the_std_grows_with_the_days_to_the_observations(worlds):
    block = worlds[0].block
    single = dataclasses.replace(
        block, fine=torch.nan_to_num(block.fine[4:5], nan=0.2), fine_days=block.fine_days[4:5], fine_std=block.fine_std[4:5]
    )
    stds = [predict(single, block.fine_days[4] + days).std.mean() for days in (2, 10, 30, 63)]
    assert all(near < far for near, far in pairwise(stds))


def test_a_missed_cloud_between_good_images_hardly_counts():
    world = make_world(seed=5, cloud=0.0)
    index = 6
    dirty = world.block.fine.clone()
    dirty[index, :, 16:48, 16:48] += 0.35
    target = world.block.fine_days[index] + 3
    clean = predict(world.block, target).mean
    made = predict(dataclasses.replace(world.block, fine=dirty), target).mean
    assert (made - clean)[:, 16:48, 16:48].abs().mean() < 0.03
    naive = predict(dataclasses.replace(world.block, fine=dirty), target, "delta2").mean
    assert (naive - clean)[:, 16:48, 16:48].abs().mean() > 0.2


def test_the_provenance_says_which_sides_were_seen(worlds):
    block = worlds[0].block
    fine = torch.full_like(block.fine, 0.2)
    fine[:, :, :, :32] = torch.nan
    fine[6:, :, :16] = torch.nan
    target = (block.fine_days[5] + block.fine_days[6]) // 2
    source = predict(dataclasses.replace(block, fine=fine), target).source
    assert (source[:, :32] == int(Provenance.EXTRAPOLATED)).all()
    assert (source[:16, 32:] == int(Provenance.FUSED_ONE_SIDED)).all()
    assert (source[16:, 32:] == int(Provenance.FUSED_TWO_SIDED)).all()


def test_a_reference_leaves_the_support_without_a_jump():
    block = make_world(seed=6, days=150, cloud=0.0).block
    pair = dataclasses.replace(
        block, fine=block.fine[[0, 4]], fine_days=(block.fine_days[0], block.fine_days[4]), fine_std=block.fine_std[:2]
    )
    flat = dataclasses.replace(pair, coarse=torch.full_like(block.coarse, 0.2))
    made = torch.stack([predict(flat, pair.fine_days[0] + days).mean for days in range(56, 68)])
    steps = made.diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert steps.max() < 0.5 * steps.sum()


def test_strips_do_not_change_the_result(worlds, monkeypatch):
    from pipeline.fusion import residual

    whole = predict(worlds[0].block, FIRST + 68)
    monkeypatch.setattr(residual, "_PIXELS_AT_ONCE", 64 * 8)
    torch.testing.assert_close(predict(worlds[0].block, FIRST + 68).mean, whole.mean, atol=1e-6, rtol=0)
