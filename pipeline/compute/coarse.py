"""The coarse series of one block: restored on its cells, and what is learnt about an area from a sample of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline.compute.job import Job, applied
from pipeline.compute.registration import learn_shifts, read_registered
from pipeline.compute.rescue import read_levels
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.grid import Block, Window, runs_of
from pipeline.observations.working import WorkingStore
from pipeline.operators.resample import area_mean
from pipeline.restoration.bias import apply_bias, estimate_bias
from pipeline.restoration.smoother import restore


def restore_block(job: Job, block: Block, days: Sequence[int]) -> tuple[int, int]:
    """Restore the coarse cells of a block on `days` and write them to the working store.

    Cells are restored one by one, so no halo is needed and any block size gives the same values.
    """
    torch.set_num_threads(job.threads)
    store = WorkingStore.open(job.observations)
    cells = block.window.coarse(job.grid.scale)
    for first, last in runs_of(sorted(days)):
        mean, std, observed = _restored(job, store, cells, list(range(first, last + 1)))
        store.write_restored(cells, first, mean.numpy(), std.numpy(), observed.numpy())
    return block.row, block.col


def learn(
    job: Job, windows: Sequence[Window], first: int, last: int, wide: Sequence[Window] = (), footprints: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Learn the shifts and the bias of the coarse series and the parameters of the method from sample windows.

    Parameters
    ----------
    windows : sequence of Window
        Fine pixels, on whole coarse cells.
    first, last : int
        Day numbers of the training window.
    wide : sequence of Window
        Larger windows, for the shifts.
    footprints : mapping
        Effective footprint [m] of the coarse products whose shift is learnt and taken off; none by default.

    Returns
    -------
    dict
        ``{"registration": …, "restoration": …, "method": …}``, JSON-ready.
    """
    torch.set_num_threads(job.threads)
    registration = learn_shifts(job, wide, footprints or {}, first, last)
    job = replace(job, restoration={**job.restoration, "shifts": applied(registration)})
    store = WorkingStore.open(job.observations)
    fine_means, shares, coarse_means, samples = [], [], [], []
    days = list(range(first, last + 1))
    for window in windows:
        fine = store.read_fine(window, first, last, levels=read_levels(job, window))
        if not len(fine.days):
            continue
        values = torch.from_numpy(fine.values)
        mean, std, _ = _restored(job, store, window.coarse(job.grid.scale), days, biased=True)
        at_fine = [int(day) - first for day in fine.days]
        fine_mean, share = area_mean(values, job.grid.scale)
        fine_means.append(fine_mean.flatten(2))
        shares.append(share.flatten(2))
        coarse_means.append(mean[at_fine].flatten(2))
        samples.append((fine, values, mean, std))
    if not samples:
        return {"registration": registration, "restoration": {}, "method": {}}
    bias = _pooled_bias(coarse_means, fine_means, shares)
    learnt = [
        FusionInput(
            fine=values,
            fine_days=tuple(int(day) for day in fine.days),
            fine_std=torch.from_numpy(fine.std),
            coarse=restored[0],
            coarse_std=restored[1],
            coarse_days=tuple(days),
            scale=job.grid.scale,
            resolution=job.grid.resolution,
            fine_doubt=None if fine.doubt is None else torch.from_numpy(fine.doubt),
            fine_surface=None if fine.surface is None else torch.from_numpy(fine.surface),
        )
        for fine, values, mean, std in samples
        for restored in [apply_bias(mean, std, bias)]
    ]
    return {"registration": registration, "restoration": bias, "method": build(job.method, job.options).estimate(learnt)}


def _pooled_bias(coarse: list[torch.Tensor], fine: list[torch.Tensor], shares: list[torch.Tensor]) -> dict[str, Any]:
    """One bias from all sample windows: windows see different days, so cells are pooled per band."""

    def pooled(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1)[None, :, None, :]

    return estimate_bias(pooled(coarse), pooled(fine), pooled(shares))


def _restored(
    job: Job, store: WorkingStore, cells: Window, days: list[int], biased: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    window, tau = job.restoration["window"], job.restoration["tau"]
    values, std, when = read_registered(job, store, cells, days[0] - window, days[-1] + window)
    mean, std, observed = restore(values, std, when, np.array(days), window, tau)
    bias: Mapping[str, Any] = job.restoration.get("bias", {})
    if bias and not biased:
        mean, std = apply_bias(mean, std, bias)
    return mean, std, observed
