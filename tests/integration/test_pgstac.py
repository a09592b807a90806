"""Search against stac-fastapi on pgSTAC, the server behind the larger public catalogs: pages by token, null dates, filters, loss."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pystac_client import Client

from pipeline import steps
from pipeline.catalog.api import Api
from pipeline.catalog.hrefs import Allowed, resolve
from pipeline.catalog.search import find_scenes
from pipeline.catalog.static import static_items
from pipeline.config import CatalogPart, SourcePart, load_area
from pipeline.errors import CatalogError
from pipeline.sandbox.items import collection
from pipeline.sensors import builtin_products
from tests.catalog.conftest import landsat_item, modis_item
from tests.integration import pgstac
from tests.region import GRID, write_area

RECORDED = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).parents[2] / ".." / "shared")) / "stac"
BOX = GRID.lonlat_bounds
JUNE = (date(2023, 6, 1), date(2023, 6, 30))

pytestmark = pytest.mark.skipif(bool(pgstac.missing()), reason=pgstac.missing())


@dataclass(frozen=True)
class Served:
    """A running API, and what was loaded into it by collection."""

    url: str
    database: pgstac.Database
    items: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def served(sandbox: Path) -> Iterator[Served]:
    items: dict[str, list[dict[str, Any]]] = {}
    for item in [*simulated(sandbox), *composites(), *processings(), *recorded()]:
        items.setdefault(item["collection"], []).append(item)
    collections = [collection(name, [-180, -90, 180, 90], date(1982, 1, 1), date(2026, 1, 1)) for name in items]
    with pgstac.database() as database:
        database.load(collections, [item for group in items.values() for item in group])
        with pgstac.serve(database) as server:
            yield Served(server.url, database, items)


def simulated(sandbox: Path) -> Iterator[dict[str, Any]]:
    """The items of the simulated region with absolute hrefs."""
    for name in ("landsat-c2-l2", "modis-43A4-061"):
        for item in static_items(str(sandbox / "catalog.json"), name, Allowed(folders=(str(sandbox),))):
            place = next(link["href"] for link in item["links"] if link["rel"] == "self")
            assets = {key: {**asset, "href": Path(resolve(asset["href"], place)).as_uri()} for key, asset in item["assets"].items()}
            yield {**item, "assets": assets, "links": []}


def composites() -> Iterator[dict[str, Any]]:
    """Half a year of 8-day composites of Terra and Aqua as the Planetary Computer holds them: no datetime, later no platform."""
    west, south, east, north = BOX
    for number, start in enumerate(date(2023, 1, 1) + timedelta(days=8 * step) for step in range(23)):
        for sensor, platform in (("MOD09A1", "terra"), ("MYD09A1", "aqua")):
            item = modis_item(f"{start:%Y%j}")
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            item |= {"id": f"{sensor}.A{start:%Y%j}.h19v04.061", "collection": "modis-09A1-061"}
            item |= {"bbox": list(BOX), "geometry": {"type": "Polygon", "coordinates": [ring]}}
            item["properties"] |= {
                "datetime": None,
                "start_datetime": f"{start}T00:00:00Z",
                "end_datetime": f"{start + timedelta(days=7)}T23:59:59Z",
                "platform": platform if number < 12 else "",
            }
            yield item


def processings() -> Iterator[dict[str, Any]]:
    """Five acquisitions in two processings each, with ids as USGS gives them."""
    for day in range(2, 30, 6):
        for stamp, tier in ((f"202407{day:02d}", "RT"), (f"202408{day:02d}", "T1")):
            item = landsat_item(f"LC08_L2SP_190029_202406{day:02d}_{stamp}_02_{tier}_SR", f"2024-06-{day:02d}T09:50:00Z")
            yield {**item, "collection": "landsat-c2l2-sr"}


def recorded() -> Iterator[dict[str, Any]]:
    """Items of real catalogs, where the recordings are."""
    seen: set[tuple[str, str]] = set()
    for path in sorted(RECORDED.glob("*/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document if isinstance(document, list) else document.get("features", [document])
        for item in found:
            key = (str(item.get("collection")), str(item.get("id")))
            complete = item.get("type") == "Feature" and item.get("collection") and item.get("properties") and item.get("geometry")
            if complete and key not in seen:
                seen.add(key)
                yield item


def ids(api: Api, name: str, days: tuple[date, date] = JUNE) -> list[str]:
    return [item["id"] for item in api.items(name, BOX, *days)]


def pages(url: str, **search: Any) -> list[list[str]]:
    """Ids by page, as a bare client finds them."""
    found = Client.open(url).search(**search)
    return [[item["id"] for item in page["features"]] for page in found.pages_as_dicts() if page["features"]]


def asked(url: str, **search: Any) -> list[str]:
    """All ids that a bare client finds, in order."""
    return sorted(name for page in pages(url, **search) for name in page)


def within(items: list[dict[str, Any]], first: date, last: date) -> list[str]:
    """Ids of the items whose time touches the days."""
    spans = {item["id"]: span(item) for item in items}
    return sorted(name for name, (start, end) in spans.items() if start <= last and end >= first)


def span(item: dict[str, Any]) -> tuple[date, date]:
    """First and last day (UTC) that an item speaks of."""
    properties = item["properties"]
    start, end = (properties.get(f"{end}_datetime") or properties["datetime"] for end in ("start", "end"))
    return date.fromisoformat(start[:10]), date.fromisoformat(end[:10])


@pytest.mark.parametrize("page", [3, 5, 10, 11], ids=lambda page: f"{page} a page")
def test_ten_items_come_once_each_whether_or_not_the_size_of_a_page_divides_their_number(served: Served, page: int) -> None:
    march = (date(2023, 3, 1), date(2023, 3, 31))
    expected = within(served.items["modis-09A1-061"], *march)
    assert len(expected) == 10
    assert sorted(ids(Api(served.url, page=page), "modis-09A1-061", march)) == expected


def test_a_day_that_fills_its_last_page_is_not_taken_for_a_lost_page(served: Served) -> None:
    day = date(2023, 6, 1)
    expected = within(served.items["modis-43A4-061"], day, day)
    assert len(expected) == 8
    assert sorted(ids(Api(served.url, page=4), "modis-43A4-061", (day, day))) == expected


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tokens_lead_through_all_pages_by_get_and_by_post(served: Served, method: str) -> None:
    period = f"{JUNE[0]}T00:00:00Z/{JUNE[1]}T23:59:59Z"
    found = pages(served.url, method=method, collections=["modis-43A4-061"], bbox=list(BOX), datetime=period, limit=10)
    assert len(found) > 3
    assert {len(page) for page in found[:-1]} == {10}
    assert sorted(name for page in found for name in page) == sorted(ids(Api(served.url, page=4), "modis-43A4-061"))


def test_a_year_in_pages_of_three_is_the_year_in_one(served: Served) -> None:
    year = (date(2023, 1, 1), date(2023, 12, 31))
    small, large = (ids(Api(served.url, page=page), "landsat-c2-l2", year) for page in (3, 1000))
    assert sorted(small) == sorted(large) == within([i for i in served.items["landsat-c2-l2"] if over_the_region(i)], *year)
    assert len(set(small)) == len(small) > 10


def test_composites_without_a_datetime_are_found_by_what_they_span_and_once_though_they_lie_in_two_slices(served: Served) -> None:
    items = served.items["modis-09A1-061"]
    api = Api(served.url, page=5)
    half = (date(2023, 1, 1), date(2023, 6, 30))
    found = ids(api, "modis-09A1-061", half)
    assert sorted(found) == within([item for item in items if over_the_region(item)], *half)
    assert len(found) == len(set(found)) == 46
    for days in ((date(2023, 3, 14), date(2023, 3, 14)), (date(2023, 3, 13), date(2023, 3, 14)), (date(2022, 12, 1), date(2022, 12, 31))):
        assert sorted(ids(api, "modis-09A1-061", days)) == within([item for item in items if over_the_region(item)], *days)


def test_filters_of_the_server_agree_with_the_same_choice_among_the_items_found(served: Served) -> None:
    year = (date(2023, 1, 1), date(2023, 12, 31))
    items = list(Api(served.url).items("landsat-c2-l2", BOX, *year))
    clear = sorted(item["id"] for item in items if item["properties"]["eo:cloud_cover"] <= 40)
    assert 0 < len(clear) < len(items)
    common = {"collections": ["landsat-c2-l2"], "bbox": list(BOX), "datetime": "2023-01-01/2023-12-31", "limit": 4}
    cql = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 40]}
    assert asked(served.url, query={"eo:cloud_cover": {"lte": 40}}, **common) == clear
    assert asked(served.url, filter=cql, filter_lang="cql2-json", **common) == clear
    assert asked(served.url, method="GET", filter="eo:cloud_cover <= 40", filter_lang="cql2-text", **common) == clear
    assert asked(served.url, collections=["landsat-c2-l2"], ids=clear, limit=2) == clear


def test_a_filter_by_platform_would_lose_what_our_search_finds(served: Served) -> None:
    days = (date(2023, 1, 1), date(2023, 6, 30))
    terra = [name for name in ids(Api(served.url), "modis-09A1-061", days) if name.startswith("MOD")]
    filtered = asked(
        served.url, collections=["modis-09A1-061"], bbox=list(BOX), datetime="2023-01-01/2023-06-30", query={"platform": {"eq": "terra"}}
    )
    assert len(terra) == 23
    assert len(filtered) == 12


def test_a_plan_finds_the_same_scenes_as_in_the_static_catalog(served: Served, sandbox: Path, tmp_path: Path) -> None:
    asked = steps.plan(load_area(write_area(tmp_path / "api", served.url)))
    read = steps.plan(load_area(write_area(tmp_path / "static", sandbox)))
    assert len(asked.scenes) > 50
    for over_http, from_files in zip(asked.scenes, read.scenes, strict=True):
        assert {**over_http.to_dict(), "assets": None} == {**from_files.to_dict(), "assets": None}
        assert {key: href.removeprefix("file://") for key, href in over_http.assets.items()} == from_files.assets
    assert [day.to_dict() for day in asked.days] == [day.to_dict() for day in read.days]


def test_two_processings_of_an_acquisition_on_different_pages_are_one_scene(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = type(GRID).from_bounds("EPSG:32633", (500_000, 4_900_000, 503_840, 4_903_840))
    monkeypatch.setattr("pipeline.catalog.search.Api", partial(Api, page=3))
    allowed = CatalogPart(url=served.url, allow=("data.example",))
    found = find_scenes(
        (SourcePart(collection="landsat-c2l2-sr"),), {"default": allowed}, builtin_products(), grid, date(2024, 6, 1), date(2024, 6, 30)
    )
    assert [scene.stamp[:6] for scene in found.scenes] == ["202408"] * 5
    assert len(found.superseded) == 5
    assert not found.skipped


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded items at {RECORDED}: set LANDFUSE_SHARED")
def test_items_of_real_catalogs_are_found_by_their_place_and_time_and_come_back_as_they_were(served: Served) -> None:
    simulated_ids = {item["id"] for item in [*composites(), *processings()]}
    api = Api(served.url)
    tried = 0
    for item in recorded():
        if item["id"] in simulated_ids:
            continue
        tried += 1
        west, south, east, north = item["bbox"]
        x, y, start = min((west + east) / 2, 179.9), (south + north) / 2, span(item)[0]
        back = {found["id"]: found for found in api.items(item["collection"], (x, y, x + 0.01, y + 0.01), start, start)}
        assert item["id"] in back
        again = back[item["id"]]
        assert hrefs(again) == hrefs(item)
        assert {key: again["properties"].get(key) for key in item["properties"]} == item["properties"]
    assert tried > 20


def test_a_collection_it_does_not_have_is_an_error_that_lists_what_it_has(served: Served) -> None:
    with pytest.raises(CatalogError, match=r"no collection 'nothing'; it has [\s\S]*modis-43A4-061"):
        ids(Api(served.url), "nothing")


def test_a_server_killed_in_the_middle_of_a_search_is_an_error_within_seconds(served: Served) -> None:
    with pgstac.serve(served.database) as mortal:
        found = Api(mortal.url, page=10).items("modis-43A4-061", BOX, date(2023, 5, 1), date(2023, 7, 10))
        assert next(found)["id"].startswith("MCD43A4")
        mortal.kill()
        started = time.monotonic()
        with pytest.raises(CatalogError, match=rf"STAC API at {mortal.url} failed[\s\S]*then run again"):
            list(found)
        assert time.monotonic() - started < 10


def hrefs(item: dict[str, Any]) -> dict[str, str]:
    return {key: asset["href"] for key, asset in item["assets"].items()}


def over_the_region(item: dict[str, Any]) -> bool:
    west, south, east, north = item["bbox"]
    return west < BOX[2] and BOX[0] < east and south < BOX[3] and BOX[1] < north
