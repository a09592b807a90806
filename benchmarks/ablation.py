"""What each part of the default method is worth: everything as it is, and then without one part after the other.

    python benchmarks/ablation.py 201:0.3 202:0.6 206:0.3 --cache FOLDER

Every fourth image of a simulated place is withheld and predicted by `smoother` from what is left, as `landfuse assess` does. A part is
taken out where it works, by a value that leaves it without effect; the parameters are learnt anew each time. Prints Markdown: RMSE (mean
of the bands, days pooled) on all pixels and on those that an event changed, and the share of errors within 1 σ. Seeds are for tuning
(200–299) unless a table is for a report.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from places import Place, add_places, places_of

from pipeline.assessment.archives import Archive
from pipeline.assessment.cases import Case
from pipeline.fusion.registry import build

METHOD = "smoother"


@dataclass(frozen=True)
class Variant:
    """The method without a part.

    Parameters
    ----------
    name : str
    screening : bool
        Images are screened.
    surface : bool
        It is known where snow lies.
    options, parameters : mapping
        Of the method; parameters take the place of learnt ones.
    patched : mapping
        ``"module.name"`` → what takes its place.
    """

    name: str
    screening: bool = True
    surface: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    patched: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("as it is"),
    Variant("no screening: nothing refused or doubted, no offset taken off", screening=False),
    Variant("no offset of an image taken off", patched={"pipeline.screening.screen.levelled": lambda fine, offset, scale: fine.clone()}),
    Variant("no gain of a pixel's own", parameters={"gain_std": 0.0}),
    Variant("no coarse anomaly at all (gain 0)", parameters={"gain_std": 0.0, "coarse_gain": [0.0]}),
    Variant("no break: every change is gradual", patched={"pipeline.fusion.breaks.Breaks.between": staticmethod(lambda *given: None)}),
    Variant("snow is ground like any other", surface=False),
    Variant("no observation doubted for what the others say", patched={"pipeline.fusion.smoother.OUTLIER": 1e6}),
    Variant("pixels beside clouds trusted like any other", options={"cloud_noise": 0.0}),
    Variant("64 days instead of 144", options={"days": 64}),
)


@dataclass(frozen=True)
class Found:
    """Squared errors of all bands by day, those of changed pixels, and the share of errors within 1 σ."""

    everywhere: np.ndarray
    changed: np.ndarray
    within: float

    @property
    def rmse(self) -> float:
        return float(np.sqrt(self.everywhere.mean(axis=0)).mean())

    @property
    def rmse_changed(self) -> float:
        return float(np.sqrt(self.changed.mean(axis=1)).mean()) if self.changed.size else float("nan")


def tried(variant: Variant, place: Place, archive: Archive) -> Found:
    """A place predicted by a variant."""
    with ExitStack() as stack:
        for target, value in variant.patched.items():
            stack.enter_context(patch(target, value))
        case = place.case(archive, screening=variant.screening)
        block = case.block if variant.surface else replace(case.block, fine_surface=None)
        method = build(METHOD, dict(variant.options))
        with torch.inference_mode():
            state = method.prepare(block, {**method.estimate([block]), **variant.parameters}, torch.device("cpu"))
            return _found(case, {made.day: (made.mean.numpy(), made.std.numpy()) for made in method.days(state, list(case.targets))})


def _found(case: Case, made: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Found:
    everywhere, changed, within = [], [], []
    for day, (mean, std) in made.items():
        error = mean - case.expected(day)
        events = case.strata(day, mean)["changed"]
        everywhere.append(np.nanmean(error**2, axis=(1, 2)))
        changed.append((error**2)[:, events])
        within.append(float((np.abs(error) <= std)[np.isfinite(error)].mean()))
    return Found(np.array(everywhere), np.concatenate(changed, axis=1), float(np.mean(within)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser, ("201:0.3", "202:0.6", "206:0.3"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for place in places_of(given):
        archive = place.archive(given.cache)
        print(f"\n## {place.title}\n\n| without | RMSE | change | changed pixels | change | in 1 σ |\n|---|---:|---:|---:|---:|---:|")
        whole: Found | None = None
        for number, variant in enumerate(VARIANTS, start=1):
            print(f"{place.title}: {number} of {len(VARIANTS)}", file=sys.stderr, end="\r")
            found = tried(variant, place, archive)
            whole = whole or found
            more = [f"{100 * (new / old - 1):+.1f} %" for new, old in ((found.rmse, whole.rmse), (found.rmse_changed, whole.rmse_changed))]
            cells = (variant.name, f"{found.rmse:.4f}", more[0], f"{found.rmse_changed:.4f}", more[1], f"{found.within:.2f}")
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
