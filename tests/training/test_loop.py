"""The loop learns, keeps what did best on tune data, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import csv
from itertools import pairwise

import pytest
import torch

from pipeline.errors import ConfigurationError
from pipeline.training import loop
from pipeline.training.loop import rate_factor, told, train_stage
from pipeline.training.recipe import Schedule, load_recipe
from pipeline.training.samples import Sampler
from pipeline.training.trainees import stages_of
from tests.training.places import tiny_place

CPU = torch.device("cpu")
SCHEDULE = Schedule(steps=12, batch=2, warmup=2, evaluate=4, rate=2e-3)


@pytest.fixture(scope="module")
def samplers():
    return Sampler([tiny_place(0)], 1, 32), Sampler([tiny_place(1)], 2, 32)


def learnt(name, samplers, folder, stop=None, stage_name="fusion"):
    """Train one stage of a method; `stop` kills it at that step."""
    torch.manual_seed(0)
    stage = next(stage for stage in stages_of(name)[1] if stage.name == stage_name)
    stage.begin()
    tune = told(stage, samplers[1], range(6), 3)

    def progress(name, done, total):
        if done == stop:
            raise KeyboardInterrupt

    return train_stage(stage, samplers[0], tune, SCHEDULE, folder, progress, CPU)


def curve(folder):
    with (folder / "curve.csv").open() as lines:
        return [tuple(row) for row in csv.reader(lines)]


@pytest.mark.parametrize("step", [5, 10])
def test_a_training_killed_at_a_step_and_resumed_has_the_same_curve_and_weights(samplers, tmp_path, step):
    whole = learnt("realfusion", samplers, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learnt("realfusion", samplers, tmp_path / "killed", stop=step)
    resumed = learnt("realfusion", samplers, tmp_path / "killed")
    assert curve(tmp_path / "killed" / "fusion") == curve(tmp_path / "whole" / "fusion")
    assert all(torch.equal(resumed.state[key], whole.state[key]) for key in whole.state)


def test_what_did_best_on_tune_data_is_kept_and_untrained_it_equals_its_first_prediction(samplers, tmp_path):
    found = learnt("realfusion", samplers, tmp_path)
    assert found.start == pytest.approx(found.control, rel=1e-5)
    assert found.rmse <= found.start
    looked = [float(value) for _, name, value in curve(tmp_path / "fusion")[1:] if name == "skill"]
    assert found.skill == pytest.approx(max(looked), rel=1e-6)


def test_the_restoration_network_learns_on_cells(samplers, tmp_path):
    found = learnt("realfusion", samplers, tmp_path, stage_name="restoration")
    assert found.steps == SCHEDULE.steps
    assert found.rmse <= found.start


def test_when_memory_runs_out_the_batch_halves_and_the_loss_is_the_same(samplers, monkeypatch):
    torch.manual_seed(0)
    (stage,) = stages_of("corrected")[1]
    batch = told(stage, samplers[0], range(4), 4)[0]
    whole, parts = loop._backward(stage, batch, CPU, 1)
    gradients = [part.grad.clone() for part in stage.network.parameters() if part.grad is not None]
    stage.network.zero_grad(set_to_none=True)
    plain = type(stage).loss

    def narrow(self, part):
        if len(part.truth) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, part)

    monkeypatch.setattr(type(stage), "loss", narrow)
    halved, more = loop._backward(stage, batch, CPU, parts)
    assert (parts, more) == (1, 4)
    # Parts weigh alike, whatever is hidden in them: nearly the loss of the whole.
    assert halved == pytest.approx(whole, rel=0.1)
    assert len(gradients) == sum(part.grad is not None for part in stage.network.parameters())


def test_the_rate_rises_then_falls_to_its_last_value():
    schedule = Schedule(steps=100, warmup=10, rate=1e-3, last_rate=1e-5)
    factors = [rate_factor(schedule, step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[10] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.01)
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))


def test_a_method_without_a_network_is_refused():
    with pytest.raises(ConfigurationError, match="starfm"):
        stages_of("starfm")


def test_a_recipe_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_recipe(tmp_path / "nowhere.yaml")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\ntrain: []\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="train"):
        load_recipe(wrong)


@pytest.mark.parametrize("name", ["ganstfm", "mlffgan"])
def test_beside_a_discriminator_either_learns_from_its_own_part_of_the_loss(samplers, name):
    torch.manual_seed(0)
    network, (stage,) = stages_of(name, adversarial=True)
    batch = told(stage, samplers[0], range(2), 2)[0]
    stage.loss(batch).backward()
    generator, critic = stage.network["generator"], stage.network["critic"]
    assert generator is network
    assert all(part.grad is not None for part in (*generator.parameters(), *critic.parameters()))
    if name == "ganstfm":
        return  # Its spectral norms move with every look.
    alone = [part.grad.clone() for part in critic.parameters()]
    stage.network.zero_grad(set_to_none=True)
    stage._weight = 100.0
    stage.loss(batch).backward()
    for before, part in zip(alone, critic.parameters(), strict=True):
        torch.testing.assert_close(part.grad, before, rtol=0.2, atol=1e-3)


def test_a_discriminator_of_a_method_that_has_none_is_refused():
    with pytest.raises(ConfigurationError, match="edcstfn"):
        stages_of("edcstfn", adversarial=True)
