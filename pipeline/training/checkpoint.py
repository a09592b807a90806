"""Checkpoints: all that a training needs to go on as if it had not been killed. One safetensors file each; nothing is ever unpickled.

Tensors go by name, the rest as JSON into the header, with a hash of all. A file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from pipeline.errors import WeightsError
from pipeline.fusion.networks.weights import Weights, into, replace_file

_AGAIN = "remove it; the training then starts from its beginning"

History = list[dict[str, float]]


def save_checkpoint(
    path: Path,
    step: int,
    model: Module,
    average: AveragedModel,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    history: Sequence[Mapping[str, float]],
    best: Mapping[str, Tensor],
) -> None:
    """Write the state of a training after a step, with the state of torch's random numbers.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    step : int
        Steps that were done.
    model, average, optimizer, scheduler
        What steps change. The optimizer steps parameters of the model.
    history : sequence of mappings
        Figures of the looks at the tune data so far.
    best : mapping
        The weights that are best so far.
    """
    from safetensors.torch import save

    moments, groups = _moments(optimizer, model)
    tensors = {
        **_named("model", model.state_dict()),
        **_named("average", average.state_dict()),
        **_named("best", best),
        **_named("moments", {name: value for name, value in moments.items() if isinstance(value, Tensor)}),
        **_named("random", _random_state()),
    }
    # Copies, since safetensors refuses tensors that share memory, and strides other than the usual ones.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(
        {
            "step": step,
            "groups": groups,
            "numbers": {name: value for name, value in moments.items() if not isinstance(value, Tensor)},
            "scheduler": scheduler.state_dict(),
            "history": [dict(figures) for figures in history],
        }
    )
    replace_file(path, save(tensors, {"training": text, "sha256": _digest(tensors, text)}))


def load_checkpoint(
    path: Path, model: Module, average: AveragedModel, optimizer: Optimizer, scheduler: LRScheduler
) -> tuple[int, History, dict[str, Tensor]]:
    """Put a training, and torch's random numbers, into the state they had when a checkpoint was written.

    Returns
    -------
    step : int
    history : list of dict
    best : dict
        As they were saved; `best` on the CPU.

    Raises
    ------
    WeightsError
        If the file cannot be read, is damaged, or is of another network.
    """
    tensors, text, digest = _read(path)
    document = json.loads(text)
    into(model, Weights(_part("model", tensors), {}, digest))
    into(average, Weights(_part("average", tensors), {}, digest))
    _restore_moments(optimizer, model, {**_part("moments", tensors), **document["numbers"]}, document["groups"])
    scheduler.load_state_dict(document["scheduler"])
    _restore_random(_part("random", tensors))
    return document["step"], document["history"], _part("best", tensors)


def _read(path: Path) -> tuple[dict[str, Tensor], str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"the checkpoint {path} is no whole safetensors file: {error}", _AGAIN) from error
    text, expected = said.get("training", ""), said.get("sha256", "none")
    found = _digest(tensors, text)
    if found != expected:
        raise WeightsError(f"the checkpoint {path} is damaged: its content has the hash {found}, its header expects {expected}", _AGAIN)
    return tensors, text, found


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    found = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _moments(optimizer: Optimizer, model: Module) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the optimizer knows of each parameter, as `name/key`; and its groups, with names for parameters."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    moments = {f"{ordered[index]}/{key}": value for index, known in state["state"].items() for key, value in known.items()}
    groups = [{**group, "params": [ordered[index] for index in group["params"]]} for group in state["param_groups"]]
    return moments, groups


def _restore_moments(optimizer: Optimizer, model: Module, moments: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
    parameters = dict(model.named_parameters())
    ordered = [name for group in groups for name in group["params"]]
    places = {name: index for index, name in enumerate(ordered)}
    state: dict[int, dict[str, Any]] = {}
    for place, value in moments.items():
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # In the strides of the parameter, as the optimizer makes them: another way through its kernels may round otherwise.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(places[name], {})[key] = value
    numbered = [{**group, "params": [places[name] for name in group["params"]]} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": numbered})


def _random_state() -> dict[str, Tensor]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda:{index}": state for index, state in enumerate(devices)}}


def _restore_random(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for index in range(torch.cuda.device_count()):
        if f"cuda:{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda:{index}"], index)


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}/{name}": value for name, value in tensors.items()}


def _part(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
