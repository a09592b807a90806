"""What every registered method costs: CPU time, peak memory, and how they grow with references, bands and days, as Markdown.

Usage: python benchmarks/methods.py [--size 512] [--methods residual,linear] [--json FILE]

One simulated block under moving clouds, one torch thread. Every case runs in a process of its own, so that peaks of memory
do not mix. Times differ from machine to machine: compare the ratios to the control `linear` of the same run.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: pools of threads do not survive a fork

import argparse
import dataclasses
import json
import multiprocessing
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build, specs
from pipeline.operators.resample import area_mean, lift

BASELINE = "linear"
BANDS = (1, 6)
REFERENCES = (15, 30)
SPAN = 120
"""Days over which the references are spread: all lie in the support of every method at the targets in the middle."""

FEW, MANY = 2, 4
"""Days predicted; the growth with days compares them."""

CLEAR = 0.45
SCALE = 8
FIRST = 20000


@dataclass(frozen=True)
class Cost:
    """One method on one block.

    Parameters
    ----------
    method : str
    bands, references, days : int
    prepare, predict : float
        CPU time of the work done once, and of all days together [s].
    peak : float
        Memory above what the block itself takes [MB].
    megapixels : float
        Of the block.
    """

    method: str
    bands: int
    references: int
    days: int
    prepare: float
    predict: float
    peak: float
    megapixels: float

    @property
    def per_unit(self) -> float:
        """CPU seconds of prediction per megapixel · band · day."""
        return self.predict / (self.megapixels * self.bands * self.days)


def make_block(size: int, bands: int, references: int, seed: int = 7) -> FusionInput:
    """Fields that change smoothly over the season, seen through clouds of a few kilometres."""
    generator = torch.Generator().manual_seed(seed)

    def fields(count: int, cells: int) -> torch.Tensor:
        """Smooth random fields (count, size, size) of about the given number of cells across."""
        return lift(torch.randn(count, cells, cells, generator=generator), -(-size // cells))[:, :size, :size]

    level, amplitude, peak = 0.2 + 0.03 * fields(bands, 64), 0.06 * fields(bands, 32), SPAN / 2 + 15 * fields(1, 32)

    def image(day: float) -> torch.Tensor:
        return level + amplitude * torch.exp(-0.5 * ((day - peak) / 30) ** 2)

    days = [round((place + 0.5) * SPAN / references) for place in range(references)]
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


def part_of(block: FusionInput, bands: int, references: int) -> FusionInput:
    """The first bands and evenly chosen references of a block."""
    chosen = list(range(0, len(block.fine_days), len(block.fine_days) // references))[:references]
    return dataclasses.replace(
        block,
        fine=block.fine[chosen, :bands].clone(),
        fine_days=tuple(block.fine_days[place] for place in chosen),
        fine_std=block.fine_std[chosen, :bands],
        coarse=block.coarse[:, :bands].clone(),
        coarse_std=block.coarse_std[:, :bands].clone(),
    )


def measure(name: str, block: FusionInput, days: int) -> Cost:
    """Prepare a block and predict some days in the middle of its season, in a process of its own."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=lambda: sender.send(_run(name, block, days)))
    process.start()
    sender.close()
    try:
        cost = receiver.recv()
    except EOFError:
        raise SystemExit(f"{name} failed; its traceback is above") from None
    finally:
        process.join()
    return cost


def _run(name: str, block: FusionInput, days: int) -> Cost:
    method = build(name, {})
    before = _peak()
    with torch.inference_mode():
        start = time.process_time()
        state = method.prepare(block, {}, torch.device("cpu"))
        ready = time.process_time()
        middle = FIRST + SPAN // 2
        for _ in method.days(state, range(middle, middle + days)):
            pass
        done = time.process_time()
    _, bands, height, width = block.fine.shape
    return Cost(name, bands, len(block.fine_days), days, ready - start, done - ready, _peak() - before, height * width / 1e6)


def _peak() -> float:
    """Largest memory of this process so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_all(names: Sequence[str], size: int) -> list[Cost]:
    """All cases of all methods: each number of bands and references for few days, and the largest case for many."""
    torch.set_num_threads(1)
    whole = make_block(size, max(BANDS), max(REFERENCES))
    costs = []
    for bands in BANDS:
        for references in REFERENCES:
            block = part_of(whole, bands, references)
            costs += [measure(name, block, FEW) for name in names]
    costs += [measure(name, whole, MANY) for name in names]
    return costs


def table(costs: Sequence[Cost]) -> str:
    """Markdown: costs of the cases, and how they grow."""
    by_case = {(cost.method, cost.bands, cost.references, cost.days): cost for cost in costs}
    names = list(dict.fromkeys(cost.method for cost in costs))
    most = (max(BANDS), max(REFERENCES))
    cases = [(bands, references) for bands in BANDS for references in REFERENCES]
    lines = [
        "CPU seconds per megapixel·band·day of prediction",
        "",
        f"| method | {' | '.join(f'bands: {bands}, references: {references}' for bands, references in cases)} |",
        "|---|" + "---:|" * len(cases),
    ]
    for name in names:
        cells = []
        for case in cases:
            cost, baseline = by_case[name, *case, FEW], by_case[BASELINE, *case, FEW]
            cells.append(f"{cost.per_unit:.3f} (× {cost.per_unit / baseline.per_unit:.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"In brackets the ratio to `{BASELINE}`. Growth, and what {most[0]} bands and {most[1]} references take in all:",
        "",
        f"| method | prepare [s] | peak memory above the block [MB] | time × for references × {REFERENCES[1] / REFERENCES[0]:g} "
        f"| time × for bands × {BANDS[1] / BANDS[0]:g} | time × for days × {MANY / FEW:g} | memory × for days × {MANY / FEW:g} |",
        "|---|" + "---:|" * 6,
    ]
    for name in names:
        largest, more = by_case[name, *most, FEW], by_case[name, *most, MANY]
        fewer = by_case[name, most[0], min(REFERENCES), FEW]
        narrower = by_case[name, min(BANDS), most[1], FEW]
        lines.append(
            f"| {name} | {largest.prepare:.2f} | {largest.peak:.0f} | {largest.predict / fewer.predict:.1f} "
            f"| {largest.predict / narrower.predict:.1f} | {more.predict / largest.predict:.1f} | {more.peak / max(largest.peak, 1):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="edge of the block in fine pixels, a multiple of 8")
    parser.add_argument("--methods", default=",".join(specs()), help="names, separated by commas; the baseline is always measured")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    if arguments.size % SCALE:
        parser.error(f"--size {arguments.size} is not a multiple of {SCALE}")
    names = list(dict.fromkeys([BASELINE, *arguments.methods.split(",")]))
    unknown = [name for name in names if name not in specs()]
    if unknown:
        parser.error(f"no methods {unknown}; known: {', '.join(specs())}")
    start = time.monotonic()
    costs = measure_all(names, arguments.size)
    machine = platform.processor() or platform.machine()
    print(f"Block of {arguments.size}² pixels, {100 * CLEAR:.0f} % clear, one thread, torch {torch.__version__}, {machine}\n")
    print(table(costs))
    print(f"\nMeasured in {time.monotonic() - start:.0f} s.")
    if arguments.json:
        arguments.json.write_text(json.dumps([{**asdict(cost), "per_unit": cost.per_unit} for cost in costs], indent=1) + "\n")


if __name__ == "__main__":
    main()
