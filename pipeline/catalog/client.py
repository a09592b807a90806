"""The client of a STAC API: how often it asks again, how long it waits, and what it takes for an answer."""

from __future__ import annotations

from typing import Any

import urllib3
from pystac_client import Client
from pystac_client.stac_api_io import StacApiIO

from pipeline.catalog.hrefs import redact
from pipeline.errors import CatalogError

TIMEOUT = (10.0, 60.0)
"""Of connecting and of reading [s]."""

_KEYS = frozenset({"features", "collections", "links", "stac_version"})
"""Every STAC document and every page has one of these; what gateways say in place of one has none."""


class _Checked(StacApiIO):
    """Refuses what is no STAC document: the client takes an error under status 200 for the end of the pages."""

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        document: Any = super().read_json(source, *args, **kwargs)
        if isinstance(document, dict) and _KEYS & document.keys():
            return document
        raise CatalogError(
            f"{redact(getattr(source, 'href', str(source)))} answered with {redact(str(document))[:200]!r}; expected a catalog or a page",
            "check that the url of the catalog in the area file is a STAC API; if it is, try later",
        )


def open_client(url: str) -> Client:
    """A client that waits out throttling and outages, and gives up on a server that does not answer."""
    # POST is not in urllib3's default set, and pystac-client's own default retries no status at all.
    retry = urllib3.Retry(
        total=6,
        connect=2,
        backoff_factor=0.5,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=None,
        respect_retry_after_header=True,
    )
    # The time limit is given here: that of the I/O alone would be overwritten.
    return Client.open(url, stac_io=_Checked(max_retries=retry), timeout=TIMEOUT)
