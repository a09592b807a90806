"""What screening finds on a simulated place, whose sky and events are known, and what it is worth to methods and controls.

    python benchmarks/screening.py --seed 201 --cloudiness 0.3
    python benchmarks/screening.py --seed 206 --cloudiness 0.4 --first 2022-11-01 --last 2023-05-10     # a winter with snow

Prints Markdown. Settings were chosen on seeds 201, 202, 206 and 221; seeds are for tuning (200–299) unless a table is for a report.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from pipeline.assessment.archives import Mask
from pipeline.assessment.cases import Case, cases_of
from pipeline.assessment.experiments import Experiment
from pipeline.assessment.predicting import Entrant, predict
from pipeline.assessment.roles import roles
from pipeline.assessment.simulated import sandbox_archive
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.grid import Grid, day_from_number
from pipeline.sandbox import SandboxSpec
from pipeline.sandbox.marks import Marks, events, marks
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.screen import Screened, applied, screen
from pipeline.vocabulary import BANDS, Surface, Verdict

CLOUD, SHADE, HAZE = 0.05, 0.1, 0.01
"""Opacity, shade and reflectance in blue from which a pixel counts as under a missed cloud, in a shadow, in haze."""

CLEAN_CLOUD, CLEAN_SHADE = 0.02, 0.05
"""Up to which it counts as clean; events are counted on clean ground."""

WITHIN = 16
"""Days that an event counts as new."""

METHODS = ("residual", "linear", "delta2", "nearest")

Verdicts = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=201)
    parser.add_argument("--cloudiness", type=float, default=0.3)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2023, 3, 20))
    parser.add_argument("--last", type=date.fromisoformat, default=date(2023, 10, 20))
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--cache", type=Path, default=Path("out/cache"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)

    role = roles().of_seed(given.seed)
    place = {"seed": given.seed, "cloudiness": given.cloudiness, "first": given.first, "last": given.last, "size": given.size}
    named = {"name": "screening", "title": "screening", "sandbox": place, "role": role, "withhold": {"every": 4, "clear": 0.1}}
    experiment = Experiment.model_validate(named)
    archive = sandbox_archive(
        given.seed, given.cloudiness, given.first, given.last, given.size, given.cache, lambda stage, done, total: None
    )
    (case,) = cases_of(experiment, archive)
    spec = SandboxSpec(_grid(given.size), given.first, given.last, given.seed, given.cloudiness)
    world = spec.world
    days = [day_from_number(day) for day in case.block.fine_days]
    seen = [marks(spec, world, day) for day in days]
    changed = [events(world, day, WITHIN) for day in days]
    surface = torch.from_numpy(np.stack([_surface(part) for part in seen]))
    rows = _rows(case, seen, changed)

    print(
        f"## Seed {given.seed}, {given.cloudiness:.0%} cloud, {given.first} to {given.last}, {len(days)} images of {given.size}² pixels\n"
    )
    flagged, plain = screen(case.block, BANDS, surface), screen(case.block, BANDS)
    _table("Verdicts when all images are known (with flags of snow and water)", rows, flagged.verdict.numpy())
    _table("The same without flags", rows, plain.verdict.numpy())
    for more, title in ((0, "Verdicts of each image on its own day: nothing after it"), (1, "Verdicts when one later image exists")):
        _table(title, rows, _as_of(case.block, surface, more))
    _gain(case, flagged, plain, seen)
    _cost(case.block, surface)


def _grid(size: int) -> Grid:
    """The grid of `sandbox_archive`."""
    west, south = 500_175.0, 4_900_815.0
    return Grid.from_bounds("EPSG:32633", (west, south, west + size * 30, south + size * 30))


def _surface(seen: Marks) -> np.ndarray:
    flags = np.where(seen.water, int(Surface.WATER), int(Surface.LAND))
    return np.where(seen.snow, int(Surface.SNOW), flags).astype(np.uint8)


def _rows(case: Case, seen: list[Marks], changed: list[Mapping[str, Mask]]) -> dict[str, Mask]:
    """Clear-flagged pixels (K, y, x) by what they really show."""
    cloud, shade, haze = (np.stack([getattr(part, name) for part in seen]) for name in ("cloud", "shade", "haze"))
    missed, shadow = cloud > CLOUD, (cloud <= CLOUD) & (shade > SHADE)
    clean = (cloud <= CLEAN_CLOUD) & (shade <= CLEAN_SHADE)
    kinds = {kind: np.stack([part[kind] for part in changed]) for kind in changed[0]}
    snow = np.stack([part.snow for part in seen])
    quiet = clean & ~np.logical_or.reduce([*kinds.values(), snow])
    found = {
        "missed cloud": missed,
        "shadow, deep (over 30 %)": shadow & (shade > 0.3),
        "shadow, light": shadow & (shade <= 0.3),
        "haze": quiet & (np.abs(haze) > HAZE),
        "fire": clean & kinds["fire"],
        "flood": clean & kinds["flood"],
        "harvest, plough, mowing": clean & kinds["cutting"],
        "felling": clean & kinds["felling"],
        "snow": clean & snow,
        "clean ground": quiet & (np.abs(haze) <= HAZE),
    }
    return {name: mask & case.clear for name, mask in found.items()}


def _table(title: str, rows: Mapping[str, Mask], verdict: Verdicts) -> None:
    print(f"### {title}\n\n| what it is | pixels | clear % | suspect % | refused % | refused |\n|---|---|---|---|---|---|")
    for name, mask in rows.items():
        count = int(mask.sum())
        if count:
            shares = [float((verdict[mask] == code).mean() * 100) for code in Verdict]
            refused = int((verdict[mask] == Verdict.REFUSED).sum())
            print(f"| {name} | {count} | " + " | ".join(f"{share:.2f}" for share in shares) + f" | {refused} |")
    print()


def _as_of(block: FusionInput, surface: torch.Tensor, more: int) -> Verdicts:
    """Verdicts (K, y, x) of each image when so many later ones had been taken, with the coarse series until the last of them."""
    before, _ = ScreeningOptions().support()
    found = np.zeros(surface.shape, np.uint8)
    for index, day in enumerate(block.fine_days):
        last = min(index + more, len(block.fine_days) - 1)
        kept = [other for other in range(last + 1) if day - before <= block.fine_days[other]]
        until = sum(number <= block.fine_days[last] for number in block.coarse_days)
        then = replace(
            block,
            fine=block.fine[kept],
            fine_days=tuple(block.fine_days[other] for other in kept),
            fine_std=block.fine_std[kept],
            coarse=block.coarse[:until],
            coarse_std=block.coarse_std[:until],
            coarse_days=block.coarse_days[:until],
        )
        found[index] = screen(then, BANDS, surface[kept]).verdict[kept.index(index)].numpy()
    return found


def _gain(case: Case, flagged: Screened, plain: Screened, seen: list[Marks]) -> None:
    """RMSE on the withheld images, against the truth."""
    dirty = torch.from_numpy(np.stack([(part.cloud > CLOUD) | (part.shade > SHADE) for part in seen]))
    blocks = {
        "as it is": case.block,
        "screened": applied(case.block, flagged),
        "screened, no flags": applied(case.block, plain),
        "all contaminated removed": replace(case.block, fine=case.block.fine.masked_fill(dirty[:, None], torch.nan)),
    }
    print(f"### RMSE on {len(case.targets)} withheld images\n\n| method | " + " | ".join(blocks) + " |\n|---|" + "---|" * len(blocks))
    for name in METHODS:
        figures = []
        for block in blocks.values():
            mean = predict(Entrant(name, name), block, case.targets).mean
            square = [np.square(mean[day] - case.expected(day)) for day in case.targets]
            figures.append(float(np.sqrt(np.nanmean(np.stack(square)))))
        print(f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |", flush=True)
    print()


def _cost(block: FusionInput, surface: torch.Tensor) -> None:
    """Time on one core beside that of the method of residuals for all days between the first and the last image."""
    started = time.process_time()
    with torch.inference_mode():
        screen(block, BANDS, surface)
        screening = time.process_time() - started
        method = build("residual", {})
        started = time.process_time()
        state = method.prepare(block, {}, torch.device("cpu"))
        days = range(block.fine_days[0], block.fine_days[-1] + 1)
        for _ in method.days(state, days):
            pass
        fusing = time.process_time() - started
    print(f"Screening takes {screening:.2f} s, the method of residuals {fusing:.2f} s for {len(days)} days: {screening / fusing:.0%}.")


if __name__ == "__main__":
    main()
