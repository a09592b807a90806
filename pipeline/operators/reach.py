"""How far the operators that every day goes through look. Imports no torch, so that planning can ask."""

from __future__ import annotations

import math

BLEND_REACHES = (960.0, 300.0, 90.0)
"""Reach of the tents that spread the difference between observed and predicted into a gap, coarse to fine [m]."""

BLEND_HALO = max(BLEND_REACHES)
"""Metres around a pixel that its blended value looks at."""

SPIKE_REACH = 8
"""Days before and after a coarse value whose values judge it."""


def day_halo(method_halo: float) -> float:
    """Metres around a pixel that its published value looks at.

    Parameters
    ----------
    method_halo : float
        What a prediction of the method looks at [m]; the blend looks at predictions of its own reach.
    """
    return BLEND_HALO + method_halo


def search_reach(footprint: float, scale: int, resolution: float) -> int:
    """Cells to every side within which the shift of a coarse product is looked for: two, or a footprint where that is more.

    Parameters
    ----------
    footprint : float
        Effective footprint of the product [m].
    scale : int
        Fine pixels along the edge of a cell.
    resolution : float
        Edge of a fine pixel [m].
    """
    return max(2, math.ceil(footprint / (scale * resolution)))
