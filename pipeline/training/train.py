"""A training from its recipe to a file of weights with its card."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.assessment.roles import Role
from pipeline.errors import ConfigurationError
from pipeline.fusion.networks.weights import save
from pipeline.fusion.registry import spec_of
from pipeline.training.card import card_of
from pipeline.training.cost import cost_of
from pipeline.training.loop import Learnt, told, train_stage
from pipeline.training.places import Place, simulated_place
from pipeline.training.recipe import Recipe, Schedule
from pipeline.training.samples import Sampler
from pipeline.training.trainees import Batch, Stage, stages_of

Progress = Callable[[str, int, int], None]

_TIMED = 3
"""Steps that the length of a training with a budget is reckoned from."""

_SHARES = {"restoration": 0.15, "fusion": 0.85, "pairs": 1.0, "adversarial": 1.0}
"""Shares of a budget that stages get."""


@dataclass(frozen=True)
class Trained:
    """What a training ended in.

    Parameters
    ----------
    method : str
    path : Path
        File of the weights; its card lies beside it.
    digest : str
        SHA-256 of the weights.
    stages : mapping
        Stage → what became of it.
    """

    method: str
    path: Path
    digest: str
    stages: Mapping[str, Learnt]


def train_on_sandboxes(
    name: str, recipe: Recipe, folder: Path, cache: Path, budget: float | None, progress: Progress, adversarial: bool = False
) -> Trained:
    """Train the network of a method on simulated places, from where an interrupted training in `folder` stopped.

    Parameters
    ----------
    folder : Path
        Checkpoints, logs, weights and card.
    cache : Path
        Simulated places, which other trainings use as well.
    budget : float, optional
        Seconds, for fewer steps than the recipe says.
    adversarial : bool
        Beside the discriminator of the method.

    Raises
    ------
    ConfigurationError
        If the method has no network, a seed has another role, or `folder` holds a training of another recipe.
    """
    network, stages = stages_of(name, adversarial=adversarial)
    places = [simulated_place(world, Role.TRAIN, cache, progress) for world in recipe.train]
    tune = [simulated_place(world, Role.TUNE, cache, progress) for world in recipe.tune]
    learnt, recipe = trained(stages, recipe, places, tune, folder, budget, progress)
    about = {
        "data": {
            "train": [place.name for place in places],
            "tune": [place.name for place in tune],
            "real_modis": "none: the weights saw simulated places only",
        },
        "licence": "Apache-2.0; learnt from simulated places alone",
        "recipe": recipe.model_dump(mode="json"),
    }
    return written(name, network.state_dict(), learnt, about, folder / f"{name}.safetensors")


def trained(
    stages: Sequence[Stage],
    recipe: Recipe,
    places: Sequence[Place],
    tune: Sequence[Place],
    folder: Path,
    budget: float | None,
    progress: Progress,
) -> tuple[dict[str, Learnt], Recipe]:
    """Let the stages learn one after the other; what they learnt, and the recipe with the steps that the budget allows."""
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sampler = Sampler(places, recipe.samples.seed, recipe.samples.size)
    chooser = Sampler(tune, recipe.samples.seed + 1, recipe.samples.size)
    schedules = {stage.name: recipe.schedules[stage.name] for stage in stages}
    learnt = {}
    for stage in stages:
        sampler, chooser = (replace(one, ideal=stage.ideal) for one in (sampler, chooser))
        stage.begin()
        looked_at = told(stage, chooser, range(recipe.samples.tune), 8)
        if budget is not None:
            schedules[stage.name] = _within(budget * _SHARES[stage.name], schedules[stage.name], stage, sampler, folder)
        kept = recipe.model_copy(update={"schedules": schedules})
        _same_as_before(folder, stage, kept)
        learnt[stage.name] = train_stage(stage, sampler, looked_at, schedules[stage.name], folder, progress, device)
    return learnt, recipe.model_copy(update={"schedules": schedules})


def written(name: str, state: Mapping[str, Tensor], learnt: Mapping[str, Learnt], about: Mapping[str, Any], path: Path) -> Trained:
    """Write weights and card."""
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    spec = spec_of(name)
    card = card_of(
        method=name,
        source=spec.source,
        cost=cost_of(name),
        scores={stage: {"rmse": one.rmse, "control": one.control, "skill": one.skill} for stage, one in learnt.items()},
        training={
            "steps": {stage: one.steps for stage, one in learnt.items()},
            "seconds": round(sum(one.seconds for one in learnt.values())),
            "machine": _machine(),
        },
        **about,
    )
    digest = save(path, state, card)
    return Trained(name, path, digest, learnt)


def _within(budget: float, schedule: Schedule, stage: Stage, sampler: Sampler, folder: Path) -> Schedule:
    """The schedule cut to the steps that a budget allows, as some steps tell; the same when a training goes on."""
    path = folder / f"{stage.name}.steps.json"
    if path.exists():
        return schedule.model_copy(update=json.loads(path.read_text(encoding="utf-8")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stage.network.to(device)
    batches: list[Batch] = []
    started = time.perf_counter()
    for step in range(_TIMED):
        batches += told(stage, sampler, range(step * schedule.batch, (step + 1) * schedule.batch), schedule.batch)
        stage.loss(batches[-1].to(device)).backward()
    stage.network.zero_grad(set_to_none=True)
    seconds = (time.perf_counter() - started) / _TIMED
    steps = max(min(schedule.steps, math.floor(budget / seconds)), 1)
    cut = {"steps": steps, "warmup": min(schedule.warmup, steps // 10), "evaluate": min(schedule.evaluate, max(steps // 8, 1))}
    path.write_text(json.dumps(cut), encoding="utf-8")
    return schedule.model_copy(update=cut)


def _same_as_before(folder: Path, stage: Stage, recipe: Recipe) -> None:
    """Refuse to go on with a training of another recipe."""
    document = {"train": recipe.model_dump(mode="json")["train"], "schedule": recipe.schedules[stage.name].model_dump(mode="json")}
    path = folder / f"{stage.name}.recipe.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != document:
        raise ConfigurationError(
            f"{folder} holds a training of {stage.name} by another recipe", "name another folder with --out, or remove this one"
        )
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
