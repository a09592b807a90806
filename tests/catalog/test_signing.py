from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.catalog.signing import Access, TokenCache, access
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
    assert access(BLOB, "planetary-computer", tokens).href == f"{BLOB}?se=x&sig=TOKEN1"
    assert access(BLOB, "planetary-computer", tokens).href.endswith("TOKEN1")
    access("https://landsateuwest.blob.core.windows.net/landsat-c2/x.TIF", "planetary-computer", tokens)
    assert server.paths == ["/modiseuwest/modis-061-cogs", "/landsateuwest/landsat-c2"]


def test_a_token_about_to_expire_is_renewed(http_server: Serve) -> None:
    server = TokenServer(lifetime=59)
    tokens = TokenCache(http_server(server))
    assert [access(BLOB, "planetary-computer", tokens).href[-6:] for _ in range(3)] == ["TOKEN1", "TOKEN2", "TOKEN3"]


def test_an_old_signature_is_replaced_and_not_kept(http_server: Serve) -> None:
    tokens = TokenCache(http_server(TokenServer(lifetime=2700)))
    assert access(f"{BLOB}?se=old&sig=OLD", "planetary-computer", tokens).href == f"{BLOB}?se=x&sig=TOKEN1"


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
    threads = [threading.Thread(target=access, args=(BLOB, "planetary-computer", tokens)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.paths) == 1


def test_tokens_are_never_logged(http_server: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    access(BLOB, "planetary-computer", TokenCache(http_server(TokenServer(lifetime=2700, failures=(503,)))))
    said = capfd.readouterr()
    assert "TOKEN" not in caplog.text + said.out + said.err


def test_what_is_no_blob_or_needs_no_signature_stays_as_it_is() -> None:
    refuses = TokenCache("http://127.0.0.1:9")
    assert access(BLOB, "none", refuses).href == BLOB
    assert access("https://planetarycomputer.microsoft.com/preview.png?a=1", "planetary-computer", refuses).href.endswith("?a=1")
    assert access("/data/a.tif", "planetary-computer", refuses).href == "/data/a.tif"
    with pytest.raises(CatalogError, match="unknown way"):
        access(BLOB, "magic", refuses)


LPDAAC = "https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/HLSL30.020/x.B04.tif"


def test_an_earthdata_token_goes_to_earthdata_hosts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "TOPSECRET\n")
    assert access(LPDAAC, "earthdata") == Access(LPDAAC, bearer="TOPSECRET")
    assert access("https://ladsweb.modaps.eosdis.nasa.gov/archive/x.h5", "earthdata").bearer == "TOPSECRET"
    for href in (
        LPDAAC.replace("https", "http"),
        "https://earthdatacloud.nasa.gov.evil.org/x.tif",
        "https://evilearthdatacloud.nasa.gov/x.tif",
        "https://modiseuwest.blob.core.windows.net/modis/x.tif",
        "s3://lp-prod-protected/x.tif",
        "/data/x.tif",
    ):
        assert access(href, "earthdata") == Access(href)
    assert access(LPDAAC, "none") == Access(LPDAAC)


def test_an_access_does_not_show_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "TOPSECRET")
    assert "TOPSECRET" not in repr(access(LPDAAC, "earthdata"))


def test_a_missing_earthdata_token_names_the_variable_and_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    with pytest.raises(
        CatalogError, match=r"data\.lpdaac\S+ asks for an Earthdata login[\s\S]*EARTHDATA_TOKEN is not set[\s\S]*urs\.earthdata"
    ):
        access(LPDAAC, "earthdata")


@pytest.mark.parametrize("token", ["Bearer TOPSECRET", "TOP\nX-Other: SECRET", "TOPSÉCRET"])
def test_what_is_no_token_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", token)
    with pytest.raises(CatalogError, match="EARTHDATA_TOKEN is no token") as caught:
        access(LPDAAC, "earthdata")
    assert "TOP" not in str(caught.value)


def test_only_buckets_are_read_at_the_readers_cost() -> None:
    assert access("s3://usgs-landsat/x.TIF", "requester-pays").requester_pays
    assert not access("https://landsatlook.usgs.gov/x.TIF", "requester-pays").requester_pays
    assert not access("s3://usgs-landsat/x.TIF", "none").requester_pays
