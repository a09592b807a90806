"""What screening finds on simulated places, whose sky and events are known, and what it is worth to methods and controls.

    python benchmarks/screening.py 201:0.3 202:0.6 206:0.3
    python benchmarks/screening.py 206:0.4 --first 2022-11-01 --last 2023-05-10     # a winter with snow

Prints Markdown, of several places all together at the end. Settings were chosen on seeds 201, 202, 206 and 221; seeds are for tuning
(200–299) unless a table is for a report.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from places import Place, add_places, places_of

from pipeline.assessment.archives import Mask
from pipeline.assessment.cases import Case
from pipeline.assessment.predicting import Entrant, predict
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.grid import day_from_number
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

EVENTS = ("fire", "flood", "harvest, plough, mowing", "felling")
ALLOWED = 0.05
"""Share of event pixels that may be refused once one later scene exists."""

ALL, UNFLAGGED, ALONE, LATER = (
    "Verdicts when all images are known (with flags of snow and water)",
    "The same without flags",
    "Verdicts of each image on its own day: nothing after it",
    "Verdicts when one later image exists",
)

METHODS = ("residual", "linear", "delta2", "nearest")

Verdicts = np.ndarray
Counts = dict[str, np.ndarray]
"""Row of a table → pixels by verdict, (3,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_places(parser, ("201:0.3", "202:0.6", "206:0.3"))  # the third one burns
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [_place(place, given.cache) for place in places_of(given)]
    if len(found) > 1:
        print(f"## All {len(found)} places\n")
        _tables(together(found))


def _place(place: Place, cache: Path) -> dict[str, Counts]:
    """Print everything of a place; returns the counts of its tables."""
    # Not screened yet: that is what is looked at.
    case = place.case(place.archive(cache), screening=False)
    spec = place.spec
    world = spec.world
    days = [day_from_number(day) for day in case.block.fine_days]
    seen = [marks(spec, world, day) for day in days]
    changed = [events(world, day, WITHIN) for day in days]
    surface = torch.from_numpy(np.stack([_surface(part) for part in seen]))
    rows = _rows(case, seen, changed)

    print(f"## {place.title[0].upper()}{place.title[1:]}, {len(days)} images\n")
    flagged, plain = screen(case.block, BANDS, surface), screen(case.block, BANDS)
    verdicts = {
        ALL: flagged.verdict.numpy(),
        UNFLAGGED: plain.verdict.numpy(),
        ALONE: _as_of(case.block, surface, 0),
        LATER: _as_of(case.block, surface, 1),
    }
    counts = {title: counted(rows, verdict) for title, verdict in verdicts.items()}
    _tables(counts)
    _gain(case, flagged, plain, seen)
    _cost(case.block, surface)
    return counts


def counted(rows: Mapping[str, Mask], verdict: Verdicts) -> Counts:
    """Pixels of each row by verdict."""
    return {name: np.bincount(verdict[mask], minlength=len(Verdict)) for name, mask in rows.items()}


def together(found: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Tables of several places as one."""
    return {title: {name: np.sum([part[title][name] for part in found], axis=0) for name in rows} for title, rows in found[0].items()}


def refused_events(counts: Counts) -> dict[str, float]:
    """Share of the pixels of each kind of event, and of all, that is refused; NaN where there are none."""
    kinds = {name: counts[name] for name in EVENTS} | {"all": np.sum([counts[name] for name in EVENTS], axis=0)}
    return {name: float(count[Verdict.REFUSED] / count.sum()) if count.sum() else float("nan") for name, count in kinds.items()}


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


def _tables(tables: Mapping[str, Counts]) -> None:
    for title, counts in tables.items():
        print(f"### {title}\n\n| what it is | pixels | clear % | suspect % | refused % | refused |\n|---|---|---|---|---|---|")
        for name, by_verdict in counts.items():
            pixels = int(by_verdict.sum())
            shares = [f"{100 * count / pixels:.2f}" if pixels else "–" for count in by_verdict]
            print(f"| {name} | {pixels} | " + " | ".join(shares) + f" | {by_verdict[Verdict.REFUSED]} |")
        print()
    shares = {name: share for name, share in refused_events(tables[LATER]).items() if not np.isnan(share)}
    if not shares:
        print("No event pixels here.\n")
        return
    each = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
    kept = "kept" if max(shares.values()) <= ALLOWED else "**missed**"
    print(f"Event pixels refused once one later scene exists: {each}; at most {ALLOWED:.0%} is allowed: {kept}.\n")


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
            fine_surface=None if block.fine_surface is None else block.fine_surface[kept],
            coarse=block.coarse[:until],
            coarse_std=block.coarse_std[:until],
            coarse_days=block.coarse_days[:until],
            coarse_layers={name: layer[:until] for name, layer in block.coarse_layers.items()},
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
