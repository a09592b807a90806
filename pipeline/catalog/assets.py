"""Which assets of an item are the bands and layers of a product, whatever its provider calls them, and whether they hold what it says."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.catalog.hrefs import Part, resolve, unsigned
from pipeline.errors import CatalogError
from pipeline.sensors import Band, Product


@dataclass(frozen=True)
class Chosen:
    """The assets of an item that are used.

    Parameters
    ----------
    hrefs : mapping of str to str
        Band common name, or key of a layer as the product has it → unsigned href with its part of the file.
    bands : mapping of str to mapping
        Band common name → asset, as the item has it.
    """

    hrefs: Mapping[str, str]
    bands: Mapping[str, Mapping[str, Any]]


def choose_assets(
    item: Mapping[str, Any], product: Product, platform: str, bands: Collection[str] | None = None, alternate: str | None = None
) -> Chosen:
    """The assets of a product's bands and layers.

    An asset is found by its key, by an alias of it, by the common name of a band, and at last in the one HDF5 file that holds all.

    Parameters
    ----------
    item : mapping
    product : Product
    platform : str
        Decides which layers a scene has.
    bands : collection of str, optional
        Common names that are asked for. Others need not be there; all of the product by default.
    alternate : str, optional
        Take the alternate href of this name where an asset has one.

    Raises
    ------
    CatalogError
        If a band or a required layer is missing or holds other numbers than the product says, or all lie in a file that cannot be read.
    """
    assets = _Assets(item, product, alternate)
    asked = {name: band for name, band in product.bands.items() if bands is None or name in bands} or product.bands
    found = {name: assets.band(name, band) for name, band in asked.items()}
    needed: dict[str, tuple[str, ...]] = {band.quality_asset: () for band in asked.values() if band.quality_asset}
    layers = product.layers_of(platform)
    needed |= {layer.asset: layer.aliases for layer in layers if layer.required}
    required = {key: assets.layer(key, aliases) for key, aliases in needed.items()}
    missing = [asked[name].asset for name, asset in found.items() if asset is None]
    missing += [key for key, asset in required.items() if asset is None]
    if missing:
        raise assets.without(missing)
    optional = {layer.asset: assets.layer(layer.asset, layer.aliases) for layer in layers if not layer.required}
    if product.day_layer is not None:
        optional[product.day_layer.asset] = assets.layer(product.day_layer.asset)
    angles = {key: assets.layer(key) for key in product.angles.assets} if product.angles is not None else {}
    # Directions are of use only together.
    optional |= angles if all(angles.values()) else {}
    present = {name: asset for name, asset in found.items() if asset is not None}
    for name, asset in present.items():
        _check_numbers(str(item.get("id")), name, asked[name], asset)
    keys = {name: asked[name].asset for name in present}
    everything = {**present, **{key: asset for key, asset in {**optional, **required}.items() if asset is not None}}
    return Chosen({name: assets.href(keys.get(name, name), asset) for name, asset in everything.items()}, present)


class _Assets:
    """The assets of one item, and the ways to find one."""

    def __init__(self, item: Mapping[str, Any], product: Product, alternate: str | None) -> None:
        self._id = str(item.get("id"))
        self._all = {str(key): asset for key, asset in (item.get("assets") or {}).items() if (asset or {}).get("href")}
        self._place = next((link.get("href") for link in item.get("links") or () if link.get("rel") == "self"), None)
        self._names = _common_names(self._all, (item.get("properties") or {}).get("eo:bands") or ())
        self._alternate = alternate
        self._datasets = product.hdf5
        self._container = _container(self._all.values()) if product.hdf5 else None

    def band(self, name: str, band: Band) -> Mapping[str, Any] | None:
        return self._known(band.asset, band.aliases) or self._names.get(name) or self._inside(band.asset)

    def layer(self, key: str, aliases: Sequence[str] = ()) -> Mapping[str, Any] | None:
        return self._known(key, aliases) or self._inside(key)

    def href(self, key: str, asset: Mapping[str, Any]) -> str:
        """The href of an asset with the part of its file that the product's asset `key` is."""
        href = str(asset["href"])
        if self._alternate is not None:
            other = (asset.get("alternate") or {}).get(self._alternate) or self._all.get(f"{self._alternate}_{self._key(asset)}") or {}
            href = str(other.get("href") or href)
        part = Part(dataset=self._datasets[key]) if asset is self._container else Part(band=int(asset.get("landfuse:band") or 1))
        return unsigned(resolve(href, self._place)) + part.fragment

    def without(self, missing: Sequence[str]) -> CatalogError:
        """The error that says what is missing, and what to do about it."""
        names = [_file_name(asset) for asset in self._all.values()]
        hdf4 = next((name for name in names if name.lower().endswith(".hdf")), None)
        if hdf4 is not None and not any(name.lower().endswith((".tif", ".tiff")) for name in names):
            return CatalogError(
                f"item {self._id} has its layers only in {hdf4}, an HDF4 file, which the GDAL that comes with rasterio cannot read",
                "convert it to one Cloud Optimized GeoTIFF for each layer and describe those by: landfuse catalog build; or take the "
                "collection from a provider that has them, such as the Planetary Computer",
            )
        has = ", ".join(sorted(self._all)) or "none"
        return CatalogError(f"item {self._id} has no asset {', '.join(sorted(missing))}; it has {has}")

    def _known(self, key: str, aliases: Sequence[str]) -> Mapping[str, Any] | None:
        return next((self._all[name] for name in (key, *aliases) if name in self._all), None)

    def _inside(self, key: str) -> Mapping[str, Any] | None:
        return self._container if key in self._datasets else None

    def _key(self, asset: Mapping[str, Any]) -> str:
        return next((key for key, other in self._all.items() if other is asset), "")


def _common_names(assets: Mapping[str, Mapping[str, Any]], listed: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    """Common name → the only asset that says to be this one band.

    Items of USGS before 2021 give the position of a band in the item's own list.
    """
    named: dict[str, list[Mapping[str, Any]]] = {}
    for asset in assets.values():
        own: Sequence[Any] = asset.get("eo:bands") or asset.get("bands") or ()
        if len(own) != 1:
            continue
        band = listed[own[0]] if isinstance(own[0], int) and own[0] < len(listed) else own[0]
        name = (band.get("common_name") or band.get("eo:common_name")) if isinstance(band, Mapping) else None
        if name:
            named.setdefault(str(name), []).append(asset)
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _container(assets: Collection[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The HDF5 file of an item; its key differs from item to item in CMR-STAC, which lists it a second time on S3."""
    files = [asset for asset in assets if _file_name(asset).lower().endswith((".h5", ".hdf5"))]
    return min(files, key=lambda asset: str(asset["href"]).startswith("s3://"), default=None)


def _file_name(asset: Mapping[str, Any]) -> str:
    return urlsplit(str(asset["href"])).path.rpartition("/")[2]


def _check_numbers(item_id: str, name: str, band: Band, asset: Mapping[str, Any]) -> None:
    """Refuse an asset that says to hold other numbers than the product: they would be read as another reflectance without a sign of it."""
    said = _numbers(asset)
    known: dict[str, float | str | None] = {"scale": band.scale, "offset": band.offset, "nodata": band.nodata, "data_type": band.dtype}
    for key, expected in known.items():
        found = said.get(key)
        if found is None or expected is None or (found == expected if isinstance(expected, str) else _equal(found, expected)):
            continue
        raise CatalogError(
            f"item {item_id}: asset of {name} says {key} {found}; the product has {expected}",
            "if the item is right, declare a product with these numbers under science.products of the area file",
        )


def _numbers(asset: Mapping[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and type of an asset's band, in the words of STAC 1.0 (raster:bands) or 1.1 (bands)."""
    at = int(asset.get("landfuse:band") or 1) - 1
    said = dict(asset)
    for key in ("raster:bands", "bands"):
        listed = asset.get(key) or ()
        if at < len(listed) and isinstance(listed[at], Mapping):
            said |= listed[at]
    return {key: said.get(key, said.get(f"raster:{key}")) for key in ("scale", "offset", "nodata", "data_type")}


def _equal(found: Any, expected: float) -> bool:
    try:
        return math.isclose(float(found), expected, rel_tol=1e-6, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False
