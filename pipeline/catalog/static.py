"""Static catalogs: walk the links of a catalog.json on disk or on a server down to its items, or read a saved answer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.catalog.hrefs import Allowed, check_href, local_path, redact, resolve
from pipeline.catalog.spelling import same_collection
from pipeline.errors import CatalogError

_TIMEOUT = 30.0


def static_items(url: str, collection: str, allowed: Allowed, progress: Callable[[int], None] | None = None) -> Iterator[dict[str, Any]]:
    """The items of one collection of a static catalog.

    Parameters
    ----------
    url : str
        Path or URL of a catalog.json or collection.json, or of a saved answer to a search (a FeatureCollection).
    collection : str
        Collection id.
    allowed : Allowed
        Where linked documents may lie.
    progress : callable, optional
        Called with the number of items so far.

    Yields
    ------
    dict
        Items as they were written. Those of their own file have the place they were read from as their ``self`` link.

    Raises
    ------
    CatalogError
        If a document cannot be read, or the catalog has no such collection.
    """
    seen: set[str] = set()
    collections: set[str] = set()
    pending = [(url, False)]
    count = 0
    while pending:
        place, inside = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        document = _read(place, allowed if len(seen) > 1 else None)
        kind = document.get("type")
        if kind in ("Feature", "FeatureCollection"):
            for item in [_located(document, place)] if kind == "Feature" else document.get("features") or ():
                # Inside the collection it may call it what it likes: CMR-STAC writes HLSL30_2.0 whatever was asked.
                if inside or same_collection(str(item.get("collection") or ""), collection):
                    count += 1
                    if progress is not None:
                        progress(count)
                    yield {**item, "collection": collection}
                else:
                    collections.add(str(item.get("collection")))
            continue
        if kind == "Collection":
            collections.add(str(document.get("id")))
            if not same_collection(str(document.get("id")), collection):
                continue
            inside = True
        elif kind != "Catalog":
            raise CatalogError(f"{redact(place)} is of type {kind!r}; expected a STAC Catalog, Collection, Feature or FeatureCollection")
        links = [link for link in document.get("links") or () if link.get("rel") in ("child", "item")]
        pending += [(resolve(str(link["href"]), place), inside) for link in reversed(links)]
    if not count and not any(same_collection(name, collection) for name in collections):
        raise CatalogError(
            f"{redact(url)} has no collection {collection!r}; it has {', '.join(sorted(collections)) or 'none'}",
            "correct the collection of the source in the area file",
        )


def _located(item: dict[str, Any], place: str) -> dict[str, Any]:
    """The item with its true place as self link: what it says itself may be where it once was published."""
    others = [link for link in item.get("links") or () if link.get("rel") != "self"]
    return {**item, "links": [*others, {"rel": "self", "href": place}]}


def _read(place: str, allowed: Allowed | None) -> dict[str, Any]:
    """A JSON document; the entry point itself is named by the area's owner and needs no leave."""
    target = check_href(place, allowed) if allowed is not None else place
    path = local_path(target)
    try:
        if path is not None:
            with open(path, "rb") as file:
                document = json.load(file)
        else:
            with urllib.request.urlopen(target, timeout=_TIMEOUT) as response:
                document = json.load(response)
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"cannot read the catalog at {redact(place)}: {type(error).__name__}: {redact(str(error))}",
            "check the url of the catalog in the area file, and that the file is there",
        ) from None
    if not isinstance(document, dict):
        raise CatalogError(f"{redact(place)} holds a {type(document).__name__}; expected a STAC object")
    return document
