"""The loop: a network learns from one sample after the other, and the weights that did best on tune data are kept.

The samples of a step follow from its number, and the network draws nothing by lot: a loop that was killed and goes on from its last
checkpoint repeats the same loss curve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import LandfuseError
from pipeline.training.average import averaged
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.logs import Log
from pipeline.training.recipe import Schedule
from pipeline.training.samples import Sampler
from pipeline.training.trainees import Batch, Stage

Progress = Callable[[str, int, int], None]

_TINY = 1e-8
"""Mean square error below which images do not count by their ratio [reflectance²]."""


@dataclass(frozen=True)
class Learnt:
    """What became of a stage.

    Parameters
    ----------
    state : dict
        The weights that did best on tune data.
    skill : float
        1 − the geometric mean over images of RMSE / RMSE of the control, there.
    start, rmse, control : float
        RMSE on tune data of the weights it began with, of those that did best, and of the control [reflectance].
    steps : int
        Steps that were done.
    seconds : float
    """

    state: dict[str, Tensor]
    skill: float
    start: float
    rmse: float
    control: float
    steps: int
    seconds: float


def train_stage(
    stage: Stage,
    sampler: Sampler,
    tune: Sequence[Batch],
    schedule: Schedule,
    folder: Path,
    progress: Progress,
    device: torch.device,
) -> Learnt:
    """Let a stage learn, from its last checkpoint in `folder` if there is one.

    Raises
    ------
    LandfuseError
        If the loss is no number any more.
    """
    network = stage.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = averaged(network, schedule.memory)
    optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(schedule, step))
    path = folder / f"{stage.name}.checkpoint"
    start, history = 0, list[dict[str, float]]()
    best: dict[str, Tensor] = {}
    if path.exists():
        start, history, best = load_checkpoint(path, network, average, optimizer, scheduler)
    started = time.perf_counter()
    parts = 1
    with Log(folder / stage.name, start) as log:
        if not history:
            history.append(_look(stage, average.module, tune, device, 0))
            best = _copy(average.module)
            log.scalars(0, history[-1])
        for step, batch in zip(range(start, schedule.steps), _batches(stage, sampler, schedule, start), strict=False):
            if _tired(history, schedule.patience):
                break
            network.train()
            optimizer.zero_grad(set_to_none=True)
            loss, parts = _backward(stage, batch, device, parts)
            if not math.isfinite(loss):
                raise LandfuseError(
                    f"the loss of {stage.name} is {loss} at step {step + 1}, expected a number",
                    f"train with a smaller rate; the last checkpoint is in {folder}",
                )
            nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
            optimizer.step()
            scheduler.step()
            average.update_parameters(network)
            log.scalars(step + 1, {"loss": loss, "rate": optimizer.param_groups[0]["lr"]})
            if (step + 1) % schedule.evaluate == 0 or step + 1 == schedule.steps:
                looked = _look(stage, average.module, tune, device, step + 1)
                if looked["skill"] > max(known["skill"] for known in history):
                    best = _copy(average.module)
                history.append(looked)
                log.scalars(step + 1, looked)
                save_checkpoint(path, step + 1, network, average, optimizer, scheduler, history, best)
            progress(stage.name, step + 1, schedule.steps)
    network.load_state_dict(best)
    chosen = max(history, key=lambda known: known["skill"])
    done = int(history[-1]["step"])
    return Learnt(
        _copy(network), chosen["skill"], history[0]["rmse"], chosen["rmse"], chosen["control"], done, time.perf_counter() - started
    )


def rate_factor(schedule: Schedule, step: int) -> float:
    """Learning rate of a step, in units of `rate`: a linear rise, then half a cosine (Loshchilov & Hutter 2017, ICLR)."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    share = (step - schedule.warmup) / max(schedule.steps - schedule.warmup, 1)
    floor = schedule.last_rate / schedule.rate
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def told(stage: Stage, sampler: Sampler, numbers: Sequence[int], batch: int) -> list[Batch]:
    """Samples as a stage sees them, in batches."""
    groups = [numbers[first : first + batch] for first in range(0, len(numbers), batch)]
    return [Batch.of([stage.told(sampler.draw(number)) for number in group]) for group in groups]


def _batches(stage: Stage, sampler: Sampler, schedule: Schedule, start: int) -> Iterator[Batch]:
    """The batches of the steps from `start` on; the next one is made while a step runs."""

    def made(step: int) -> Batch:
        numbers = range(step * schedule.batch, (step + 1) * schedule.batch)
        return told(stage, sampler, numbers, schedule.batch)[0]

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(made, start)
        for step in range(start, schedule.steps):
            batch = coming.result()
            coming = pool.submit(made, step + 1)
            yield batch
        coming.cancel()


def _backward(stage: Stage, batch: Batch, device: torch.device, parts: int) -> tuple[float, int]:
    """Gradients of a batch, in as many parts as memory asks for; the loss, and the parts it took."""
    while True:
        try:
            total = 0.0
            for piece in batch.split(parts):
                moved = piece.to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    loss = stage.loss(moved) / parts
                loss.backward()
                total += float(loss.detach())
            return total, parts
        except torch.OutOfMemoryError:
            if parts >= len(batch.truth):
                raise
        # Out of the handler, whose traceback would keep the graph that failed.
        stage.network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        parts = min(2 * parts, len(batch.truth))


def _look(stage: Stage, network: nn.Module, tune: Sequence[Batch], device: torch.device, step: int) -> dict[str, float]:
    """RMSE on tune data with the averaged weights, beside the control's.

    In the skill every image counts alike: a few of melting snow have most of the pooled error, and would choose alone.
    """
    learning = _copy(stage.network)
    stage.network.load_state_dict(_copy(network))
    stage.network.eval()
    errors, controls, counts, within = [], [], [], 0.0
    with torch.inference_mode():
        for batch in tune:
            moved = batch.to(device)
            predicted, log_std = stage.predicted(moved)
            off, other = ((values - moved.truth) * moved.mask for values in (predicted, moved.control))
            errors.append(off.double().square().flatten(1).sum(dim=1).cpu())
            controls.append(other.double().square().flatten(1).sum(dim=1).cpu())
            counts.append(moved.mask.double().flatten(1).sum(dim=1).cpu())
            if log_std is not None:
                within += float(((off.abs() <= log_std.exp()) * moved.mask).sum())
    stage.network.load_state_dict(learning)
    error, control, count = torch.cat(errors), torch.cat(controls), torch.cat(counts)
    seen = (count > 0) & (control > 0)
    ratio = 0.5 * ((error[seen] + _TINY * count[seen]) / (control[seen] + _TINY * count[seen])).log().mean()
    total = max(float(count.sum()), 1.0)
    return {
        "step": float(step),
        "rmse": math.sqrt(float(error.sum()) / total),
        "control": math.sqrt(float(control.sum()) / total),
        "skill": 1 - math.exp(float(ratio)),
        "within": within / total,
    }


def _tired(history: Sequence[dict[str, float]], patience: int) -> bool:
    best = max(range(len(history)), key=lambda place: history[place]["skill"])
    return len(history) - 1 - best >= patience


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
