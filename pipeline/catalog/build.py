"""Build a static STAC catalog over a folder of plain GeoTIFFs. Reads headers only; no pixel is moved or written."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.catalog.template import Name, Template
from pipeline.errors import ConfigurationError

_MEDIA_TYPE = "image/tiff; application=geotiff"
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


@dataclass(frozen=True)
class BuildReport:
    """What was built.

    Parameters
    ----------
    catalog : Path
        The catalog.json.
    collection : str
        Collection id.
    items, files : int
        Items written, files they point at.
    assigned : int
        Files that had no georeference of their own and were assigned one.
    unmatched : tuple of str
        GeoTIFFs below the folder that the template does not describe.
    notes : tuple of str
        What the user should know, in sentences.
    """

    catalog: Path
    collection: str
    items: int
    files: int
    assigned: int
    unmatched: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Raster:
    """The header of one file."""

    path: Path
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    count: int
    assigned: str


def build_catalog(
    folder: Path | str,
    template: str,
    out: Path | str | None = None,
    *,
    collection: str | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
    asset: str = "data",
    bands: Sequence[str] = (),
    first: date | None = None,
    step: int | None = None,
    window: int | None = None,
) -> BuildReport:
    """Describe the GeoTIFFs of a folder as one collection of a static catalog.

    An existing catalog at `out` keeps its other collections, so fine and coarse files are indexed by two calls.

    Parameters
    ----------
    folder : Path or str
        Where the files are.
    template : str
        Form of their names relative to the folder, see `Template`. Files with the same name but for ``{asset}`` and
        ``{*}`` become the assets of one item.
    out : Path or str, optional
        Folder of the catalog; `folder` by default, so that the assets lie below the catalog.
    collection : str, optional
        Collection id; the name of the folder by default.
    crs : str, optional
        Projected CRS for files that have none: a local grid the user declares. Files that have one keep it.
    resolution : float, optional
        Pixel size for files without a pixel transform [units of the CRS].
    origin : tuple of 2 floats
        (west, north) of the upper left corner of files without a pixel transform.
    asset : str
        Key of the asset when the template has no ``{asset}``.
    bands : sequence of str
        Asset keys of the bands of a multi-band file of one date.
    first : date, optional
        First day of the first band of a multi-band file that holds a time series; the file name's date by default.
    step : int, optional
        Days between the bands of such a series. Makes one item of every band.
    window : int, optional
        Days that went into a value, from its date on. An item's ``datetime`` is then the middle day. One step for a series, else 1.

    Raises
    ------
    ConfigurationError
        If no file matches, a date or georeference is missing, or files contradict each other.
    """
    folder = Path(folder).resolve()
    out = Path(out).resolve() if out is not None else folder
    collection = collection or re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "scenes"
    if bands and step:
        raise ConfigurationError("bands and step exclude each other", "the bands of a file are either spectral bands or dates")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", collection) or ".." in collection:
        raise ConfigurationError(f"collection id {collection!r} is not safe as a name; expected letters, digits, '.', '_' and '-'")
    if crs is not None:
        _checked_crs(crs)
    matched, unmatched = _match(folder, Template(template))
    rasters = [_header(path, crs, resolution, origin) for path, _ in matched]
    days = window or step or 1
    items: dict[str, dict[str, Any]] = {}
    for raster, (path, name) in zip(rasters, matched, strict=True):
        for item_id, start, assets in _contents(raster, name, asset, bands, first, step):
            if item_id not in items:
                items[item_id] = _item(item_id, collection, start, name.has_time, days, raster)
            _add(items[item_id], assets, raster, out / collection / "items", path)
    _write(out, collection, items)
    return BuildReport(
        catalog=out / "catalog.json",
        collection=collection,
        items=len(items),
        files=len(rasters),
        assigned=sum(1 for raster in rasters if raster.assigned),
        unmatched=tuple(unmatched),
        notes=_notes(rasters, folder, out),
    )


def _match(folder: Path, template: Template) -> tuple[list[tuple[Path, Name]], list[str]]:
    if not folder.is_dir():
        raise ConfigurationError(f"no folder at {folder}")
    matched, unmatched = [], []
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        relative = path.relative_to(folder).as_posix()
        name = template.match(relative)
        if name is not None and name.id:
            matched.append((path, name))
        elif path.suffix.lower() in (".tif", ".tiff"):
            unmatched.append(relative)
    if not matched:
        raise ConfigurationError(
            f"no file below {folder} is of the form {template.text}; there are {', '.join(unmatched[:5]) or 'no GeoTIFFs'}",
            "mend the template: literal text, {asset}, {date:%Y%j}, {name:3}, {*}",
        )
    return matched, unmatched


def _header(path: Path, crs: str | None, resolution: float | None, origin: tuple[float, float]) -> _Raster:
    """Where the pixels of a file lie: what it says itself, completed by what the user declares."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as source:
                own_crs, own, shape, count = source.crs, source.transform, (source.height, source.width), source.count
    except RasterioError as error:
        raise ConfigurationError(f"{path} cannot be opened as a GeoTIFF: {error}") from error
    said = []
    if own_crs:
        code = own_crs.to_epsg()
        system = f"EPSG:{code}" if code else CRS.from_user_input(own_crs).to_wkt()
    elif crs is not None:
        system = crs
        said.append(f"the CRS {crs}")
    else:
        raise ConfigurationError(
            f"{path.name} has no CRS", "declare a local grid with --crs, for example --crs EPSG:32633; pixels are not moved by it"
        )
    if not own.is_identity:
        transform = (own.a, own.b, own.c, own.d, own.e, own.f)
        if resolution is not None and not own_crs and abs(own.a - resolution) > 1e-6 * resolution:
            raise ConfigurationError(
                f"{path.name} has pixels of {own.a:g} by its own transform, but --resolution says {resolution:g}",
                "leave --resolution out: the files' own pixel size is kept",
            )
    elif resolution is not None:
        transform = (resolution, 0.0, origin[0], 0.0, -resolution, origin[1])
        said.append(f"pixels of {resolution:g} from the upper left corner {origin[0]:g}, {origin[1]:g}")
    else:
        raise ConfigurationError(f"{path.name} has no pixel transform", "declare its pixel size with --resolution")
    return _Raster(path, system, transform, shape, count, " and ".join(said))


def _contents(
    raster: _Raster, name: Name, asset: str, bands: Sequence[str], first: date | None, step: int | None
) -> list[tuple[str, datetime, dict[str, int | None]]]:
    """Items that a file holds: id, start, asset key → band number (None: the only band)."""
    start = name.instant or (datetime.combine(first, time()) if first is not None else None)
    if start is None:
        raise ConfigurationError(f"{raster.path.name} has no date", "add a date such as {date:%Y%m%d} to the template, or --first")
    key = name.asset or asset
    if step is not None:
        if first is not None:
            start = datetime.combine(first, time())
        starts = [start + timedelta(days=step * index) for index in range(raster.count)]
        return [(f"{name.id}_{begin:%Y%j}", begin, {key: index + 1}) for index, begin in enumerate(starts)]
    if bands:
        if len(bands) != raster.count:
            raise ConfigurationError(f"{raster.path.name} has {raster.count} bands, but {len(bands)} names were given: {', '.join(bands)}")
        return [(name.id, start, {band: index + 1 for index, band in enumerate(bands)})]
    if raster.count > 1:
        raise ConfigurationError(
            f"{raster.path.name} has {raster.count} bands", "name each with --band, or give --step when they are dates of a time series"
        )
    return [(name.id, start, {key: None})]


def _item(item_id: str, collection: str, start: datetime, has_time: bool, days: int, raster: _Raster) -> dict[str, Any]:
    middle = start + timedelta(days=days // 2)
    # Noon is on the same calendar day under every rule and at every longitude.
    instant = middle if has_time else middle.replace(hour=12)
    properties: dict[str, Any] = {"datetime": _rfc3339(instant)}
    if days > 1:
        properties["start_datetime"] = _rfc3339(start)
        properties["end_datetime"] = _rfc3339(start + timedelta(days=days) - timedelta(seconds=1))
    properties |= _projection(raster)
    if raster.assigned:
        properties["landfuse:georeference"] = "assigned"
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
        "properties": properties,
        "assets": {},
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
    }


def _add(item: dict[str, Any], assets: dict[str, int | None], raster: _Raster, place: Path, path: Path) -> None:
    """Add the assets of a file to its item, with their own grid where it differs from the item's."""
    # A file that was replaced makes its item a newer processing.
    changed = _rfc3339(datetime.fromtimestamp(int(path.stat().st_mtime), UTC))
    item["properties"]["updated"] = max(changed, item["properties"].get("updated", ""))
    projection = _projection(raster)
    differing = projection if any(item["properties"].get(key) != value for key, value in projection.items()) else {}
    for key, band in assets.items():
        if key in item["assets"]:
            raise ConfigurationError(
                f"{path.name}: item {item['id']} already has an asset {key!r}", "tell the files apart by {asset} or by their date"
            )
        entry = {"href": Path(os.path.relpath(path, place)).as_posix(), "type": _MEDIA_TYPE, "roles": ["data"], **differing}
        item["assets"][key] = entry if band is None else {**entry, "landfuse:band": band}


def _projection(raster: _Raster) -> dict[str, Any]:
    system = {"proj:code": raster.crs} if re.fullmatch(r"[A-Za-z]+:\d+", raster.crs) else {"proj:code": None, "proj:wkt2": raster.crs}
    return {**system, "proj:transform": list(raster.transform), "proj:shape": list(raster.shape)}


def _lonlat(raster: _Raster) -> tuple[float, float, float, float]:
    width, _, west, _, height, north = raster.transform
    rows, columns = raster.shape
    box = (west, north + rows * height, west + columns * width, north)
    bounds = Transformer.from_crs(raster.crs, "OGC:CRS84", always_xy=True).transform_bounds(*box, densify_pts=21)
    if not all(abs(value) <= 360 for value in bounds):
        raise ConfigurationError(
            f"{raster.path.name} lies outside the domain of {raster.crs[:60]} (bounds {box})", "choose another --crs or another --origin"
        )
    return bounds


def _write(out: Path, collection: str, items: dict[str, dict[str, Any]]) -> None:
    """Items first, then the documents that link to them: a reader never follows a link to nothing."""
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


def _notes(rasters: list[_Raster], folder: Path, out: Path) -> tuple[str, ...]:
    notes = []
    for said in dict.fromkeys(raster.assigned for raster in rasters if raster.assigned):
        count = sum(1 for raster in rasters if raster.assigned == said)
        notes.append(
            f"{count} of {len(rasters)} files are not georeferenced: they were assigned {said}, as a local grid. "
            "Pixels are not moved; do not compare places with other data."
        )
    if not folder.is_relative_to(out):
        notes.append(f"The files lie outside the folder of the catalog: add {folder} to allow of this catalog in the area file.")
    return tuple(notes)


def _checked_crs(crs: str) -> None:
    try:
        system = CRS.from_user_input(crs)
    except CRSError:
        raise ConfigurationError(f"crs {crs!r} is not known", "expected EPSG:n or WKT of a projected CRS in metres") from None
    if not system.is_projected:
        raise ConfigurationError(f"crs {crs!r} is not projected", "expected a projected CRS in metres, such as the UTM zone EPSG:32633")


def _rfc3339(instant: datetime) -> str:
    return instant.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
