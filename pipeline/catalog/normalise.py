"""From a STAC item, whatever its provider wrote, to a Scene. Items are plain dicts: reading one through pystac rewrites it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from pipeline.catalog.assets import choose_assets
from pipeline.catalog.days import instant_of, nominal_day, time_range
from pipeline.catalog.georeference import georeference_of
from pipeline.catalog.outline import footprint_of, lonlat_bounds
from pipeline.catalog.scene import Scene
from pipeline.errors import CatalogError
from pipeline.sensors import Product

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROCESSED = re.compile(r"_\d{8}_(\d{8})_02_(?:T1|T2|RT)|\.A\d{7}\.h\d\dv\d\d\.\d{3}\.(\d{13})")
"""Processing date in the file names of Landsat Collection 2, production stamp in those of MODIS."""
_TIERS = {"T1": 1, "T2": 2, "RT": 2}

_KEPT = {
    "view:sun_elevation": "eo:sun_elevation",
    "view:sun_azimuth": "eo:sun_azimuth",
    "view:off_nadir": "eo:off_nadir",
    "view:azimuth": "eo:azimuth",
    "eo:cloud_cover": "eo:cloud_cover",
    "landsat:cloud_cover_land": "landsat:cloud_cover_land",
    "landsat:correction": "landsat:processing_level",
    "created": "created",
    "landfuse:georeference": "landfuse:georeference",
}
"""Properties that are kept, and what they were called before STAC 1.0."""


def scene_from_item(
    item: Mapping[str, Any],
    name: str,
    product: Product,
    longitude: float,
    bands: Collection[str] | None = None,
    alternate: str | None = None,
) -> Scene:
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
    bands : collection of str, optional
        Common names that are asked for; an item may lack the others. All of the product by default.
    alternate : str, optional
        Take the alternate href of this name where an asset has one.

    Raises
    ------
    CatalogError
        If the item cannot be used: its id is not safe as a name or not of the product, a band or a required QA layer
        is missing or holds other numbers than the product says, it does not say when and where it was taken, or it was taken at night.
    """
    item_id = str(item.get("id", ""))
    if not _SAFE_ID.fullmatch(item_id) or ".." in item_id:
        raise CatalogError(f"item id {item_id!r} is not safe as a name; expected letters, digits, '.', '_' and '-', without '..'")
    parts = _id_parts(item_id, product)
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        raise CatalogError(
            f"item {item_id} has no properties; expected a STAC item", "a row of a stac-geoparquet table must be turned into an item first"
        )
    kept = _kept(item, properties, parts, product)
    platform = _platform(properties, parts, product)
    chosen = choose_assets(item, product, platform, bands, alternate)
    instant = instant_of(properties, "datetime") or time_range(item)[0]
    day = nominal_day(item_id, instant, parts, product, platform, longitude)
    (crs, transform, shape), derived = georeference_of(item_id, properties, chosen.bands, product, parts.get("tile"))
    return Scene(
        id=item_id,
        collection=str(item.get("collection") or ""),
        product=name,
        role=product.role,
        acquisition=_acquisition(item_id, parts),
        datetime=instant,
        day=day,
        first_day=day - timedelta(days=product.support.before),
        last_day=day + timedelta(days=product.support.after),
        centre=product.support.centre,
        platform=platform,
        stamp=_stamp(properties, parts, chosen.hrefs),
        tier=_TIERS.get(str(properties.get("landsat:collection_category") or parts.get("category") or ""), 0),
        row=_number(parts.get("row") or properties.get("landsat:wrs_row")),
        crs=crs,
        transform=transform,
        shape=shape,
        bounds=lonlat_bounds(item),
        assets=chosen.hrefs,
        properties=kept | ({"landfuse:derived": True} if derived else {}),
    )


def _id_parts(item_id: str, product: Product) -> dict[str, str]:
    if product.id_pattern is None:
        return {}
    match = re.match(product.id_pattern, item_id)
    if match is None:
        why = next((f"it is {why}" for pattern, why in product.foreign.items() if re.search(pattern, item_id)), None)
        raise CatalogError(f"item id {item_id!r} is not of this product: {why or 'expected ' + product.id_pattern}")
    return {key: value for key, value in match.groupdict().items() if value is not None}


def _kept(item: Mapping[str, Any], properties: Mapping[str, Any], parts: Mapping[str, str], product: Product) -> dict[str, Any]:
    """What later steps want to know of the item, by today's names."""
    kept = {key: properties.get(key, properties.get(old)) for key, old in _KEPT.items()}
    elevation = kept["view:sun_elevation"]
    if isinstance(elevation, int | float) and elevation <= 0:
        raise CatalogError(f"item {item.get('id')} was taken at night: the sun stood at {elevation:g}°; it holds no reflectance")
    kept["landsat:wrs_path"] = parts.get("path") or properties.get("landsat:wrs_path")
    kept["version"] = parts.get("version")
    if product.role == "fine" and product.geometry == "observed":
        kept["footprint"] = footprint_of(item) or None
    return {key: value for key, value in kept.items() if value is not None}


def _platform(properties: Mapping[str, Any], parts: Mapping[str, str], product: Product) -> str:
    known = product.platforms.get(parts.get("sensor", ""))
    said = properties.get("platform") or properties.get("eo:platform") or ""
    return known or str(said).strip().lower().replace("_", "-").replace(",", "-")


def _acquisition(item_id: str, parts: Mapping[str, str]) -> str:
    """Sensor, place and date where the id tells them; an id that does not is an acquisition of its own."""
    place = parts.get("path", "") + parts.get("row", "") or parts.get("tile", "")
    when = parts.get("date") or parts.get("doy")
    if not when:
        return item_id
    return "_".join(part for part in (parts.get("sensor", ""), place, when + parts.get("time", "")) if part)


def _stamp(properties: Mapping[str, Any], parts: Mapping[str, str], hrefs: Mapping[str, str]) -> str:
    """Digits that grow with the time of processing, from the most telling source the item has."""
    if "stamp" in parts:
        return parts["stamp"]
    for href in hrefs.values():
        match = _PROCESSED.search(href)
        if match:
            return match.group(1) or match.group(2)
    text = properties.get("landsat:product_generated") or properties.get("created") or properties.get("updated") or ""
    return re.sub(r"\D", "", str(text))[:14]


def _number(text: Any) -> int:
    return int(text) if text is not None and str(text).isdigit() else 0
