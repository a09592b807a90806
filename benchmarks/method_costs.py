"""What one method costs on one simulated block: CPU time and peak memory, each case in a process of its own (Linux)."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.operators.resample import area_mean, lift

SPAN = 120
"""Days of the coarse series."""

FIRST = 20000
SCALE = 8

CLEAR = 0.97
"""Share of the pixels of an image that is clear. Published figures are those of clear images."""

_WARM = 64
"""Edge of the block on which libraries and compiled kernels are loaded before anything is measured."""


@dataclass(frozen=True)
class Case:
    """A method and the block it works on.

    Parameters
    ----------
    method : str
    size : int
        Edge of the block [fine pixels].
    bands, references : int
    further : int
        Days after the first one that are timed, or as many as the method predicts at once; more of them cost as much.
    options : mapping
        Of the method, where they differ from the defaults.
    """

    method: str
    size: int
    bands: int = 6
    references: int = 2
    further: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a case costs.

    Parameters
    ----------
    first : float
        CPU time of a block with one target [s].
    another : float
        CPU time of each further target between the same references [s]; 0 if none was timed.
    peak : float
        Memory above that of the input [MB].
    work : float
        Megapixels · bands of a target.
    """

    first: float
    another: float
    peak: float
    work: float

    def of_days(self, days: int) -> float:
        """CPU time of a block with some targets on shared references [s]."""
        return self.first + (days - 1) * self.another

    def rate(self, days: int) -> float:
        """Megapixels · bands of output per CPU second."""
        return days * self.work / self.of_days(days)


def measure(case: Case) -> Cost:
    """Run a case in a process of its own, so that peaks of memory do not mix.

    Raises
    ------
    SystemExit
        If the method fails.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(_run(case)))
    process.start()
    sender.close()
    try:
        cost: Cost = receiver.recv()
    except EOFError:
        raise SystemExit(f"{case} failed; its traceback is above") from None
    finally:
        process.join()
    return cost


def make_block(size: int, bands: int, references: int, seed: int = 7) -> FusionInput:
    """Fields that change smoothly over the season, seen between clouds of a few kilometres.

    The first two references lie 60 days apart around the middle; others are spread over the rest of the season.
    """
    generator = torch.Generator().manual_seed(seed)

    def fields(count: int, cells: int) -> torch.Tensor:
        """Smooth random fields (count, size, size) of about the given number of cells across."""
        return lift(torch.randn(count, cells, cells, generator=generator), -(-size // cells))[:, :size, :size]

    level, amplitude, peak = 0.2 + 0.03 * fields(bands, 64), 0.06 * fields(bands, 32), SPAN / 2 + 15 * fields(1, 32)

    def image(day: float) -> torch.Tensor:
        return level + amplitude * torch.exp(-0.5 * ((day - peak) / 30) ** 2)

    outer = [day for pair in zip(range(24, 0, -3), range(96, SPAN, 3), strict=True) for day in pair]
    days = sorted([30, 90, *outer][:references])
    fine = torch.empty(references, bands, size, size)
    for place, day in enumerate(days):
        cover = fields(1, 8)[0] + 0.3 * fields(1, 32)[0]
        hidden = cover > cover.flatten()[::17].quantile(CLEAR)
        fine[place] = (image(day) + 0.005 * torch.randn(bands, size, size, generator=generator)).masked_fill(hidden, torch.nan)
    coarse = torch.stack([area_mean(image(day), SCALE)[0] for day in range(SPAN)])
    return FusionInput(
        fine=fine,
        fine_days=tuple(FIRST + day for day in days),
        fine_std=torch.full((references, bands), 0.005),
        coarse=coarse,
        coarse_std=torch.full_like(coarse, 0.008),
        coarse_days=tuple(range(FIRST, FIRST + SPAN)),
        scale=SCALE,
        resolution=30.0,
    )


def _run(case: Case) -> Cost:
    torch.set_num_threads(1)
    method, cpu = build(case.method, case.options), torch.device("cpu")
    at_once = getattr(method, "at_once", 1)
    further = max(case.further, at_once) if case.further else 0
    targets = range(FIRST + 50, FIRST + 51 + further)
    # The first of several that are made at once would seem to cost what all do: it is made alone.
    parts = [targets] if at_once == 1 else [targets[:1], targets[1:]]
    with torch.inference_mode():
        small = make_block(_WARM, case.bands, case.references)
        state = method.prepare(small, {}, cpu)
        for part in (targets[:1], *parts[1:]):
            for _ in method.days(state, part):
                pass
        block = make_block(case.size, case.bands, case.references)
        # What making the block has left would hide what the method takes.
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        before = _memory("VmRSS")
        times = [time.process_time()]
        state = method.prepare(block, {}, cpu)
        for part in parts:
            for _ in method.days(state, part):
                times.append(time.process_time())
    start, first, *_, last = [*times, times[-1]]
    return Cost(first - start, (last - first) / max(further, 1), _memory("VmHWM") - before, case.size**2 * case.bands / 1e6)


def _memory(name: str) -> float:
    """A figure of /proc/self/status [MB]."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))
