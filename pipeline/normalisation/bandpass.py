"""From the bandpass of a sensor to that of OLI: a line for each band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.sensors import Product


def bandpass_lines(product: Product, platform: str, bands: Sequence[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gain and offset of the line OLI = offset + gain · reflectance, (B,) each; 1 and 0 where nothing is to be done.

    The lines of TM and ETM+ are reduced major axes (Roy et al. 2016, RSE 185:57–70, table 2). Ordinary least squares would
    pull both sensors towards the mean, and its two directions are not each other's inverse.
    """
    line = product.bandpass.get(platform)
    if line is None:
        return np.ones(len(bands)), np.zeros(len(bands))
    return np.array([line.gain.get(band, 1.0) for band in bands]), np.array([line.offset.get(band, 0.0) for band in bands])
