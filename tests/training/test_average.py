"""The moving average of parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.training.average import averaged


def test_the_average_starts_at_the_first_step_and_follows_faster_at_first():
    model = nn.Linear(1, 1, bias=False)
    ema = averaged(model, decay=0.5)
    expected = 0.0
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(float(step * step))
        ema.update_parameters(model)
        weight = min(0.5, (1 + step) / (10 + step))
        expected = step * step if step == 0 else weight * expected + (1 - weight) * step * step
        assert float(ema.module.weight) == pytest.approx(expected)


def test_buffers_are_those_of_the_last_step_and_the_network_keeps_its_own():
    model = nn.BatchNorm2d(2)
    ema = averaged(model)
    for _ in range(3):
        model(torch.rand(4, 2, 8, 8) + 3)
        ema.update_parameters(model)
    assert torch.equal(ema.module.running_mean, model.running_mean)
    assert ema.module.weight is not model.weight
