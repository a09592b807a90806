"""STAC APIs: search through pystac-client, page by page, and notice when pages are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

from pipeline.catalog.hrefs import redact
from pipeline.catalog.spelling import same_collection
from pipeline.errors import CatalogError

PAGE = 100
"""Items asked for in one page: servers time out on large ones."""

SLICE = 31
"""Days of one request: long periods run into the servers' time limits."""


class Api:
    """One STAC API.

    Parameters
    ----------
    url : str
        Landing page.
    page : int
        Items of one page.

    Raises
    ------
    CatalogError
        If it does not answer, or is no API that can be searched.
    """

    def __init__(self, url: str, page: int = PAGE) -> None:
        # Imported here: a static catalog, and `plan` against it, never needs them.
        from pipeline.catalog.client import open_client

        self._url = url
        self._page = page
        with _reported(url):
            self._client = open_client(url)

    def items(
        self,
        collection: str,
        bbox: tuple[float, float, float, float],
        first_day: date,
        last_day: date,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The items of a collection that touch a box and a period, each once.

        Parameters
        ----------
        collection : str
            Collection id.
        bbox : tuple of 4 floats
            (west, south, east, north) [degrees].
        first_day, last_day : date
            In UTC, both included.
        progress : callable, optional
            Called with the number of items so far.

        Raises
        ------
        CatalogError
            If the API fails, loses pages or has no such collection.
        """
        seen: set[str] = set()
        for start, end in slices(first_day, last_day, SLICE):
            for item in self._slice(collection, bbox, start, end):
                item_id = str(item.get("id"))
                if item_id not in seen:
                    seen.add(item_id)
                    if progress is not None:
                        progress(len(seen))
                    yield item
        if not seen and (spelt := self._spelling(collection)) != collection:
            yield from self.items(spelt, bbox, first_day, last_day, progress)

    def _slice(self, collection: str, bbox: tuple[float, float, float, float], first: date, last: date) -> list[dict[str, Any]]:
        found, complete = self._pages(collection, bbox, first, last, self._page)
        if complete:
            return found
        if first == last:
            # A last page that happens to be full has no next link either; in pages of another size it is not full.
            again, complete = self._pages(collection, bbox, first, last, max(self._page - 1, 1))
            if complete and len(again) == len(found):
                return found
            raise CatalogError(
                f"{redact(self._url)} gave {len(found)} items of {collection} for {first} in full pages and no link to the next page",
                "the catalog loses pages: try later, or take the collection from another catalog",
            )
        middle = first + (last - first) // 2
        return self._slice(collection, bbox, first, middle) + self._slice(collection, bbox, middle + timedelta(days=1), last)

    def _pages(
        self, collection: str, bbox: tuple[float, float, float, float], first: date, last: date, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Items of one period, and whether they are all: a full last page without a next link may hide more."""
        items: dict[str, dict[str, Any]] = {}
        matched: int | None = None
        full = more = False
        with _reported(self._url):
            search = self._client.search(
                collections=[collection],
                bbox=list(bbox),
                datetime=f"{first.isoformat()}T00:00:00Z/{last.isoformat()}T23:59:59.999Z",
                limit=limit,
            )
            for page in search.pages_as_dicts():
                features = page.get("features")
                if not isinstance(features, list) or not all(isinstance(item, dict) for item in features):
                    raise CatalogError(
                        f"{redact(self._url)} answered a search of {collection} with {_described(page)}; expected a FeatureCollection",
                        "its answer is broken: try later, or take the collection from another catalog",
                    )
                before = len(items)
                items.update((str(item.get("id")), item) for item in features)
                if features and len(items) == before:
                    raise CatalogError(
                        f"{redact(self._url)} repeats a page of {collection} for {first} to {last}", "its paging is broken: try later"
                    )
                count = page.get("numberMatched", (page.get("context") or {}).get("matched"))
                matched = count if isinstance(count, int) else matched
                if features:
                    full = len(features) >= limit
                more = any(link.get("rel") == "next" for link in page.get("links") or ())
        if matched is not None:
            return list(items.values()), len(items) >= matched
        return list(items.values()), more or not full

    def _spelling(self, collection: str) -> str:
        """How this API writes the id of a collection that it has."""
        with _reported(self._url):
            known = sorted(entry.id for entry in self._client.get_collections())
        found = collection if collection in known else next((name for name in known if same_collection(name, collection)), None)
        if found is None:
            raise CatalogError(
                f"{redact(self._url)} has no collection {collection!r}; it has {', '.join(known[:40]) or 'none'}",
                "correct the collection of the source in the area file",
            )
        return found


def slices(first: date, last: date, days: int) -> list[tuple[date, date]]:
    """The period cut into pieces of at most `days`, in order and without overlap."""
    starts = [first + timedelta(days=offset) for offset in range(0, (last - first).days + 1, days)]
    return [(start, min(start + timedelta(days=days - 1), last)) for start in starts]


def _described(page: dict[str, Any]) -> str:
    """What a page without items holds, shortly."""
    return redact(str(page))[:200]


class _reported:
    """Turns what the client raises into a CatalogError that names the API and keeps its secrets."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, CatalogError):
            return
        said = f"{type(error).__name__}: {redact(str(error))[:300]}"
        if isinstance(error, ValueError):
            raise CatalogError(
                f"the STAC API at {redact(self._url)} gave an answer that is no JSON ({said})",
                "check that the url of the catalog in the area file is a STAC API; if it is, try later",
            ) from None
        raise CatalogError(
            f"the STAC API at {redact(self._url)} failed: {said}",
            "check the url of the catalog in the area file and the network, then run again",
        ) from None
