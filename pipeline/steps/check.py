"""Check: what the catalogs hold for an area before anything is read: how much of what is due, how fresh, and whether the files open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipeline.catalog.hrefs import redact
from pipeline.catalog.scene import Scene
from pipeline.catalog.search import Search, product_of
from pipeline.config import Area, SourcePart
from pipeline.errors import CatalogError, ConfigurationError, ReadError
from pipeline.products.calendar import Found, calendar_png
from pipeline.steps.inventory import Entry, Inventory, take_stock
from pipeline.steps.plan import default_days, search
from pipeline.steps.runs import Progress, silent
from pipeline.vocabulary import Outcome

_LONGEST = 300
"""Characters of an example in the text of a problem; the whole is with its scene."""


@dataclass(frozen=True)
class Problem:
    """Something that a run would suffer from, and how badly.

    Parameters
    ----------
    outcome : Outcome
        ``failed``: a catalog cannot be searched; ``rejected``: a source holds nothing that can be used, or a band is nowhere;
        ``degraded``: single files are not what their items say.
    text : str
    """

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Preflight:
    """What a check found.

    Parameters
    ----------
    area : str
    first, last, as_of : date
        The days that were checked, and the day on which.
    sources : tuple of Inventory
    problems : tuple of Problem
    picture : Path
        The calendar.
    """

    area: str
    first: date
    last: date
    as_of: date
    sources: tuple[Inventory, ...]
    problems: tuple[Problem, ...]
    picture: Path

    @property
    def exit_code(self) -> int:
        """0 without problems, else that of the worst: failed before rejected before degraded."""
        found = {problem.outcome for problem in self.problems}
        return next((worst.exit_code for worst in (Outcome.FAILED, Outcome.REJECTED, Outcome.DEGRADED) if worst in found), 0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "area": self.area,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "as_of": self.as_of.isoformat(),
            "problems": [{"outcome": str(problem.outcome), "text": problem.text} for problem in self.problems],
            "sources": [_source_document(source, self.months, self.as_of) for source in self.sources],
            "picture": str(self.picture),
        }

    @property
    def months(self) -> list[str]:
        """The months of the period, ``YYYY-MM``."""
        numbers = range(self.first.year * 12 + self.first.month - 1, self.last.year * 12 + self.last.month)
        return [f"{number // 12}-{number % 12 + 1:02d}" for number in numbers]


def check(
    area: Area,
    first: date | None = None,
    last: date | None = None,
    as_of: date | None = None,
    headers: bool = True,
    progress: Progress = silent,
) -> Preflight:
    """Look at all that the catalogs hold for an area, and draw it as a calendar.

    Parameters
    ----------
    area : Area
    first, last : date, optional
        All days of the area when left out; they may lie outside of it.
    as_of : date, optional
        Today when left out.
    headers : bool
        Open one file of each scene, compare its header with the item and read its last pixel: a file that was cut off has a
        good header. The bands take turns.
    progress : callable

    Raises
    ------
    ConfigurationError
        If there are no days to check.
    """
    as_of = as_of or datetime.now(UTC).date()
    start, end = default_days(area, as_of)
    first, last = first or start, last or end
    if first > last:
        raise ConfigurationError(f"there are no days from {first} to {last} to check", "give days with --days")
    asked = [("fine", source) for source in area.science.fine] + [("coarse", source) for source in area.science.coarse]
    searched: list[Search | CatalogError] = []
    for number, (_, source) in enumerate(asked):
        progress("search", number, len(asked))
        try:
            searched.append(search(area, first, last, (source,)))
        except CatalogError as error:
            searched.append(error)
    progress("search", len(asked), len(asked))
    within = [scene for found in searched if isinstance(found, Search) for scene in found.scenes if first <= scene.day <= last]
    failed = open_scenes(area, within, progress) if headers else None
    earlier: set[tuple[str, str]] = set()
    sources = []
    for (role, source), found in zip(asked, searched, strict=True):
        sources.append(_inventory(area, role, source, found, (first, last), as_of, earlier, failed))
        earlier |= {(scene.product, scene.acquisition) for scene in found.scenes} if isinstance(found, Search) else set()
    picture = area.runtime.root / "check" / f"{first}_{last}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for source in sources for row in source.rows()]
    picture.write_bytes(
        calendar_png(rows, first, last, area.title or area.name, f"what the catalogs hold, {first} to {last}, as of {as_of}")
    )
    return Preflight(area.name, first, last, as_of, tuple(sources), tuple(problems(sources, area.science.bands)), picture)


def open_scenes(area: Area, scenes: Sequence[Scene], progress: Progress = silent) -> dict[str, str]:
    """Open one band of each scene; identity → what is wrong, of those that are not what their item says."""
    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(max_workers=area.runtime.read_threads, thread_name_prefix="check")
    try:
        futures = {pool.submit(_problem_of, area, scene, number): scene.identity for number, scene in enumerate(scenes)}
        for done, future in enumerate(as_completed(futures), start=1):
            if said := future.result():
                failed[futures[future]] = said
            progress("headers", done, len(futures))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return failed


def _problem_of(area: Area, scene: Scene, number: int) -> str:
    """Why a band of the scene cannot be read, or an empty string. Scene `number` is looked at in band `number`, in turns."""
    import numpy as np

    from pipeline.grid import Window
    from pipeline.observations.cube import asset_url
    from pipeline.observations.masking import raw_type
    from pipeline.observations.reader import located, read_window

    bands = area.products[scene.product].bands
    present = [name for name in area.science.bands if name in scene.assets] or [name for name in bands if name in scene.assets]
    name = present[number % len(present)]
    dtype, fill = raw_type(bands[name])
    url = asset_url(scene, name, area.runtime.catalogs)
    corner = Window(scene.shape[0] - 1, scene.shape[1] - 1, 1, 1)
    try:
        read_window(url, located(url).lattice, corner, dtype.type(fill), np.empty(corner.shape, dtype))
    except (ReadError, CatalogError) as error:
        return redact(str(error))
    return ""


def problems(sources: Sequence[Inventory], bands: Sequence[str]) -> list[Problem]:
    """What a run of these sources would suffer from."""
    found = []
    for source in sources:
        skipped, failed = source.of(Found.SKIPPED), source.of(Found.FAILED)
        if source.error:
            found.append(Problem(Outcome.FAILED, f"{source.name}: {source.error}"))
        elif not source.sums()["found"]:
            why = f"; {len(skipped)} items cannot be used, such as {_brief(skipped[0])}" if skipped else ""
            found.append(Problem(Outcome.REJECTED, f"{source.name} holds no scene of these days over the area{why}"))
        elif failed:
            outcome = Outcome.REJECTED if len(failed) == source.opened else Outcome.DEGRADED
            text = f"{source.name}: {len(failed)} of {source.opened} scenes cannot be read, such as {_brief(failed[0])}"
            found.append(Problem(outcome, text))
    for role in ("fine", "coarse"):
        holding = [source.bands for source in sources if source.role == role and source.bands]
        nowhere = [band for band in bands if holding and not any(shares.get(band) for shares in holding)]
        if nowhere:
            text = f"no scene of any {role} source has the band {', '.join(nowhere)}; change science.bands or add a source that has it"
            found.append(Problem(Outcome.REJECTED, text))
    return found


def _brief(entry: Entry) -> str:
    """The item and the first line of what is wrong with it."""
    first, *_ = entry.note.splitlines()
    said = f"{entry.id}: {first}"
    return said if len(said) <= _LONGEST else said[:_LONGEST] + "…"


def _inventory(
    area: Area,
    role: str,
    source: SourcePart,
    found: Search | CatalogError,
    days: tuple[date, date],
    as_of: date,
    earlier: set[tuple[str, str]],
    failed: Mapping[str, str] | None,
) -> Inventory:
    if isinstance(found, CatalogError):
        return Inventory(role, source.collection, source.catalog, source.product or "", error=str(found))
    name = product_of(source, area.products)
    bare = Inventory(role, source.collection, source.catalog, name)
    return take_stock(bare, found, area.products[name], area.science.bands, days, as_of, earlier, failed)


def _source_document(source: Inventory, months: Sequence[str], as_of: date) -> dict[str, Any]:
    return {
        "role": source.role,
        "collection": source.collection,
        "catalog": source.catalog,
        "product": source.product,
        "error": source.error,
        **source.sums(),
        "months": [{"month": month, **source.sums(month)} for month in months],
        "opened": source.opened,
        "newest": source.newest.isoformat() if source.newest else None,
        "days_behind": (as_of - source.newest).days if source.newest else None,
        "latency_days": source.latency,
        "bands": source.bands or {},
        "platforms": sorted({entry.platform for entry in source.entries if entry.platform}),
        "absent_platforms": list(source.absent),
        "skipped_items": [[entry.id, entry.note] for entry in source.of(Found.SKIPPED)],
        "failed_scenes": [[entry.id, entry.note] for entry in source.of(Found.FAILED)],
        "superseded_items": [entry.id for entry in source.of(Found.SUPERSEDED)],
        "duplicate_scenes": [entry.id for entry in source.of(Found.DUPLICATE)],
    }
