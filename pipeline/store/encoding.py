"""From physical values to the integers of the published cube, and back."""

from __future__ import annotations

import numpy as np

SCALE = 1e-4
"""Physical value of one count, of reflectance and of its uncertainty."""
FILL = -32768
"""Fill of int16 layers: reflectance and days to the nearest observation."""
STD_FILL = 65535
"""Fill of uint16 uncertainty."""
PERCENT_FILL = 255
"""Fill of uint8 percentages."""

_COUNTS = np.float32(1 / SCALE)


def encode_reflectance(values: np.ndarray) -> np.ndarray:
    """Reflectance as int16 counts of `SCALE`, rounded to the nearest.

    Parameters
    ----------
    values : ndarray, any shape, float
        Reflectance or an index; NaN and infinities become `FILL`. Values beyond ±3.2767 are clipped.

    Returns
    -------
    ndarray, same shape, int16
    """
    counts = np.multiply(values, _COUNTS, dtype=np.float32)
    np.rint(counts, out=counts)
    np.clip(counts, FILL + 1, -(FILL + 1), out=counts)
    counts[~np.isfinite(values)] = FILL
    return counts.astype(np.int16)


def decode_reflectance(counts: np.ndarray) -> np.ndarray:
    """The inverse of `encode_reflectance`: float32, NaN where `FILL`."""
    values = counts.astype(np.float32) / _COUNTS
    values[counts == FILL] = np.nan
    return values


def encode_std(std: np.ndarray) -> np.ndarray:
    """1 σ as uint16 counts of `SCALE`.

    Parameters
    ----------
    std : ndarray, any shape, float
        NaN, infinities and negative values become `STD_FILL`; values above 6.5534 are clipped.

    Returns
    -------
    ndarray, same shape, uint16
        A positive σ never becomes 0: certainty is not what rounding may claim.
    """
    counts = np.multiply(std, _COUNTS, dtype=np.float32)
    np.rint(counts, out=counts)
    np.clip(counts, 0, STD_FILL - 1, out=counts)
    counts[(counts == 0) & (std > 0)] = 1
    counts[~(np.isfinite(std) & (std >= 0))] = STD_FILL
    return counts.astype(np.uint16)


def decode_std(counts: np.ndarray) -> np.ndarray:
    """The inverse of `encode_std`: float32, NaN where `STD_FILL`."""
    values = counts.astype(np.float32) / _COUNTS
    values[counts == STD_FILL] = np.nan
    return values


def encode_percent(share: np.ndarray) -> np.ndarray:
    """A share (0–1, NaN = unknown) as whole uint8 percent, `PERCENT_FILL` where unknown."""
    percent = np.rint(np.clip(np.multiply(share, 100.0, dtype=np.float32), 0, 100))
    percent[~np.isfinite(share)] = PERCENT_FILL
    return percent.astype(np.uint8)
