"""What a worker must know to make days of a block: small values, no arrays, no secrets. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.grid import Block, Grid
from pipeline.screening.options import ScreeningOptions


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share.

    Parameters
    ----------
    observations, staging : str
        Paths of the working store and of the staging cube.
    grid : Grid
        The grid of the area.
    bands : tuple of str
        STAC common names.
    method : str
        Registry name of the fusion method.
    options, parameters : mapping
        Options of the method, and what it learnt about the area (JSON-ready).
    restoration : mapping
        ``window`` [days], ``tau`` [days], and what was learnt: ``bias`` (gain and offset per band) and ``shifts``
        (coarse product → metres down and right by which it is moved).
    screening : ScreeningOptions, optional
        How fine images are screened; without it every clear pixel is taken as it is.
    levels : str
        Path of the levels of bright surfaces that are no clouds; empty when the area has none.
    ndvi : str
        Path of the annual median of the fine NDVI; empty when the method does not need it, or the area has none.
    device : str
        ``"cpu"`` or ``"cuda"``.
    threads : int
        Torch threads, fixed so that any number of workers gives the same bits.
    """

    observations: str
    staging: str
    grid: Grid
    bands: tuple[str, ...]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    restoration: Mapping[str, Any] = field(default_factory=dict)
    screening: ScreeningOptions | None = None
    levels: str = ""
    ndvi: str = ""
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Task:
    """One block, and the days to make of it.

    Parameters
    ----------
    block : Block
    days : tuple of int
        Day numbers, increasing.
    slots : tuple of int
        Index of each day on the time axis of the staging cube.
    """

    block: Block
    days: tuple[int, ...]
    slots: tuple[int, ...]


@dataclass(frozen=True)
class ImageCount:
    """Pixels of a block that a fine image observed, by what screening says of them.

    Parameters
    ----------
    day : int
        Day number.
    pixels : mapping
        (`Verdict`, `Cause`) → pixels; only what there is.
    """

    day: int
    pixels: Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class DayCount:
    """What one task saw of one day: pixels per provenance, and the error of the prediction on clear pixels it was not shown."""

    day: int
    provenance: tuple[int, ...]
    checked: int
    squared_error: float


@dataclass(frozen=True)
class TaskRecord:
    """What became of a task. Travels to the driver instead of pixels."""

    block: tuple[int, int]
    counts: tuple[DayCount, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    days: tuple[int, ...] = ()


def applied(registration: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The shifts of a job, from what was learnt about the registration of the products."""
    return {product: (found["dy"], found["dx"]) for product, found in registration.items() if found["applied"]}
