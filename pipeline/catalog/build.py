"""Build a static STAC catalog over a folder of plain GeoTIFFs, described by a template or by Landsat metadata files.

Reads headers only; no pixel is moved or written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.catalog.documents import Raster, add_assets, check_name, feature, geotiffs, read_header, rfc3339, write_catalog
from pipeline.catalog.mtl import PRODUCT, SUFFIXES, Metadata, read_metadata
from pipeline.catalog.template import Name, Template
from pipeline.errors import ConfigurationError
from pipeline.sensors import builtin_products

_CLOSE = 0.01
"""Pixels by which a header and a metadata file may differ."""


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
        GeoTIFFs below the folder that neither the template nor a metadata file describes.
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
    check_name(collection)
    if crs is not None:
        _checked_crs(crs)
    matched, unmatched = _match(folder, Template(template))
    rasters = [_header(path, crs, resolution, origin) for path, _ in matched]
    days = window or step or 1
    items: dict[str, dict[str, Any]] = {}
    for raster, (_, name) in zip(rasters, matched, strict=True):
        for item_id, start, assets in _contents(raster, name, asset, bands, first, step):
            if item_id not in items:
                items[item_id] = _item(item_id, collection, start, name.has_time, days, raster)
            add_assets(items[item_id], assets, raster, out / collection / "items")
    write_catalog(out, collection, items)
    return BuildReport(
        catalog=out / "catalog.json",
        collection=collection,
        items=len(items),
        files=len(rasters),
        assigned=sum(1 for raster in rasters if raster.assigned),
        unmatched=tuple(unmatched),
        notes=_notes(rasters, folder, out),
    )


def build_landsat_catalog(folder: Path | str, out: Path | str | None = None, collection: str | None = None) -> BuildReport:
    """Describe unpacked Landsat Collection 2 Level 2 products by their metadata files, as one collection of a static catalog.

    Files without a georeference of their own, as some tools leave them after cutting, get that of the metadata file.

    Parameters
    ----------
    folder : Path or str
        Holds ``*_MTL.txt`` or ``*_MTL.json``, each beside its GeoTIFFs, in any folders below.
    out : Path or str, optional
        Folder of the catalog; `folder` by default.
    collection : str, optional
        Collection id; by default the one that the built-in product is found by.

    Raises
    ------
    ConfigurationError
        If there is no metadata file or none of its files, a metadata file is not consistent (see `read_metadata`), or a
        GeoTIFF contradicts it.
    """
    folder = Path(folder).resolve()
    out = Path(out).resolve() if out is not None else folder
    collection = collection or PRODUCT
    check_name(collection)
    items: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    described: set[Path] = set()
    assigned = 0
    for place, metadata in _metadata(folder):
        rasters = {key: _described(place / name, metadata) for key, name in metadata.files.items() if (place / name).is_file()}
        notes += _missing(metadata, rasters)
        if not rasters:
            continue
        first = next(iter(rasters.values()))
        placed = sum(bool(raster.assigned) for raster in rasters.values())
        stated = {"landfuse:georeference": "mtl"} if placed else {}
        item = items[metadata.id] = feature(metadata.id, collection, first, {**metadata.properties, **stated})
        for key, raster in rasters.items():
            add_assets(item, {key: None}, raster, out / collection / "items")
            described.add(raster.path)
        assigned += placed
    if not items:
        raise ConfigurationError(f"none of the files that the metadata files below {folder} name is there", "put the GeoTIFFs beside them")
    write_catalog(out, collection, items)
    if assigned:
        notes.append(f"{assigned} of {len(described)} files carry no georeference: theirs is that of their metadata file.")
    return BuildReport(
        catalog=out / "catalog.json",
        collection=collection,
        items=len(items),
        files=len(described),
        assigned=assigned,
        unmatched=tuple(path.relative_to(folder).as_posix() for path in geotiffs(folder) if path not in described),
        notes=(*notes, *_outside(folder, out)),
    )


def _metadata(folder: Path) -> list[tuple[Path, Metadata]]:
    """The metadata files below a folder with the folder each lies in, one of each product."""
    if not folder.is_dir():
        raise ConfigurationError(f"no folder at {folder}")
    found: dict[str, tuple[Path, Metadata]] = {}
    for path in sorted(entry for entry in folder.rglob("*_MTL.*") if entry.name.endswith(SUFFIXES)):
        metadata = read_metadata(path)
        place, _ = found.setdefault(metadata.id, (path.parent, metadata))
        if place != path.parent:
            raise ConfigurationError(f"product {metadata.id} lies in {place} and in {path.parent}", "remove one of them")
    if not found:
        raise ConfigurationError(
            f"there is no *_MTL.txt or *_MTL.json below {folder}",
            "unpack the products first (tar xf), or describe other files with --template",
        )
    return list(found.values())


def _described(path: Path, metadata: Metadata) -> Raster:
    """A file of a Landsat product, once its header agrees with the metadata file."""
    crs, transform, shape, count = read_header(path)
    problems = []
    if shape != metadata.shape:
        problems.append(f"{shape[0]} × {shape[1]} pixels, not {metadata.shape[0]} × {metadata.shape[1]}")
    if count != 1:
        problems.append(f"{count} bands, not 1")
    own = tuple(transform)[:6]
    apart = max(abs(one - other) for one, other in zip(own, metadata.transform, strict=True))
    if not transform.is_identity and apart > _CLOSE * metadata.transform[0]:
        problems.append(f"the transform {own}, not {metadata.transform}")
    if crs is not None and not CRS.from_user_input(crs).equals(CRS.from_user_input(metadata.crs), ignore_axis_order=True):
        problems.append(f"the CRS {crs.to_string()[:80]}, not {metadata.crs}")
    if problems:
        raise ConfigurationError(
            f"{path} is not what its metadata file says: it has " + " and ".join(problems),
            "mend the metadata file or the GeoTIFF, or take both from one delivery",
        )
    return Raster(path, metadata.crs, metadata.transform, shape, count, "" if crs is not None and not transform.is_identity else "place")


def _missing(metadata: Metadata, found: Mapping[str, Raster]) -> list[str]:
    """What a product lacks of what landfuse reads of it."""
    product = builtin_products()[PRODUCT]
    if not found:
        return [f"{metadata.id}: none of its files is there; it is left out."]
    platform = str(metadata.properties["platform"])
    bands = [band.asset for band in product.bands.values() if band.asset not in found]
    layers = [layer.asset for layer in product.layers_of(platform) if layer.required and layer.asset not in found]
    notes = []
    if bands:
        notes.append(f"{metadata.id} has no {', '.join(bands)}: an area can use it for other bands only.")
    if layers:
        notes.append(
            f"{metadata.id} has no {', '.join(dict.fromkeys(layers))}: clouds are not known. An area must declare a product without it "
            "in science.products."
        )
    return notes


def _match(folder: Path, template: Template) -> tuple[list[tuple[Path, Name]], list[str]]:
    if not folder.is_dir():
        raise ConfigurationError(f"no folder at {folder}")
    named = [(path, template.match(path.relative_to(folder).as_posix())) for path in sorted(folder.rglob("*")) if path.is_file()]
    matched = [(path, name) for path, name in named if name is not None and name.id]
    known = {path for path, _ in matched}
    unmatched = [path.relative_to(folder).as_posix() for path in geotiffs(folder) if path not in known]
    if not matched:
        raise ConfigurationError(
            f"no file below {folder} is of the form {template.text}; there are {', '.join(unmatched[:5]) or 'no GeoTIFFs'}",
            "mend the template: literal text, {asset}, {date:%Y%j}, {name:3}, {*}",
        )
    return matched, unmatched


def _header(path: Path, crs: str | None, resolution: float | None, origin: tuple[float, float]) -> Raster:
    """Where the pixels of a file lie: what it says itself, completed by what the user declares."""
    own_crs, own, shape, count = read_header(path)
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
    return Raster(path, system, transform, shape, count, " and ".join(said))


def _contents(
    raster: Raster, name: Name, asset: str, bands: Sequence[str], first: date | None, step: int | None
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


def _item(item_id: str, collection: str, start: datetime, has_time: bool, days: int, raster: Raster) -> dict[str, Any]:
    middle = start + timedelta(days=days // 2)
    # Noon is on the same calendar day under every rule and at every longitude.
    instant = middle if has_time else middle.replace(hour=12)
    properties: dict[str, Any] = {"datetime": rfc3339(instant)}
    if days > 1:
        properties["start_datetime"] = rfc3339(start)
        properties["end_datetime"] = rfc3339(start + timedelta(days=days) - timedelta(seconds=1))
    if raster.assigned:
        properties["landfuse:georeference"] = "assigned"
    return feature(item_id, collection, raster, properties)


def _notes(rasters: list[Raster], folder: Path, out: Path) -> tuple[str, ...]:
    notes = []
    for said in dict.fromkeys(raster.assigned for raster in rasters if raster.assigned):
        count = sum(1 for raster in rasters if raster.assigned == said)
        notes.append(
            f"{count} of {len(rasters)} files are not georeferenced: they were assigned {said}, as a local grid. "
            "Pixels are not moved; do not compare places with other data."
        )
    return (*notes, *_outside(folder, out))


def _outside(folder: Path, out: Path) -> tuple[str, ...]:
    if folder.is_relative_to(out):
        return ()
    return (f"The files lie outside the folder of the catalog: add {folder} to allow of this catalog in the area file.",)


def _checked_crs(crs: str) -> None:
    try:
        system = CRS.from_user_input(crs)
    except CRSError:
        raise ConfigurationError(f"crs {crs!r} is not known", "expected EPSG:n or WKT of a projected CRS in metres") from None
    if not system.is_projected:
        raise ConfigurationError(f"crs {crs!r} is not projected", "expected a projected CRS in metres, such as the UTM zone EPSG:32633")
