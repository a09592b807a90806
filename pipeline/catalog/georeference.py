"""Where the pixels of an item lie: as it says by the projection extension, or as its tile says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.catalog.tiling import Georeference, tile_georeference
from pipeline.errors import CatalogError
from pipeline.sensors import Product

_CLOSE = 0.01
"""Pixels by which grids that are meant to be one may differ: the last digits of MODIS transforms do."""


def georeference_of(
    item_id: str, properties: Mapping[str, Any], bands: Mapping[str, Mapping[str, Any]], product: Product, tile: str | None
) -> tuple[Georeference, bool]:
    """CRS, transform and shape of the finest band, and whether they were derived from the tile.

    Parameters
    ----------
    item_id : str
    properties : mapping
        Of the item.
    bands : mapping of str to mapping
        Assets by the common name of their band. What they say goes before what the item says.
    product : Product
        Its ``tiling`` and ``pixel`` tell where a tile lies.
    tile : str or None
        From the id.

    Raises
    ------
    CatalogError
        If nothing says where the pixels lie, or bands lie on grids that do not nest.
    """
    derived = tile_georeference(product.tiling, tile, product.pixel) if product.tiling and tile else None
    said = {name: _said(item_id, {**properties, **asset}) for name, asset in bands.items()}
    lacking = next((missing for _, missing in said.values() if missing), ())
    if lacking:
        if derived is None:
            raise CatalogError(f"item {item_id} does not say where its pixels lie: no {', '.join(lacking)}")
        return derived, True
    found = {name: georeference for name, (georeference, _) in said.items() if georeference is not None}
    finest = max(found, key=lambda name: found[name][2][0])
    apart = [name for name in found if not _nests(found[name], found[finest])]
    if apart:
        raise CatalogError(
            f"item {item_id}: bands {', '.join(apart)} lie on another grid than {finest}; expected one grid, or coarser cells"
        )
    if derived is not None and _other_hemisphere(found[finest], derived):
        return derived, True
    return found[finest], False


def _said(item_id: str, properties: Mapping[str, Any]) -> tuple[Georeference | None, tuple[str, ...]]:
    """What an asset and its item say, or the names of what they lack."""
    transform, shape = properties.get("proj:transform"), properties.get("proj:shape")
    crs = _crs(properties)
    if not crs or not transform or not shape:
        facts = (("proj:code or proj:wkt2", crs), ("proj:transform", transform), ("proj:shape", shape))
        return None, tuple(name for name, value in facts if not value)
    if len(transform) not in (6, 9) or len(shape) != 2:
        raise CatalogError(f"item {item_id}: proj:transform {transform} and proj:shape {shape}: expected 6 or 9 numbers, and 2")
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    rows, columns = (int(value) for value in shape)
    if b or d or a <= 0 or e >= 0 or rows < 1 or columns < 1 or not all(map(math.isfinite, (a, c, e, f))):
        raise CatalogError(f"item {item_id}: proj:transform {list(transform)} and proj:shape {list(shape)}: expected a north-up raster")
    return (crs, (a, b, c, d, e, f), (rows, columns)), ()


def _nests(coarse: Georeference, fine: Georeference) -> bool:
    """Whether cells of one grid hold a whole number of pixels of the other, on the same footprint."""
    (crs, (a, _, c, _, e, f), (rows, columns)), (other, (pixel, _, west, _, height, north), (lines, samples)) = coarse, fine
    ratio = lines / rows
    if crs != other or samples / columns != ratio or not ratio.is_integer():
        return False
    shifts = (c - west, f - north, (a - ratio * pixel) * columns, (e - ratio * height) * rows)
    return max(map(abs, shifts)) <= _CLOSE * pixel


def _other_hemisphere(said: Georeference, derived: Georeference) -> bool:
    """Whether an item means the UTM zone of its tile in the wrong hemisphere (microsoft/PlanetaryComputer issue 486)."""
    (crs, (a, _, west, _, e, north), (rows, columns)), (own, (pixel, _, left, _, height, top), (lines, samples)) = said, derived
    if crs == own or {crs[:8], own[:8]} != {"EPSG:326", "EPSG:327"} or crs[8:] != own[8:]:
        return False
    middle = Transformer.from_crs(crs, own, always_xy=True).transform(west + a * columns / 2, north + e * rows / 2)
    return not (left <= middle[0] <= left + pixel * samples and top + height * lines <= middle[1] <= top)


def _crs(properties: Mapping[str, Any]) -> str:
    """``EPSG:n`` or WKT, or empty."""
    code, epsg = properties.get("proj:code"), properties.get("proj:epsg")
    # A release of pystac turned proj:epsg null into the code "EPSG:None"; items of HLS give the number alone.
    if code and not str(code).endswith("None"):
        return _checked(f"EPSG:{code}" if str(code).isdigit() else str(code))
    if epsg:
        return _checked(f"EPSG:{epsg}")
    if properties.get("proj:wkt2"):
        return _checked(str(properties["proj:wkt2"]))
    if properties.get("proj:projjson"):
        try:
            return CRS.from_json_dict(dict(properties["proj:projjson"])).to_wkt()
        except (CRSError, TypeError, ValueError):
            raise CatalogError("proj:projjson is no coordinate reference system that PROJ knows") from None
    return ""


@lru_cache(maxsize=256)
def _checked(crs: str) -> str:
    try:
        CRS.from_user_input(crs)
    except CRSError:
        raise CatalogError(f"{crs[:80]!r} is no coordinate reference system that PROJ knows") from None
    return crs
