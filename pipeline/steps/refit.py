"""Refit: learn the parameters of an area anew, say which days another version changes and by how much, and pin a version."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from pipeline.compute.job import Job
from pipeline.config import Area
from pipeline.errors import LandfuseError
from pipeline.grid import day_number
from pipeline.observations.location import observations_path
from pipeline.planning import MAKE
from pipeline.steps.estimate import estimate, sample_windows
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.parameters import about, unit_of, values_of
from pipeline.steps.plan import Plan, compare, plan
from pipeline.steps.recipe import pinned_parameters, reach_of, versions_of
from pipeline.steps.report import published_days
from pipeline.steps.runs import Progress, hold, silent
from pipeline.store.encoding import SCALE

if TYPE_CHECKING:
    from pipeline.compute.comparison import Difference

SAMPLE_DAYS = 12
"""The change is measured on so many days, evenly spread over those that would be made again."""


@dataclass(frozen=True)
class Parameter:
    """One parameter in two versions.

    Parameters
    ----------
    name : str
        Such as ``method.tau``.
    unit : str
        UDUNITS; empty where it has none.
    before, after : object
        JSON values, a list where there is one for each band; None where a version does not have it.
    """

    name: str
    unit: str
    before: Any
    after: Any


@dataclass(frozen=True)
class BandChange:
    """How far the sample days of a band lie apart in two versions, in reflectance.

    Parameters
    ----------
    band : str
    pixels : int
        Values that both versions know.
    mean, rms, p99, largest : float
        Of the absolute difference: its mean, root mean square, 99th percentile and largest. NaN without pixels.
    std_before, std_after : float
        Mean of the stated 1 σ of these values.
    alone : int
        Values that only one version knows.
    """

    band: str
    pixels: int
    mean: float
    rms: float
    p99: float
    largest: float
    std_before: float
    std_after: float
    alone: int


@dataclass(frozen=True)
class Refit:
    """What a refit found.

    Parameters
    ----------
    area : str
    pinned, candidate : mapping
        ``version``, ``digest``, ``trained_from`` and ``trained_to``. The same when nothing else was learnt.
    new : bool
        The candidate is a version that was made now.
    parameters : tuple of Parameter
    days : tuple of date
        Published days that are made again once the candidate is pinned.
    stale : int
        Those of them that the next run makes again anyway.
    sample : tuple of date
        The days on which the change was measured.
    bands : tuple of BandChange
        Empty when no day would be made again.
    unread : int
        Scenes in the catalogs that were not read yet, and so not learnt from.
    """

    area: str
    pinned: Mapping[str, Any]
    candidate: Mapping[str, Any]
    new: bool
    parameters: tuple[Parameter, ...]
    days: tuple[date, ...]
    stale: int
    sample: tuple[date, ...]
    bands: tuple[BandChange, ...]
    unread: int

    @property
    def equal(self) -> bool:
        """What is learnt now is what is pinned."""
        return bool(self.pinned["digest"] == self.candidate["digest"])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            **asdict(self),
            "equal": self.equal,
            "days": {
                "count": len(self.days),
                "first": self.days[0].isoformat() if self.days else None,
                "last": self.days[-1].isoformat() if self.days else None,
                "stale_anyway": self.stale,
            },
            "sample": [day.isoformat() for day in self.sample],
        }


def refit(area: Area, as_of: date | None = None, progress: Progress = silent) -> Refit:
    """Learn the parameters anew from all scenes that are read by now, keep them as a version, and compare it with the pinned one.

    Runs go on with the pinned version. No version is made where one holds just what is learnt now.

    Parameters
    ----------
    area : Area
    as_of : date, optional
        As for `plan`.
    progress : callable

    Raises
    ------
    StoreError
        If nothing was learnt yet, or a run holds the stores.
    """
    from pipeline.compute.cluster import open_cluster
    from pipeline.observations.working import WorkingStore

    compute = area.runtime.compute
    with hold(area, "that learns parameters anew"):
        pinned, known = pinned_parameters(area), versions_of(area).numbers
        planned = plan(area, as_of=as_of, progress=progress)
        WorkingStore.open(observations_path(area)).select({scene.identity for scene in planned.scenes})
        with open_cluster(compute.scheduler, compute.workers, compute.torch_threads, compute.memory_limit, compute.gpu) as cluster:
            job = job_of(area, device=cluster.device)
            candidate = estimate(area, cluster, job, planned, progress)
            days = days_to_remake(area, planned, candidate)
            sample = spread(days, SAMPLE_DAYS)
            jobs = with_parameters(job, pinned), with_parameters(job, candidate)
            bands = measure(area, cluster, *jobs, sample, progress) if sample else ()
    before, after = values_of(pinned), values_of(candidate)
    anyway = {day.day for day in planned.to_make}
    return Refit(
        area.name,
        about(pinned),
        about(candidate),
        candidate["version"] not in known,
        tuple(Parameter(name, unit_of(name), before.get(name), after.get(name)) for name in {**before, **after}),
        tuple(days),
        sum(day in anyway for day in days),
        tuple(sample),
        tuple(bands),
        len(planned.unread),
    )


def pin(area: Area, version: int) -> tuple[int, dict[str, Any]]:
    """Make the runs of an area use a version from now on: a newer one, or an earlier one again.

    Returns
    -------
    before : int
        The version that was pinned.
    pinned : dict
        `about` the version that is pinned now.

    Raises
    ------
    StoreError
        If nothing was learnt yet, there is no such version, or a run holds the stores.
    """
    # Not while a run is under way: it would publish days under a recipe that they were not made by.
    with hold(area, "that pins parameters"):
        before = pinned_parameters(area)
        return before["version"], about(versions_of(area).pin(version))


def days_to_remake(area: Area, planned: Plan, candidate: Mapping[str, Any]) -> list[date]:
    """The published days that a run makes again once a version of the parameters is pinned; none when it equals the pinned one."""
    if candidate["digest"] == pinned_parameters(area)["digest"]:
        return []
    span = planned.first, planned.last
    then = compare(area, span, planned.as_of, planned.scenes, planned.skipped, learnt=candidate["digest"])
    published = set(published_days(area))
    return [day.day for day in then.days if day.status == MAKE and day.day in published]


def spread(days: Sequence[date], count: int) -> list[date]:
    """At most so many of the days, the first and the last among them, evenly spread."""
    if len(days) <= count:
        return list(days)
    return [days[round(place * (len(days) - 1) / (count - 1))] for place in range(count)]


def measure(area: Area, cluster: Any, before: Job, after: Job, days: Sequence[date], progress: Progress = silent) -> tuple[BandChange, ...]:
    """How far days of the sample windows lie apart as two versions make them, per band.

    Parameters
    ----------
    before, after : Job
        With the parameters of either version.
    days : sequence of date
        Increasing.
    """
    from pipeline.compute.comparison import compare_days

    windows, folder = sample_windows(area), area.runtime.root / "work" / "refit"
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    numbers, reach = [day_number(day) for day in days], reach_of(area)
    found: list[list[Difference]] = []
    progress("compare", 0, len(windows))
    for _, result in cluster.map(compare_days, [(before, after, window, numbers, reach, str(folder)) for window in windows]):
        if isinstance(result, Exception):
            raise LandfuseError(f"the versions of area {area.name!r} could not be compared: {result!r}") from result
        found.append(result)
        progress("compare", len(found), len(windows))
    shutil.rmtree(folder, ignore_errors=True)
    return tuple(_change(band, reduce(add, parts)) for band, parts in zip(before.bands, zip(*found, strict=True), strict=True))


def _change(band: str, found: Difference) -> BandChange:
    pixels = sum(found.apart.values())
    if not pixels:
        return BandChange(band, 0, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, found.alone)
    below, p99 = 0, 0
    for step in sorted(found.apart):
        below, p99 = below + found.apart[step], step
        if below >= 0.99 * pixels:
            break
    before, after = found.std
    return BandChange(
        band,
        pixels,
        mean=SCALE * sum(step * count for step, count in found.apart.items()) / pixels,
        rms=SCALE * math.sqrt(sum(step**2 * count for step, count in found.apart.items()) / pixels),
        p99=SCALE * p99,
        largest=SCALE * max(found.apart),
        std_before=SCALE * before / pixels,
        std_after=SCALE * after / pixels,
        alone=found.alone,
    )
