"""Score: the published cube and its method beside the six controls, on withheld days or against a known truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from rich.table import Table

from pipeline.assessment.contenders import Contender, line_up
from pipeline.assessment.scoring import FALLBACK, Row, Sample, score
from pipeline.assessment.tables import markdown, rich_table, verdict
from pipeline.assessment.truth import CLOUDED, UNSEEN, Truth, world_samples
from pipeline.assessment.withheld import WITHHELD, withheld_samples
from pipeline.compute.job import Job
from pipeline.config import Area
from pipeline.errors import CatalogError, ConfigurationError, StoreError
from pipeline.grid import Block, day_number
from pipeline.observations.ingest import ingest
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.plan import search
from pipeline.steps.recipe import pinned_parameters
from pipeline.steps.report import published_days
from pipeline.steps.runs import Progress, silent


@dataclass(frozen=True)
class Score:
    """A table of figures and what it says of the method.

    Parameters
    ----------
    title : str
    rows : tuple of Row
    verdict : str
        Does the method beat every control, and if not, which is better.
    """

    title: str
    rows: tuple[Row, ...]
    verdict: str

    def table(self) -> Table:
        return rich_table(self.rows, self.title)

    def markdown(self) -> str:
        return f"{self.title}\n\n{markdown(self.rows)}\n{self.verdict}\n"

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title, "rows": [asdict(row) for row in self.rows], "verdict": self.verdict}


def score_withheld(area: Area, progress: Progress = silent) -> Score:
    """Score the days that the area withholds, on the clear pixels of their fine images.

    The images are read into a store of their own, which no other step opens.

    Raises
    ------
    ConfigurationError
        If the area withholds no day.
    CatalogError
        If no fine scene of a withheld day is found.
    StoreError
        If a withheld day is not published.
    """
    days = sorted(area.science.withhold)
    if not days:
        raise ConfigurationError(f"area {area.name!r} withholds no day", "name days in science.withhold, run again, then score")
    missing = [day for day in days if day not in set(published_days(area))]
    if missing:
        raise StoreError(f"{missing[0]} is withheld but not published", "run it first: landfuse run")
    truth = _withheld_images(area, days, progress)
    job, contenders = _line_up(area)
    blocks = list(area.grid.blocks(area.science.block))

    def samples() -> Iterator[Sample]:
        for block in _counted(blocks, progress):
            yield from withheld_samples(area.cube_path, truth, job, contenders, [day_number(day) for day in days], [block])

    rows = score(samples(), area.grid.scale, _controls(contenders), FALLBACK)
    title = f"{area.name}: withheld {', '.join(day.isoformat() for day in days)}"
    return Score(title, tuple(rows), _verdict(rows, job.method, contenders, WITHHELD))


def score_truth(area: Area, truth: Truth, days: Sequence[date], progress: Progress = silent) -> Score:
    """Score published days against a known truth, on pixels that were clear, clouded or unseen on the day.

    Parameters
    ----------
    truth : callable
        Day number and window of fine pixels → true reflectance (B, y, x).
    days : sequence of date
    """
    job, contenders = _line_up(area)
    blocks = list(area.grid.blocks(area.science.block))

    def samples() -> Iterator[Sample]:
        for block in _counted(blocks, progress):
            yield from world_samples(area.cube_path, truth, job, contenders, [day_number(day) for day in days], [block])

    rows = score(samples(), area.grid.scale, _controls(contenders), FALLBACK)
    title = f"{area.name}: error against the known truth on {len(days)} days"
    judged = CLOUDED if any(row.pixels for row in rows if row.stratum == CLOUDED) else UNSEEN  # a few days may hold no image
    return Score(title, tuple(rows), _verdict(rows, job.method, contenders, judged))


def _counted(blocks: Sequence[Block], progress: Progress) -> Iterator[Block]:
    for done, block in enumerate(blocks):
        progress("score", done, len(blocks))
        yield block
    progress("score", len(blocks), len(blocks))


def _line_up(area: Area) -> tuple[Job, list[Contender]]:
    job = with_parameters(job_of(area), pinned_parameters(area))
    return job, line_up(job.method, job.options, job.parameters)


def _controls(contenders: Sequence[Contender]) -> frozenset[str]:
    return frozenset(contender.name for contender in contenders if contender.control)


def _verdict(rows: Sequence[Row], method: str, contenders: Sequence[Contender], stratum: str) -> str:
    return verdict(rows, method, sorted(_controls(contenders)), stratum)


def _withheld_images(area: Area, days: Sequence[date], progress: Progress) -> WorkingStore:
    found = search(area, days[0], days[-1])
    scenes = [scene for scene in found.scenes if scene.role == "fine" and scene.day in set(days)]
    if not scenes:
        raise CatalogError(f"no fine scene of {', '.join(map(str, days))} is in the catalogs", "check science.withhold")
    path = observations_path(area).with_name(observations_path(area).name.replace("observations", "withheld"))
    science = area.science
    store = WorkingStore.open(path) if path.exists() else WorkingStore.create(path, area.grid, science.bands, (), science.block)
    ingest(
        scenes,
        store,
        area.grid,
        science.bands,
        area.products,
        science.mask,
        science.normalise,
        area.runtime.catalogs,
        area.runtime.read_threads,
        progress,
    )
    return store
