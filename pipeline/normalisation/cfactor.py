"""The c-factor: from reflectance in one geometry to nadir view and another sun, with one shape for all land."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.normalisation.kernels import li_sparse_reciprocal, ross_thick

SUN_LIMIT, VIEW_LIMIT = 75.0, 65.0
"""Zeniths beyond which the kernels are not to be trusted [degrees]: larger ones are taken for these."""

# f_iso, f_vol, f_geo: mean of the MODIS BRDF record over all land and a year (Roy et al. 2016, RSE 176:255–271).
_SHAPE = {
    "blue": (0.0774, 0.0372, 0.0079),
    "green": (0.1306, 0.0580, 0.0178),
    "red": (0.1690, 0.0574, 0.0227),
    "nir08": (0.3093, 0.1535, 0.0330),
    "swir16": (0.3430, 0.1154, 0.0453),
    "swir22": (0.2658, 0.0639, 0.0387),
}

SHAPED = frozenset(_SHAPE)
"""Bands (STAC common names) with a factor."""


def c_factor(
    bands: Sequence[str],
    sun_zenith: npt.ArrayLike,
    view_zenith: npt.ArrayLike,
    relative_azimuth: npt.ArrayLike,
    target_sun_zenith: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    r"""What reflectance is multiplied by: model(view 0, target sun) / model(view, sun).

    Parameters
    ----------
    bands : sequence of str
        STAC common names. A band the model does not know (an index, say) has the factor 1.
    sun_zenith, view_zenith, relative_azimuth : array_like
        Directions of the observation [degrees], broadcast to one shape; relative azimuth as in `kernels`, 0 = backscatter.
    target_sun_zenith : array_like
        The sun wanted [degrees].

    Returns
    -------
    ndarray, (B, \*shape)
        NaN where an angle is.
    """
    sun, view, azimuth, target = np.broadcast_arrays(sun_zenith, view_zenith, relative_azimuth, target_sun_zenith)
    sun, view, target = np.minimum(sun, SUN_LIMIT), np.minimum(view, VIEW_LIMIT), np.minimum(target, SUN_LIMIT)
    observed = ross_thick(sun, view, azimuth), li_sparse_reciprocal(sun, view, azimuth)
    wanted = ross_thick(target, 0.0, 0.0), li_sparse_reciprocal(target, 0.0, 0.0)
    factors = np.ones((len(bands), *sun.shape))
    for number, band in enumerate(bands):
        if band in _SHAPE:
            isotropic, volume, geometric = _SHAPE[band]
            factors[number] = (isotropic + volume * wanted[0] + geometric * wanted[1]) / (
                isotropic + volume * observed[0] + geometric * observed[1]
            )
    return factors
