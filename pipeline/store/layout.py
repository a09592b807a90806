"""What stands in a cube: its layers with type, fill and CF attributes, and where things lie beside it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store.encoding import FILL, PERCENT_FILL, SCALE, STD_FILL
from pipeline.vocabulary import Condition, Maturity, Provenance

TIME_CHUNK = 4096
"""Days in one chunk of `time` and of the per-day layers: about eleven years, so that publishing rewrites one small object."""
STATE_DAYS = 366
"""Days in one chunk of the state arrays."""
STATE_BLOCKS = 64
"""Blocks along one edge of a chunk of the state arrays, at most."""

GEOMETRY = "nadir view, sun at 10:10 local solar time of the day"

_REFLECTANCE = "surface_bidirectional_reflectance"
_REFLECTIVE = (
    "coastal", "blue", "green", "green05", "yellow", "pan", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "nir", "nir08", "nir09", "cirrus", "swir16", "swir22",
)  # fmt: skip
_STANDARD_NAMES = {**dict.fromkeys(_REFLECTIVE, _REFLECTANCE), "ndvi": "normalized_difference_vegetation_index"}
# Predictions may pass a little below zero and bright snow above one; an index is bounded by its definition.
_VALID = {_REFLECTANCE: (-2000, 16000), "normalized_difference_vegetation_index": (-10000, 10000)}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True)
class Layer:
    """One array (time, y, x) of the cube.

    Parameters
    ----------
    dtype : str
        numpy name.
    fill : int
        Value of pixels that were never written.
    masked : bool
        The fill means "no value", and readers may mask it.
    attributes : mapping
        CF attributes.
    """

    dtype: str
    fill: int
    masked: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)


def checked_name(name: str, what: str) -> str:
    """`name` if it is safe as the name of a file or variable.

    Raises
    ------
    StoreError
        If it holds anything but letters, digits, ``_.-``, or starts with one of those.
    """
    if not _NAME.match(name):
        raise StoreError(f"{what} {name!r} is not a plain name", "use letters, digits, '_', '.' and '-', starting with a letter or digit")
    return name


def uncertainty_name(band: str) -> str:
    """Name of the layer that holds 1 σ of a band."""
    return f"uncertainty_{band}"


def pixel_layers(bands: Sequence[str]) -> dict[str, Layer]:
    """All (time, y, x) layers of a cube by name: bands, their uncertainty, then the flags.

    Raises
    ------
    StoreError
        If a band's name is unsafe, given twice, or that of another layer.
    """
    flags = _flag_layers()
    reserved = {*flags, "time", "y", "x", "spatial_ref", "maturity", "method", "state"}
    for band in bands:
        checked_name(band, "band")
        if band in reserved or band.startswith("uncertainty_") or list(bands).count(band) > 1:
            raise StoreError(f"band {band!r} is given twice or is the name of another layer of the cube", "rename the band")
    ancillary = " ".join(flags)
    values = {band: _band_layer(band, f"{uncertainty_name(band)} {ancillary}") for band in bands}
    return {**values, **{uncertainty_name(band): _uncertainty_layer(band) for band in bands}, **flags}


def day_layers() -> dict[str, dict[str, Any]]:
    """The uint8 layers (time,) by name, with their attributes."""
    return {
        "maturity": {
            "long_name": "maturity of the day: that of its least mature block that holds anything",
            **_flag_values(Maturity),
        },
        "method": {
            "long_name": "method of the run that last wrote to the day",
            "flag_values": [0],
            "flag_meanings": "none",
        },
    }


def _band_layer(band: str, ancillary: str) -> Layer:
    standard = _STANDARD_NAMES.get(band)
    attributes: dict[str, Any] = {
        "long_name": f"surface reflectance, {band}" if standard == _REFLECTANCE else band,
        "units": "1",
        "scale_factor": SCALE,
        "ancillary_variables": ancillary,
    }
    if standard:
        low, high = _VALID[standard]
        attributes |= {"standard_name": standard, "valid_min": low, "valid_max": high}
    return Layer("int16", FILL, attributes=attributes)


def _uncertainty_layer(band: str) -> Layer:
    standard = _STANDARD_NAMES.get(band)
    attributes: dict[str, Any] = {
        "long_name": f"1 sigma of the error of {band}",
        "units": "1",
        "scale_factor": SCALE,
    }
    if standard:
        attributes["standard_name"] = f"{standard} standard_error"
    return Layer("uint16", STD_FILL, attributes=attributes)


def _flag_layers() -> dict[str, Layer]:
    return {
        "provenance": Layer(
            "uint8",
            Provenance.MISSING,
            masked=False,
            attributes={"long_name": "where the value of the pixel comes from", "standard_name": "status_flag", **_flag_values(Provenance)},
        ),
        "condition": Layer(
            "uint8",
            0,
            masked=False,
            attributes={
                "long_name": "what else is known of the pixel",
                "standard_name": "status_flag",
                "flag_masks": [member.value for member in Condition],
                "flag_meanings": " ".join((member.name or "").lower() for member in Condition),
            },
        ),
        # "day", not "days": xarray would take the plural for a time difference and decode it.
        "days_to_observation": Layer(
            "int16", FILL, attributes={"long_name": "signed days to the nearest clear fine observation, later is positive", "units": "day"}
        ),
        "coarse_valid": Layer(
            "uint8",
            PERCENT_FILL,
            attributes={"long_name": "share of the coarse support that was really observed", "units": "percent"},
        ),
    }


def _flag_values(codes: type[IntEnum]) -> dict[str, Any]:
    return {
        "flag_values": [member.value for member in codes],
        "flag_meanings": " ".join(member.name.lower() for member in codes),
    }


def staging_folder(cube_path: Path, run_id: str) -> Path:
    """Folder of a run's staging, beside the cube."""
    return Path(cube_path).parent / "staging" / checked_name(run_id, "run id")


def journal_key(cube_path: Path) -> str:
    """Key of the publish journal, relative to the folder that holds the cube."""
    return f"{Path(cube_path).name}.journal"


def manifest_key(run_id: str) -> str:
    """Key of a run's manifest, relative to the folder that holds the cube."""
    return f"manifests/{checked_name(run_id, 'run id')}.json"
