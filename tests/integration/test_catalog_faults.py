"""What public catalogs do on bad days, on a server on loopback: each is either recovered from or a clear error.

Lost links to the next page, a server that is down and busy answers have their tests in tests/catalog/test_search.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3

from pipeline.catalog.api import Api
from pipeline.errors import CatalogError

ITEMS = [
    {"type": "Feature", "id": f"S{number:02d}", "properties": {"datetime": f"{date(2024, 6, 1) + timedelta(days=number)}T10:00:00Z"}}
    for number in range(10)
]
PAGE = 4


@dataclass(frozen=True)
class Reply:
    """What the server says: a document, or bytes of a type."""

    document: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    after: float = 0.0
    """Seconds that it takes."""


Fault = Callable[[int, Reply], Reply]
"""From the number of the search request (from 0) and the right answer to the one that is given."""


@contextmanager
def api(fault: Fault) -> Iterator[tuple[str, list[int]]]:
    """A STAC API of ten items in pages of four, whose answers to searches go through `fault`; its address, and its requests by time."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"http://{self.headers['Host']}"
            links = [{"rel": "self", "href": base}, {"rel": "search", "href": f"{base}/search?token=s3cret", "method": "POST"}]
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            root = {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "", "conformsTo": conforms, "links": links}
            self._send(Reply(root))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(time.monotonic())
            start = body.get("start", 0)
            page: dict[str, Any] = {"type": "FeatureCollection", "features": ITEMS[start : start + body["limit"]], "links": []}
            if start + body["limit"] < len(ITEMS):
                href = f"http://{self.headers['Host']}/search?token=s3cret"
                page["links"] = [{"rel": "next", "method": "POST", "href": href, "body": {**body, "start": start + body["limit"]}}]
            self._send(fault(len(asked) - 1, Reply(page)))

        def _send(self, reply: Reply) -> None:
            payload = json.dumps(reply.document).encode() if reply.raw is None else reply.raw
            time.sleep(reply.after)
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)
            except BrokenPipeError:
                pass  # the client did not wait

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def search(url: str) -> list[str]:
    items = Api(url, page=PAGE).items("landsat-c2-l2", (14.0, 44.0, 15.0, 45.0), date(2024, 6, 1), date(2024, 6, 30))
    return [item["id"] for item in items]


def failure(fault: Fault) -> str:
    """The message of the error that a fault leads to; it names the API and no secret."""
    with api(fault) as (url, _), pytest.raises(CatalogError) as caught:
        search(url)
    message = str(caught.value)
    assert url in message
    assert "→" in message
    assert "s3cret" not in message
    return message


def on(number: int, reply: Callable[[Reply], Reply]) -> Fault:
    """The fault at one request; the others are answered rightly."""
    return lambda asked, right: reply(right) if asked == number else right


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting between attempts, shortened."""
    monkeypatch.setattr("urllib3.Retry", partial(urllib3.Retry, backoff_max=0.02))


ALL = [item["id"] for item in ITEMS]


def test_without_a_fault_all_items_come() -> None:
    with api(lambda _, right: right) as (url, asked):
        assert search(url) == ALL
        assert len(asked) == 3


@pytest.mark.usefixtures("impatient")
def test_a_catalog_that_answers_too_slowly_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.catalog.client.TIMEOUT", (0.2, 0.1))
    message = failure(lambda _, right: Reply(right.document, after=0.3))
    assert "timed out" in message.lower()


@pytest.mark.usefixtures("impatient")
def test_one_slow_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.catalog.client.TIMEOUT", (0.2, 0.1))
    with api(on(1, lambda right: Reply(right.document, after=0.3))) as (url, _):
        assert search(url) == ALL


def test_a_page_that_is_cut_off_is_an_error() -> None:
    message = failure(on(1, lambda right: Reply(raw=json.dumps(right.document).encode()[:120])))
    assert "no JSON" in message


def test_a_page_of_html_is_an_error_that_says_what_came() -> None:
    html = Reply(raw=b"<html><body>Sign in to go on</body></html>", headers={"Content-Type": "text/html"})
    message = failure(on(1, lambda _: html))
    assert "no JSON" in message


@pytest.mark.parametrize("number", [0, 1], ids=["the first page", "the second page"])
@pytest.mark.parametrize(
    "document",
    [[], "busy", {"type": "FeatureCollection", "features": "none"}, {"code": "Unavailable", "description": "try later"}],
    ids=["a list", "a word", "features that are no list", "an error under status 200"],
)
def test_a_page_of_another_form_is_an_error_and_never_the_end_of_the_pages(document: Any, number: int) -> None:
    message = failure(on(number, lambda _: Reply(document)))
    assert "expected a catalog or a page" in message or "expected a FeatureCollection" in message


def test_a_page_that_comes_again_and_again_is_an_error() -> None:
    first: list[Reply] = []

    def again(asked: int, right: Reply) -> Reply:
        first.append(right)
        return first[0]

    assert "repeats a page of landsat-c2-l2" in failure(again)


def test_items_that_come_on_two_pages_because_others_were_added_between_them_count_once() -> None:
    def overlapping(asked: int, right: Reply) -> Reply:
        extra = ITEMS[asked * PAGE - 1 : asked * PAGE] if asked else []
        return Reply({**right.document, "features": [*extra, *right.document["features"]]})

    with api(overlapping) as (url, _):
        assert search(url) == ALL


def test_a_catalog_that_asks_to_wait_is_waited_for() -> None:
    with api(on(1, lambda _: Reply({"code": "busy"}, status=429, headers={"Retry-After": "1"}))) as (url, asked):
        assert search(url) == ALL
        assert asked[2] - asked[1] > 0.95


@pytest.mark.usefixtures("impatient")
def test_two_outages_in_a_row_are_waited_out() -> None:
    with api(lambda number, right: Reply(raw=b"upstream timed out", status=503) if number in (1, 2) else right) as (url, asked):
        assert search(url) == ALL
        assert len(asked) == 5


@pytest.mark.usefixtures("impatient")
def test_an_outage_that_lasts_is_an_error_that_says_what_was_answered() -> None:
    assert "503" in failure(lambda _, __: Reply(raw=b"upstream timed out", status=503))


def test_a_refusal_is_not_tried_again_and_says_what_was_answered() -> None:
    with api(lambda _, __: Reply({"code": "Forbidden", "description": "no key"}, status=403)) as (url, asked):
        with pytest.raises(CatalogError, match="no key"):
            search(url)
        assert len(asked) == 1
