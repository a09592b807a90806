"""The observations of a window of the working store, in the form that screening and methods see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.compute.job import Job
from pipeline.compute.ndvi import read_median
from pipeline.compute.rescue import read_levels
from pipeline.compute.textures import read_textures
from pipeline.fusion.interface import FusionInput
from pipeline.grid import Grid, Window, halo_cells
from pipeline.observations.verdicts import judge, read_offsets
from pipeline.observations.working import FineStack, WorkingStore
from pipeline.operators.resample import lift


@dataclass(frozen=True)
class Observed:
    """What was observed of a window.

    Parameters
    ----------
    fusion : FusionInput
    reasons : ndarray, (K, y, x) uint16
        `Reason` bits of the fine images of `fusion`.
    suspect : ndarray, (K, y, x) bool
        Where screening doubts an observation that is kept.
    coarse_observed : ndarray, (T, Y, X) float32
        Share of the coarse support that was really observed.
    """

    fusion: FusionInput
    reasons: np.ndarray
    suspect: np.ndarray
    coarse_observed: np.ndarray


def read_window(job: Job, window: Window, first: int, last: int, judged: bool, layers: bool = True) -> Observed:
    """Read the fine images and the restored coarse series of a window.

    Parameters
    ----------
    window : Window
        Fine pixels, on whole coarse cells.
    first, last : int
        Day numbers, both included.
    judged : bool
        Without what screening refused, and with the doubt that it casts; otherwise as the mask left it.
    layers : bool
        With the extra layers that the method of the job needs.
    """
    grid = job.grid
    store = WorkingStore.open(job.observations)
    fine = store.read_fine(window, first, last, levels=read_levels(job, window))
    doubt, suspect = fine.doubt, np.zeros(fine.reasons.shape, bool)
    if judged:
        found, suspect = judge(store, window, fine)
        doubt = found if doubt is None else found * doubt
    cells = window.coarse(grid.scale)
    mean, std, observed = store.read_restored(cells, first, last)
    cell = grid.resolution * grid.scale
    origin = (round(-grid.north / cell) + cells.row, round(grid.west / cell) + cells.col)
    coarse = torch.from_numpy(mean), torch.from_numpy(std)
    fusion = as_input(job, fine, doubt, coarse, range(first, last + 1), origin)
    return Observed(layered(job, window, fusion) if layers else fusion, fine.reasons, suspect, observed)


def level(job: Job, window: Window, fusion: FusionInput) -> None:
    """Take the smooth offsets that screening found off the fine images of a window, in place."""
    store, grid = WorkingStore.open(job.observations), job.grid
    # A cell more on every side: pixels at the edge lie between two cells.
    around = window.padded(grid.scale).clipped(*grid.shape)
    inner = window.relative_to(around).slices
    for image, cells in zip(fusion.fine, read_offsets(store, around, fusion.fine_days), strict=True):
        image.sub_(lift(torch.from_numpy(cells), grid.scale)[(..., *inner)])


def layered(job: Job, window: Window, fusion: FusionInput) -> FusionInput:
    """The observations of a window with the extra layers that the method of the job needs, as far as the area has them."""
    days = fusion.coarse_days
    textures = read_textures(job, window.coarse(job.grid.scale), days[0], days[-1])
    return replace(fusion, layers=read_median(job, window), coarse_layers=textures)


def as_input(
    job: Job,
    fine: FineStack,
    doubt: np.ndarray | None,
    coarse: tuple[torch.Tensor, torch.Tensor],
    coarse_days: range,
    origin: tuple[int, int] = (0, 0),
) -> FusionInput:
    """Fine images, the factor of their σ, and the mean and σ of a coarse series of consecutive days; shares memory."""
    surface = fine.surface
    return FusionInput(
        fine=torch.from_numpy(fine.values),
        fine_days=tuple(int(day) for day in fine.days),
        fine_std=torch.from_numpy(fine.std),
        fine_doubt=None if doubt is None else torch.from_numpy(doubt),
        fine_surface=None if surface is None else torch.from_numpy(surface),
        coarse=coarse[0],
        coarse_std=coarse[1],
        coarse_days=tuple(coarse_days),
        scale=job.grid.scale,
        resolution=job.grid.resolution,
        origin=origin,
        bands=job.bands,
    )


def margin(grid: Grid, metres: float) -> int:
    """Fine pixels of halo that hold `metres`, on whole coarse cells."""
    return halo_cells(metres, grid.resolution, grid.scale) * grid.scale
