"""Metadata files of Landsat Collection 2 Level 2 (``*_MTL.txt`` in ODL, ``*_MTL.json``): what the files beside one are, when and where.

Source: Landsat 8–9 Collection 2 Level 2 Science Product Guide and Data Format Control Book (USGS LSDS-1619, LSDS-1328).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.sensors import builtin_products

PRODUCT = "landsat-c2-l2"
"""The product whose assets, scale and offset the files must have."""

SUFFIXES = ("_MTL.json", "_MTL.txt")

_QUALITY = {
    "QA_PIXEL": "qa_pixel",
    "QA_RADSAT": "qa_radsat",
    "SR_QA_AEROSOL": "qa_aerosol",
    "SR_CLOUD_QA": "cloud_qa",
    "SR_ATMOS_OPACITY": "atmos_opacity",
}
_OLI = {
    "SR_B1": "coastal",
    "SR_B2": "blue",
    "SR_B3": "green",
    "SR_B4": "red",
    "SR_B5": "nir08",
    "SR_B6": "swir16",
    "SR_B7": "swir22",
    "ST_B10": "lwir11",
}
_TM = {"SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir08", "SR_B5": "swir16", "SR_B7": "swir22", "ST_B6": "lwir"}
_SENSORS = {"OLI_TIRS": _OLI, "OLI": _OLI, "ETM": _TM, "TM": _TM}

_EXPECTED = "expected a metadata file of Landsat Collection 2 Level 2, as USGS delivers it"


@dataclass(frozen=True)
class Metadata:
    """What a metadata file says of its product.

    Parameters
    ----------
    id : str
        Product id, ``LC08_L2SP_218074_20190114_20200829_02_T1``.
    files : mapping of str to str
        Asset key, as STAC catalogs of this product write it, → file name.
    crs : str
        ``"EPSG:n"``.
    transform : tuple of 6 floats
        Affine coefficients (a, b, c, d, e, f) of the pixel edges.
    shape : tuple of int
        (rows, columns).
    properties : mapping
        Of the STAC item: time, platform, angles [degrees], cloud cover [%], tier, processing.
    """

    id: str
    files: Mapping[str, str]
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    properties: Mapping[str, Any]


def read_metadata(path: Path) -> Metadata:
    """Read a metadata file.

    Raises
    ------
    ConfigurationError
        If it is not of Collection 2 Level 2, lacks a value, its extent is not its number of pixels, or its scale and offset
        are not those of the product.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", _EXPECTED) from None
    groups = _Groups(path, _from_json(path, text) if path.suffix == ".json" else _from_odl(text))
    product_id = groups.text("PRODUCT_CONTENTS", "LANDSAT_PRODUCT_ID")
    level, collection = groups.text("PRODUCT_CONTENTS", "PROCESSING_LEVEL"), groups.text("PRODUCT_CONTENTS", "COLLECTION_NUMBER")
    if level not in ("L2SP", "L2SR") or int(collection) != 2:
        raise ConfigurationError(f"{path} is of level {level}, collection {collection}; expected L2SP or L2SR of collection 02")
    if not re.fullmatch(r"L[CETO]\d\d_[A-Z0-9]+_\d{6}_\d{8}_\d{8}_02_(T1|T2|RT)", product_id):
        raise ConfigurationError(f"{path}: LANDSAT_PRODUCT_ID {product_id!r} is no product id of Collection 2", _EXPECTED)
    sensor = groups.text("IMAGE_ATTRIBUTES", "SENSOR_ID")
    if sensor not in _SENSORS:
        raise ConfigurationError(f"{path}: SENSOR_ID {sensor!r} is not known; expected one of {', '.join(_SENSORS)}")
    bands = _SENSORS[sensor]
    _check_scale(groups, bands)
    transform, shape = _lattice(groups)
    named = {value for key, value in groups.of("PRODUCT_CONTENTS").items() if key.startswith("FILE_NAME_")}
    return Metadata(
        id=product_id,
        # Only names that begin with the product id are taken, so no name leads out of the folder.
        files={key: name for suffix, key in (bands | _QUALITY).items() if (name := f"{product_id}_{suffix}.TIF") in named},
        crs=_crs(groups),
        transform=transform,
        shape=shape,
        properties=_properties(groups, level),
    )


class _Groups:
    """Values of a metadata file by group and key; the same key stands in several groups with different meaning."""

    def __init__(self, path: Path, groups: Mapping[str, Mapping[str, str]]) -> None:
        self.path = path
        self._groups = groups

    def of(self, group: str) -> Mapping[str, str]:
        if group not in self._groups:
            raise ConfigurationError(f"{self.path} has no group {group}", _EXPECTED)
        return self._groups[group]

    def text(self, group: str, key: str) -> str:
        if key not in self.of(group):
            raise ConfigurationError(f"{self.path} has no {key} in {group}", _EXPECTED)
        return self.of(group)[key]

    def number(self, group: str, key: str) -> float:
        text = self.text(group, key)
        try:
            return float(text)
        except ValueError:
            raise ConfigurationError(f"{self.path}: {key} is {text!r}; expected a number") from None


def _from_odl(text: str) -> dict[str, dict[str, str]]:
    """Object Description Language as Landsat uses it: one level of groups within the root, one value a line."""
    groups: dict[str, dict[str, str]] = {}
    current = ""
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        if key == "GROUP":
            current = value
        elif key == "END_GROUP":
            current = ""
        elif current:
            groups.setdefault(current, {})[key] = value.strip('"')
    return groups


def _from_json(path: Path, text: str) -> dict[str, dict[str, str]]:
    try:
        root = json.loads(text)["LANDSAT_METADATA_FILE"]
        return {group: {key: str(value) for key, value in values.items()} for group, values in root.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{path} holds no LANDSAT_METADATA_FILE", _EXPECTED) from None


def _check_scale(groups: _Groups, bands: Mapping[str, str]) -> None:
    """Scale and offset stand in the file as in the product: other numbers would be read as other reflectance without a sign of it."""
    for suffix, key in bands.items():
        band = builtin_products()[PRODUCT].bands.get(key)
        if band is None:
            continue
        number = suffix.removeprefix("SR_B")
        for name, expected in ((f"REFLECTANCE_MULT_BAND_{number}", band.scale), (f"REFLECTANCE_ADD_BAND_{number}", band.offset)):
            found = groups.number("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", name)
            if abs(found - expected) > 1e-9:
                raise ConfigurationError(
                    f"{groups.path}: {name} is {found:g}; product {PRODUCT} has {expected:g}",
                    "describe these files with a template, and declare their scale in science.products of the area file",
                )


def _crs(groups: _Groups) -> str:
    """Always the northern UTM zone, with negative northings in the south; polar stereographic in Antarctica."""
    group = "PROJECTION_ATTRIBUTES"
    projection, datum = groups.text(group, "MAP_PROJECTION"), groups.text(group, "DATUM")
    if (projection, datum) == ("UTM", "WGS84"):
        zone = int(groups.number(group, "UTM_ZONE"))
        if 1 <= zone <= 60:
            return f"EPSG:326{zone:02d}"
        raise ConfigurationError(f"{groups.path}: UTM_ZONE is {zone}; expected 1 to 60")
    if (projection, datum) == ("PS", "WGS84"):
        parameters = (groups.number(group, "TRUE_SCALE_LAT"), groups.number(group, "VERTICAL_LON_FROM_POLE"))
        if parameters == (-71.0, 0.0):
            return "EPSG:3031"
        raise ConfigurationError(
            f"{groups.path}: TRUE_SCALE_LAT and VERTICAL_LON_FROM_POLE are {parameters}; expected (-71, 0), Antarctica"
        )
    raise ConfigurationError(f"{groups.path}: MAP_PROJECTION {projection} on {datum}; expected UTM or PS on WGS84")


def _lattice(groups: _Groups) -> tuple[tuple[float, float, float, float, float, float], tuple[int, int]]:
    """Transform and shape. Corners are centres of pixels; those of a product that was cut must still hold its number of pixels."""
    group = "PROJECTION_ATTRIBUTES"
    cell = groups.number(group, "GRID_CELL_SIZE_REFLECTIVE")
    rows, columns = (int(groups.number(group, f"REFLECTIVE_{name}")) for name in ("LINES", "SAMPLES"))
    axes = ("X", "Y")
    corners = {
        at: tuple(groups.number(group, f"CORNER_{at}_PROJECTION_{axis}_PRODUCT") for axis in axes) for at in ("UL", "UR", "LL", "LR")
    }
    west, north = corners["UL"]
    east, south = west + (columns - 1) * cell, north - (rows - 1) * cell
    for at, (x, y) in {"UR": (east, north), "LL": (west, south), "LR": (east, south)}.items():
        if max(abs(corners[at][0] - x), abs(corners[at][1] - y)) > 0.01 * cell:
            raise ConfigurationError(
                f"{groups.path}: {rows} lines and {columns} samples of {cell:g} m from the upper left corner {west:.0f}, {north:.0f} "
                f"put corner {at} at {x:.0f}, {y:.0f}, but CORNER_{at} says {corners[at][0]:.0f}, {corners[at][1]:.0f}",
                "the file was edited or is of another cut: mend its corners, or its REFLECTIVE_LINES and REFLECTIVE_SAMPLES",
            )
    return (cell, 0.0, west - cell / 2, 0.0, -cell, north + cell / 2), (rows, columns)


def _properties(groups: _Groups, level: str) -> dict[str, Any]:
    """Properties as STAC catalogs of this product write them."""
    image = "IMAGE_ATTRIBUTES"
    moment = f"{groups.text(image, 'DATE_ACQUIRED')}T{groups.text(image, 'SCENE_CENTER_TIME')}"
    try:
        instant = datetime.fromisoformat(moment).astimezone(UTC)
    except ValueError:
        raise ConfigurationError(f"{groups.path}: {moment!r} is no date and time") from None
    cover = {
        "eo:cloud_cover": groups.number(image, "CLOUD_COVER"),
        "landsat:cloud_cover_land": groups.number(image, "CLOUD_COVER_LAND"),
    }
    return {
        "datetime": instant.isoformat().replace("+00:00", "Z"),
        "platform": groups.text(image, "SPACECRAFT_ID").lower().replace("_", "-"),
        "view:sun_elevation": groups.number(image, "SUN_ELEVATION"),
        "view:sun_azimuth": groups.number(image, "SUN_AZIMUTH"),
        # TM and ETM+ cannot roll and have no such key.
        "view:off_nadir": abs(groups.number(image, "ROLL_ANGLE")) if "ROLL_ANGLE" in groups.of(image) else 0.0,
        # −1 stands for unknown.
        **{key: value for key, value in cover.items() if value >= 0},
        "landsat:wrs_path": f"{int(groups.number(image, 'WRS_PATH')):03d}",
        "landsat:wrs_row": f"{int(groups.number(image, 'WRS_ROW')):03d}",
        "landsat:collection_category": groups.text("PRODUCT_CONTENTS", "COLLECTION_CATEGORY"),
        "landsat:correction": level,
        "landsat:product_generated": groups.text("LEVEL2_PROCESSING_RECORD", "DATE_PRODUCT_GENERATED"),
    }
