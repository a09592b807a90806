"""Random numbers and smooth random fields that depend on a key and on a place only, never on how much is asked for.

Every number comes from a hash of its integer coordinates, so a field drawn for a small
canvas is a cut-out of the field drawn for a large one, in any order, in any process.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Axis = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)

# Mean over positions of the sum of squared cubic B-spline weights is 0.479 along one axis; a field
# of unit-variance nodes has variance 0.479² and is scaled back to one.
_SPLINE_GAIN = np.float32(1 / 0.479)


def key_of(seed: int, *names: object) -> np.uint64:
    """A 64-bit key of a seed and any names."""
    text = "/".join([str(seed), *(str(name) for name in names)])
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def bits(key: np.uint64, *indices: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Hash integer indices, broadcast against each other, to 64 random bits each (finaliser of splitmix64)."""
    state: npt.NDArray[np.uint64] = np.atleast_1d(key)
    for index in indices:
        array = np.asarray(index)
        state = state ^ (array if array.dtype == np.uint64 else array.astype(np.int64).view(np.uint64))
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MULTIPLIER_1
        state = (state ^ (state >> np.uint64(27))) * _MULTIPLIER_2
        state = state ^ (state >> np.uint64(31))
    return state


def uniform(key: np.uint64, *indices: npt.ArrayLike) -> Array:
    """Uniform numbers in (0, 1)."""
    return ((bits(key, *indices) >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)


def gauss(key: np.uint64, *indices: npt.ArrayLike) -> Array:
    """Nearly normal numbers: zero mean, unit variance, bounded by ±3.5 (sum of four uniform parts of one hash)."""
    state = bits(key, *indices)
    low = np.uint64(0xFFFF)
    total = (state & low) + ((state >> np.uint64(16)) & low) + ((state >> np.uint64(32)) & low) + (state >> np.uint64(48))
    return (total.astype(np.float32) - np.float32(2 * 65535)) * np.float32(np.sqrt(3.0) / 65536)


def _taps(coordinate: Axis, spacing: float) -> tuple[Numbers, Array]:
    """Index of the first of four nodes, and their cubic B-spline weights (n, 4)."""
    position = coordinate / spacing
    base = np.floor(position)
    f = (position - base).astype(np.float32)
    g = 1 - f
    weights = np.stack([g**3, 3 * f**3 - 6 * f**2 + 4, 3 * g**3 - 6 * g**2 + 4, f**3], axis=1) / np.float32(6)
    return base.astype(np.int64) - 1, weights.astype(np.float32)


def nodes_for(x: Axis, y: Axis, spacing: float) -> tuple[Numbers, Numbers]:
    """Row and column numbers of the lattice nodes that `spread` needs for these coordinates, which rise or fall steadily."""
    rows = sorted((math.floor(y[0] / spacing), math.floor(y[-1] / spacing)))
    cols = sorted((math.floor(x[0] / spacing), math.floor(x[-1] / spacing)))
    return np.arange(rows[0] - 1, rows[1] + 3), np.arange(cols[0] - 1, cols[1] + 3)


def spread(nodes: Array, x: Axis, y: Axis, spacing: float) -> Array:
    """Values of lattice `nodes` (as numbered by `nodes_for`), smoothed by a cubic B-spline onto the outer product of y and x.

    The sums are written out so that a value does not depend on the size of the canvas.
    """
    rows, cols = nodes_for(x, y, spacing)
    first_row, row_weights = _taps(y, spacing)
    first_col, col_weights = _taps(x, spacing)
    first_row -= rows[0]
    first_col -= cols[0]
    wide = nodes[:, first_col] * col_weights[:, 0]
    for tap in range(1, 4):
        wide += nodes[:, first_col + tap] * col_weights[:, tap]
    # Along rows the taps are whole lines of memory: the larger half of the work goes there.
    full = wide[first_row]
    full *= row_weights[:, :1]
    part = np.empty_like(full)
    for tap in range(1, 4):
        np.take(wide, first_row + tap, axis=0, out=part, mode="clip")
        part *= row_weights[:, tap : tap + 1]
        full += part
    return full


def field(key: np.uint64, x: Axis, y: Axis, spacing: float) -> Array:
    """A smooth random field of unit variance on the outer product of y and x; `spacing` is its grain [m]."""
    rows, cols = nodes_for(x, y, spacing)
    return spread(gauss(key, rows[:, None], cols[None, :]) * _SPLINE_GAIN, x, y, spacing)


def fractal(
    key: np.uint64,
    x: Axis,
    y: Axis,
    spacings: Sequence[float],
    weights: Sequence[float] | None = None,
) -> Array:
    """The sum of fields of several grains, unit variance; equal weights by default."""
    parts = np.ones(len(spacings)) if weights is None else np.asarray(weights, dtype=float)
    parts = parts / np.sqrt(np.sum(parts**2))
    total: Array | None = None
    for number, (spacing, part) in enumerate(zip(spacings, parts, strict=True)):
        layer = field(bits(key, number)[0], x, y, spacing) * np.float32(part)
        total = layer if total is None else total + layer
    assert total is not None
    return total
