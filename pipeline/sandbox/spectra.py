"""Reflectance of the pure materials that the surface is mixed from: nadir view, mid-morning sun."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Material(IntEnum):
    """Rows of `SPECTRA`."""

    BRIGHT_SOIL = 0
    DARK_SOIL = 1
    WET_SOIL = 2
    CROP = 3
    GRASS = 4
    BROADLEAF = 5
    NEEDLE = 6
    WOOD = 7
    STRAW = 8
    BLOSSOM = 9
    CLEAR_WATER = 10
    TURBID_WATER = 11
    ROOF = 12
    ASPHALT = 13
    BRIGHT_GROUND = 14


SPECTRA = np.array(
    [
        # blue  green  red    nir08  swir16 swir22
        [0.100, 0.150, 0.210, 0.290, 0.380, 0.330],
        [0.045, 0.070, 0.095, 0.140, 0.205, 0.180],
        [0.038, 0.058, 0.075, 0.110, 0.120, 0.085],
        [0.024, 0.058, 0.028, 0.490, 0.205, 0.090],
        [0.034, 0.078, 0.048, 0.400, 0.245, 0.130],
        [0.020, 0.045, 0.026, 0.390, 0.170, 0.072],
        [0.020, 0.035, 0.024, 0.235, 0.110, 0.052],
        [0.046, 0.064, 0.086, 0.190, 0.235, 0.155],
        [0.090, 0.145, 0.205, 0.335, 0.400, 0.290],
        [0.040, 0.190, 0.190, 0.460, 0.220, 0.110],
        [0.030, 0.034, 0.022, 0.014, 0.007, 0.005],
        [0.068, 0.100, 0.098, 0.048, 0.018, 0.011],
        [0.165, 0.195, 0.225, 0.265, 0.290, 0.270],
        [0.075, 0.088, 0.100, 0.130, 0.155, 0.145],
        [0.205, 0.275, 0.345, 0.420, 0.500, 0.455],
    ],
    dtype=np.float32,
)
"""Reflectance (material, band), typical of published spectral libraries."""

SNOW = np.array([0.86, 0.87, 0.85, 0.76, 0.12, 0.09], dtype=np.float32)
CHAR = np.array([0.030, 0.036, 0.046, 0.080, 0.135, 0.145], dtype=np.float32)
ROAD = np.array([0.095, 0.110, 0.125, 0.165, 0.195, 0.180], dtype=np.float32)
