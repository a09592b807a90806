"""The 250 m composites of a window as methods see them: read from the working store, filled and smoothed by day."""

from __future__ import annotations

from torch import Tensor

from pipeline.compute.job import Job
from pipeline.fusion.interface import COARSE_LAYERS
from pipeline.fusion.registry import spec_of
from pipeline.grid import Window
from pipeline.observations.working import WorkingStore
from pipeline.operators.reach import SPIKE_REACH
from pipeline.restoration.textures import Texture, daily_layers


def read_textures(job: Job, cells: Window, first: int, last: int) -> dict[str, Tensor]:
    """The extra coarse layers of a window.

    They are made anew for every block that asks for them: a few bands of a few composites, of which each day looks at ever the same.

    Parameters
    ----------
    cells : Window
        Coarse cells.
    first, last : int
        Day numbers, both included.

    Returns
    -------
    dict
        Name → (T, Y, X) float32, NaN = unknown; empty when the method does not need them, or the area has none.
    """
    if COARSE_LAYERS not in spec_of(job.method).needs:
        return {}
    store = WorkingStore.open(job.observations)
    window, tau = job.restoration["window"], job.restoration["tau"]
    far = window + SPIKE_REACH
    found = []
    for product, bands in store.textures.items():
        seen = store.read_coarse(cells, first - far, last + far, texture=product)
        found.append(Texture(bands, seen.days, seen.values, seen.std, seen.nominal))
    return daily_layers(found, range(first, last + 1), window, tau)
