"""The nearest usable observations before and after each image, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NONE = -1
"""Index of an observation that does not exist."""


def nearest_two(usable: Tensor, surface: Tensor | None, days: Sequence[int], reach: int, later: bool) -> Tensor:
    """The two nearest usable observations of the same surface on one side of each image.

    Parameters
    ----------
    usable : Tensor, (K, y, x) bool
    surface : Tensor, (K, y, x) uint8, or None
        State of the ground; None when it is the same everywhere.
    days : sequence of int, (K,)
        Increasing.
    reach : int
        Days that they may lie away.
    later : bool
        Look at later images instead of earlier ones.

    Returns
    -------
    Tensor, (K, 2, y, x) int16
        Their indices, the nearer one first; `NONE` where there is none.
    """
    found = torch.full((len(days), 2, *usable.shape[1:]), NONE, dtype=torch.int16, device=usable.device)
    order = range(len(days) - 1, -1, -1) if later else range(len(days))
    for state in [0] if surface is None else torch.unique(surface).tolist():
        latest = torch.full_like(found[0], NONE) if len(days) else found
        for index in order:
            known = latest.masked_fill(~_within(latest, days, index, reach), NONE)
            if surface is None:
                found[index] = known
                taken = usable[index]
            else:
                here = surface[index].eq(state)
                torch.where(here, known, found[index], out=found[index])
                taken = usable[index] & here
            torch.where(taken, latest[0], latest[1], out=latest[1])
            latest[0].masked_fill_(taken, index)
    return found


def _within(indices: Tensor, days: Sequence[int], index: int, reach: int) -> Tensor:
    """Which of some indices are of images at most `reach` days from that of `index`."""
    near = [other for other, day in enumerate(days) if abs(day - days[index]) <= reach]
    return (indices >= near[0]) & (indices <= near[-1])
