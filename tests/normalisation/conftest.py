"""Where the recorded catalogs and images lie that this room is held against."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).parents[2] / ".." / "shared")).resolve()


def shared(name: str) -> Path:
    """A folder of the shared data, or the test is skipped."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {path}: set LANDFUSE_SHARED")
    return path


@pytest.fixture(scope="session")
def landsat_items() -> dict[str, dict[str, Any]]:
    """Every recorded Landsat item that says where the sun stood, by id."""
    found = {}
    for path in sorted(shared("stac").rglob("*.json")):
        for item in _items(json.loads(path.read_text(encoding="utf-8"))):
            if item["id"].startswith(("LC", "LE", "LT")):
                found[item["id"]] = item
    return found


@pytest.fixture(scope="session")
def landsat_metadata() -> dict[str, dict[str, Any]]:
    """Recorded MTL files by product id: instant, middle (longitude, latitude), path, roll, elevation and azimuth of the sun."""
    found = {}
    for path in sorted((shared("stac") / "mtl").glob("*_MTL.json")):
        metadata = json.loads(path.read_text(encoding="utf-8"))["LANDSAT_METADATA_FILE"]
        image, projection = metadata["IMAGE_ATTRIBUTES"], metadata["PROJECTION_ATTRIBUTES"]
        middle = [
            sum(float(projection[f"CORNER_{corner}_{axis}_PRODUCT"]) for corner in ("UL", "UR", "LL", "LR")) / 4 for axis in ("LON", "LAT")
        ]
        found[path.name.removesuffix("_MTL.json")] = {
            "instant": datetime.fromisoformat(f"{image['DATE_ACQUIRED']}T{image['SCENE_CENTER_TIME'][:15]}+00:00"),
            "middle": middle,
            "path": int(image["WRS_PATH"]),
            "roll": float(image["ROLL_ANGLE"]),
            "sun": (float(image["SUN_ELEVATION"]), float(image["SUN_AZIMUTH"])),
        }
    return found


def _items(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        if document.get("geometry") and "view:sun_elevation" in (document.get("properties") or {}):
            yield document
        for value in document.values():
            yield from _items(value)
    elif isinstance(document, list):
        for value in document:
            yield from _items(value)
