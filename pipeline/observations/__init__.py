"""Observations: from scenes to masked reflectance, lazily or in the working store.

Importing this package imports neither xarray nor rasterio nor zarr: planning looks
at the scenes table only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.observations.datasets import open_observations, open_scenes

__all__ = ["open_observations", "open_scenes"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("pipeline.observations.datasets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
