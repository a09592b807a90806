"""What was learnt about every pixel of an area: arrays beside the document of its parameters, written block by block."""

from __future__ import annotations

import hashlib

import numpy as np
import zarr

from pipeline.grid import Block, Grid, Window
from pipeline.store.encoding import FILL


def create_layer(path: str, grid: Grid, block: int) -> None:
    """An array (y, x) int16 in which nothing is known yet; what lies at `path` is replaced."""
    chunks = tuple(min(size, block) for size in grid.shape)
    zarr.create_array(path, shape=grid.shape, chunks=chunks, dtype="int16", fill_value=FILL, overwrite=True)


def write_layer(path: str, block: Block, values: np.ndarray) -> tuple[int, str]:
    """Write a block (y, x) int16, if anything of it is known.

    Returns
    -------
    pixels : int
        That are known.
    digest : str
        Of what was written; empty when nothing was.
    """
    pixels = int(np.count_nonzero(values != FILL))
    if not pixels:
        return 0, ""
    zarr.open_array(path, mode="r+")[block.window.slices] = values
    return pixels, hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()


def read_layer(path: str, window: Window) -> np.ndarray | None:
    """A window of fine pixels, (y, x) int16, FILL = not known; None without a path."""
    return np.asarray(zarr.open_array(path, mode="r")[window.slices]) if path else None
