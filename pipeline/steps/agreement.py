"""How well observations that should be alike agree, without and with each normalisation step: measured on the area's own scenes.

Compared are fine images of adjacent paths or of two sensors a few days apart, and fine against coarse of the same day, as means of
wholly clear coarse cells. What a step did is undone with the same gain, so nothing is read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import Area
from pipeline.errors import StoreError
from pipeline.normalisation.adjustment import Adjustment, coarse_adjustment, fine_adjustment
from pipeline.normalisation.pairs import Pair, Residual, residuals
from pipeline.observations.coarse import sub_grid
from pipeline.observations.location import observations_path
from pipeline.observations.scenes_table import Row
from pipeline.observations.working import WorkingStore
from pipeline.steps.runs import Progress, silent

DAYS_APART = 3
PAIRS = 24
"""Pairs of each kind, those with the largest clear shares."""
_TM = ("landsat-4", "landsat-5", "landsat-7")


@dataclass(frozen=True)
class Step:
    """What one normalisation step leaves on one kind of pairs.

    Parameters
    ----------
    kind : str
        What is compared.
    step : str
        ``geometry`` or ``bandpass``: without it, the other as the area has it, against with it.
    pairs : int
    bands : tuple of Residual
    """

    kind: str
    step: str
    pairs: int
    bands: tuple[Residual, ...]


@dataclass(frozen=True)
class _Image:
    """A scene on coarse cells, in the published geometry and radiometry, and how it became so."""

    row: Row
    cells: np.ndarray
    steps: dict[tuple[bool, bool], Adjustment]

    def with_steps(self, geometry: bool, bandpass: bool) -> np.ndarray:
        """The image as if only these steps had been done."""
        done, wanted = self.steps[True, True], self.steps[geometry, bandpass]
        provided = (self.cells - done.offset[:, None, None]) / done.gain
        return wanted.gain * provided + wanted.offset[:, None, None]


def agreement(area: Area, progress: Progress = silent) -> list[Step]:
    """Measure every step on the observations of an area.

    Raises
    ------
    StoreError
        If nothing was read yet.
    """
    store = WorkingStore.open(observations_path(area))
    rows = [row for row in store.rows() if row.usable and row.window is not None]
    fine = sorted((row for row in rows if row.scene.role == "fine"), key=lambda row: (row.scene.day, row.index))
    if not fine:
        raise StoreError(f"no fine scene of area {area.name!r} was read yet", "run it first: landfuse run")
    chosen = _pairs(area, fine, [row for row in rows if row.scene.product in store.products])
    wanted = {_key(row): row for pairs in chosen.values() for pair in pairs for row in pair}
    images = {}
    for done, (key, row) in enumerate(wanted.items()):
        progress("agreement", done, len(wanted))
        images[key] = _fine_image(area, store, row) if row.scene.role == "fine" else _coarse_image(area, store, row)
    progress("agreement", len(wanted), len(wanted))
    found = []
    for kind, pairs in chosen.items():
        sides = [(images[_key(one)], images[_key(other)]) for one, other in pairs]
        for step, without in (("geometry", (False, True)), ("bandpass", (True, False))):
            if any(_differs(side, without) for pair in sides for side in pair):
                before, after = _compared(sides, without), _compared(sides, (True, True))
                found.append(Step(kind, step, len(sides), tuple(residuals(before, after, store.bands))))
    return found


def _pairs(area: Area, fine: Sequence[Row], coarse: Sequence[Row]) -> dict[str, list[tuple[Row, Row]]]:
    """The pairs of each kind."""
    kinds: dict[str, list[tuple[Row, Row]]] = defaultdict(list)
    for at, one in enumerate(fine):
        for other in fine[at + 1 :]:
            if (other.scene.day - one.scene.day).days > DAYS_APART:
                break
            kind = _kind(one, other)
            if kind and _touch(one, other):
                # The older sensor first, so that the sign of a difference means the same in every pair.
                kinds[kind].append((one, other) if one.scene.platform in _TM or other.scene.platform not in _TM else (other, one))
    by_day = defaultdict(list)
    for row in coarse:
        # Angles of its own make a gain for each pixel, which the store does not keep.
        if area.products[row.scene.product].angles is None:
            by_day[row.scene.day].append(row)
    for one in fine:
        for other in by_day[one.scene.day]:
            kinds[f"{one.scene.product} against {other.scene.product}"].append((one, other))
    for pairs in kinds.values():
        pairs.sort(key=lambda pair: -min(row.clear_share for row in pair))
    return {kind: kinds[kind][:PAIRS] for kind in sorted(kinds)}


def _kind(one: Row, other: Row) -> str:
    path, other_path = (row.scene.acquisition.split("_")[1][:3] if row.scene.row else "" for row in (one, other))
    if (one.scene.platform in _TM) != (other.scene.platform in _TM):
        return f"TM, ETM+ against OLI within {DAYS_APART} days"
    if path and path != other_path and one.scene.day != other.scene.day:
        return f"adjacent paths within {DAYS_APART} days"
    return ""


def _touch(one: Row, other: Row) -> bool:
    assert one.window is not None
    assert other.window is not None
    return one.window.intersects(other.window)


def _key(row: Row) -> tuple[str, int]:
    return row.scene.product, row.index


def _fine_image(area: Area, store: WorkingStore, row: Row) -> _Image:
    grid, scale = store.grid, store.grid.scale
    cells = np.full((len(store.bands), *grid.coarse_shape), np.nan, np.float32)
    for block in grid.blocks(store.block):
        values = store.read_scene(row, block.window)
        coarse = block.window.coarse(scale)
        # A mean that holds a hidden pixel is NaN, and does not count.
        cells[(slice(None), *coarse.slices)] = values.reshape(len(values), coarse.height, scale, coarse.width, scale).mean(axis=(2, 4))
    scene = row.scene
    longitude, latitude = sub_grid(grid, grid.window.coarse(scale), 1).lonlat
    return _Image(
        row,
        cells,
        {
            steps: fine_adjustment(
                area.products[scene.product],
                scene.platform,
                scene.properties,
                scene.datetime,
                scene.day,
                longitude,
                latitude,
                store.bands,
                geometry=steps[0] and area.science.normalise.geometry,
                bandpass=steps[1] and area.science.normalise.bandpass,
            )
            for steps in _switches()
        },
    )


def _coarse_image(area: Area, store: WorkingStore, row: Row) -> _Image:
    scene = row.scene
    _, latitude = sub_grid(store.grid, store.grid.window.coarse(store.grid.scale), 1).lonlat
    return _Image(
        row,
        store.read_granule(row),
        {
            steps: coarse_adjustment(
                area.products[scene.product],
                scene.platform,
                scene.day,
                latitude,
                store.bands,
                geometry=steps[0] and area.science.normalise.geometry,
                bandpass=steps[1] and area.science.normalise.bandpass,
            )
            for steps in _switches()
        },
    )


def _switches() -> Iterator[tuple[bool, bool]]:
    return ((geometry, bandpass) for geometry in (False, True) for bandpass in (False, True))


def _differs(image: _Image, without: tuple[bool, bool]) -> bool:
    one, other = image.steps[True, True], image.steps[without]
    return not (np.array_equal(one.gain, other.gain) and np.array_equal(one.offset, other.offset))


def _compared(sides: Sequence[tuple[_Image, _Image]], steps: tuple[bool, bool]) -> list[Pair]:
    return [
        Pair(one.with_steps(*steps), other.with_steps(*steps), np.isfinite(one.cells).all(axis=0) & np.isfinite(other.cells).any(axis=0))
        for one, other in sides
    ]


def to_records(found: Sequence[Step]) -> list[dict[str, Any]]:
    """One JSON-ready record for each kind of pairs, step and band."""
    return [
        {
            "pairs": step.kind,
            "count": step.pairs,
            "step": step.step,
            "band": band.band,
            "cells": band.before.n,
            **{f"{name}_before": getattr(band.before, name) for name in ("median", "slope", "rmse")},
            **{f"{name}_after": getattr(band.after, name) for name in ("median", "slope", "rmse")},
        }
        for step in found
        for band in step.bands
    ]
