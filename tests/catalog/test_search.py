from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.catalog import Search, find_scenes
from pipeline.catalog.api import Api, slices
from pipeline.catalog.outline import boxes_touch
from pipeline.catalog.search import product_of
from pipeline.errors import CatalogError
from pipeline.grid import Grid
from pipeline.sensors import builtin_products

from .conftest import catalog, free_port, landsat_item, modis_item, source, static_catalog, tile_item

PRODUCTS = builtin_products()
BOTH = (source("landsat-c2-l2"), source("modis-43A4-061"))
Serve = Callable[[list[dict[str, Any]]], str]


def june() -> list[dict[str, Any]]:
    """Landsat every eight days from the 2nd, MODIS on every day of June."""
    fine = [
        landsat_item(f"LC08_L2SP_190029_{day:%Y%m%d}_02_T1", f"{day:%Y-%m-%d}T09:50:00Z")
        for day in (date(2024, 6, 2) + timedelta(days=8 * number) for number in range(4))
    ]
    return fine + [modis_item(f"{date(2024, 6, 1) + timedelta(days=number):%Y%j}") for number in range(30)]


def found(root: object, grid: Grid, first: date, last: date, sources: tuple[Any, ...] = BOTH, **more: Any) -> Search:
    return find_scenes(sources, {"default": catalog(root, **more)}, PRODUCTS, grid, first, last)


def test_a_static_catalog_gives_scenes_in_order_with_absolute_hrefs(tmp_path: Path, grid: Grid) -> None:
    search = found(static_catalog(tmp_path, june()), grid, date(2024, 6, 1), date(2024, 6, 30))
    assert [(scene.day, scene.acquisition) for scene in search.scenes] == sorted((scene.day, scene.acquisition) for scene in search.scenes)
    assert {scene.role for scene in search.scenes} == {"fine", "coarse"}
    assert len(search.scenes) == 34
    assert search.scenes[1].assets["red"].startswith(str(tmp_path))
    assert search.scenes[0].properties["catalog"] == "default"
    assert (search.skipped, search.superseded) == ((), ())


def test_composites_whose_support_touches_the_period_are_found_and_no_others(tmp_path: Path, grid: Grid) -> None:
    search = found(static_catalog(tmp_path, june()), grid, date(2024, 6, 15), date(2024, 6, 15))
    days = [scene.day for scene in search.scenes if scene.role == "coarse"]
    assert days == [date(2024, 6, day) for day in range(8, 24)]  # d − 8 … d + 7 holds the 15th
    assert [scene.day for scene in search.scenes if scene.role == "fine"] == []


def test_an_api_and_a_static_catalog_of_the_same_items_give_the_same_scenes(tmp_path: Path, grid: Grid, stac_api: Serve) -> None:
    items = june()
    for item in items:
        for key, asset in item["assets"].items():
            asset["href"] = f"file:///data/{item['id']}_{key}.tif"
    url = stac_api(items)
    root = static_catalog(tmp_path / "static", items)
    for first, last in (
        (date(2024, 6, 1), date(2024, 6, 30)),
        (date(2024, 6, 15), date(2024, 6, 18)),
        (date(2024, 5, 1), date(2024, 7, 20)),
    ):
        by_api, by_file = found(url, grid, first, last), found(root, grid, first, last)
        assert [scene.identity for scene in by_api.scenes] == [scene.identity for scene in by_file.scenes]
        assert by_api.scenes


def test_null_datetimes_and_many_pages_lose_nothing_at_a_real_api(stac_api: Serve) -> None:
    items = [modis_item(f"{date(2024, 6, 1) + timedelta(days=number):%Y%j}") for number in range(30)]
    for item in items[::2]:
        item["properties"]["datetime"] = None
    url = stac_api(items)
    got = [item["id"] for item in Api(url, page=7).items("modis-43A4-061", (14, 44, 15, 45), date(2024, 5, 20), date(2024, 7, 10))]
    assert sorted(got) == sorted(item["id"] for item in items)
    assert len(set(got)) == len(got)


def test_a_collection_that_an_api_does_not_have_is_an_error_that_lists_what_it_has(stac_api: Serve, grid: Grid) -> None:
    url = stac_api(june())
    with pytest.raises(CatalogError, match=r"no collection 'hls2-l30'; it has landsat-c2-l2, modis-43A4-061"):
        found(url, grid, date(2024, 6, 1), date(2024, 6, 2), (source("hls2-l30"),))


def test_a_collection_that_a_static_catalog_does_not_have_is_an_error(tmp_path: Path, grid: Grid) -> None:
    root = static_catalog(tmp_path, june()[:1])
    with pytest.raises(CatalogError, match="no collection 'modis-43A4-061'; it has landsat-c2-l2"):
        found(root, grid, date(2024, 6, 1), date(2024, 6, 2))


def test_a_dead_api_is_an_error_that_names_it_within_seconds(grid: Grid) -> None:
    started = time.monotonic()
    with pytest.raises(CatalogError, match=r"STAC API at http://127\.0\.0\.1:\d+ failed[\s\S]*check the url"):
        found(f"http://127.0.0.1:{free_port()}", grid, date(2024, 6, 1), date(2024, 6, 2))
    assert time.monotonic() - started < 10


def test_the_newest_processing_is_kept_whatever_the_order(tmp_path: Path, grid: Grid) -> None:
    old = landsat_item("LC08_L2SP_190029_20240610_20240612_02_RT")
    new = landsat_item("LC08_L2SP_190029_20240610_20240618_02_T1")
    for number, items in enumerate(([old, new], [new, old])):
        search = found(static_catalog(tmp_path / str(number), items), grid, date(2024, 6, 10), date(2024, 6, 10), BOTH[:1])
        assert [scene.id for scene in search.scenes] == [new["id"]]
        assert search.superseded == (old["id"],)


def test_a_later_version_of_modis_is_newer_whenever_the_earlier_was_made(tmp_path: Path, grid: Grid) -> None:
    product = PRODUCTS["modis-43A4-061"]
    items = [tile_item("MCD43A4", date(2024, 6, 10), product, version=version) for version in ("006", "061")]
    items[0]["id"] = items[0]["id"][:-13] + "2025001000000"
    for item in items:
        item["collection"] = "modis-43A4-061"
    for number, order in enumerate((items, items[::-1])):
        search = found(static_catalog(tmp_path / str(number), order), grid, date(2024, 6, 10), date(2024, 6, 10), BOTH[1:])
        assert [scene.id for scene in search.scenes] == [items[1]["id"]]
        assert search.superseded == (items[0]["id"],)


@pytest.mark.parametrize("asked", ["MCD43A4_061", "MCD43A4.v061", "MCD43A4.061"])
def test_items_of_a_static_catalog_may_spell_their_collection_differently(tmp_path: Path, grid: Grid, asked: str) -> None:
    item = tile_item("MCD43A4", date(2024, 6, 10), PRODUCTS["modis-43A4-061"])
    item["collection"] = "MCD43A4_061"
    root = static_catalog(tmp_path, [item])
    assert len(found(root, grid, date(2024, 6, 10), date(2024, 6, 10), (source(asked),)).scenes) == 1
    with pytest.raises(CatalogError, match="no collection 'MCD43A4_006'; it has MCD43A4_061"):
        found(root, grid, date(2024, 6, 10), date(2024, 6, 10), (source("MCD43A4_006"),))


def test_a_saved_answer_to_a_search_is_a_static_catalog(tmp_path: Path, grid: Grid) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"type": "FeatureCollection", "features": june(), "links": []}))
    search = found(answer, grid, date(2024, 6, 1), date(2024, 6, 30), allow=("data.example",))
    assert len(search.scenes) == 34
    with pytest.raises(CatalogError, match="no collection 'hls2-l30'; it has landsat-c2-l2, modis-43A4-061"):
        found(answer, grid, date(2024, 6, 1), date(2024, 6, 30), (source("hls2-l30"),))


def test_a_scene_whose_bbox_is_too_small_is_found_by_its_geometry(tmp_path: Path, grid: Grid) -> None:
    item = landsat_item()
    item["bbox"] = [14.5, 44.0, 14.6, 44.1]
    item["geometry"]["coordinates"] = [[[14.5, 44.0], [15.5, 44.0], [15.5, 44.6], [14.5, 44.6], [14.5, 44.0]]]
    assert len(found(static_catalog(tmp_path, [item]), grid, date(2024, 6, 10), date(2024, 6, 10), BOTH[:1]).scenes) == 1


def test_the_alternate_of_a_catalog_is_asked_for_and_checked(tmp_path: Path, grid: Grid) -> None:
    item = landsat_item()
    for key, asset in item["assets"].items():
        asset["alternate"] = {"s3": {"href": f"s3://usgs-landsat/{key}.TIF"}}
    root = static_catalog(tmp_path, [item])
    catalogs = {"default": catalog(root, allow=("s3://usgs-landsat",), alternate="s3")}
    day = date(2024, 6, 10)
    (scene,) = find_scenes(BOTH[:1], catalogs, PRODUCTS, grid, day, day).scenes
    assert set(scene.assets.values()) == {f"s3://usgs-landsat/{key}.TIF" for key in item["assets"]}
    refused = find_scenes(BOTH[:1], {"default": catalog(root, alternate="s3")}, PRODUCTS, grid, day, day)
    assert "add s3://usgs-landsat to allow" in refused.skipped[0][1]


def test_one_acquisition_in_two_catalogs_is_one_scene(tmp_path: Path, grid: Grid) -> None:
    catalogs = {name: catalog(static_catalog(tmp_path / name, june()[:4])) for name in ("a", "b")}
    sources = (source("landsat-c2-l2", "a"), source("landsat-c2-l2", "b"))
    search = find_scenes(sources, catalogs, PRODUCTS, grid, date(2024, 6, 1), date(2024, 6, 30))
    assert len(search.scenes) == 4
    assert {scene.properties["catalog"] for scene in search.scenes} == {"a"}
    assert search.superseded == ()


def test_what_cannot_be_used_is_skipped_with_its_reason(tmp_path: Path, grid: Grid) -> None:
    items = june()[:4]
    del items[1]["assets"]["nir08"]
    items[2]["properties"]["datetime"] = None
    root = static_catalog(tmp_path, items)
    place = tmp_path / "landsat-c2-l2" / "3.json"
    evil = json.loads(place.read_text())
    evil["assets"]["red"]["href"] = "../../../../../../etc/passwd"
    place.write_text(json.dumps(evil))
    search = found(root, grid, date(2024, 6, 1), date(2024, 6, 30), BOTH[:1])
    assert len(search.scenes) == 1
    reasons = dict(search.skipped)
    assert "no asset nir08" in reasons[items[1]["id"]]
    assert "neither datetime" in reasons[items[2]["id"]]
    assert "outside the folders" in reasons[items[3]["id"]]


def test_a_scene_beside_the_grid_is_left_out_even_when_its_box_touches(tmp_path: Path, grid: Grid) -> None:
    beside = landsat_item(**{"proj:transform": [30.0, 0.0, 504_015.0, 0.0, -30.0, 4_910_415.0]})
    assert found(static_catalog(tmp_path, [beside]), grid, date(2024, 6, 10), date(2024, 6, 10), BOTH[:1]) == Search((), (), ())


def test_a_scene_of_the_neighbouring_zone_is_found(tmp_path: Path) -> None:
    border = Grid.from_bounds("EPSG:32632", (899_000, 4_880_000, 902_000, 4_883_000))
    west, south, east, north = border.lonlat_bounds
    neighbour = landsat_item(**{"proj:transform": [30.0, 0.0, 415_005.0, 0.0, -30.0, 4_895_025.0], "proj:shape": [1000, 1000]})
    neighbour["bbox"] = [west - 0.1, south - 0.1, east + 0.1, north + 0.1]
    search = found(static_catalog(tmp_path, [neighbour]), border, date(2024, 6, 10), date(2024, 6, 10), BOTH[:1])
    assert [scene.crs for scene in search.scenes] == ["EPSG:32633"]


def test_a_link_that_leaves_the_catalog_is_refused(tmp_path: Path, grid: Grid) -> None:
    root = tmp_path / "catalog.json"
    root.write_text(json.dumps({"type": "Catalog", "id": "x", "links": [{"rel": "child", "href": "../../outside/catalog.json"}]}))
    with pytest.raises(CatalogError, match="outside the folders"):
        found(root, grid, date(2024, 6, 1), date(2024, 6, 2))


def test_links_in_a_circle_end(tmp_path: Path, grid: Grid) -> None:
    root = static_catalog(tmp_path, june()[:1])
    collection = tmp_path / "landsat-c2-l2" / "collection.json"
    document = json.loads(collection.read_text())
    document["links"] += [{"rel": "child", "href": "../catalog.json"}, document["links"][0]]
    collection.write_text(json.dumps(document))
    assert len(found(root, grid, date(2024, 6, 1), date(2024, 6, 30), BOTH[:1]).scenes) == 1


def test_a_static_catalog_on_a_server_is_read_like_one_on_disk(tmp_path: Path, grid: Grid, http_server: Any) -> None:
    static_catalog(tmp_path, june())
    url = http_server(lambda method, path, body: (200, {}, json.loads((tmp_path / path.lstrip("/")).read_text())))
    search = found(f"{url}/catalog.json", grid, date(2024, 6, 1), date(2024, 6, 30))
    assert len(search.scenes) == 34
    assert search.scenes[0].assets["red"].startswith(f"{url}/modis-43A4-061/")


def test_a_catalog_that_is_not_there_is_an_error(tmp_path: Path, grid: Grid) -> None:
    with pytest.raises(CatalogError, match="cannot read the catalog"):
        found(tmp_path / "catalog.json", grid, date(2024, 6, 1), date(2024, 6, 2))


def test_five_hundred_items_are_searched_in_half_a_second(tmp_path: Path, grid: Grid) -> None:
    items = [modis_item(f"{date(2023, 1, 1) + timedelta(days=number):%Y%j}") for number in range(500)]
    root = static_catalog(tmp_path, items)
    seconds = []
    for _ in range(3):  # of this process's own time: others use the machine too
        started = time.process_time()
        assert len(found(root, grid, date(2023, 1, 1), date(2024, 12, 31), BOTH[1:]).scenes) == 500
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.5


def test_progress_tells_collection_and_count(tmp_path: Path, grid: Grid) -> None:
    told: list[tuple[str, int]] = []
    root = {"default": catalog(static_catalog(tmp_path, june()))}
    find_scenes(BOTH, root, PRODUCTS, grid, date(2024, 6, 1), date(2024, 6, 30), lambda name, count: told.append((name, count)))
    assert ("landsat-c2-l2", 4) in told
    assert told[-1] == ("modis-43A4-061", 30)


def test_a_source_finds_its_product_by_collection(grid: Grid) -> None:
    assert product_of(source("landsat-c2l2-sr"), PRODUCTS) == "landsat-c2-l2"
    assert product_of(source("MCD43A4_061"), PRODUCTS) == "modis-43A4-061"
    assert product_of(source("anything", product="hls2-l30"), PRODUCTS) == "hls2-l30"
    with pytest.raises(CatalogError, match="no product"):
        product_of(source("sentinel-2-l2a"), PRODUCTS)
    with pytest.raises(CatalogError, match="'nothing'"):
        product_of(source("landsat-c2-l2", product="nothing"), PRODUCTS)
    with pytest.raises(CatalogError, match=r"'default' .* not declared"):
        find_scenes(BOTH, {}, PRODUCTS, grid, date(2024, 6, 1), date(2024, 6, 2))


def test_boxes_meet_across_the_antimeridian() -> None:
    fiji = (176.0, -20.0, 179.0, -15.0)
    assert boxes_touch(fiji, (172.4793, -19.1807, 180.1436, -9.9753))
    assert boxes_touch((179.5, -18.0, -179.5, -17.0), (179.0, -20.0, 181.0, -10.0))
    assert boxes_touch((-180.0, -18.0, -179.9, -17.0), (172.4793, -19.1807, 180.1436, -9.9753))
    assert boxes_touch(fiji, (-180.0, -90.0, 180.0, 90.0))
    assert not boxes_touch(fiji, (-179.0, -20.0, -176.0, -15.0))
    assert not boxes_touch(fiji, (176.0, -14.0, 179.0, -10.0))


class Paging:
    """A STAC API on loopback whose paging can be spoilt: it filters by day and answers pages of `size`."""

    def __init__(self, items: list[dict[str, Any]], size: int, links: bool, matched: bool = False, failures: tuple[int, ...] = ()) -> None:
        self.items, self.size, self.links, self.matched, self.failures = items, size, links, matched, list(failures)
        self.url = ""
        self.searches = 0

    def __call__(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(path)
        if parts.path in ("", "/"):
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            links = [{"rel": "self", "href": self.url}, {"rel": "search", "href": f"{self.url}/search", "method": "POST"}]
            return (
                200,
                {},
                {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "", "conformsTo": conforms, "links": links},
            )
        if self.failures:
            return self.failures.pop(0), {"Retry-After": "0"}, {"code": "busy"}
        self.searches += 1
        first, last = (text[:10] for text in body["datetime"].split("/"))
        items = [item for item in self.items if first <= item["properties"]["datetime"][:10] <= last]
        start = int((parse_qs(parts.query).get("start") or [body.get("start", 0)])[0])
        size = min(self.size, body["limit"])
        page = {"type": "FeatureCollection", "features": items[start : start + size], "links": []}
        if self.links and start + size < len(items):
            page["links"] = [{"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": {**body, "start": start + size}}]
        if self.matched:
            page["numberMatched"] = len(items)
        return 200, {}, page


def paged(http_server: Any, api: Paging, page: int) -> list[str]:
    api.url = http_server(api)
    items = Api(api.url, page=page).items("landsat-c2-l2", (14, 44, 15, 45), date(2024, 6, 1), date(2024, 6, 30))
    return [item["id"] for item in items]


DAILY = [landsat_item(f"L{day:02d}", f"2024-06-{day:02d}T10:00:00Z") for day in range(1, 31)]


def test_pages_are_followed_to_the_end(http_server: Any) -> None:
    assert len(paged(http_server, Paging(DAILY, 4, links=True), page=4)) == 30


def test_lost_next_links_are_noticed_and_the_period_is_cut_until_nothing_is_lost(http_server: Any) -> None:
    api = Paging(DAILY, 4, links=False)
    assert sorted(paged(http_server, api, page=4)) == [item["id"] for item in DAILY]
    assert api.searches > 8


def test_lost_pages_are_noticed_by_the_number_that_matched(http_server: Any) -> None:
    assert len(paged(http_server, Paging(DAILY, 4, links=False, matched=True), page=100)) == 30


def test_a_day_whose_pages_are_lost_is_an_error(http_server: Any) -> None:
    crowd = [landsat_item(f"L{number:02d}", "2024-06-10T10:00:00Z") for number in range(9)]
    with pytest.raises(CatalogError, match=r"4 items of landsat-c2-l2 for 2024-06-10 in full pages and no link"):
        paged(http_server, Paging(crowd, 4, links=False), page=4)


def test_a_full_last_page_is_no_loss_when_the_count_agrees(http_server: Any) -> None:
    api = Paging(DAILY[:8], 4, links=True, matched=True)
    assert len(paged(http_server, api, page=4)) == 8
    assert api.searches == 2


def test_busy_answers_to_a_search_are_retried(http_server: Any) -> None:
    assert len(paged(http_server, Paging(DAILY, 50, links=True, failures=(429, 503)), page=100)) == 30


def test_a_page_of_something_else_than_items_is_an_error_that_shows_it(http_server: Any) -> None:
    api = Paging(DAILY, 4, links=True)

    def spoilt(method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        answer = {"type": "FeatureCollection", "features": ["broken"]}
        return (200, {}, answer) if path.startswith("/search") else api(method, path, body)

    api.url = http_server(spoilt)
    with pytest.raises(CatalogError, match=r"answered a search of landsat-c2-l2 with .*broken.*expected a FeatureCollection"):
        list(Api(api.url).items("landsat-c2-l2", (14, 44, 15, 45), date(2024, 6, 1), date(2024, 6, 2)))


def test_slices_cover_the_period_once() -> None:
    pieces = slices(date(2024, 1, 1), date(2024, 12, 31), 31)
    days = [first + timedelta(days=number) for first, last in pieces for number in range((last - first).days + 1)]
    assert days == [date(2024, 1, 1) + timedelta(days=number) for number in range(366)]
    assert max((last - first).days for first, last in pieces) == 30
