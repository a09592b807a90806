"""Hrefs: where an asset lies, whether it may be opened, how it is named in messages.

An item is written by someone else: what it points at is opened only where the
area's owner allowed it. Secrets in hrefs are dropped as soon as an href comes in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit, urlunsplit

from pipeline.catalog.signing import BUCKETS, HOSTS, is_below
from pipeline.errors import CatalogError

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_AZURE = ".blob.core.windows.net"
_SIGNATURES = frozenset(
    {"sig", "signature", "x-amz-signature", "x-goog-signature", "token", "access_token", "sas", "key", "apikey", "api_key"}
)
_URL_IN_TEXT = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/@'\"<>]*@)?(?P<rest>[^\s?#'\"<>]*)(?P<tail>[?#][^\s'\"<>]*)?")
_PART = re.compile(r"#(?:band=(?P<band>\d+)|hdf5=(?P<dataset>(?:/[\w. -]+)+))$")


class CatalogLike(Protocol):
    """What is looked at of a catalog's part in the area file."""

    @property
    def url(self) -> str: ...
    @property
    def sign(self) -> str: ...
    @property
    def allow(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Part:
    """What of a file an href means.

    Parameters
    ----------
    band : int
        Band, from 1.
    dataset : str
        Path of a dataset inside an HDF5 file; empty for other files.
    """

    band: int = 1
    dataset: str = ""

    @property
    def fragment(self) -> str:
        """What `split_part` reads; empty for the first band of a file that is no container."""
        if self.dataset:
            return f"#hdf5={self.dataset}"
        return f"#band={self.band}" if self.band != 1 else ""


@dataclass(frozen=True)
class Allowed:
    """Where assets of one catalog may lie.

    Parameters
    ----------
    hosts : frozenset of str
        Host names; one that starts with a dot stands for all hosts below it.
    buckets : frozenset of str
        Buckets that may be read by ``s3://``.
    folders : tuple of str
        Real paths of folders.
    any_file : bool
        Files anywhere may be read: the catalog is a server on this machine.
    loopback : bool
        Servers on this machine may be read.
    """

    hosts: frozenset[str] = frozenset()
    buckets: frozenset[str] = frozenset()
    folders: tuple[str, ...] = ()
    any_file: bool = False
    loopback: bool = False


def allowed_of(catalog: CatalogLike) -> Allowed:
    """Where the assets of a catalog may lie: beside it, at its sign provider, and where ``allow`` says.

    Parameters
    ----------
    catalog : CatalogPart
        ``url`` is an API, or a URL or path of a static catalog. ``allow`` holds host names, ``s3://bucket``
        and folders (paths with a ``/``).
    """
    hosts, buckets, folders = set(HOSTS.get(catalog.sign, ())), set(BUCKETS.get(catalog.sign, ())), []
    path = local_path(catalog.url)
    host = _host(catalog.url)
    if path is not None:
        folders.append(os.path.realpath(os.path.dirname(path)))
    elif host:
        hosts.add(host)
    for entry in catalog.allow:
        if entry.startswith("s3://"):
            buckets.add(urlsplit(entry).netloc)
        elif "://" in entry and not entry.startswith("file://"):
            hosts.add(_host(entry))
        elif "/" in entry:
            folders.append(os.path.realpath(local_path(entry) or entry))
        else:
            hosts.add(entry.lower())
    on_loopback = host in _LOOPBACK
    return Allowed(frozenset(hosts), frozenset(buckets), tuple(folders), any_file=on_loopback, loopback=on_loopback or path is not None)


def check_href(href: str, allowed: Allowed) -> str:
    """The href as it may be opened: a path for a file, the URL otherwise.

    Parameters
    ----------
    href : str
        Absolute path, or URL of scheme ``https``, ``http``, ``file`` or ``s3``; without a part (see `split_part`).
    allowed : Allowed
        See `allowed_of`.

    Raises
    ------
    CatalogError
        If the scheme is none of these, or the place is not allowed.
    """
    path = local_path(href)
    if path is not None:
        if not os.path.isabs(path):
            raise CatalogError(f"asset {redact(href)} is a relative path", "expected it to be resolved against its item")
        if allowed.any_file or _below(path, allowed.folders):
            return path
        raise CatalogError(
            f"asset {path} lies outside the folders that may be read ({', '.join(allowed.folders) or 'none'})",
            "add its folder to allow of the catalog in the area file, if you trust it",
        )
    parts = urlsplit(href)
    if parts.username or parts.password:
        raise CatalogError(f"asset {redact(href)} carries a user name or password", "remove it from the catalog")
    host = (parts.hostname or "").lower()
    if parts.scheme == "s3":
        permitted, entry = parts.netloc in allowed.buckets, f"s3://{parts.netloc}"
    elif parts.scheme in ("http", "https"):
        permitted, entry = is_below(host, allowed.hosts) or (allowed.loopback and host in _LOOPBACK), host
    else:
        raise CatalogError(f"asset {redact(href)} has the scheme {parts.scheme!r}; expected https, http, s3, file or a path")
    if not permitted:
        raise CatalogError(
            f"asset {redact(href)} lies on {entry}, which is not allowed", f"add {entry} to allow of the catalog in the area file"
        )
    return href


def resolve(href: str, location: str | None) -> str:
    """`href` made absolute against the location (path or URL) of the document that holds it."""
    if "://" in href:
        return href
    if location is None:
        if os.path.isabs(href):
            return href
        raise CatalogError(f"href {href!r} is relative and its item has no self link to resolve it against")
    path = local_path(location)
    if path is None:
        return urljoin(location, href)
    return href if os.path.isabs(href) else os.path.normpath(os.path.join(os.path.dirname(path), href))


def local_path(href: str) -> str | None:
    """The file path that an href without a scheme or of scheme ``file`` means; None for other URLs."""
    if href.startswith("file://"):
        parts = urlsplit(href)
        return unquote(parts.path) if parts.netloc in ("", "localhost") else None
    return None if "://" in href else href


def split_part(href: str) -> tuple[str, Part]:
    """An href and the part of its file it means, from ``href#band=n`` or ``href#hdf5=/group/dataset``."""
    match = _PART.search(href)
    if match is None:
        return href, Part()
    return href[: match.start()], Part(int(match["band"] or 1), match["dataset"] or "")


def unsigned(href: str) -> str:
    """The href without the query of a signed URL; others are left alone."""
    if "?" not in href or "://" not in href:
        return href
    parts = urlsplit(href)
    keys = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if not keys & _SIGNATURES and not (parts.hostname or "").endswith(_AZURE):
        return href
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def redact(text: str) -> str:
    """`text` with user names, passwords and queries taken out of every URL in it."""
    return _URL_IN_TEXT.sub(lambda match: match["scheme"] + match["rest"], text)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower() if "://" in url else ""


def _below(path: str, folders: tuple[str, ...]) -> bool:
    # Links are followed before the comparison, or a link beside the catalog could lead anywhere.
    real = os.path.realpath(path) if os.path.islink(path) else os.path.join(_real_folder(os.path.dirname(path)), os.path.basename(path))
    return any(os.path.commonpath((real, folder)) == folder for folder in folders)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
