"""A table: provider × collection × what works, each cell a test over the provider's recorded items.

The items are behind a real STAC API on this machine, as their provider wrote them. A column is a test that goes through `PROVIDERS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pyproj import Transformer

from pipeline.catalog import Search, find_scenes
from pipeline.catalog.api import Api
from pipeline.catalog.normalise import scene_from_item
from pipeline.grid import Grid, day_of
from pipeline.sensors import builtin_products

from .conftest import SHARED, catalog, serving, source
from .recorded import RECORDED, Row

PRODUCTS = builtin_products()


@dataclass(frozen=True)
class Provider:
    """One collection of one provider.

    Parameters
    ----------
    name : str
    collection : str
        As an area file may ask for it.
    file, id : str
        Recorded answer and the item in it.
    sign, allow, alternate
        As in `runtime.catalogs` of an area file for this provider.
    """

    name: str
    collection: str
    file: str
    id: str
    sign: str = "none"
    allow: tuple[str, ...] = ()
    alternate: str | None = None

    @property
    def row(self) -> Row:
        return next(row for row in RECORDED if (row.file, row.id) == (self.file, self.id))

    @property
    def product(self) -> str:
        return self.row.product

    @property
    def item(self) -> dict[str, Any]:
        path = SHARED / "stac" / self.file
        if not path.exists():
            pytest.skip(f"no recorded response at {path}: set LANDFUSE_SHARED")
        document = json.loads(path.read_text(encoding="utf-8"))
        items = document if isinstance(document, list) else document.get("features", [document])
        return next(item for item in items if item["id"] == self.id)

    @property
    def catalog(self) -> dict[str, Any]:
        return {"sign": self.sign, "allow": self.allow, "alternate": self.alternate}

    @property
    def grid(self) -> Grid:
        """4 km in the middle of the item."""
        points = self.item["geometry"]["coordinates"][0][:-1]
        longitude, latitude = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
        crs = f"EPSG:326{int((longitude + 180) // 6) % 60 + 1:02d}"
        easting, northing = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(longitude, latitude)
        return Grid.from_bounds(crs, (easting - 2000, northing - 2000, easting + 2000, northing + 2000))


def _pc(collection: str, item_id: str, file: str = "") -> Provider:
    return Provider(
        "Planetary Computer", collection, f"planetary-computer/{file or 'items_limit1_page_' + item_id}.json", item_id, "planetary-computer"
    )


_USGS = {"name": "USGS LandsatLook", "collection": "landsat-c2l2-sr"}
_LOOK = ("landsatlook.usgs.gov",)

PROVIDERS = [
    _pc("landsat-c2-l2", "LC09_L2SP_090091_20250310_02_T1"),
    _pc("modis-43A4-061", "MCD43A4.A2025061.h35v10.061.2025070035331"),
    _pc("modis-09A1-061", "MYD09A1.A2025057.h35v10.061.2025066034638"),
    _pc("modis-09Q1-061", "MYD09Q1.A2025057.h35v10.061.2025066034638"),
    _pc("modis-13Q1-061", "MOD13Q1.A2025049.h35v10.061.2025070114834"),
    Provider(
        **_USGS,
        file="usgs-landsatlook/usgs_stac_api_1.json",
        id="LC08_L2SP_047027_20201204_20210313_02_T1_SR",
        sign="requester-pays",
        allow=("s3://usgs-landsat",),
        alternate="s3",
    ),
    Provider(
        **_USGS,
        file="usgs-landsatlook/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json",
        id="LE07_L2SP_044033_20210329_20210424_02_T1_SR",
        allow=_LOOK,
    ),
    Provider(
        **_USGS,
        file="usgs-landsatlook/LC09_L2SP_092068_20230607_20230609_02_T1_SR.json",
        id="LC09_L2SP_092068_20230607_20230609_02_T1_SR",
        allow=_LOOK,
    ),
    Provider(
        "Earth Search",
        "landsat-c2-l2",
        "earth-search/test_multiple_collections_0.json",
        "LC08_L2SP_033032_20231008_02_T1",
        sign="requester-pays",
        allow=("s3://usgs-landsat",),
    ),
    Provider(
        "CMR-STAC",
        "HLSL30.v2.0",
        "nasa-cmr-stac/item_HLS.L30.T13TGF.2021133T172406.v2.0.json",
        "HLS.L30.T13TGF.2021133T172406.v2.0",
        sign="earthdata",
        allow=("data.lpdaac.earthdatacloud.nasa.gov",),
    ),
]
every_provider = pytest.mark.parametrize(
    "provider", PROVIDERS, ids=lambda provider: f"{provider.name}-{provider.collection}-{provider.row.platform}"
)


@pytest.fixture(scope="module")
def apis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A STAC API for each provider, with all its recorded items: name → address."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                serving([provider.item for provider in PROVIDERS if provider.name == name], tmp_path_factory.mktemp("api"))
            )
            for name in dict.fromkeys(provider.name for provider in PROVIDERS)
        }


def searched(provider: Provider, url: str, before: int = 0, after: int = 0) -> Search:
    """What a search of the day of the item finds, with days before and after it."""
    part = catalog(url, **provider.catalog)
    day = provider.row.day
    asked = (source(provider.collection),)
    bands = ("ndvi",) if provider.product == "modis-13Q1-061" else ("red", "nir08")
    return find_scenes(asked, {"default": part}, PRODUCTS, provider.grid, day - timedelta(before), day + timedelta(after), bands=bands)


@every_provider
def test_search_finds_the_item(provider: Provider, apis: dict[str, str]) -> None:
    found = searched(provider, apis[provider.name])
    assert [scene.id for scene in found.scenes] == [provider.id]
    assert found.skipped == ()


@every_provider
def test_search_of_other_days_and_places_does_not(provider: Provider, apis: dict[str, str]) -> None:
    url, day, support = apis[provider.name], provider.row.day, PRODUCTS[provider.product].support
    for first, last in (
        (day - timedelta(40), day - timedelta(support.before + 1)),
        (day + timedelta(support.after + 1), day + timedelta(40)),
    ):
        part = {"default": catalog(url, **provider.catalog)}
        assert find_scenes((source(provider.collection),), part, PRODUCTS, provider.grid, first, last).scenes == ()
    elsewhere = Grid.from_bounds("EPSG:32633", (500_000, 4_900_000, 503_840, 4_903_840))
    part = {"default": catalog(url, **provider.catalog)}
    assert find_scenes((source(provider.collection),), part, PRODUCTS, elsewhere, day, day).scenes == ()


@every_provider
def test_normalise_makes_the_scene_of_the_item_as_it_was_written(provider: Provider, apis: dict[str, str]) -> None:
    (scene,) = searched(provider, apis[provider.name]).scenes
    grid = provider.grid
    bands = ("ndvi",) if provider.product == "modis-13Q1-061" else ("red", "nir08")
    direct = scene_from_item(provider.item, provider.product, PRODUCTS[provider.product], grid.longitude, bands, provider.alternate)
    assert {
        **scene.to_dict(),
        "properties": {key: value for key, value in scene.properties.items() if key != "catalog"},
    } == direct.to_dict()
    row = provider.row
    assert (scene.platform, scene.acquisition, scene.stamp, scene.tier, scene.shape) == (
        row.platform,
        row.acquisition,
        row.stamp,
        row.tier,
        row.shape,
    )


@every_provider
def test_the_day_is_right(provider: Provider, apis: dict[str, str]) -> None:
    (scene,) = searched(provider, apis[provider.name], before=3, after=3).scenes
    assert scene.day == provider.row.day
    product = PRODUCTS[provider.product]
    if product.day == "acquisition":
        assert scene.day == day_of(scene.datetime, provider.grid.longitude)
    else:
        assert f".A{scene.day:%Y%j}." in scene.id


def test_every_provider_of_the_recorded_items_is_in_the_table() -> None:
    # stactools wrote its items for tests, not for a catalog.
    assert {row.provider for row in RECORDED} - {"stactools-modis"} == {provider.file.partition("/")[0] for provider in PROVIDERS}
    assert {row.product for row in RECORDED} == {provider.product for provider in PROVIDERS}


def test_a_collection_is_found_under_the_spelling_of_the_api(apis: dict[str, str]) -> None:
    provider = next(provider for provider in PROVIDERS if provider.name == "CMR-STAC")
    box, day = provider.grid.lonlat_bounds, provider.row.day
    for spelling in ("HLSL30_2.0", "HLSL30.v2.0"):
        assert [item["id"] for item in Api(apis["CMR-STAC"]).items(spelling, box, day, day)] == [provider.id]


def test_an_asset_on_a_host_that_is_not_allowed_is_named_with_the_remedy(apis: dict[str, str]) -> None:
    provider = next(provider for provider in PROVIDERS if provider.name == "CMR-STAC")
    part = SimpleNamespace(url=apis["CMR-STAC"], sign="none", allow=(), alternate=None)
    found = find_scenes((source("HLSL30_2.0"),), {"default": part}, PRODUCTS, provider.grid, provider.row.day, provider.row.day)
    assert found.scenes == ()
    assert "add data.lpdaac.earthdatacloud.nasa.gov to allow" in dict(found.skipped)[provider.id]
