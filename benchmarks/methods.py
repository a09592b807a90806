"""What every registered method costs: output per CPU second, peak memory, and growth, beside published figures, as Markdown.

Usage: python benchmarks/methods.py [--large] [--methods residual,linear] [--json FILE]

One simulated block with a fine image on either side of the targets, one thread. Times differ from machine to machine: compare
the ratios to the control `linear` of the same run. What is learnt once of an area (`estimate`) is not counted.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: pools of threads do not survive a fork

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from method_costs import CLEAR, SCALE, Case, Cost, measure

from pipeline.fusion.registry import options_of, specs

BASELINE = "linear"
SMALL, LARGE = 256, 1000
GROWTH = Case(BASELINE, size=256, bands=3)
"""What growth is measured from, for every method."""

DAYS = 30
MOST_MEMORY = 1000.0
"""Memory that no method may take beside its input at the large size [MB]."""


@dataclass(frozen=True)
class Published:
    """What another implementation reaches at 1000 × 1000 × 6, and what is asked of ours.

    Parameters
    ----------
    code : str
    rate : float
        Megapixels · bands per CPU second with one target.
    one, thirty : float
        Multiples of it asked for one target, and per output for thirty; 0 = nothing is.
    """

    code: str
    rate: float
    one: float = 1.0
    thirty: float = 0.0


PUBLISHED = {
    "starfm": Published("C++", 0.057, 3, 10),
    "estarfm": Published("C++", 0.129, 3, 10),
    "fitfc": Published("C++", 0.257, 3, 10),
    "fsdaf": Published("Python", 0.02, 25),
    "vsdf": Published("FastVSDF", 0.68),
    "efast": Published("EFAST", 0.5),
    "robot": Published("ROBOT", 3.9),
}


@dataclass(frozen=True)
class Measured:
    """A method at the size asked for, and how its cost grows.

    Parameters
    ----------
    cost : Cost
    growth : mapping of str to float
        Times as much CPU time, by what is made larger; a method without a window has none of it.
    """

    cost: Cost
    growth: Mapping[str, float]


def measured(name: str, size: int) -> Measured:
    """Measure a method."""

    case = replace(GROWTH, method=name)
    base = measure(case)
    larger = {
        "bands": replace(case, bands=2 * case.bands, further=0),
        "references": replace(case, references=4 * case.references, further=0),
    }
    window = options_of(name, {}).model_dump().get("window")
    if window is not None:
        larger["window"] = replace(case, options={"window": 2 * window}, further=0)
    growth = {what: measure(other).first / base.first for what, other in larger.items()}
    return Measured(measure(Case(name, size)), {**growth, "days": base.of_days(DAYS) / base.first})


def table(found: Mapping[str, Measured]) -> Iterator[str]:
    """Lines of Markdown: output and memory beside what is published, then growth."""
    yield f"Megapixels · bands per CPU second for 1 day and for {DAYS}, CPU time over that of `{BASELINE}`, peak memory above the input:"
    yield ""
    yield f"| method | 1 day | asked | {DAYS} days | asked | 1 day ÷ `{BASELINE}` | {DAYS} days ÷ `{BASELINE}` | memory [MB] |"
    yield "|---|" + "---:|" * 7
    baseline = found[BASELINE].cost
    for name, method in found.items():
        cost = method.cost
        asked = [_asked(PUBLISHED.get(name), days, cost.rate(days)) for days in (1, DAYS)]
        ratios = [cost.of_days(days) / baseline.of_days(days) for days in (1, DAYS)]
        memory = f"{cost.peak:.0f}" + (" **(over)**" if cost.peak > MOST_MEMORY else "")
        cells = [f"{cost.rate(1):.3g}", asked[0], f"{cost.rate(DAYS):.3g}", asked[1], *(f"{ratio:.1f}" for ratio in ratios), memory]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield f"Times as much CPU time, from {GROWTH.size}² × {GROWTH.bands} bands, {GROWTH.references} references, 1 day:"
    yield ""
    yield f"| method | window × 2 | bands × 2 | days × {DAYS} | references × 4 |"
    yield "|---|" + "---:|" * 4
    for name, method in found.items():
        cells = [f"{method.growth[key]:.1f}" if key in method.growth else "–" for key in ("window", "bands", "days", "references")]
        yield f"| {name} | {' | '.join(cells)} |"


def _asked(known: Published | None, days: int, rate: float) -> str:
    """What is asked of the rate of a number of days, and whether it is reached."""
    times = 0.0 if known is None else known.one if days == 1 else known.thirty
    if known is None or not times:
        return "–"
    reached = "reached" if rate >= times * known.rate else "**missed**"
    return f"{times:g} × {known.rate:g} ({known.code}): {reached}"


def document(found: Mapping[str, Measured], size: int) -> dict[str, Any]:
    """The figures for machines."""
    return {
        "machine": _machine(),
        "torch": torch.__version__,
        "methods": {
            name: {
                "mpx_band_per_cpu_s_one": method.cost.rate(1),
                "mpx_band_per_cpu_s_thirty": method.cost.rate(DAYS),
                "peak_mb": method.cost.peak,
                "size": f"{size} × {size} × 6",
            }
            for name, method in found.items()
        },
    }


def _machine() -> str:
    """Model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--large", action="store_true", help=f"{LARGE}² pixels, the size of the published figures, instead of {SMALL}²; takes many minutes"
    )
    parser.add_argument("--methods", default=",".join(specs()), help="names, separated by commas; the baseline is always measured")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    names = list(dict.fromkeys([BASELINE, *arguments.methods.split(",")]))
    unknown = [name for name in names if name not in specs()]
    if unknown:
        parser.error(f"no methods {unknown}; known: {', '.join(specs())}")
    size = LARGE if arguments.large else SMALL
    start = time.monotonic()
    found = {}
    for name in names:
        found[name] = measured(name, size)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"{size} × {size} × 6, {100 * CLEAR:.0f} % clear, cells of {SCALE} pixels, one thread, torch {torch.__version__}, {_machine()}\n")
    print("\n".join(table(found)))
    print(f"\nMeasured in {time.monotonic() - start:.0f} s.")
    if arguments.json:
        arguments.json.write_text(json.dumps(document(found, size), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
