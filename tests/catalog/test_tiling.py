"""Tiles: where their pixels lie, against corners that real products state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from pipeline.catalog.normalise import scene_from_item
from pipeline.catalog.tiling import SINUSOIDAL, tile_georeference
from pipeline.errors import CatalogError
from pipeline.sensors import builtin_products

from .conftest import tile_item
from .recorded import RECORDED

PRODUCTS = builtin_products()
Recorded = Callable[[str], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("tile", "crs", "west", "north"),
    [
        ("T13TDE", "EPSG:32613", 399960, 4500000),  # earth-search, S2A_13TDE_20231008_0_L2A
        ("T06WVS", "EPSG:32606", 399960, 7200000),  # HLS-VI.L30.T06WVS.2024120T211159.v2.0
        ("T20JKP", "EPSG:32620", 199980, -3099960),  # HLS.L30.T20JKP.2026004T142004.v2.0
        ("T56HKH", "EPSG:32656", 199980, 6300040 - 10_000_000),  # Sentinel-2 states it in the southern CRS
        ("T56HKG", "EPSG:32656", 199980, 6200020 - 10_000_000),
        ("T20HNH", "EPSG:32620", 499980, 6300040 - 10_000_000),
    ],
)
def test_tiles_of_hls_lie_where_real_products_say(tile: str, crs: str, west: float, north: float) -> None:
    assert tile_georeference("hls", tile, 30.0) == (crs, (30.0, 0.0, west, 0.0, -30.0, north), (3660, 3660))


def test_an_hls_item_without_projection_lies_around_its_outline(recorded: Recorded) -> None:
    item = recorded("nasa-cmr-stac/item_HLS.L30.T13TGF.2021133T172406.v2.0.json")[0]
    scene = scene_from_item(item, "hls2-l30", PRODUCTS["hls2-l30"], -101.8)
    assert scene.properties["landfuse:derived"] is True
    west, south, east, north = scene.raster_bounds
    to_tile = Transformer.from_crs("OGC:CRS84", scene.crs, always_xy=True)
    x, y = zip(*(to_tile.transform(*point) for point in item["geometry"]["coordinates"][0]), strict=True)
    # The outline of the granule is that of its pixels: it touches three edges of the tile and stays inside, but for its rounding.
    assert min(x) >= west - 60
    assert min(y) >= south - 60
    assert max(x) <= east + 60
    assert max(y) <= north + 60
    assert sum(abs(edge - at) < 600 for edge, at in ((west, min(x)), (east, max(x)), (south, min(y)), (north, max(y)))) >= 3


def test_tiles_of_modis_lie_where_recorded_items_say(recorded: Recorded) -> None:
    rows = [row for row in RECORDED if row.crs == "sinusoidal"]
    assert len(rows) > 7
    for row in rows:
        product = PRODUCTS[row.product]
        scene = scene_from_item(next(item for item in recorded(row.file) if item["id"] == row.id), row.product, product, 0.0)
        crs, transform, shape = tile_georeference("sinusoidal", row.acquisition.split("_")[1], product.pixel)
        assert shape == scene.shape
        assert transform == pytest.approx(scene.transform, abs=1e-5)
        assert CRS.from_user_input(crs).equals(CRS.from_user_input(scene.crs))


def test_a_modis_item_that_says_its_place_is_not_derived_and_one_that_does_not_is() -> None:
    product = PRODUCTS["modis-09GA-061"]
    item = tile_item("MOD09GA", date(2024, 6, 10), product, "h18v04")
    bare = scene_from_item(item, "modis-09GA-061", product, 0.0)
    assert (bare.crs, bare.shape, bare.properties["landfuse:derived"]) == (SINUSOIDAL, (2400, 2400), True)
    item["properties"] |= {"proj:epsg": None, "proj:wkt2": SINUSOIDAL, "proj:transform": list(bare.transform), "proj:shape": [2400, 2400]}
    said = scene_from_item(item, "modis-09GA-061", product, 0.0)
    assert (said.crs, said.transform, said.shape) == (bare.crs, bare.transform, bare.shape)
    assert "landfuse:derived" not in said.properties


@given(st.integers(0, 35), st.integers(0, 17))
def test_neighbouring_tiles_of_modis_meet(column: int, row: int) -> None:
    _, (pixel, _, west, _, height, north), (rows, columns) = tile_georeference("sinusoidal", f"h{column:02d}v{row:02d}", 463.3127165)
    if column < 35:
        assert west + pixel * columns == pytest.approx(
            tile_georeference("sinusoidal", f"h{column + 1:02d}v{row:02d}", 463.3)[1][2], abs=1e-6
        )
    if row < 17:
        assert north + height * rows == pytest.approx(
            tile_georeference("sinusoidal", f"h{column:02d}v{row + 1:02d}", 463.3)[1][5], abs=1e-6
        )


LETTERS = "ABCDEFGHJKLMNPQRSTUV"


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.floats(-79, 83).filter(lambda latitude: abs(latitude) > 1e-6), st.floats(-2.9, 2.9))
def test_the_tile_that_the_military_grid_names_holds_the_place(zone: int, latitude: float, aside: float) -> None:
    # The name, made the other way round: from a place to its square.
    longitude = -183 + 6 * zone + aside
    easting, northing = Transformer.from_crs("OGC:CRS84", f"EPSG:326{zone:02d}", always_xy=True).transform(longitude, latitude)
    band = "CDEFGHJKLMNPQRSTUVWX"[min(int((latitude + 80) // 8), 19)]
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(easting // 100_000) - 1]
    row = LETTERS[(int(northing // 100_000) + (5 if zone % 2 == 0 else 0)) % 20]
    crs, (pixel, _, west, _, height, north), (rows, columns) = tile_georeference("hls", f"T{zone:02d}{band}{column}{row}", 30.0)
    assert crs == f"EPSG:326{zone:02d}"
    assert west <= easting <= west + pixel * columns
    assert north + height * rows <= northing <= north


@pytest.mark.parametrize(("tiling", "tile"), [("sinusoidal", "h36v04"), ("sinusoidal", "h18v18"), ("sinusoidal", "T13TGF")])
@pytest.mark.parametrize("other", ["T61TGF", "T00TGF", "T13IGF", "T13TIF", "T13TZF", "h18v04"])
def test_a_tile_that_there_is_not_is_refused_by_name(tiling: Any, tile: str, other: str) -> None:
    with pytest.raises(CatalogError, match=tile):
        tile_georeference(tiling, tile, 463.3127165)
    with pytest.raises(CatalogError, match=other):
        tile_georeference("hls", other, 30.0)


def hls_item(tile: str, **properties: Any) -> dict[str, Any]:
    item_id = f"HLS.L30.{tile}.2020261T103255.v2.0"
    return {
        "id": item_id,
        "bbox": [8.9, 50.4, 10.6, 51.5],
        "geometry": None,
        "properties": {"datetime": "2020-09-17T10:32:55Z", **properties},
        "assets": {
            key: {"href": f"https://data.example/{item_id}.{key}.tif"} for key in ("B02", "B03", "B04", "B05", "B06", "B07", "Fmask")
        },
    }


def test_the_wrong_hemisphere_of_an_item_is_mended_by_its_tile() -> None:
    # The Planetary Computer gives tile T32UMF the code 32732, as a number.
    right = tile_georeference("hls", "T32UMF", 30.0)
    wrong = {"proj:code": 32732, "proj:transform": list(right[1]), "proj:shape": [3660, 3660]}
    scene = scene_from_item(hls_item("T32UMF", **wrong), "hls2-l30", PRODUCTS["hls2-l30"], 9.0)
    assert (scene.crs, scene.transform, scene.shape) == right
    assert scene.properties["landfuse:derived"] is True


@pytest.mark.parametrize(("code", "shift"), [("EPSG:32756", 10_000_000), ("EPSG:32656", 0), (32656, 0)])
def test_a_southern_item_may_be_in_either_crs_of_its_zone(code: Any, shift: float) -> None:
    _, (pixel, _, west, _, height, north), shape = tile_georeference("hls", "T56HKH", 30.0)
    said = {"proj:code": code, "proj:transform": [pixel, 0, west, 0, height, north + shift], "proj:shape": list(shape)}
    scene = scene_from_item(hls_item("T56HKH", **said), "hls2-l30", PRODUCTS["hls2-l30"], 150.0)
    assert scene.crs == (code if isinstance(code, str) else f"EPSG:{code}")
    assert scene.transform[5] == north + shift
    assert "landfuse:derived" not in scene.properties
