"""Raster files under the names GDAL knows them by, opened with the right driver, options and permission.

Only GeoTIFF and, where the href names a dataset in it, HDF5: other drivers (VRT, WMS) would
follow what the file says to other places.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import rasterio
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile

from pipeline.catalog.hrefs import local_path
from pipeline.catalog.signing import Access, access
from pipeline.errors import ReadError
from pipeline.observations.asset import Asset

_LOCAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Files beside the raster could say other things of it than the raster.
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    # Megabytes of the process; the default is a share of the memory of the whole machine, for every worker.
    "GDAL_CACHEMAX": 128,
}
_REMOTE_OPTIONS: dict[str, Any] = {
    **_LOCAL_OPTIONS,
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_AUTHORIZATION_HEADER_ALLOWED_IF_REDIRECT": "IF_SAME_HOST",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": 4_000_000,
}
# The region of USGS's Landsat; Amazon tells GDAL where buckets of other regions are.
_REQUESTER_OPTIONS: dict[str, Any] = {"AWS_REQUEST_PAYER": "requester", "AWS_REGION": "us-west-2"}

# GDAL remembers that a URL could not be opened. With another fragment it is another URL to GDAL, and the same to the server.
_ATTEMPTS = itertools.count()
_KEPT = 24
"""Open files of the process that wait for their next window."""


@contextmanager
def opened(asset: Asset, again: bool = False) -> Iterator[Any]:
    """The open file of an asset, for this thread alone.

    Files stay open for a while, because neighbouring windows share compressed blocks and GDAL's cache of
    decoded blocks lives as long as its file. A local file that changed is opened anew, and so is a URL that
    is signed anew.

    Parameters
    ----------
    asset : Asset
    again : bool
        The file could not be opened or read just now.

    Raises
    ------
    ReadError
        If the href is of no kind that is read.
    CatalogError
        If no permission can be had.
    """
    name, options = _name(asset, access(asset.href, asset.sign))
    key = name, asset.part, _version(asset.href)
    if again and name.startswith("/vsis3/"):
        _forget(name, options)
    elif again:
        name = f"{name}#{next(_ATTEMPTS)}"
    driver = "GTiff"
    if asset.part.dataset:
        # GDAL writes the blanks in the names of groups as underscores.
        name, driver = f'HDF5:"{name}":/{asset.part.dataset.replace(" ", "_")}', "HDF5Image"
    with rasterio.Env(**options):
        dataset = None if again else _HANDLES.take(key)
        if dataset is None:
            dataset = rasterio.open(name, driver=driver)
        try:
            yield dataset
        except BaseException:
            dataset.close()
            raise
        _HANDLES.give(key, dataset)


def _name(asset: Asset, granted: Access) -> tuple[str, dict[str, Any]]:
    """The file's name in GDAL, and the options to read it with."""
    path = local_path(asset.href)
    if path is not None:
        # Paths that GDAL would take for something else than a file are refused.
        if not os.path.isabs(path) or path.startswith("/vsi") or '"' in path:
            raise ReadError(f"{asset}: {path!r} is no path that is read", "expected an absolute path of a file, without quotes")
        return path, _LOCAL_OPTIONS
    parts = urlsplit(granted.href)
    if parts.scheme == "s3":
        options = {**_REMOTE_OPTIONS, **_REQUESTER_OPTIONS} if granted.requester_pays else _REMOTE_OPTIONS
        return f"/vsis3/{parts.netloc}{parts.path}", options
    if parts.scheme not in ("http", "https"):
        raise ReadError(f"{asset} has the scheme {parts.scheme!r}", "expected https, http, s3, file or a path")
    if granted.bearer:
        # Bound to this URL: an option of GDAL would be seen by the requests of other threads.
        return f"/vsicurl?header_file={_header_file(granted.bearer).name}&url={quote(granted.href, safe='')}", _REMOTE_OPTIONS
    return f"/vsicurl/{quote(granted.href, safe=_IN_URLS)}", _REMOTE_OPTIONS


_IN_URLS = "%/:?=&#[]@!$'()*+,;~"
"""Characters that an href may hold as they are: it is a URL already, but a stray quote or blank is not."""


def _forget(name: str, options: dict[str, Any]) -> None:
    """Have GDAL forget that an object of a bucket could not be opened: it does so after a try for which it may keep nothing."""
    with rasterio.Env(**options, CPL_VSIL_CURL_NON_CACHED="/vsis3/"), suppress(RasterioIOError):
        rasterio.open(name, driver="GTiff").close()


@lru_cache(maxsize=2)
def _header_file(bearer: str) -> MemoryFile:
    """The header that carries a token, as a file of GDAL's in the memory of this process."""
    return MemoryFile(f"Authorization: Bearer {bearer}\n".encode())


def _version(href: str) -> tuple[int, ...]:
    """What changes when a local file does."""
    path = local_path(href)
    if path is None:
        return ()
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Handles:
    """Open files that nobody uses at the moment; those that waited longest are closed first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, key: Any) -> Any:
        """An open file for the caller alone, or None."""
        with self._guard:
            found = next((number for number, (other, _) in self._idle.items() if other == key), None)
            return None if found is None else self._idle.pop(found)[1]

    def give(self, key: Any, dataset: Any) -> None:
        """Take an open file back."""
        with self._guard:
            self._idle[id(dataset)] = key, dataset
            surplus = [self._idle.popitem(last=False)[1][1] for _ in range(len(self._idle) - self._limit)]
        for other in surplus:
            other.close()


_HANDLES = _Handles(_KEPT)
