"""An experiment from its file to its figures: archive, cases, predictions, samples, rows and differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from pipeline.assessment.archives import Archive
from pipeline.assessment.cases import Case, cases_of
from pipeline.assessment.experiments import Experiment
from pipeline.assessment.filesets import read_set
from pipeline.assessment.predicting import Entrant, Predicted, entrants, predict
from pipeline.assessment.scoring import FALLBACK, Difference, Row, Sample, gather
from pipeline.assessment.tables import Effort, verdict
from pipeline.errors import ConfigurationError
from pipeline.fusion.registry import spec_of

Progress = Callable[[str, int, int], None]

ALL = "all"
"""The stratum of all pixels."""

DRAWS = 400
"""Resamplings behind every interval."""

TILE = 1500.0
"""Edge of the tiles that intervals are drawn over [m]: errors of neighbouring fields and of one coarse pixel go together."""


@dataclass(frozen=True)
class Answer:
    """What an experiment says.

    Parameters
    ----------
    experiment : Experiment
    archive : Archive
        As read, with the withheld images: for pictures.
    cases : tuple of Case
    predicted : tuple of mapping
        Label → predictions, case by case; without the methods that failed.
    line : tuple of Entrant
        Methods and controls that were compared.
    rows : tuple of Row
    differences : tuple of Difference
        Each method less the best control, and methods by pairs.
    failed : mapping of str to str
        Label → why a method has no row.
    """

    experiment: Experiment
    archive: Archive
    cases: tuple[Case, ...]
    predicted: tuple[Mapping[str, Predicted], ...]
    line: tuple[Entrant, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    failed: Mapping[str, str]

    @property
    def controls(self) -> list[str]:
        return [entrant.label for entrant in self.line if entrant.control]

    @property
    def methods(self) -> list[str]:
        """Labels of the methods that are no controls, the smallest error first."""
        return [row.name for row in self.rows if row.stratum == ALL and not row.control]

    @property
    def best_control(self) -> str:
        """The control with the smallest error of all pixels."""
        return next(row.name for row in self.rows if row.stratum == ALL and row.control)

    def seconds(self, label: str) -> float:
        """Time a method took when its predictions were made."""
        return sum(part[label].seconds for part in self.predicted)

    def efforts(self) -> list[Effort]:
        """What each image of the table took, in the order of the table."""
        line = {entrant.label: entrant for entrant in self.line}
        return [self._effort(line[row.name]) for row in self.rows if row.stratum == ALL]

    def _effort(self, entrant: Entrant) -> Effort:
        made = sum(image.size for part in self.predicted for image in part[entrant.label].mean.values())
        card = entrant.card
        return Effort(
            name=entrant.label,
            control=entrant.control,
            parameters=card.get("parameters"),
            multiply_adds=card.get("multiply_adds"),
            seconds=1e6 * self.seconds(entrant.label) / made,
        )

    def verdicts(self) -> list[str]:
        """A sentence for each method: does it beat every control on all pixels, and is that more than chance."""
        against = {found.name: found for found in self.differences if found.stratum == ALL and found.other == self.best_control}
        return [f"{verdict(self.rows, label, self.controls, ALL)} {_chance(against[label])}" for label in self.methods]


def assess(experiment: Experiment, methods: Sequence[str], data: Path | None, cache: Path, progress: Progress) -> Answer:
    """Run an experiment.

    Parameters
    ----------
    methods : sequence of str
        Registry names; the variants that the experiment declares and the six controls come by themselves.
    data : Path, optional
        Folder of the sets; a sandbox without pasted masks needs none.
    cache : Path
        Folder of what may be used again.
    progress : callable
        ``progress(stage, done, total)``.

    Raises
    ------
    ConfigurationError
        If a set, day, method or role is not as the experiment wants it.
    """
    wanted = {name: Entrant(name, name) for name in methods}
    wanted |= {label: Entrant(label, variant.method, variant.options) for label, variant in experiment.variants.items()}
    for entrant in wanted.values():
        spec_of(entrant.method)
    line = entrants(wanted)
    archive = _archive(experiment, data, cache, progress)
    cases = cases_of(experiment, archive, data)
    predicted, failed = _predictions(experiment, cases, line, cache / "predictions", progress)
    line = [entrant for entrant in line if entrant.label not in failed]
    evidence = gather(_samples(experiment, cases, predicted, line), FALLBACK, structure=True)
    progress(f"{experiment.name}: intervals", 0, 1)
    controls = frozenset(entrant.label for entrant in line if entrant.control)
    scale = archive.coarse_pixel / archive.resolution
    rows = [row for row in evidence.rows(scale, controls, DRAWS, experiment.seed) if row.pixels]
    if not rows:
        raise ConfigurationError(f"experiment {experiment.name!r}: no pixel has both a truth and a prediction of every control")
    best = next(row.name for row in rows if row.stratum == ALL and row.control)
    mine = [row.name for row in rows if row.stratum == ALL and not row.control]
    differences = evidence.differences([*((label, best) for label in mine), *combinations(mine, 2)], DRAWS, experiment.seed)
    progress(f"{experiment.name}: intervals", 1, 1)
    return Answer(experiment, archive, tuple(cases), tuple(predicted), tuple(line), tuple(rows), tuple(differences), failed)


def _archive(experiment: Experiment, data: Path | None, cache: Path, progress: Progress) -> Archive:
    if experiment.sandbox:
        from pipeline.assessment.simulated import sandbox_archive

        world = experiment.sandbox
        folder = (cache / "sandboxes").absolute()  # a catalog is found by an absolute path
        return sandbox_archive(
            world.seed, world.cloudiness, world.first, world.last, world.size, folder, progress, world.composites, world.latitude
        )
    assert experiment.place
    if data is None:
        raise ConfigurationError(
            f"experiment {experiment.name!r} needs the set {experiment.place}", "name the folder that holds it: --data FOLDER"
        )
    return read_set(experiment.place, data)


def _predictions(
    experiment: Experiment, cases: Sequence[Case], line: Sequence[Entrant], cache: Path, progress: Progress
) -> tuple[list[dict[str, Predicted]], dict[str, str]]:
    made: list[dict[str, Predicted]] = [{} for _ in cases]
    failed: dict[str, str] = {}
    stage, total = f"{experiment.name}: predict", len(cases) * len(line)
    progress(stage, 0, total)
    pairs = ((case, said, entrant) for entrant in line for case, said in zip(cases, made, strict=True))
    for number, (case, said, entrant) in enumerate(pairs, start=1):
        if entrant.label not in failed:
            try:
                said[entrant.label] = predict(entrant, case.block, _days(experiment, case), cache)
            except Exception as error:  # one method that breaks does not take the others with it; the table and the exit code say so
                if entrant.control:
                    raise
                failed[entrant.label] = f"{type(error).__name__}: {error}"
        progress(stage, number, total)
    return [{label: said for label, said in part.items() if label not in failed} for part in made], failed


def _days(experiment: Experiment, case: Case) -> list[int]:
    around = (-1, 0, 1) if experiment.roughness else (0,)
    return sorted({target + step for target in case.targets for step in around})


def _samples(
    experiment: Experiment, cases: Sequence[Case], predicted: Sequence[Mapping[str, Predicted]], line: Sequence[Entrant]
) -> Iterator[Sample]:
    for case, said in zip(cases, predicted, strict=True):
        for target in case.targets:
            images = {entrant.label: said[entrant.label].mean[target] for entrant in line}
            yield Sample(
                truth=case.expected(target),
                images=images,
                strata=case.strata(target, images["linear"]),
                day=target,
                std={entrant.label: case.error_std(target, said[entrant.label].std[target]) for entrant in line},
                reference=case.nearest(target)[0],
                roughness={entrant.label: _second_difference(said[entrant.label].mean, target) for entrant in line}
                if experiment.roughness
                else {},
                tile=max(round(TILE / case.block.resolution), 1),
            )


def _chance(found: Difference) -> str:
    where = "on this date only" if found.days == 1 else f"over {found.days} dates"
    said = f"RMSE less that of {found.other}: {found.rmse:+.5f} [{found.low:+.5f}, {found.high:+.5f}] {where}"
    return f"{said}." if found.decided else f"{said}: NOT DECIDED."


def _second_difference(mean: Mapping[int, np.ndarray], day: int) -> np.ndarray:
    return np.asarray(mean[day - 1] - 2 * mean[day] + mean[day + 1])
