"""How the coarse products of an area lie against its fine images: learnt from its clearest dates, and taken off when they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.compute.job import Job
from pipeline.compute.rescue import read_levels
from pipeline.grid import Window, day_from_number, day_number
from pipeline.observations.working import WorkingStore
from pipeline.restoration.registration import Shift, combine, estimate_shift, move, shift_margin
from pipeline.restoration.smoother import restore

DATES = 8
"""The shifts are learnt from so many of the clearest days."""


def learn_shifts(job: Job, windows: Sequence[Window], footprints: Mapping[str, float], first: int, last: int) -> dict[str, Any]:
    """Find the displacement of each coarse product.

    The series of a product alone is restored on the days of the fine images, cell by cell as observed. One day is held at a time.

    Parameters
    ----------
    windows : sequence of Window
        Fine pixels, on whole coarse cells; what they show of a day counts together.
    footprints : mapping
        Coarse product → its effective footprint [m].
    first, last : int
        Day numbers of the training window.

    Returns
    -------
    dict
        Product → what `combine` says.
    """
    store = WorkingStore.open(job.observations)
    grid, reach = job.grid, job.restoration["window"]
    found: dict[str, dict[str, Shift]] = {product: {} for product in footprints}
    for day in _clearest_days(store, first, last) if footprints else ():
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for window in windows:
            fine = store.read_fine(window, day, day, levels=read_levels(job, window))
            if not len(fine.days):
                continue
            series = store.read_coarse(window.coarse(grid.scale), day - reach, day + reach)
            for product in footprints:
                own = series.product == product
                values, std = torch.from_numpy(series.values[own]), torch.from_numpy(series.std[own])
                coarse, _, _ = restore(values, std, series.days[own], np.array([day]), reach, job.restoration["tau"])
                pairs[product].append((torch.from_numpy(fine.values[0]), coarse[0]))
        for product, seen in pairs.items():
            date = day_from_number(day).isoformat()
            found[product][date] = estimate_shift(seen, footprints[product], grid.scale, grid.resolution)
    return {product: combine(dict(sorted(shifts.items())), grid.scale * grid.resolution) for product, shifts in found.items()}


def read_registered(job: Job, store: WorkingStore, cells: Window, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """The coarse observations of a window, moved to where they belong.

    Returns
    -------
    values, std : Tensor, (N, B, Y, X) float32
        NaN where not observed.
    days : Tensor, (N,) float64
        Day numbers, as in `CoarseStack`.
    """
    cell = job.grid.scale * job.grid.resolution
    shifts = {product: (down / cell, right / cell) for product, (down, right) in job.restoration.get("shifts", {}).items()}
    margin = max((shift_margin(*shift) for shift in shifts.values()), default=0)
    wide = cells.padded(margin).clipped(*job.grid.coarse_shape)
    series = store.read_coarse(wide, first, last)
    values, std = torch.from_numpy(series.values), torch.from_numpy(series.std)
    for product, shift in shifts.items():
        own = torch.from_numpy(series.product == product)
        values[own], std[own] = move(values[own], std[own], *shift)
    inside = (..., *cells.relative_to(wide).slices)
    return values[inside], std[inside], torch.from_numpy(series.days)


def _clearest_days(store: WorkingStore, first: int, last: int) -> list[int]:
    """The days of the training window that show most of the area clear, the clearest first."""
    clear: dict[int, float] = defaultdict(float)
    for row in store.rows():
        day = day_number(row.scene.day)
        if row.scene.role == "fine" and row.usable and first <= day <= last:
            clear[day] += row.clear_share
    return sorted(clear, key=lambda day: (-clear[day], day))[:DATES]
