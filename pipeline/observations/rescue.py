"""Pixels that the cloud mask takes for clouds on nearly all days although they do not change: bright roofs, sand, salt.

Clouds are of every brightness. A pixel that is flagged nearly always and yet nearly always
looks the same is a bright surface: its level is kept, and a flagged value near it is used.
"""

from __future__ import annotations

import numpy as np

from pipeline.store.encoding import FILL
from pipeline.vocabulary import HIDING, Reason

FLAGS = Reason.CLOUD | Reason.CIRRUS | Reason.DILATED
"""What bright surfaces are mistaken for."""

MIN_IMAGES = 12
FLAGGED = 0.8
"""Share of the images in which a pixel must be flagged."""
STABLE = 0.5
"""Share of the flagged values that must lie near their median: the others may truly be clouds."""
TOLERANCE = 400
"""Largest distance of the mean of the bands from the level of a pixel [reflectance · 10⁴]."""


def brightness(values: np.ndarray) -> np.ndarray:
    """Mean of the bands of stored reflectance (B, y, x) int16, FILL where a band is missing: (y, x) int16."""
    mean = np.rint(values.astype(np.float32).mean(axis=0)).astype(np.int16)
    return np.where((values == FILL).any(axis=0), np.int16(FILL), mean)


def levels(bright: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """The level of each pixel that is wrongly flagged as cloud.

    Parameters
    ----------
    bright : ndarray, (K, y, x) int16
        `brightness` of the images.
    reasons : ndarray, (K, y, x) uint16
        `Reason` bits.

    Returns
    -------
    ndarray, (y, x) int16
        Mean of the bands [reflectance · 10⁴]; FILL where nothing is to be rescued.
    """
    level = np.full(bright.shape[1:], FILL, np.int16)
    seen = (reasons & int(Reason.FILL) == 0) & (bright != FILL)
    flagged = seen & (reasons & int(FLAGS) != 0)
    images, often = seen.sum(axis=0), flagged.sum(axis=0)
    rows, cols = np.nonzero((images >= MIN_IMAGES) & (often >= FLAGGED * images))
    if not rows.size:
        return level
    values = np.where(flagged[:, rows, cols], bright[:, rows, cols].astype(np.float32), np.nan)
    middle = np.nanmedian(values, axis=0)
    near = (np.abs(values - middle) <= TOLERANCE).sum(axis=0)
    keep = near >= STABLE * often[rows, cols]
    level[rows[keep], cols[keep]] = np.rint(middle[keep]).astype(np.int16)
    return level


def rescued(bright: np.ndarray, reasons: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Reasons of one image in which pixels that look like their own bright surface are no clouds.

    Parameters
    ----------
    bright : ndarray, (y, x) int16
    reasons : ndarray, (y, x) uint16
    level : ndarray, (y, x) int16
        From `levels`.

    Returns
    -------
    ndarray, (y, x) uint16
        RESCUED instead of the cloud flags; pixels hidden for another reason as well stay hidden.
    """
    only = (reasons & int(HIDING) != 0) & (reasons & int(HIDING & ~FLAGS) == 0)
    near = np.abs(bright.astype(np.int32) - level) <= TOLERANCE
    save = only & (level != FILL) & (bright != FILL) & near
    return np.where(save, (reasons & ~np.uint16(FLAGS)) | np.uint16(Reason.RESCUED), reasons).astype(np.uint16)
