"""Places that networks learn from: observations as methods see them, and what each day really looked like where that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from pipeline.assessment.archives import Archive
from pipeline.assessment.cases import block_of
from pipeline.assessment.digests import code_digest, digest
from pipeline.assessment.roles import Role, roles
from pipeline.assessment.simulated import sandbox_archive
from pipeline.fusion.evidence import contrast_of
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.grid import day_number
from pipeline.operators.resample import area_mean

Progress = Callable[[str, int, int], None]

_SCALE = 1e-4


class World(BaseModel):
    """A simulated place to learn from, or to choose on."""

    model_config = {"extra": "forbid", "frozen": True}

    seed: int = Field(ge=0)
    cloudiness: float = Field(default=0.5, ge=0, le=1, description="mean share of the sky that is covered")
    first: date = Field(default=date(2023, 3, 20), description="first day of the scenes")
    last: date = Field(default=date(2023, 10, 20), description="last day of the scenes")
    composites: bool = Field(default=False, description="with the composites of 250 m")
    size: int = Field(default=192, ge=96, multiple_of=8, description="edge of the area, fine pixels")


@dataclass(frozen=True)
class Place:
    """A place to learn from.

    Parameters
    ----------
    name : str
    block : FusionInput
        Everything that was observed, screened, with the restored coarse series.
    targets : tuple of int
        Day numbers that may be predicted.
    truth : callable
        Day number of `targets` → what it looked like, (B, y, x); NaN = unknown.
    ideal : Tensor, (T, B, Y, X), or None
        Mean of the true surface over each coarse cell, by `block.coarse_days`; NaN = unknown. None where only images are known.
    parameters : mapping
        What the smoother learnt here, with the contrast of the bands.
    """

    name: str
    block: FusionInput
    targets: tuple[int, ...]
    truth: Callable[[int], Tensor]
    ideal: Tensor | None
    parameters: dict[str, Any]


def simulated_place(world: World, role: Role, cache: Path, progress: Progress) -> Place:
    """A sandbox as a place, its daily truth kept in `cache`.

    Raises
    ------
    ConfigurationError
        If the seed has another role.
    """
    roles().allow_seed(role, world.seed)
    archive = sandbox_archive(
        world.seed, world.cloudiness, world.first, world.last, world.size, cache, progress, composites=world.composites
    )
    first, last = day_number(world.first), day_number(world.last)
    days = range(first, last + 1)
    assert archive.truth
    key = digest(world.model_dump(mode="json"), code_digest("pipeline.sandbox"))
    path = cache / f"truth-{key}.npy"
    if not path.exists():
        _write_truth(path, archive, days, progress)
    # Mapped: a year of days is a gigabyte, of which a sample needs a window of one.
    stored = np.load(path, mmap_mode="r")
    block = block_of(archive, (first, last))
    cells = np.stack([area_mean(torch.from_numpy(image.astype(np.float32)), archive.scale)[0].numpy() for image in stored]) * np.float32(
        _SCALE
    )
    ideal = torch.full_like(block.coarse, torch.nan)
    start = first - block.coarse_days[0]
    ideal[start : start + len(days)] = torch.from_numpy(cells)

    def truth(day: int) -> Tensor:
        return torch.from_numpy(stored[day - first].astype(np.float32)) * _SCALE

    return Place(archive.name, block, tuple(days), truth, ideal, _learnt(block))


def observed_place(name: str, block: FusionInput, targets: tuple[int, ...]) -> Place:
    """A place of which only images are known: the fine image of a target is its truth, and no reference of its own."""

    def truth(day: int) -> Tensor:
        return block.fine[block.fine_days.index(day)]

    return Place(name, block, targets, truth, None, _learnt(block))


def _learnt(block: FusionInput) -> dict[str, Any]:
    return {**build("smoother", {}).estimate([block]), "contrast": contrast_of([block])}


def _write_truth(path: Path, archive: Archive, days: range, progress: Progress) -> None:
    assert archive.truth
    part = path.with_suffix(".part.npy")
    shape = (len(days), len(archive.bands), *archive.fine.shape[-2:])
    kept = np.lib.format.open_memmap(part, mode="w+", dtype=np.int16, shape=shape)
    for place, day in enumerate(days):
        kept[place] = np.rint(archive.truth(day) / _SCALE).clip(0, 32767)
        progress("truth", place + 1, len(days))
    kept.flush()
    del kept
    part.replace(path)
