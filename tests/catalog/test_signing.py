from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.catalog.hrefs import sign
from pipeline.catalog.signing import TokenCache
from pipeline.errors import CatalogError

BLOB = "https://modiseuwest.blob.core.windows.net/modis-061-cogs/a/b.tif"
Serve = Callable[[Callable[..., tuple[int, dict[str, str], Any]]], str]


class TokenServer:
    """Grants numbered tokens that live for `lifetime` seconds, after failing with the given status codes."""

    def __init__(self, lifetime: float, failures: tuple[int, ...] = ()) -> None:
        self.lifetime, self.failures, self.paths = lifetime, list(failures), list[str]()

    def __call__(self, method: str, path: str, body: object) -> tuple[int, dict[str, str], Any]:
        self.paths.append(path)
        if self.failures:
            return self.failures.pop(0), {"Retry-After": "0"}, {}
        expiry = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        return 200, {}, {"msft:expiry": expiry.isoformat().replace("+00:00", "Z"), "token": f"se=x&sig=TOKEN{len(self.paths)}"}


def test_a_token_is_asked_for_by_account_and_container_and_kept(http_server: Serve) -> None:
    server = TokenServer(lifetime=2700)
    tokens = TokenCache(http_server(server))
    assert sign(BLOB, "planetary-computer", tokens) == f"{BLOB}?se=x&sig=TOKEN1"
    assert sign(BLOB, "planetary-computer", tokens).endswith("TOKEN1")
    sign("https://landsateuwest.blob.core.windows.net/landsat-c2/x.TIF", "planetary-computer", tokens)
    assert server.paths == ["/modiseuwest/modis-061-cogs", "/landsateuwest/landsat-c2"]


def test_a_token_about_to_expire_is_renewed(http_server: Serve) -> None:
    server = TokenServer(lifetime=59)
    tokens = TokenCache(http_server(server))
    assert [sign(BLOB, "planetary-computer", tokens)[-6:] for _ in range(3)] == ["TOKEN1", "TOKEN2", "TOKEN3"]


def test_an_old_signature_is_replaced_and_not_kept(http_server: Serve) -> None:
    tokens = TokenCache(http_server(TokenServer(lifetime=2700)))
    assert sign(f"{BLOB}?se=old&sig=OLD", "planetary-computer", tokens) == f"{BLOB}?se=x&sig=TOKEN1"


def test_throttling_and_outages_are_waited_out(http_server: Serve) -> None:
    server = TokenServer(lifetime=2700, failures=(429, 503, 504))
    assert TokenCache(http_server(server)).token("a", "c") == "se=x&sig=TOKEN4"


def test_an_unknown_account_is_an_error_at_once_and_names_the_remedy(http_server: Serve) -> None:
    server = TokenServer(lifetime=2700, failures=(404,) * 9)
    with pytest.raises(CatalogError, match=r"no token for a/c.*HTTP 404[\s\S]*sign: none"):
        TokenCache(http_server(server)).token("a", "c")
    assert len(server.paths) == 1


def test_a_malformed_answer_is_not_shown(http_server: Serve) -> None:
    address = http_server(lambda *_: (200, {}, {"token": "sig=LEAK"}))
    with pytest.raises(CatalogError) as caught:
        TokenCache(address).token("a", "c")
    assert "LEAK" not in str(caught.value)


def test_threads_that_need_one_token_ask_once(http_server: Serve) -> None:
    server = TokenServer(lifetime=2700)
    tokens = TokenCache(http_server(server))
    threads = [threading.Thread(target=sign, args=(BLOB, "planetary-computer", tokens)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.paths) == 1


def test_tokens_are_never_logged(http_server: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    sign(BLOB, "planetary-computer", TokenCache(http_server(TokenServer(lifetime=2700, failures=(503,)))))
    said = capfd.readouterr()
    assert "TOKEN" not in caplog.text + said.out + said.err


def test_what_is_no_blob_or_needs_no_signature_stays_as_it_is() -> None:
    refuses = TokenCache("http://127.0.0.1:9")
    assert sign(BLOB, "none", refuses) == BLOB
    assert sign("https://planetarycomputer.microsoft.com/preview.png?a=1", "planetary-computer", refuses).endswith("?a=1")
    assert sign("/data/a.tif", "planetary-computer", refuses) == "/data/a.tif"
    with pytest.raises(CatalogError, match="unknown way"):
        sign(BLOB, "magic", refuses)
