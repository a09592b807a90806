"""From a STAC item, whatever its provider wrote, to a Scene. Items are plain dicts: reading one through pystac rewrites it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.catalog.hrefs import resolve, unsigned
from pipeline.catalog.scene import Scene
from pipeline.errors import CatalogError
from pipeline.grid import day_of
from pipeline.sensors import Product

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROCESSED = re.compile(r"_\d{8}_(\d{8})_02_(?:T1|T2|RT)|\.A\d{7}\.h\d\dv\d\d\.\d{3}\.(\d{13})")
"""Processing date in the file names of Landsat Collection 2, production stamp in those of MODIS."""
_TIERS = {"T1": 1, "T2": 2, "RT": 2}
_Georeference = tuple[str, tuple[float, float, float, float, float, float], tuple[int, int]]
"""CRS, affine coefficients and (rows, columns)."""

_KEPT = (
    "view:sun_elevation",
    "view:sun_azimuth",
    "view:off_nadir",
    "view:azimuth",
    "eo:cloud_cover",
    "landsat:cloud_cover_land",
    "landsat:correction",
    "landsat:wrs_path",
    "landfuse:georeference",
)


def scene_from_item(item: Mapping[str, Any], name: str, product: Product, longitude: float) -> Scene:
    """The scene that a STAC item describes.

    Parameters
    ----------
    item : mapping
        A STAC item as its provider wrote it. Relative hrefs are resolved against its ``self`` link.
    name : str
        Name of the product.
    product : Product
        Says which assets are bands and QA, and what day a value belongs to.
    longitude : float
        Degrees east of the area's centre, for the day rule.

    Raises
    ------
    CatalogError
        If the item cannot be used: its id is not safe as a name or not of the product, a band or a required QA layer
        is missing, or it does not say when and where it was taken.
    """
    item_id = str(item.get("id", ""))
    if not _SAFE_ID.fullmatch(item_id) or ".." in item_id:
        raise CatalogError(f"item id {item_id!r} is not safe as a name; expected letters, digits, '.', '_' and '-', without '..'")
    properties = item.get("properties") or {}
    parts = _id_parts(item_id, product)
    platform = _platform(properties, parts, product)
    assets = _assets(item, item_id, product, platform)
    instant = _parsed(properties, "datetime") or time_range(item)[0]
    day = _day(instant, item_id, parts, product, longitude)
    crs, transform, shape = _georeference(item, item_id, product)
    return Scene(
        id=item_id,
        collection=str(item.get("collection") or ""),
        product=name,
        role=product.role,
        acquisition=_acquisition(item_id, parts, day),
        datetime=instant,
        day=day,
        first_day=day - timedelta(days=product.support.before),
        last_day=day + timedelta(days=product.support.after),
        centre=product.support.centre,
        platform=platform,
        stamp=_stamp(properties, parts, assets),
        tier=_TIERS.get(str(properties.get("landsat:collection_category") or parts.get("category") or ""), 0),
        row=_number(parts.get("row") or properties.get("landsat:wrs_row")),
        crs=crs,
        transform=transform,
        shape=shape,
        bounds=lonlat_bounds(item),
        assets=assets,
        properties={key: properties[key] for key in _KEPT if properties.get(key) is not None}
        | ({"landsat:wrs_path": parts["path"]} if "path" in parts else {}),
    )


def time_range(item: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """First and last instant (UTC) that an item speaks of.

    Raises
    ------
    CatalogError
        If it has neither ``datetime`` nor ``start_datetime``, or they are no dates.
    """
    properties = item.get("properties") or {}
    instant = _parsed(properties, "datetime")
    start = _parsed(properties, "start_datetime") or instant
    end = _parsed(properties, "end_datetime") or instant or start
    if start is None or end is None:
        raise CatalogError(f"item {item.get('id')!r} has neither datetime nor start_datetime and end_datetime")
    return start, end


def lonlat_bounds(item: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """(west, south, east, north) [degrees] of an item, from its bbox or else its geometry.

    Raises
    ------
    CatalogError
        If it has neither.
    """
    bbox = item.get("bbox")
    if isinstance(bbox, list | tuple) and len(bbox) in (4, 6):
        half = len(bbox) // 2
        return float(bbox[0]), float(bbox[1]), float(bbox[half]), float(bbox[half + 1])
    points = list(_points((item.get("geometry") or {}).get("coordinates") or []))
    if not points:
        raise CatalogError(f"item {item.get('id')!r} has neither bbox nor geometry")
    eastings, northings = [point[0] for point in points], [point[1] for point in points]
    return min(eastings), min(northings), max(eastings), max(northings)


def _points(coordinates: Any) -> Any:
    if coordinates and isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from _points(part)


def _id_parts(item_id: str, product: Product) -> dict[str, str]:
    if product.id_pattern is None:
        return {}
    match = re.match(product.id_pattern, item_id)
    if match is None:
        raise CatalogError(f"item id {item_id!r} is not of this product; expected {product.id_pattern}")
    return {key: value for key, value in match.groupdict().items() if value is not None}


def _platform(properties: Mapping[str, Any], parts: Mapping[str, str], product: Product) -> str:
    known = product.platforms.get(parts.get("sensor", ""))
    return known or str(properties.get("platform") or "").strip().lower().replace("_", "-").replace(",", "-")


def _assets(item: Mapping[str, Any], item_id: str, product: Product, platform: str) -> dict[str, str]:
    """Band common name → href, QA layers and quality layers of bands by their asset key."""
    available = item.get("assets") or {}
    layers = product.layers_of(platform)
    wanted = {common: band.asset for common, band in product.bands.items()}
    wanted |= {band.quality_asset: band.quality_asset for band in product.bands.values() if band.quality_asset}
    wanted |= {layer.asset: layer.asset for layer in layers if layer.required or layer.asset in available}
    missing = sorted({asset for asset in wanted.values() if not (available.get(asset) or {}).get("href")})
    if missing:
        raise CatalogError(f"item {item_id} has no asset {', '.join(missing)}; it has {', '.join(sorted(available)) or 'none'}")
    location = next((link.get("href") for link in item.get("links") or () if link.get("rel") == "self"), None)
    return {key: _href(available[asset], location) for key, asset in wanted.items()}


def _href(asset: Mapping[str, Any], location: str | None) -> str:
    href = unsigned(resolve(str(asset["href"]), location))
    band = asset.get("landfuse:band")
    return href if band is None else f"{href}#band={int(band)}"


def _parsed(properties: Mapping[str, Any], key: str) -> datetime | None:
    text = properties.get(key)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        raise CatalogError(f"{key} {text!r} is no date and time; expected RFC 3339 such as 2025-03-10T23:53:08Z") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _day(instant: datetime, item_id: str, parts: Mapping[str, str], product: Product, longitude: float) -> date:
    if product.day == "acquisition":
        return day_of(instant, longitude)
    if product.day == "datetime":
        return instant.date()
    text = parts.get("doy") or parts.get("date")
    if text is None:
        raise CatalogError(f"item id {item_id!r}: day is taken from the id, but id_pattern names neither doy nor date")
    try:
        return datetime.strptime(text, "%Y%j" if "doy" in parts else "%Y%m%d").date()
    except ValueError:
        raise CatalogError(f"item id {item_id!r} holds {text!r}, which is no day") from None


def _acquisition(item_id: str, parts: Mapping[str, str], day: date) -> str:
    """Sensor, place and date where the id tells them; an id that does not is an acquisition of its own."""
    place = parts.get("path", "") + parts.get("row", "") or parts.get("tile", "")
    when = parts.get("date") or parts.get("doy")
    if not when:
        return item_id
    return "_".join(part for part in (parts.get("sensor", ""), place, when) if part)


def _stamp(properties: Mapping[str, Any], parts: Mapping[str, str], assets: Mapping[str, str]) -> str:
    """Digits that grow with the time of processing, from the most telling source the item has."""
    if "stamp" in parts:
        return parts["stamp"]
    for href in assets.values():
        match = _PROCESSED.search(href)
        if match:
            return match.group(1) or match.group(2)
    text = properties.get("landsat:product_generated") or properties.get("created") or properties.get("updated") or ""
    return re.sub(r"\D", "", str(text))[:14]


def _georeference(item: Mapping[str, Any], item_id: str, product: Product) -> _Georeference:
    """CRS, transform and shape of the bands, from the assets where they say it, else from the item."""
    properties = item.get("properties") or {}
    found = {common: _asset_georeference({**properties, **item["assets"][band.asset]}, item_id) for common, band in product.bands.items()}
    first = next(iter(found.values()))
    differing = [common for common, other in found.items() if other != first]
    if differing:
        raise CatalogError(f"item {item_id}: bands {', '.join(differing)} lie on another grid than {next(iter(found))}; expected one grid")
    return first


def _asset_georeference(properties: Mapping[str, Any], item_id: str) -> _Georeference:
    transform, shape = properties.get("proj:transform"), properties.get("proj:shape")
    crs = _crs(properties)
    missing = [key for key, value in (("proj:code or proj:wkt2", crs), ("proj:transform", transform), ("proj:shape", shape)) if not value]
    if missing or transform is None or shape is None:
        raise CatalogError(f"item {item_id} does not say where its pixels lie: no {', '.join(missing)}")
    if len(transform) not in (6, 9) or len(shape) != 2:
        raise CatalogError(f"item {item_id}: proj:transform {transform} and proj:shape {shape}: expected 6 or 9 numbers, and 2")
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    rows, columns = (int(value) for value in shape)
    if b or d or a <= 0 or e >= 0 or rows < 1 or columns < 1:
        raise CatalogError(f"item {item_id}: proj:transform {list(transform)} and proj:shape {list(shape)}: expected a north-up raster")
    return crs, (a, b, c, d, e, f), (rows, columns)


def _crs(properties: Mapping[str, Any]) -> str:
    """``EPSG:n`` or WKT, or empty."""
    code, epsg = properties.get("proj:code"), properties.get("proj:epsg")
    # A release of pystac turned proj:epsg null into the code "EPSG:None".
    if code and not str(code).endswith(":None"):
        return _checked(str(code))
    if epsg:
        return _checked(f"EPSG:{int(epsg)}")
    if properties.get("proj:wkt2"):
        return _checked(str(properties["proj:wkt2"]))
    if properties.get("proj:projjson"):
        return CRS.from_json_dict(dict(properties["proj:projjson"])).to_wkt()
    return ""


@lru_cache(maxsize=256)
def _checked(crs: str) -> str:
    try:
        CRS.from_user_input(crs)
    except CRSError:
        raise CatalogError(f"{crs[:80]!r} is no coordinate reference system that PROJ knows") from None
    return crs


def _number(text: Any) -> int:
    return int(text) if text is not None and str(text).isdigit() else 0
