"""The stack of methods: weights, honest errors, options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigurationError
from pipeline.fusion.registry import build, options_of
from pipeline.vocabulary import Provenance
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
MEMBERS = {"delta2": {"days": 40}, "linear": {}, "harmonic": {}}
TARGET = FIRST + 55


def predicted(name, block, options, parameters=None):
    method = build(name, options)
    return next(iter(method.days(method.prepare(block, parameters or {}, CPU), [TARGET])))


def test_every_member_weighs_by_its_own_variance_and_the_mean_of_all():
    block = make_world(seed=2, size=32).block
    parameters = {
        "scale": [[1.0, 2.0], [0.5, 1.0], [3.0, 1.0]],
        "correlation": [
            [[1.0, 1.0], [0.2, 0.4], [0.6, 0.7]],
            [[0.2, 0.4], [1.0, 1.0], [0.0, 0.9]],
            [[0.6, 0.7], [0.0, 0.9], [1.0, 1.0]],
        ],
    }
    # Sorted by name, whatever their order.
    names = ["delta2", "harmonic", "linear"]
    members = [predicted(name, block, MEMBERS[name]) for name in names]
    day = predicted("stack", block, {"methods": MEMBERS}, parameters)
    mean = np.stack([item.mean.double().numpy() for item in members])
    std = np.stack([item.std.double().numpy() for item in members]) * np.array(parameters["scale"])[:, :, None, None]
    weight = 1 / (std**2 + (std**2).mean(axis=0))
    weight /= weight.sum(axis=0)
    correlation = np.array(parameters["correlation"])
    np.testing.assert_allclose(day.mean, (weight * mean).sum(axis=0), atol=1e-6)
    variance = np.einsum("ibyx,jbyx,ijb->byx", weight * std, weight * std, correlation)
    np.testing.assert_allclose(day.std, np.sqrt(variance), rtol=1e-4)


def test_a_member_that_knows_nothing_has_no_weight():
    block = make_world(seed=2, size=32).block
    blind = dataclasses.replace(block, coarse=torch.full_like(block.coarse, torch.nan))
    options = {"methods": {"coarse": {}, "linear": {}}}
    day, linear = predicted("stack", blind, options), predicted("linear", blind, {})
    known = torch.isfinite(linear.mean)
    torch.testing.assert_close(day.mean[known], linear.mean[known])
    assert torch.equal(torch.isfinite(day.mean), known)
    assert torch.equal(day.source, linear.source)


def test_the_provenance_is_that_of_the_member_that_has_most_to_go_by():
    block = make_world(seed=2, size=32, cloud=0.0).block
    day = predicted("stack", block, {"methods": {"coarse": {}, "nearest": {}}})
    assert (day.source == int(Provenance.FUSED_ONE_SIDED)).all()


@pytest.mark.parametrize("twins", [False, True])
def test_the_published_error_is_honest_with_the_correlation_that_was_learnt(twins):
    world = make_world(seed=5, size=48, cloud=0.2)
    methods = {"delta": {}, "delta2": {}} if twins else {"efast": {}, "harmonic": {}}
    method = build("stack", {"methods": methods})
    parameters = method.estimate([world.block])
    assert set(parameters) == {"members", "scale", "correlation"}
    correlation = np.array(parameters["correlation"])
    assert ((correlation >= 0) & (correlation <= 1)).all()
    state = method.prepare(world.block, parameters, CPU)
    targets = [FIRST + 45, FIRST + 72, FIRST + 101]
    scaled = [((day.mean - world.truth_of(day.day)) / day.std).square().mean().item() for day in method.days(state, targets)]
    assert 0.4 < np.mean(scaled) < 2.5


def test_halo_and_support_are_the_largest_of_the_members():
    options = options_of("stack", {"methods": {"efast": {"days": 20}, "linear": {"days": 90}, "delta": {}}, "days": 31})
    assert options.support() == (90, 90)
    assert options.members()["delta"].support() == (31, 31)
    assert options.halo() == options_of("efast", {}).halo()


def test_what_is_recorded_of_a_stack_says_all_and_depends_on_no_order():
    one = options_of("stack", {"methods": {"linear": {}, "delta": {"days": 30}}})
    other = options_of("stack", {"methods": {"delta": {"days": 30}, "linear": {}}})
    assert list(one.model_dump()["methods"].items()) == list(other.model_dump()["methods"].items())
    assert one.model_dump()["methods"]["linear"] == {"days": 64}
    assert options_of("stack", one.model_dump()) == one


def test_a_wrong_member_is_named():
    with pytest.raises(ConfigurationError, match="no method 'magic'"):
        build("stack", {"methods": {"magic": {}}})
    with pytest.raises(ConfigurationError, match="options of method 'delta'"):
        build("stack", {"methods": {"delta": {"window": 3}}})
    with pytest.raises(ConfigurationError, match="holds no stack"):
        build("stack", {"methods": {"stack": {}}})
