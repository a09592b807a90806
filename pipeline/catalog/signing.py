"""Signing: what a provider wants to see when an asset is opened. Asked for at that moment, kept in memory only.

``planetary-computer`` puts a token into the query, ``earthdata`` a bearer token into a header, ``requester-pays``
has Amazon bill whoever reads. None is ever sent to another place than the provider's own.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import CatalogError

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
HOSTS: dict[str, tuple[str, ...]] = {
    "planetary-computer": (".blob.core.windows.net",),
    "earthdata": (".earthdatacloud.nasa.gov", "ladsweb.modaps.eosdis.nasa.gov"),
}
"""Hosts of a way of signing; one that starts with a dot stands for all hosts below it."""
BUCKETS: dict[str, tuple[str, ...]] = {"requester-pays": ("usgs-landsat",)}
"""Buckets of a way of signing."""
_TOKEN_VARIABLE = "EARTHDATA_TOKEN"
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_REFRESH = 60.0


class TokenCache:
    """Tokens by account and container, shared by the threads of a process.

    The collection of an item does not say the container (MODIS COGs lie in
    another one than the collection names), so the href decides.

    Parameters
    ----------
    endpoint : str
        Answers ``GET {endpoint}/{account}/{container}`` with ``token`` and ``msft:expiry``.
    timeout : float
        Of one request [s].
    attempts : int
        Requests before giving up, on 429, 5xx and broken connections.
    """

    def __init__(self, endpoint: str = PLANETARY_COMPUTER, timeout: float = 30.0, attempts: int = 6) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._timeout = timeout
        self._attempts = attempts
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._guard = threading.Lock()

    def token(self, account: str, container: str) -> str:
        """A query string that opens the container for at least another minute, or as long as the server grants.

        Raises
        ------
        CatalogError
            If no token is given.
        """
        key = (account, container)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        # One thread asks, the others wait for its answer: the server limits requests per address.
        with lock:
            token, expiry = self._tokens.get(key, ("", 0.0))
            if expiry - time.time() < _REFRESH:
                token, expiry = self._fetch(account, container)
                self._tokens[key] = (token, expiry)
            return token

    def _fetch(self, account: str, container: str) -> tuple[str, float]:
        url = f"{self._endpoint}/{account}/{container}"
        problem = ""
        for attempt in range(self._attempts):
            wait = 0.5 * 2**attempt * random.uniform(0.5, 1.5)
            try:
                with urllib.request.urlopen(url, timeout=self._timeout) as response:
                    answer = json.load(response)
                return str(answer["token"]), datetime.fromisoformat(answer["msft:expiry"]).timestamp()
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}"
                if error.code not in _TRANSIENT:
                    break
                wait = _seconds(error.headers.get("Retry-After"), wait)
            except (OSError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
            except (KeyError, TypeError, ValueError):
                # The answer itself is not shown: it may hold a token.
                problem = "the answer has no token and msft:expiry"
                break
            if attempt + 1 < self._attempts:
                time.sleep(wait)
        raise CatalogError(
            f"no token for {account}/{container} from {url}: {problem}",
            "try again later; a 404 means that this storage account is not the Planetary Computer's: set sign: none for this catalog",
        )


_TOKENS = TokenCache()


@dataclass(frozen=True)
class Access:
    """How an href can be opened now. Holds secrets: it is neither shown nor stored.

    Parameters
    ----------
    href : str
        With its signature, if the provider wants it there.
    bearer : str
        Token for the Authorization header of requests to the host of `href`, and to no other; empty for none.
    requester_pays : bool
        Reading is billed to the reader's account.
    """

    href: str = field(repr=False)
    bearer: str = field(default="", repr=False)
    requester_pays: bool = False


def access(href: str, how: str, tokens: TokenCache | None = None) -> Access:
    """How an href can be opened now. Called at the moment of opening; the result is never stored.

    An href that does not lie at the provider's own hosts is handed back as it is, and gets no secret.

    Parameters
    ----------
    href : str
        Unsigned, or signed before: an old signature is dropped.
    how : {"none", "planetary-computer", "earthdata", "requester-pays"}
        Of the catalog.
    tokens : TokenCache, optional
        The process's own by default.

    Raises
    ------
    CatalogError
        If no token can be had.
    """
    parts = urlsplit(href)
    host = (parts.hostname or "").lower()
    if how == "none":
        return Access(href)
    if how == "requester-pays":
        return Access(href, requester_pays=parts.scheme == "s3")
    if how not in HOSTS:
        raise CatalogError(f"unknown way of signing {how!r}", f"expected none, {', '.join((*HOSTS, *BUCKETS))}")
    # A secret never travels in the clear.
    if parts.scheme != "https" or not is_below(host, HOSTS[how]):
        return Access(href)
    if how == "earthdata":
        return Access(href, bearer=_earthdata_token(host))
    container = parts.path.lstrip("/").partition("/")[0]
    token = (tokens or _TOKENS).token(host.partition(".")[0], container)
    return Access(urlunsplit((parts.scheme, parts.netloc, parts.path, token, "")))


def is_below(host: str, entries: Iterable[str]) -> bool:
    """Whether a host is one of `entries`, or below one that starts with a dot."""
    return any(host == entry or (entry.startswith(".") and host.endswith(entry)) for entry in entries)


def _earthdata_token(host: str) -> str:
    token = os.environ.get(_TOKEN_VARIABLE, "").strip()
    if not token:
        raise CatalogError(
            f"{host} asks for an Earthdata login, and the environment variable {_TOKEN_VARIABLE} is not set",
            f"make a token at https://urs.earthdata.nasa.gov (Generate Token) and set {_TOKEN_VARIABLE} to it, for workers as well",
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CatalogError(
            f"{_TOKEN_VARIABLE} is no token: it holds white space or other characters that no token has",
            "set it to the token alone, without 'Bearer' and without quotes",
        )
    return token


def _seconds(header: str | None, otherwise: float) -> float:
    try:
        return min(float(header), 60.0) if header is not None else otherwise
    except ValueError:
        return otherwise
