"""What clouds, haze and shadows do to the bands there are: a few linear channels that tell them from changes of the ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

_VISIBLE = ("blue", "green", "red")
_INFRARED = ("nir", "nir08", "nir09", "swir16", "swir22")
_SHORTWAVE = ("swir22", "swir16")
_LOWERED = ("ndvi", "evi", "savi")
"""Indices that every contamination lowers over vegetation."""

_COLOURLESS = 5.0
"""Deviations of an index or of an infrared band over those of the visible bands."""

_RED_SHARE = 0.5
"""Red that is taken off blue: along soils and canopies blue rises half as much as red, in clouds as much and in haze more."""


@dataclass(frozen=True)
class Signature:
    """Channels of a set of bands.

    `WHITE` rises with cloud and haze and hardly with anything on the ground: the haze-optimised transform, blue less half of red (Zhang,
    Guindon & Cihlar 2002, RSE 82; with the slope of Fmask, Zhu & Woodcock 2012, RSE 118, eq. 3). `BRIGHT` is the mean of the
    visible bands. `NEAR` and `SHORT`, near and short-wave infrared, both fall in a shadow; a fire lowers the one, a flood lifts the
    visible bands. Where bands are missing others stand in, down to a single one.

    Parameters
    ----------
    bands : tuple of str
        STAC common names.
    """

    bands: tuple[str, ...]

    WHITE, BRIGHT, NEAR, SHORT = range(4)

    @cached_property
    def visible(self) -> tuple[str, ...]:
        return tuple(band for band in self.bands if band in _VISIBLE)

    @cached_property
    def infrared(self) -> tuple[str, ...]:
        return tuple(band for band in self.bands if band in _INFRARED)

    @cached_property
    def shortwave(self) -> bool:
        """Whether snow can be told from cloud, and fire from shadow."""
        return any(band in _SHORTWAVE for band in self.bands)

    @cached_property
    def unit(self) -> float:
        """How much more the first channel varies on the ground than blue less half of red does, which thresholds are given for."""
        return 1.0 if self.visible else _COLOURLESS

    def weights(self, like: Tensor) -> Tensor:
        """Weights of the bands in the channels, (4, B); no weight is negative but that of red in `WHITE` and those of indices."""
        rows = [dict[str, float]() for _ in range(4)]
        visible, infrared = self.visible, self.infrared
        if visible:
            rows[self.WHITE][visible[0]] = 1.0
            if "red" in visible[1:]:
                rows[self.WHITE]["red"] = -_RED_SHARE
            rows[self.BRIGHT] = {band: 1.0 / len(visible) for band in visible}
        else:
            # Nothing tells the colour: what is left must rise, or, of an index, fall.
            rows[self.WHITE] = {band: -1.0 if band in _LOWERED else 1.0 for band in self.bands[:1]}
            rows[self.BRIGHT] = rows[self.WHITE]
        if infrared:
            rows[self.NEAR][infrared[0]] = 1.0
            rows[self.SHORT][next((band for band in _SHORTWAVE if band in infrared), infrared[0])] = 1.0
        return like.new_tensor([[row.get(band, 0.0) for band in self.bands] for row in rows])
