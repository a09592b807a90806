"""The method under test and the six controls, run through the same interface on the same observations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.fusion.interface import FusionInput, Method
from pipeline.fusion.registry import build, options_of, specs


@dataclass(frozen=True)
class Contender:
    """A method with what it learnt about the area.

    Parameters
    ----------
    name : str
        Registry name.
    method : Method
    parameters : mapping
        As its `estimate` made them.
    support : (int, int)
        Days before and after a target that it looks at.
    control : bool
    """

    name: str
    method: Method
    parameters: Mapping[str, Any] = field(default_factory=dict)
    support: tuple[int, int] = (0, 0)
    control: bool = False


def line_up(name: str, options: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Contender]:
    """The method of an area with its options and parameters, and every control.

    A control looks at least as far as the method, so that a longer view is not taken for a better method.

    Raises
    ------
    ConfigurationError
        If the method is unknown or its options are wrong.
    """
    support = options_of(name, options).support()
    line = [Contender(name, build(name, options), parameters, support, specs()[name].control)]
    for spec in specs().values():
        if spec.control and spec.name != name:
            mine = {"days": max(*support, *options_of(spec.name, {}).support())}
            line.append(Contender(spec.name, build(spec.name, mine), support=options_of(spec.name, mine).support(), control=True))
    return line


def predictions(
    block: FusionInput, contenders: Sequence[Contender], days: Sequence[int], device: torch.device | None = None
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Predict the days with every contender, one day after the other.

    Parameters
    ----------
    block : FusionInput
        The observations; they hold at least the support of every contender around every day.
    contenders : sequence of Contender
    days : sequence of int
        Day numbers, increasing.
    device : torch.device, optional
        The CPU when left out.

    Yields
    ------
    day : int
    images : dict of str to ndarray, (B, y, x) float32
        The whole window of `block`, halo included; NaN where a contender says nothing.
    """
    device = device or torch.device("cpu")
    with torch.inference_mode():
        states = [contender.method.prepare(block, contender.parameters, device) for contender in contenders]
        streams = [contender.method.days(state, list(days)) for contender, state in zip(contenders, states, strict=True)]
        # Side by side, so that one day of every contender is held, not all days of one.
        for made in zip(*streams, strict=True):
            yield made[0].day, {contender.name: day.mean.cpu().numpy() for contender, day in zip(contenders, made, strict=True)}
