"""Checkpoints: the same curve after a kill, whatever the step; damage refused."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from pipeline.errors import WeightsError
from pipeline.training.average import averaged
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.losses import charbonnier

STEPS = 14


class Training:
    """A network with running statistics, dropout and channels-last memory; two groups of parameters."""

    def __init__(self, seed=0, width=6, kind=torch.optim.AdamW):
        torch.manual_seed(seed)
        first, last = nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.model = nn.Sequential(first, nn.BatchNorm2d(width), nn.Dropout(0.3), last)
        self.model.to(memory_format=torch.channels_last)
        self.average = averaged(self.model, 0.9)
        groups = [{"params": last.parameters(), "weight_decay": 0.1}, {"params": self.model[:3].parameters()}]
        self.optimizer = kind(groups, lr=3e-3)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)
        self.history = []

    def step(self, number):
        generator = torch.Generator().manual_seed(number)
        image, truth = torch.rand(3, 2, 12, 12, generator=generator), torch.rand(3, 1, 12, 12, generator=generator)
        self.optimizer.zero_grad()
        loss = charbonnier(self.model(image.contiguous(memory_format=torch.channels_last)), truth, torch.ones_like(truth))
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.average.update_parameters(self.model)
        self.history.append({"loss": float(loss), "rate": self.optimizer.param_groups[0]["lr"]})

    def save(self, path, step):
        best = {name: value * 2 for name, value in self.model.state_dict().items()}
        save_checkpoint(path, step, self.model, self.average, self.optimizer, self.scheduler, self.history, best)

    def load(self, path):
        step, self.history, best = load_checkpoint(path, self.model, self.average, self.optimizer, self.scheduler)
        return step, best


def trained(first=0, last=STEPS, training=None, **options):
    training = training or Training(**options)
    for number in range(first, last):
        training.step(number)
    return training


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.RMSprop])
@pytest.mark.parametrize("killed", [1, *random.sample(range(2, STEPS), 2)])
def test_a_training_that_was_killed_goes_on_with_the_same_bits(tmp_path, kind, killed):
    path = tmp_path / "some.checkpoint"
    whole = trained(kind=kind)
    trained(last=killed, kind=kind).save(path, killed)
    resumed = Training(seed=5, kind=kind)
    step, best = resumed.load(path)
    assert step == killed
    assert all(torch.equal(best[name], value * 2) for name, value in resumed.model.state_dict().items())
    trained(first=step, training=resumed)
    assert resumed.history == whole.history
    for one, other in ((resumed.model, whole.model), (resumed.average, whole.average)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_checkpoint_before_the_first_step_is_one(tmp_path):
    path = tmp_path / "some.checkpoint"
    Training().save(path, 0)
    resumed = Training(seed=5)
    assert resumed.load(path)[0] == 0
    assert trained(training=resumed).history == trained().history


def test_damage_anywhere_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "some.checkpoint"
    trained(last=2).save(path, 2)
    whole = path.read_bytes()
    training = Training(seed=5)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    header = 8 + int.from_bytes(whole[:8], "little")
    step = whole.index(rb"step\": 2")
    places = [3, step + 8, header // 2, header + 1, (header + len(whole)) // 2, len(whole) - 1]
    damaged = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in places]
    for data in [*damaged, whole[:-1], whole[:100], b"", pickle.dumps([1])]:
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"some\.checkpoint is (damaged|no whole)(.|\n)*→ remove it"):
            training.load(path)
    path.unlink()
    with pytest.raises(WeightsError, match="some"):
        training.load(path)
    assert all(torch.equal(before[name], value) for name, value in training.model.state_dict().items())


def test_a_checkpoint_of_another_network_is_refused_by_tensor(tmp_path):
    path = tmp_path / "some.checkpoint"
    trained(last=1).save(path, 1)
    with pytest.raises(WeightsError, match=r"of another shape: 0\.weight \(6, 2, 3, 3\) instead of \(7, 2, 3, 3\)"):
        Training(width=7).load(path)


KILLED = """
import sys
from pathlib import Path
import torch
from tests.training.test_checkpoint import Training
training = Training()
for number in range(100_000):
    training.step(number)
    training.save(Path(sys.argv[1]), number + 1)
    if number == 1:
        print("ready", flush=True)
"""


def test_a_process_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "some.checkpoint"
    # Sums of another number of threads differ in their last bits.
    environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(random.uniform(0.1, 0.4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    resumed = Training(seed=5)
    step, _ = resumed.load(path)
    assert resumed.history == trained(last=step).history
    following = trained(first=step, last=step + 3, training=resumed)
    assert following.history == trained(last=step + 3).history
