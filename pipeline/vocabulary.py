"""The coded words of the house: flags that stand in stores, and words that stand in reports. Imports nothing."""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")
"""STAC common names of the six reflective bands, the default of an area."""


class Reason(IntFlag):
    """Why a fine pixel of a scene is not (only) a clear observation: the bit field kept beside the values."""

    FILL = 1
    CLOUD = 2
    SHADOW = 4
    CIRRUS = 8
    DILATED = 16
    SATURATED = 32
    RANGE = 64
    SNOW = 128
    WATER = 256
    AEROSOL = 512
    UNREADABLE = 1024
    NEGATIVE = 2048
    RESCUED = 4096


HIDING = Reason.FILL | Reason.CLOUD | Reason.SHADOW | Reason.CIRRUS | Reason.DILATED | Reason.SATURATED | Reason.RANGE | Reason.UNREADABLE
"""Reasons that take a pixel out of the observations. The others are states of an observation."""

DOUBT: dict[Reason, float] = {Reason.AEROSOL: 2.0, Reason.NEGATIVE: 2.0, Reason.RESCUED: 1.5}
"""Factor of the σ of an observation with this state; states multiply. High aerosol and a reflectance below zero both say that the
atmosphere was badly removed; a rescued pixel may be a cloud after all. The factors are choices, not measurements."""


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


class Provenance(IntEnum):
    """Where the value of a published pixel comes from."""

    MISSING = 0
    OBSERVED = 1
    FUSED_TWO_SIDED = 2
    FUSED_ONE_SIDED = 3
    EXTRAPOLATED = 4
    CLIMATOLOGY = 5


class Condition(IntFlag):
    """What else is known of a published pixel."""

    SNOW = 1
    WATER = 2
    SUSPECT_OBSERVATION = 4
    BREAK_IN_GAP = 8
    COARSE_FILLED = 16
    CLIMATOLOGY_ONLY = 32


class Maturity(IntEnum):
    """How complete the inputs of a published day are. A worse one never replaces a better one."""

    NONE = 0
    NRT = 1
    INTERIM = 2
    FINAL = 3


class Outcome(StrEnum):
    """What became of a run or of a day."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    DEFERRED = "deferred"
    DEGRADED = "degraded"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPECTED_EMPTY = "expected-empty"

    @property
    def exit_code(self) -> int:
        """Exit status of the command; 2 is kept for usage errors."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Outcome.PUBLISHED: 0,
    Outcome.UNCHANGED: 0,
    Outcome.EXPECTED_EMPTY: 0,
    Outcome.FAILED: 1,
    Outcome.DEFERRED: 3,
    Outcome.DEGRADED: 4,
    Outcome.REJECTED: 5,
}
