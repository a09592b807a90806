"""The registered methods as test parameters: those of the pipeline's own always, the classical ones beside them in the full suite."""

from __future__ import annotations

import pytest

from pipeline.fusion.registry import specs

OWN = ("smoother", "residual", "nearest", "linear", "harmonic", "coarse", "delta", "delta2")
"""The methods of the pipeline itself and the six controls."""

QUICK = ("smoother", "residual", "delta2")
"""Where even the controls cost seconds each."""

ALL_METHODS = [name if name in OWN else pytest.param(name, marks=pytest.mark.slow) for name in specs()]
"""For tests that cost seconds for each method; window methods of the literature are marked slow."""

COSTLY_METHODS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in specs()]
"""For tests that run blocks of a whole region with each method."""
