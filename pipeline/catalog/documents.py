"""Items and catalogs as files: what `catalog build` finds in headers, written as STAC documents."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyproj import Transformer

from pipeline.errors import ConfigurationError

_MEDIA_TYPE = "image/tiff; application=geotiff"
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


@dataclass(frozen=True)
class Raster:
    """Where the pixels of one file lie.

    Parameters
    ----------
    path : Path
    crs : str
        ``"EPSG:n"`` or WKT.
    transform : tuple of 6 floats
        Affine coefficients (a, b, c, d, e, f) of the pixel edges.
    shape : tuple of int
        (rows, columns).
    count : int
        Bands.
    assigned : str
        What of this the file does not say itself, in words; empty if it says all.
    """

    path: Path
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    count: int
    assigned: str

    @property
    def properties(self) -> dict[str, Any]:
        """The same in the words of the STAC projection extension."""
        system = {"proj:code": self.crs} if re.fullmatch(r"[A-Za-z]+:\d+", self.crs) else {"proj:code": None, "proj:wkt2": self.crs}
        return {**system, "proj:transform": list(self.transform), "proj:shape": list(self.shape)}


def geotiffs(folder: Path) -> list[Path]:
    """All GeoTIFFs below a folder, by their names, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".tif", ".tiff") and path.is_file())


def read_header(path: Path) -> tuple[Any, Any, tuple[int, int], int]:
    """What a GeoTIFF says of itself: CRS or None, transform (identity where it has none), shape, number of bands.

    Raises
    ------
    ConfigurationError
        If it cannot be opened.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as source:
                return source.crs, source.transform, (source.height, source.width), source.count
    except RasterioError as error:
        raise ConfigurationError(f"{path} cannot be opened as a GeoTIFF: {error}") from error


def feature(item_id: str, collection: str, raster: Raster, properties: dict[str, Any]) -> dict[str, Any]:
    """An item without assets: `properties` and the place of a raster, which its assets share unless they say otherwise."""
    west, south, east, north = _lonlat(raster)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [_PROJECTION],
        "id": item_id,
        "collection": collection,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        "bbox": [west, south, east, north],
        "properties": {**properties, **raster.properties},
        "assets": {},
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
    }


def add_assets(item: dict[str, Any], assets: dict[str, int | None], raster: Raster, place: Path) -> None:
    """Add the assets of a file to its item.

    Parameters
    ----------
    item : dict
        From `feature`.
    assets : dict
        Asset key → band of the file, None for the only one.
    raster : Raster
        The file. Its grid is written to the assets where it differs from the item's.
    place : Path
        Folder of the item, which hrefs are relative to.

    Raises
    ------
    ConfigurationError
        If the item has an asset of that key already.
    """
    # A file that was replaced makes its item a newer processing.
    changed = rfc3339(datetime.fromtimestamp(int(raster.path.stat().st_mtime), UTC))
    item["properties"]["updated"] = max(changed, item["properties"].get("updated", ""))
    own = raster.properties
    differing = own if any(item["properties"].get(key) != value for key, value in own.items()) else {}
    for key, band in assets.items():
        if key in item["assets"]:
            raise ConfigurationError(
                f"{raster.path.name}: item {item['id']} already has an asset {key!r}", "tell the files apart by {asset} or by their date"
            )
        entry = {"href": Path(os.path.relpath(raster.path, place)).as_posix(), "type": _MEDIA_TYPE, "roles": ["data"], **differing}
        item["assets"][key] = entry if band is None else {**entry, "landfuse:band": band}


def _lonlat(raster: Raster) -> tuple[float, float, float, float]:
    width, _, west, _, height, north = raster.transform
    rows, columns = raster.shape
    box = (west, north + rows * height, west + columns * width, north)
    bounds = Transformer.from_crs(raster.crs, "OGC:CRS84", always_xy=True).transform_bounds(*box, densify_pts=21)
    if not all(abs(value) <= 360 for value in bounds):
        raise ConfigurationError(
            f"{raster.path.name} lies outside the domain of {raster.crs[:60]} (bounds {box})", "choose another --crs or another --origin"
        )
    return bounds


def write_catalog(out: Path, collection: str, items: dict[str, dict[str, Any]]) -> None:
    """Write one collection of a catalog; other collections of a catalog that is there are kept.

    Items come first, then the documents that link to them: a reader never follows a link to nothing.

    Raises
    ------
    ConfigurationError
        If there is a catalog.json that is none.
    """
    place = out / collection
    (place / "items").mkdir(parents=True, exist_ok=True)
    for item_id, item in items.items():
        _write_json(place / "items" / f"{item_id}.json", item)
    boxes = [item["bbox"] for item in items.values()]
    starts = [item["properties"].get("start_datetime") or item["properties"]["datetime"] for item in items.values()]
    ends = [item["properties"].get("end_datetime") or item["properties"]["datetime"] for item in items.values()]
    extent = [min(box[0] for box in boxes), min(box[1] for box in boxes), max(box[2] for box in boxes), max(box[3] for box in boxes)]
    _write_json(
        place / "collection.json",
        {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": collection,
            "description": f"{len(items)} items indexed from plain GeoTIFFs",
            "license": "other",
            "extent": {"spatial": {"bbox": [extent]}, "temporal": {"interval": [[min(starts), max(ends)]]}},
            "links": [
                {"rel": "root", "href": "../catalog.json", "type": "application/json"},
                {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
                *({"rel": "item", "href": f"./items/{item_id}.json", "type": "application/geo+json"} for item_id in items),
            ],
        },
    )
    root = out / "catalog.json"
    children = {link["href"] for link in _existing_links(root) if link.get("rel") == "child"} | {f"./{collection}/collection.json"}
    _write_json(
        root,
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "landfuse",
            "description": "Plain GeoTIFFs indexed by landfuse catalog build",
            "links": [
                {"rel": "root", "href": "./catalog.json", "type": "application/json"},
                *({"rel": "child", "href": href, "type": "application/json"} for href in sorted(children)),
            ],
        },
    )


def _existing_links(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        links = json.loads(path.read_text(encoding="utf-8"))["links"]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} is no STAC catalog", "give another folder with --out, or remove the file") from None
    return list(links)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def check_name(collection: str) -> None:
    """Refuse a collection id that could not be a folder.

    Raises
    ------
    ConfigurationError
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", collection) or ".." in collection:
        raise ConfigurationError(f"collection id {collection!r} is not safe as a name; expected letters, digits, '.', '_' and '-'")


def rfc3339(instant: datetime) -> str:
    """An instant in UTC as STAC writes it."""
    return instant.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
