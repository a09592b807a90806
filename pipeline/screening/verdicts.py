"""The coded words of screening, as they stand in stores. Imports nothing."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What is done with a fine pixel."""

    CLEAR = 0
    SUSPECT = 1
    REFUSED = 2


class Cause(IntEnum):
    """Why a pixel is not simply clear."""

    NONE = 0
    CLOUD = 1
    SHADOW = 2
    OFFSET = 3


class Surface(IntEnum):
    """The state of the ground an observation shows; observations are compared with others of the same state."""

    LAND = 0
    SNOW = 1
    WATER = 2
