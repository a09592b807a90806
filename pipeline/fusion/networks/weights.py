"""Weights of networks as files: safetensors beside a card in JSON that holds their hash. Nothing is ever unpickled.

Imports torch only where tensors are made, so that planning can ask for a digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SHIPPED = Path(str(files("pipeline.fusion"))) / "weights"

_Network = TypeVar("_Network", bound="Module")

_MEND = "restore both files from where they came, or train again: landfuse train"


@dataclass(frozen=True)
class Weights:
    """The weights of a network and what is said of them.

    Parameters
    ----------
    state : dict
        Name → tensor, as `Module.state_dict` names them.
    card : dict
        The model card: data, splits, licence, scores, `sha256`, `parameters`.
    digest : str
        SHA-256 of the file of weights.
    """

    state: dict[str, Tensor]
    card: dict[str, Any]
    digest: str


def load(path: Path) -> Weights:
    """Read weights, once their hash is found to be the one on their card.

    Parameters
    ----------
    path : Path
        `<stem>.safetensors`; the card is `<stem>.json` beside it.

    Raises
    ------
    WeightsError
        If a file is missing, the hash is another one, or the bytes are no safetensors (https://github.com/huggingface/safetensors).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    card = card_at(path)
    data = _read(path)
    found, expected = hashlib.sha256(data).hexdigest(), card["sha256"]
    if found != expected:
        raise WeightsError(f"{path} ({len(data)} bytes) has the hash {found}, its card {path.stem}.json expects {expected}", _MEND)
    try:
        state = parse(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} has the hash its card expects ({expected}), but is no safetensors file: {error}", _MEND) from error
    return Weights(state, card, found)


def save(path: Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> str:
    """Write weights and their card; each file appears whole or not at all, the card last.

    Parameters
    ----------
    path : Path
        `<stem>.safetensors`; the card becomes `<stem>.json` beside it.
    state : mapping
        Name → tensor.
    card : mapping
        What JSON can hold. It is written with `sha256` and, unless it has that number already, `parameters`: the floating-point numbers
        in `state`.

    Returns
    -------
    str
        SHA-256 of the file of weights.
    """
    from safetensors.torch import save as serialise

    # A copy of each, since safetensors refuses tensors that share memory, and strides other than the usual ones.
    data = serialise({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
    parameters = sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())
    digest = hashlib.sha256(data).hexdigest()
    full = {"parameters": parameters, **card, "sha256": digest}
    text = json.dumps(full, indent=1, ensure_ascii=False) + "\n"
    replace_file(path, data)
    replace_file(path.with_suffix(".json"), text.encode())
    return digest


@cache
def shipped(name: str) -> Weights:
    """Weights that come with this package, read once.

    Raises
    ------
    WeightsError
        If there are none of this name, or they are damaged.
    """
    return load(_shipped(name))


def digest_of(name: str) -> str:
    """SHA-256 of the shipped weights of a name as their card says it; neither torch nor the weights are loaded."""
    return str(_read_card(_shipped(name).with_suffix(".json"))["sha256"])


def cards() -> dict[str, dict[str, Any]]:
    """The cards of all shipped weights by name; neither torch nor the weights are loaded."""
    return {path.stem: _read_card(path) for path in sorted(SHIPPED.glob("*.json"))}


def card_at(path: Path) -> dict[str, Any]:
    """The card beside a file of weights, which is not read.

    Raises
    ------
    WeightsError
        If it is missing, or no card.
    """
    return _read_card(path.with_suffix(".json"))


def into(module: _Network, weights: Weights) -> _Network:
    """Load weights into a module that has exactly these tensors in these shapes, and give it back.

    Raises
    ------
    WeightsError
        Naming the tensors that are missing, unexpected or of another shape; the module is then unchanged.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights.state]
    unexpected = sorted(weights.state.keys() - expected.keys())
    shapes = [
        f"{name} {tuple(weights.state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights.state and weights.state[name].shape != tensor.shape
    ]
    if missing or unexpected or shapes:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
        said = "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)
        raise WeightsError(
            f"weights {weights.digest[:12]}… do not fit {type(module).__name__}: {said}",
            "use weights that were trained for this network, with the same options and number of bands",
        )
    module.load_state_dict(weights.state)
    return module


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or who comes after a crash, sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _shipped(name: str) -> Path:
    known = sorted(path.stem for path in SHIPPED.glob("*.json"))
    if name not in known:
        raise WeightsError(
            f"no weights of {name!r} come with landfuse; there are {', '.join(known) or 'none'}", "train them: landfuse train"
        )
    return SHIPPED / f"{name}.safetensors"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", _MEND) from error


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(_read(path))
    except ValueError as error:
        raise WeightsError(f"the model card {path} is no JSON: {error}", _MEND) from error
    if not isinstance(card, dict) or not isinstance(card.get("sha256"), str):
        raise WeightsError(f"the model card {path} has no sha256 of its weights", _MEND)
    return card
