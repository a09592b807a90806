"""The coarse series of one block: restored on its cells, and what is learnt about an area from a sample of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline.compute.job import Job, applied
from pipeline.compute.reading import as_input, layered
from pipeline.compute.registration import learn_shifts, read_registered
from pipeline.compute.rescue import read_levels
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build
from pipeline.grid import Block, Window, runs_of
from pipeline.observations.working import WorkingStore
from pipeline.operators.reach import SPIKE_REACH
from pipeline.restoration.bias import apply_bias, learn_bias
from pipeline.restoration.smoother import restore
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.screen import applied as judged
from pipeline.screening.screen import screen


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
    job: Job, windows: Sequence[Window], first: int, last: int, footprints: Mapping[str, float], wide: Sequence[Window] = ()
) -> dict[str, Any]:
    """Learn the shifts and the bias of the coarse series and the parameters of the method from sample windows.

    The fine images are screened as they are in a run, within the windows and days.

    Parameters
    ----------
    windows : sequence of Window
        Fine pixels, on whole coarse cells.
    first, last : int
        Day numbers of the training window.
    footprints : mapping
        Coarse product → its effective footprint [m]. One bias serves all: it is learnt with the largest.
    wide : sequence of Window
        Larger windows, from which the shifts of the products are learnt; they are left as they are without any.

    Returns
    -------
    dict
        ``{"registration": …, "restoration": …, "method": …}``, JSON-ready.
    """
    torch.set_num_threads(job.threads)
    registration = learn_shifts(job, wide, footprints if wide else {}, first, last)
    job = replace(job, restoration={**job.restoration, "shifts": applied(registration)})
    store = WorkingStore.open(job.observations)
    days = range(first, last + 1)
    samples = []
    for window in windows:
        fine = store.read_fine(window, first, last, levels=read_levels(job, window))
        if len(fine.days):
            mean, std, _ = _restored(job, store, window.coarse(job.grid.scale), list(days), biased=True)
            samples.append(layered(job, window, as_input(job, fine, fine.doubt, (mean, std), days)))
    if not samples:
        return {"registration": registration, "restoration": {}, "method": {}}
    footprint = max(footprints.values(), default=0.0)
    bias = learn_bias(samples, footprint)
    if job.screening is not None:
        # A missed cloud would spoil the bias: what is screened with the first one makes the second.
        samples = [_screened(job, job.screening, sample, bias) for sample in samples]
        bias = learn_bias(samples, footprint)
    learnt = build(job.method, job.options).estimate([_unbiased(sample, bias) for sample in samples])
    return {"registration": registration, "restoration": bias, "method": learnt}


def _screened(job: Job, options: ScreeningOptions, sample: FusionInput, bias: Mapping[str, Any]) -> FusionInput:
    return judged(sample, screen(_unbiased(sample, bias), job.bands, sample.fine_surface, options))


def _unbiased(sample: FusionInput, bias: Mapping[str, Any]) -> FusionInput:
    mean, std = apply_bias(sample.coarse, sample.coarse_std, bias)
    return replace(sample, coarse=mean, coarse_std=std)


def _restored(
    job: Job, store: WorkingStore, cells: Window, days: list[int], biased: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    window, tau = job.restoration["window"], job.restoration["tau"]
    # A value tells the same of every day: what judges it is read too.
    far = window + SPIKE_REACH
    values, std, when = read_registered(job, store, cells, days[0] - far, days[-1] + far)
    mean, std, observed = restore(values, std, when, np.array(days), window, tau)
    bias: Mapping[str, Any] = job.restoration.get("bias", {})
    if bias and not biased:
        mean, std = apply_bias(mean, std, bias)
    return mean, std, observed
