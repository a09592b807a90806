"""Search: from the sources of an area to the scenes of a period, the newest processing of each acquisition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Protocol

from pyproj import Transformer

from pipeline.catalog.api import Api
from pipeline.catalog.days import time_range
from pipeline.catalog.hrefs import Allowed, CatalogLike, allowed_of, check_href, local_path, split_part
from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.outline import boxes_of, boxes_touch
from pipeline.catalog.scene import Scene
from pipeline.catalog.static import static_items
from pipeline.errors import CatalogError
from pipeline.grid import Grid
from pipeline.sensors import Product

_DAY_SLACK = 1
"""Days by which the solar day can differ from the UTC date."""

_ID_SLACK = 9
"""Days by which the dates of an item can lie beside the day in its id (MCD43A4 items made since 2024: start on the day, end 7 after)."""


class SourceLike(Protocol):
    """What is looked at of a source's part in the area file."""

    @property
    def collection(self) -> str: ...
    @property
    def catalog(self) -> str: ...
    @property
    def product(self) -> str | None: ...


class SearchedLike(CatalogLike, Protocol):
    """What is looked at of a catalog's part in the area file."""

    @property
    def alternate(self) -> str | None: ...


@dataclass(frozen=True)
class Search:
    """What a search found.

    Parameters
    ----------
    scenes : tuple of Scene
        Ordered by day, acquisition and id; of each acquisition the newest processing.
    skipped : tuple of (item id, reason)
        Items that cannot be used.
    superseded : tuple of str
        Ids of older processings.
    """

    scenes: tuple[Scene, ...]
    skipped: tuple[tuple[str, str], ...]
    superseded: tuple[str, ...]


def find_scenes(
    sources: Sequence[SourceLike],
    catalogs: Mapping[str, SearchedLike],
    products: Mapping[str, Product],
    grid: Grid,
    first_day: date,
    last_day: date,
    progress: Callable[[str, int], None] | None = None,
    bands: Collection[str] | None = None,
) -> Search:
    """Find the scenes whose support touches a period and whose pixels touch a grid.

    Parameters
    ----------
    sources : sequence of SourcePart
        Collections to search, fine and coarse.
    catalogs : mapping of str to CatalogPart
        Catalogs by the name that sources use.
    products : mapping of str to Product
        By name. A source without a product takes the one that names its collection.
    grid : Grid
        The area.
    first_day, last_day : date
        Solar days, both included.
    progress : callable, optional
        Called with the collection and the number of its items so far.
    bands : collection of str, optional
        Common names that are asked for; an item may lack the others. All of each product by default.

    Raises
    ------
    CatalogError
        If a catalog is not declared, does not answer, loses pages or has no such collection.
    """
    found: list[Scene] = []
    skipped: list[tuple[str, str]] = []
    apis: dict[str, Api] = {}
    longitude = grid.longitude
    for source in sources:
        name = product_of(source, products)
        product = products[name]
        catalog = catalogs.get(source.catalog)
        if catalog is None:
            raise CatalogError(
                f"catalog {source.catalog!r} of source {source.collection} is not declared",
                f"add runtime.catalogs.{source.catalog} with its url to the area file; it has {', '.join(sorted(catalogs)) or 'none'}",
            )
        allowed = allowed_of(catalog)
        for item in _items(source.collection, catalog, allowed, apis, product, grid, first_day, last_day, progress):
            try:
                scene = scene_from_item(item, name, product, longitude, bands, catalog.alternate)
                if scene.last_day < first_day or scene.first_day > last_day or not touches(scene, grid):
                    continue
                for href in scene.assets.values():
                    check_href(split_part(href)[0], allowed)
            except CatalogError as error:
                skipped.append((str(item.get("id")), str(error)))
                continue
            found.append(replace(scene, properties={**scene.properties, "catalog": source.catalog}))
    scenes, superseded = newest(found)
    return Search(scenes, tuple(dict.fromkeys(skipped)), superseded)


def product_of(source: SourceLike, products: Mapping[str, Product]) -> str:
    """Name of the product of a source: the declared one, or the one that names its collection.

    Raises
    ------
    CatalogError
        If there is none, or more than one.
    """
    if source.product is not None:
        if source.product not in products:
            known = ", ".join(sorted(products))
            raise CatalogError(f"no product {source.product!r}; there are {known}", "declare it under science.products")
        return source.product
    if source.collection in products:
        return source.collection
    names = [name for name, product in products.items() if source.collection in product.collections]
    if len(names) == 1:
        return names[0]
    raise CatalogError(
        f"collection {source.collection!r} is of {'no' if not names else 'more than one'} product ({', '.join(names or sorted(products))})",
        "name the product of the source in the area file, or declare one under science.products",
    )


def newest(scenes: Sequence[Scene]) -> tuple[tuple[Scene, ...], tuple[str, ...]]:
    """The newest processing of each acquisition in order, and the ids of the others.

    A later version of a product is newer than any processing of an earlier one. Of equal stamps the better tier is kept,
    then the one that was found first.
    """
    kept: dict[tuple[str, str], Scene] = {}
    superseded: list[str] = []
    for scene in scenes:
        key = (scene.product, scene.acquisition)
        other = kept.get(key)
        if other is None:
            kept[key] = scene
        elif _rank(scene) > _rank(other):
            kept[key] = scene
            superseded.append(other.id)
        elif scene.identity != other.identity:
            superseded.append(scene.id)
    return tuple(sorted(kept.values(), key=lambda scene: (scene.day, scene.acquisition, scene.id))), tuple(superseded)


def touches(scene: Scene, grid: Grid) -> bool:
    """Whether the pixels of a scene and of a grid share any ground."""
    west, south, east, north = _bounds_in(scene.crs, grid)
    width, _, left, _, height, top = scene.transform
    rows, columns = scene.shape
    return left < east and west < left + columns * width and top + rows * height < north and south < top


def _rank(scene: Scene) -> tuple[str, str, int]:
    return str(scene.properties.get("version", "")), scene.stamp, -scene.tier


@lru_cache(maxsize=64)
def _bounds_in(crs: str, grid: Grid) -> tuple[float, float, float, float]:
    if crs == grid.crs:
        return grid.bounds
    return Transformer.from_crs(grid.crs, crs, always_xy=True).transform_bounds(*grid.bounds, densify_pts=21)


def _items(
    collection: str,
    catalog: CatalogLike,
    allowed: Allowed,
    apis: dict[str, Api],
    product: Product,
    grid: Grid,
    first_day: date,
    last_day: date,
    progress: Callable[[str, int], None] | None,
) -> Iterator[dict[str, Any]]:
    """Items that may concern the period and the grid; the scene decides exactly."""
    slack = _DAY_SLACK + (_ID_SLACK if product.day == "id" else 0)
    # An item is found by its own dates; a value of day d reaches from d − before to d + after.
    first = first_day - timedelta(days=product.support.after + slack)
    last = last_day + timedelta(days=product.support.before + slack)
    report = (lambda count: progress(collection, count)) if progress is not None else None
    if local_path(catalog.url) is None and not catalog.url.endswith(".json"):
        if catalog.url not in apis:
            apis[catalog.url] = Api(catalog.url)
        yield from apis[catalog.url].items(collection, grid.lonlat_bounds, first, last, report)
        return
    box = grid.lonlat_bounds
    for item in static_items(catalog.url, collection, allowed, report):
        try:
            start, end = time_range(item)
            near = start.date() <= last and end.date() >= first and any(boxes_touch(own, box) for own in boxes_of(item))
        except CatalogError:
            near = True  # normalising it says what is wrong, so that it is counted as skipped
        if near:
            yield item
