"""Methods at work on a case, through the interface that a run uses; what was predicted is kept until its inputs or its code change."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.assessment.digests import code_digest, digest, sources
from pipeline.fusion import options, registry
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.networks.weights import card_at, cards
from pipeline.fusion.registry import build, options_of, spec_of, specs


@dataclass(frozen=True)
class Entrant:
    """A method with its options, under the label of its row.

    Parameters
    ----------
    label, method : str
    options : mapping
    control : bool
    """

    label: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    control: bool = False

    @property
    def support(self) -> tuple[int, int]:
        """Days before and after a target that it looks at."""
        before, after = options_of(self.method, self.options).support()
        return int(before), int(after)

    @property
    def card(self) -> dict[str, Any]:
        """The card of the weights that it predicts with; empty where it has none."""
        path = options_of(self.method, self.options).model_dump().get("weights")
        if path:
            return card_at(Path(path))
        return {} if path is None else cards().get(self.method, {})


@dataclass(frozen=True)
class Predicted:
    """What a method said.

    Parameters
    ----------
    mean, std : mapping of int to ndarray, (B, y, x) float32
        By day; NaN where it says nothing.
    seconds : float
        To estimate, prepare and predict, when it was made.
    parameters : mapping
        What the method had learnt.
    """

    mean: Mapping[int, np.ndarray]
    std: Mapping[int, np.ndarray]
    seconds: float
    parameters: Mapping[str, Any]


def entrants(methods: Mapping[str, Entrant]) -> list[Entrant]:
    """The methods that are compared, and the six controls, which look at least as far as any of them.

    Raises
    ------
    ConfigurationError
        If a method is unknown or its options are wrong.
    """
    reach = max((day for entrant in methods.values() for day in entrant.support), default=0)
    line = [entrant for entrant in methods.values() if not spec_of(entrant.method).control]
    for spec in specs().values():
        if spec.control:
            days = max(reach, *options_of(spec.name, {}).support())
            line.append(Entrant(spec.name, spec.name, {"days": days}, control=True))
    return line


def predict(
    entrant: Entrant, block: FusionInput, days: Sequence[int], cache: Path | None = None, parameters: Mapping[str, Any] | None = None
) -> Predicted:
    """Let a method learn from a block and predict days.

    Parameters
    ----------
    entrant : Entrant
    block : FusionInput
        Without the images that are predicted. The method gets no extra layer that its `MethodSpec.needs` does not name.
    days : sequence of int
        Day numbers, increasing.
    cache : Path, optional
        Folder where predictions are kept by the digest of what they follow from: block, days, options and the method's code.
    parameters : mapping, optional
        Learnt elsewhere; nothing is learnt from the block then.
    """
    block = block.asked(spec_of(entrant.method).needs)
    path = None if cache is None else cache / f"{entrant.method}-{_key(entrant, block, days, parameters)}.npz"
    if path is not None and path.exists():
        return _kept(path, days)
    started = time.perf_counter()
    method = build(entrant.method, entrant.options)
    learnt = method.estimate([block]) if parameters is None else parameters
    with torch.inference_mode():
        state = method.prepare(block, learnt, torch.device("cpu"))
        made = [(day.day, day.mean.numpy(), day.std.numpy()) for day in method.days(state, list(days))]
    seconds = time.perf_counter() - started
    predicted = Predicted({day: mean for day, mean, _ in made}, {day: std for day, _, std in made}, seconds, learnt)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            mean=np.stack([predicted.mean[day] for day in days]),
            std=np.stack([predicted.std[day] for day in days]),
            seconds=predicted.seconds,
            parameters=json.dumps(dict(learnt)),
        )
        part.replace(path)
    return predicted


def _key(entrant: Entrant, block: FusionInput, days: Sequence[int], parameters: Mapping[str, Any] | None) -> str:
    optional = {"doubt": block.fine_doubt, "surface": block.fine_surface}
    given = {name: layer for name, layer in optional.items() if layer is not None}
    place = [block.scale, block.resolution, block.origin, block.bands]
    described = [block.fine_days, block.coarse_days, *place, sorted(block.layers), list(days)]
    chosen = options_of(entrant.method, entrant.options).model_dump(mode="json")
    return digest(
        code_of(entrant.method),
        chosen,
        described,
        parameters,
        block.fine,
        block.fine_std,
        block.coarse,
        block.coarse_std,
        *([entrant.card["sha256"]] if entrant.card else []),
        *(part for named in given.items() for part in named),
        *(block.layers[name] for name in sorted(block.layers)),
        *(part for name in sorted(block.coarse_layers) for part in (name, block.coarse_layers[name])),
    )


_LISTS = frozenset({registry.__name__, options.__name__})
"""They grow with every method; the options themselves are part of the digest."""


def code_of(method: str) -> list[str]:
    """Digests of the code of a method. One that builds others through the registry may use any of them."""
    module = _module(method)
    builds = registry.__name__.encode() in sources(module, _LISTS)[module]
    return [code_digest(name, _LISTS) for name in (module, *([_module(name) for name in specs()] if builds else []))]


def _module(method: str) -> str:
    return spec_of(method).target.partition(":")[0]


def _kept(path: Path, days: Sequence[int]) -> Predicted:
    with np.load(path, allow_pickle=False) as stored:
        mean, std = stored["mean"], stored["std"]
        learnt = json.loads(str(stored["parameters"]))
        return Predicted(dict(zip(days, mean, strict=True)), dict(zip(days, std, strict=True)), float(stored["seconds"]), learnt)
