"""The STAC description of a published cube: one collection, one item a day. Pure functions from facts to documents."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from pyproj import CRS, Transformer

from pipeline.grid import Grid
from pipeline.store.encoding import FILL, SCALE
from pipeline.store.layout import manifest_key, pixel_layers
from pipeline.vocabulary import BANDS, Maturity, Outcome, Provenance

STAC_VERSION = "1.1.0"
ZARR_MEDIA_TYPE = "application/vnd.zarr; version=3"

_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_DATACUBE = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"
_ELECTRO_OPTICAL = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
_RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_ZARR = "https://stac-extensions.github.io/zarr/v1.1.0/schema.json"
_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

_COMMON_NAMES = frozenset({"coastal", *BANDS})
"""Names a band may carry as ``eo:common_name``; an index such as NDVI has none."""

DAY_RULE = (
    "A day is the solar-local calendar day (UTC + longitude / 15 h at the centre of the area). "
    "datetime is its label in the cube, midnight UTC of that date, not an instant of observation."
)


@dataclass(frozen=True)
class Layout:
    """Where things lie, as paths relative to the folder that is published.

    Parameters
    ----------
    cube : str
        The Zarr group.
    stac, quicklooks : str
        Folders of the STAC documents and the pictures.
    """

    cube: str = "fused.zarr"
    stac: str = "stac"
    quicklooks: str = "quicklooks"

    def __post_init__(self) -> None:
        for path in (self.cube, self.stac, self.quicklooks):
            if "://" in path or "?" in path or posixpath.isabs(path) or ".." in path.split("/"):
                raise ValueError(f"{path!r} cannot stand in a STAC document; expected a path relative to the published folder")

    @property
    def collection(self) -> str:
        return posixpath.join(self.stac, "collection.json")

    def item(self, area: str, day: date) -> str:
        return posixpath.join(self.stac, f"{day.year:04d}", f"{item_id(area, day)}.json")

    def quicklook(self, area: str, day: date) -> str:
        return posixpath.join(self.quicklooks, f"{item_id(area, day)}.png")


@dataclass(frozen=True)
class CubeFacts:
    """What is the same for every day of a cube.

    Parameters
    ----------
    area, title : str
        Name of the area (the id of the collection) and a line for people.
    grid : Grid
        The fine grid.
    bands : tuple of str
        Variables that hold reflectance (or an index), in the order of the cube.
    description : str
        Markdown; what the cube is made from.
    license : str
        SPDX identifier, or ``"other"``.
    providers : sequence of mapping
        STAC providers; left out of the document when empty.
    keywords : tuple of str
    software : mapping
        Name → version of what made the days.
    """

    area: str
    grid: Grid
    bands: tuple[str, ...]
    title: str = ""
    description: str = ""
    license: str = "other"
    providers: Sequence[Mapping[str, Any]] = ()
    keywords: tuple[str, ...] = ("landsat", "modis", "daily", "surface reflectance", "data fusion", "gap-free")
    software: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DayFacts:
    """What is known of one published day.

    Parameters
    ----------
    day : date
    maturity : Maturity
        The worst maturity of its blocks.
    method : str
    outcome : Outcome
    generation : int
        Generation counter of the cube once this day is in it.
    shares : mapping
        Provenance → share of the pixels of the area (0–1); left-out kinds are 0.
    run_id : str
        The run that made it; names the manifest.
    input_digest : str
        Hexadecimal digest of everything the day was made from.
    updated : datetime
        When it was published (aware).
    quicklook : bool
        Whether a picture is published beside it.
    """

    day: date
    maturity: Maturity
    method: str
    outcome: Outcome
    generation: int
    shares: Mapping[Provenance, float]
    run_id: str
    input_digest: str
    updated: datetime
    quicklook: bool = True


def item_id(area: str, day: date) -> str:
    """``<area>-YYYY-MM-DD``."""
    return f"{area}-{day.isoformat()}"


def collection_document(facts: CubeFacts, days: Sequence[date], layout: Layout | None = None) -> dict[str, Any]:
    """The STAC collection of a cube, with a link to the item of every published day.

    Parameters
    ----------
    facts : CubeFacts
    days : sequence of date
        All published days, in any order; at least one.
    layout : Layout, optional

    Raises
    ------
    ValueError
        If there are no days: a collection needs a temporal extent.
    """
    if not days:
        raise ValueError("a collection needs at least one published day for its temporal extent")
    layout = layout or Layout()
    ordered = sorted(days)
    here = layout.collection
    document: dict[str, Any] = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [_DATACUBE, _PROJECTION, _ELECTRO_OPTICAL, _RASTER, _ZARR],
        "id": facts.area,
        "title": facts.title or facts.area,
        "description": "\n\n".join(part for part in (facts.description or _default_description(facts), DAY_RULE) if part),
        "keywords": list(facts.keywords),
        "license": facts.license,
        "extent": {
            "spatial": {"bbox": [list(facts.grid.lonlat_bounds)]},
            "temporal": {"interval": [[_midnight(ordered[0]), _midnight(ordered[-1])]]},
        },
        "summaries": {
            **_code_and_shape(facts.grid, as_lists=True),
            "gsd": [facts.grid.resolution],
            "landfuse:maturity": [maturity.name.lower() for maturity in Maturity if maturity is not Maturity.NONE],
            "landfuse:provenance": [kind.name.lower() for kind in Provenance],
        },
        "cube:dimensions": cube_dimensions(facts.grid, ordered[0], ordered[-1]),
        "cube:variables": cube_variables(facts.bands),
        "item_assets": {
            "cube": _cube_asset(facts.bands),
            "thumbnail": _thumbnail_asset(),
            "manifest": _manifest_asset(),
        },
        "assets": {"cube": {"href": _relative(layout.cube, here), **_cube_asset(facts.bands)}},
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            _store_link(layout, here),
            *(
                {
                    "rel": "item",
                    "href": _relative(layout.item(facts.area, day), here),
                    "type": "application/geo+json",
                    "title": day.isoformat(),
                }
                for day in ordered
            ),
        ],
    }
    if facts.providers:
        document["providers"] = [dict(provider) for provider in facts.providers]
    return document


def day_item(facts: CubeFacts, day: DayFacts, layout: Layout | None = None) -> dict[str, Any]:
    """The STAC item of one published day.

    All hrefs are relative to the item, so the published folder can be moved or served
    from anywhere; none can carry a signature.

    Parameters
    ----------
    facts : CubeFacts
    day : DayFacts
    layout : Layout, optional
    """
    layout = layout or Layout()
    here = layout.item(facts.area, day.day)
    shares = {kind: float(day.shares.get(kind, 0.0)) for kind in Provenance}
    assets: dict[str, Any] = {"cube": {"href": _relative(layout.cube, here), **_cube_asset(facts.bands)}}
    if day.quicklook:
        assets["thumbnail"] = {"href": _relative(layout.quicklook(facts.area, day.day), here), **_thumbnail_asset()}
    assets["manifest"] = {"href": _relative(manifest_key(day.run_id), here), **_manifest_asset()}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [_PROJECTION, _ELECTRO_OPTICAL, _RASTER, _ZARR, _PROCESSING],
        "id": item_id(facts.area, day.day),
        "collection": facts.area,
        "geometry": footprint(facts.grid),
        "bbox": list(facts.grid.lonlat_bounds),
        "properties": {
            "title": f"{facts.title or facts.area}, {day.day.isoformat()}",
            "description": DAY_RULE,
            "datetime": _midnight(day.day),
            "updated": _instant(day.updated),
            "gsd": facts.grid.resolution,
            **_code_and_shape(facts.grid),
            "proj:bbox": list(facts.grid.bounds),
            "processing:software": dict(facts.software),
            "landfuse:maturity": day.maturity.name.lower(),
            "landfuse:method": day.method,
            "landfuse:outcome": str(day.outcome),
            "landfuse:generation": day.generation,
            "landfuse:run_id": day.run_id,
            "landfuse:input_digest": day.input_digest,
            "landfuse:clear_share": round(shares[Provenance.OBSERVED], 6),
            **{f"landfuse:share_{kind.name.lower()}": round(share, 6) for kind, share in shares.items()},
        },
        "assets": assets,
        "links": [
            {"rel": "root", "href": _relative(layout.collection, here), "type": "application/json"},
            {"rel": "parent", "href": _relative(layout.collection, here), "type": "application/json"},
            {"rel": "collection", "href": _relative(layout.collection, here), "type": "application/json"},
            _store_link(layout, here),
        ],
    }


def stac_objects(
    facts: CubeFacts, new: Sequence[DayFacts], published: Sequence[date], layout: Layout | None = None
) -> list[tuple[str, bytes]]:
    """The documents a publication writes: the items of its days, then the collection that links all days.

    Parameters
    ----------
    facts : CubeFacts
    new : sequence of DayFacts
        The days of this publication.
    published : sequence of date
        Every day the cube holds once they are in it.
    layout : Layout, optional

    Returns
    -------
    list of (str, bytes)
        Path relative to the published folder, and the JSON. The collection comes last, so that it never links an
        item that is not there yet.
    """
    layout = layout or Layout()
    days = sorted({*published, *(day.day for day in new)})
    items = [(layout.item(facts.area, day.day), _json(day_item(facts, day, layout))) for day in new]
    return [*items, (layout.collection, _json(collection_document(facts, days, layout)))]


def cube_dimensions(grid: Grid, first: date, last: date) -> dict[str, Any]:
    """``cube:dimensions``: time, y and x; extents of space are pixel centres, as the coordinates are."""
    system = _reference_system(grid.crs)
    return {
        "time": {"type": "temporal", "extent": [_midnight(first), _midnight(last)], "step": "P1D", "description": DAY_RULE},
        "y": {"type": "spatial", "axis": "y", "extent": _extent(grid.y), "step": -grid.resolution, "unit": "m", "reference_system": system},
        "x": {"type": "spatial", "axis": "x", "extent": _extent(grid.x), "step": grid.resolution, "unit": "m", "reference_system": system},
    }


def cube_variables(bands: Sequence[str]) -> dict[str, Any]:
    """``cube:variables``: every (time, y, x) layer of the cube, as the store describes it."""
    layers = pixel_layers(bands)
    return {
        name: {
            "dimensions": ["time", "y", "x"],
            "type": "data" if name in bands else "auxiliary",
            "description": _description(layer.attributes),
            **({"unit": layer.attributes["units"]} if "units" in layer.attributes else {}),
            **({"nodata": int(layer.fill)} if layer.masked else {}),
            "data_type": layer.dtype,
        }
        for name, layer in layers.items()
    }


def footprint(grid: Grid) -> dict[str, Any]:
    """The edge of the grid as a GeoJSON polygon in longitude and latitude, counter-clockwise, with 4 points a side.

    Straight edges of a projected grid are curves in longitude and latitude; the points between
    the corners keep the polygon within a few metres of them. Areas across the antimeridian are not split.
    """
    west, south, east, north = grid.bounds
    steps = np.linspace(0.0, 1.0, 4, endpoint=False)
    x = np.concatenate([west + (east - west) * steps, np.full(4, east), east - (east - west) * steps, np.full(4, west)])
    y = np.concatenate([np.full(4, south), south + (north - south) * steps, np.full(4, north), north - (north - south) * steps])
    longitude, latitude = Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True).transform(x, y)
    ring = [[round(float(lon), 7), round(float(lat), 7)] for lon, lat in zip(longitude, latitude, strict=True)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _default_description(facts: CubeFacts) -> str:
    return (
        f"Daily seamless {facts.grid.resolution:g} m images of {facts.title or facts.area}, fused from Landsat and MODIS. "
        "Every pixel of every day has a value, a 1 σ uncertainty and its provenance."
    )


def _cube_asset(bands: Sequence[str]) -> dict[str, Any]:
    return {
        "type": ZARR_MEDIA_TYPE,
        "title": "The cube: time, y, x; one variable a band",
        "roles": ["data", "reflectance"],
        "zarr:node_type": "group",
        "zarr:zarr_format": 3,
        "zarr:consolidated": True,
        "bands": [
            {
                "name": band,
                "data_type": "int16",
                "nodata": int(FILL),
                "raster:scale": float(SCALE),
                **({"eo:common_name": band} if band in _COMMON_NAMES else {}),
            }
            for band in bands
        ],
    }


def _thumbnail_asset() -> dict[str, Any]:
    return {"type": "image/png", "title": "Quick-look with provenance", "roles": ["thumbnail", "overview"]}


def _manifest_asset() -> dict[str, Any]:
    return {"type": "application/json", "title": "Manifest of the run: inputs, parameters, digests", "roles": ["metadata"]}


def _store_link(layout: Layout, here: str) -> dict[str, str]:
    return {"rel": "store", "href": _relative(layout.cube, here), "type": ZARR_MEDIA_TYPE, "title": "Zarr store"}


def _code_and_shape(grid: Grid, as_lists: bool = False) -> dict[str, Any]:
    system = CRS.from_user_input(grid.crs)
    authority = system.to_authority(min_confidence=100)
    if as_lists:
        return {"proj:code": [":".join(authority)]} if authority else {}
    projection = {"proj:code": ":".join(authority)} if authority else {"proj:code": None, "proj:wkt2": system.to_wkt()}
    return {**projection, "proj:transform": list(grid.transform), "proj:shape": list(grid.shape)}


def _reference_system(crs: str) -> int | str:
    system = CRS.from_user_input(crs)
    code = system.to_epsg(min_confidence=100)
    return code if code is not None else system.to_wkt()


def _extent(centres: np.ndarray) -> list[float]:
    return [float(centres.min()), float(centres.max())]


def _description(attributes: Mapping[str, Any]) -> str:
    codes = attributes.get("flag_values", attributes.get("flag_masks"))
    if codes is None:
        return str(attributes["long_name"])
    meanings = str(attributes["flag_meanings"]).split()
    kind = "bits" if "flag_masks" in attributes else "codes"
    return f"{attributes['long_name']}; {kind}: " + ", ".join(f"{code} {word}" for code, word in zip(codes, meanings, strict=True))


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _relative(target: str, here: str) -> str:
    path = posixpath.relpath(target, posixpath.dirname(here) or ".")
    return path if path.startswith("..") else f"./{path}"


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
