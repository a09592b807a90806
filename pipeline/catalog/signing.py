"""Signing: tokens of the Planetary Computer, fetched when an asset is opened and kept in memory only."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import CatalogError

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
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


def sign(href: str, how: str, tokens: TokenCache | None = None) -> str:
    """The href as it can be opened now. Called at the moment of opening; the result is never stored.

    Parameters
    ----------
    href : str
        Unsigned, or signed before: an old signature is dropped.
    how : {"none", "planetary-computer"}
        Of the catalog.
    tokens : TokenCache, optional
        The process's own by default.

    Raises
    ------
    CatalogError
        If no token can be had.
    """
    if how == "none":
        return href
    if how != "planetary-computer":
        raise CatalogError(f"unknown way of signing {how!r}", "expected none or planetary-computer")
    parts = urlsplit(href)
    host, _, suffix = (parts.hostname or "").partition(".")
    if suffix != "blob.core.windows.net":
        return href
    container = parts.path.lstrip("/").partition("/")[0]
    token = (tokens or _TOKENS).token(host, container)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, token, ""))


def _seconds(header: str | None, otherwise: float) -> float:
    try:
        return min(float(header), 60.0) if header is not None else otherwise
    except ValueError:
        return otherwise
