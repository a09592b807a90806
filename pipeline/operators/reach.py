"""How far the operators that every day goes through look. Imports no torch, so that planning can ask."""

from __future__ import annotations

BLEND_REACHES = (960.0, 300.0, 90.0)
"""Reach of the tents that spread the difference between observed and predicted into a gap, coarse to fine [m]."""

BLEND_HALO = max(BLEND_REACHES)
"""Metres around a pixel that its blended value looks at."""
