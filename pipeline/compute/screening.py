"""The fine images of one block screened, and what was found, verdicts and smooth offsets, written beside the observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.compute.job import ImageCount, Job
from pipeline.compute.reading import margin, read_window
from pipeline.grid import Block
from pipeline.observations.verdicts import write_verdicts
from pipeline.observations.working import WorkingStore
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.screen import screen


def screen_block(job: Job, block: Block, days: Sequence[int]) -> list[ImageCount]:
    """Screen the images of a block on `days` and write the verdicts to the working store.

    Everything a verdict may look at is read, so whatever the batch and the block the verdicts are the same.
    On the CPU whatever the device: a verdict is a threshold, and must not depend on where it was found.

    Parameters
    ----------
    days : sequence of int
        Day numbers of fine images, increasing. Where the block shows nothing clear on one of them, nothing is refused.

    Returns
    -------
    list of ImageCount
        Of the images that observed something of the block.
    """
    torch.set_num_threads(job.threads)
    options, grid = job.screening or ScreeningOptions(), job.grid
    before, after = options.support()
    window = block.window.padded(margin(grid, options.halo(grid.scale, grid.resolution))).clipped(*grid.shape)
    with torch.inference_mode():
        fusion = read_window(job, window, days[0] - before, days[-1] + after, judged=False, layers=False).fusion
        found = screen(fusion, job.bands, fusion.fine_surface, options)
    store = WorkingStore.open(job.observations)
    inner, cells = block.window.relative_to(window).slices, block.window.coarse(grid.scale)
    counts = []
    for day in days:
        if day not in fusion.fine_days:
            nothing = np.zeros(block.window.shape, np.uint8)
            none = np.zeros((len(job.bands), *cells.shape), np.float32)
            write_verdicts(store, block.window, day, nothing, nothing, nothing + np.float32(1), none)
            continue
        index = fusion.fine_days.index(day)
        verdict, cause, doubt = (part[index][inner].numpy() for part in (found.verdict, found.cause, found.doubt))
        offset = found.offset[(index, slice(None), *cells.relative_to(window.coarse(grid.scale)).slices)].numpy()
        write_verdicts(store, block.window, day, verdict, cause, doubt, offset)
        seen = torch.isfinite(fusion.fine[index][(..., *inner)]).all(dim=0).numpy()
        if seen.any():
            counts.append(ImageCount(day, _counted(verdict[seen], cause[seen])))
    return counts


def _counted(verdict: np.ndarray, cause: np.ndarray) -> dict[tuple[int, int], int]:
    """(verdict, cause) → pixels."""
    pairs, pixels = np.unique(np.stack([verdict, cause]), axis=1, return_counts=True)
    return {(int(kind), int(why)): int(count) for kind, why, count in zip(*pairs, pixels, strict=True)}
