"""Images against a fine image that was withheld from everything: the honest score where there is no simulated truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.assessment.scoring import Row, Sample, score

WITHHELD = "withheld"
"""The stratum of these rows: clear pixels of the withheld image."""


def score_withheld(truth: np.ndarray, images: Mapping[str, np.ndarray], scale: float, controls: frozenset[str] = frozenset()) -> list[Row]:
    """Score named images of the withheld day on its clear pixels.

    Parameters
    ----------
    truth : ndarray, (B, y, x)
        The withheld image, NaN where it is hidden.
    images : mapping of str to ndarray, (B, y, x)
        The published day and the predictions beside it.
    scale : float
        Fine pixels along the edge of a coarse cell, for ERGAS.
    controls : frozenset of str
        Names that are controls.

    Returns
    -------
    list of Row
        The smallest RMSE first.
    """
    everywhere = np.ones(truth.shape[-2:], bool)
    return score([Sample(truth, images, {WITHHELD: everywhere})], scale, controls)
