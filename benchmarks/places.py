"""The simulated places that benchmarks look at: which ones, and what a run reads of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline.assessment.archives import Archive
from pipeline.assessment.cases import Case, cases_of
from pipeline.assessment.experiments import Experiment
from pipeline.assessment.roles import roles
from pipeline.assessment.simulated import sandbox_archive
from pipeline.grid import Grid, day_from_number
from pipeline.sandbox import SandboxSpec


@dataclass(frozen=True)
class Place:
    """A simulated place and the days of its scenes.

    Parameters
    ----------
    seed : int
    cloudiness : float
        Mean share of the sky that is covered, 0–1.
    first, last : date
    size : int
        Edge [fine pixels], a whole number of cells of 8.
    """

    seed: int
    cloudiness: float
    first: date
    last: date
    size: int

    @property
    def title(self) -> str:
        return f"seed {self.seed}, {self.cloudiness:.0%} cloud, {self.first} to {self.last}, {self.size}² pixels"

    @property
    def spec(self) -> SandboxSpec:
        """The sandbox that `sandbox_archive` makes."""
        west, south = 500_175.0, 4_900_815.0
        grid = Grid.from_bounds("EPSG:32633", (west, south, west + self.size * 30, south + self.size * 30))
        return SandboxSpec(grid, self.first, self.last, self.seed, self.cloudiness)

    def archive(self, cache: Path) -> Archive:
        """What its sensors saw, read as a run reads it; a minute, unless it lies in `cache`."""
        cache.mkdir(parents=True, exist_ok=True)
        return sandbox_archive(self.seed, self.cloudiness, self.first, self.last, self.size, cache, lambda stage, done, total: None)

    def case(self, archive: Archive, withheld: Sequence[int] | None = None, screening: bool = True) -> Case:
        """What methods see without some images: those of `withheld` days, by default every fourth."""
        rule = {"every": 4, "clear": 0.1} if withheld is None else [day_from_number(day) for day in withheld]
        sandbox = {name: getattr(self, name) for name in ("seed", "cloudiness", "first", "last", "size")}
        named = {"name": "benchmark", "title": self.title, "sandbox": sandbox, "role": roles().of_seed(self.seed), "withhold": rule}
        (case,) = cases_of(Experiment.model_validate({**named, "screening": screening}), archive)
        return case


def add_places(parser: argparse.ArgumentParser, default: Sequence[str] = ("201:0.3", "202:0.6")) -> None:
    """Arguments that say which places."""
    known = " ".join(default)
    parser.add_argument("places", nargs="*", default=list(default), metavar="SEED[:CLOUDINESS]", help=f"default: {known}")
    parser.add_argument("--first", type=date.fromisoformat, default=date(2023, 3, 20))
    parser.add_argument("--last", type=date.fromisoformat, default=date(2023, 10, 20))
    parser.add_argument("--size", type=int, default=192, help="edge [fine pixels], a whole number of cells of 8")
    parser.add_argument("--cache", type=Path, default=Path("out/cache"), help="folder that keeps what was read of a place")


def places_of(given: argparse.Namespace) -> list[Place]:
    """The places that the arguments of `add_places` name."""
    named = [text.partition(":") for text in given.places]
    return [Place(int(seed), float(cloudiness or 0.3), given.first, given.last, given.size) for seed, _, cloudiness in named]
