from __future__ import annotations

import json
import os
import warnings
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from pipeline.catalog import find_scenes
from pipeline.catalog.build import build_catalog
from pipeline.catalog.hrefs import Part, split_part
from pipeline.catalog.template import Template
from pipeline.config import load_area
from pipeline.errors import CatalogError, ConfigurationError
from pipeline.grid import Grid
from pipeline.sensors import Product

from .conftest import SHARED, catalog, source

NDVI = Product(role="fine", day="datetime", bands={"ndvi": {"asset": "ndvi"}})
EXAMPLE = Path(__file__).parents[2] / "examples" / "ifsdaf-ndvi-2015"


def write(
    path: Path, bands: int = 1, size: int = 8, crs: str | None = None, corner: tuple[float, float] | None = None, cell: float = 30.0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if corner is None else {"transform": from_origin(*corner, cell, cell)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=size, height=size, count=bands, dtype="int16", **({"crs": crs} if crs else {}), **place
        ) as target:
            target.write(np.arange(bands * size * size, dtype=np.int16).reshape(bands, size, size))
    return path


def only_item(report_catalog: Path, collection: str) -> dict:
    files = sorted((report_catalog.parent / collection / "items").glob("*.json"))
    assert len(files) == 1
    return json.loads(files[0].read_text())


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        (
            "LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif",
            "LC81250382015104LGN00_ndvi.tif",
            ("LC81250382015104LGN00", "ndvi", datetime(2015, 4, 14)),
        ),
        ("mod_ndvi_16day_{date:%Y}.tif", "mod_ndvi_16day_2015.tif", ("mod_ndvi_16day_2015", None, datetime(2015, 1, 1))),
        ("{year:%Y}/{doy:%j}/{asset}_v{*}.tif", "2015/104/red_v2.tif", ("2015_104_v", "red", datetime(2015, 4, 14))),
        ("{sensor}_{when:%Y%m%dT%H%M}.tif", "L8_20150414T0312.tif", ("L8_20150414T0312", None, datetime(2015, 4, 14, 3, 12))),
        ("{name} {date:%Y%m%d}.tif", "my scene 20150414.tif", ("my-scene-20150414", None, datetime(2015, 4, 14))),
    ],
)
def test_a_template_tells_id_asset_and_date(template: str, path: str, expected: tuple[str, str | None, datetime]) -> None:
    name = Template(template).match(path)
    assert name is not None
    assert (name.id, name.asset, name.instant) == expected


@pytest.mark.parametrize("path", ["LC81250382015104LGN00_ndvi.txt", "x/LC81250382015104LGN00_ndvi.tif", "LC81250382015400LGN00_ndvi.tif"])
def test_names_of_another_form_and_impossible_dates_do_not_match(path: str) -> None:
    assert Template("LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif").match(path) is None


@pytest.mark.parametrize("template", ["{date:%Q}.tif", "{asset:3}.tif", "{1a}.tif", "{asset}_{asset}.tif", "{a:x}_{b:-3}{}.tif"])
def test_a_field_that_is_not_understood_is_named(template: str) -> None:
    with pytest.raises(ConfigurationError, match="template"):
        Template(template)


def test_files_with_a_georeference_keep_it_and_lie_below_the_catalog(tmp_path: Path, grid: Grid) -> None:
    for key in ("ndvi", "mask"):
        write(tmp_path / f"L8_20240610_{key}.tif", size=200, crs="EPSG:32633", corner=(499_995, 4_904_025))
    report = build_catalog(tmp_path, "L8_{date:%Y%m%d}_{asset}.tif", collection="fine")
    assert (report.items, report.files, report.assigned, report.unmatched, report.notes) == (1, 2, 0, (), ())
    item = only_item(report.catalog, "fine")
    assert "landfuse:georeference" not in item["properties"]
    search = find_scenes([source("fine")], {"default": catalog(report.catalog)}, {"fine": NDVI}, grid, date(2024, 6, 10), date(2024, 6, 10))
    (scene,) = search.scenes
    assert (scene.crs, scene.transform, scene.shape) == ("EPSG:32633", (30, 0, 499_995, 0, -30, 4_904_025), (200, 200))
    assert scene.assets["ndvi"] == str(tmp_path / "L8_20240610_ndvi.tif")


def test_a_missing_georeference_is_assigned_recorded_and_said_aloud(tmp_path: Path) -> None:
    fine = write(tmp_path / "fine_20240610.tif", size=16)
    write(tmp_path / "coarse_20240610.tif", size=2)
    before = fine.read_bytes()
    first = build_catalog(tmp_path, "fine_{date:%Y%m%d}.tif", collection="fine", crs="EPSG:32633", resolution=30, origin=(0, 4_900_000))
    second = build_catalog(
        tmp_path, "coarse_{date:%Y%m%d}.tif", collection="coarse", crs="EPSG:32633", resolution=240, origin=(0, 4_900_000)
    )
    assert fine.read_bytes() == before
    assert first.assigned == 1
    assert "local grid" in first.notes[0]
    assert "not moved" in first.notes[0]
    for report, collection, cell in ((first, "fine", 30.0), (second, "coarse", 240.0)):
        properties = only_item(report.catalog, collection)["properties"]
        assert properties["landfuse:georeference"] == "assigned"
        assert properties["proj:code"] == "EPSG:32633"
        assert properties["proj:transform"] == [cell, 0.0, 0.0, 0.0, -cell, 4_900_000.0]
    children = [link["href"] for link in json.loads(first.catalog.read_text())["links"] if link["rel"] == "child"]
    assert children == ["./coarse/collection.json", "./fine/collection.json"]


def test_a_missing_georeference_that_nobody_declares_is_an_error_with_the_option(tmp_path: Path) -> None:
    write(tmp_path / "a_20240610.tif")
    with pytest.raises(ConfigurationError, match="--crs"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}.tif")
    with pytest.raises(ConfigurationError, match="--resolution"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}.tif", crs="EPSG:32633")
    with pytest.raises(ConfigurationError, match="not projected"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}.tif", crs="EPSG:4326")


def test_a_pixel_transform_without_crs_is_kept_and_a_contradicting_resolution_refused(tmp_path: Path) -> None:
    write(tmp_path / "a_20240610.tif", corner=(600, 9000), cell=30)
    report = build_catalog(tmp_path, "a_{date:%Y%m%d}.tif", collection="a", crs="EPSG:32633")
    assert only_item(report.catalog, "a")["properties"]["proj:transform"] == [30.0, 0.0, 600.0, 0.0, -30.0, 9000.0]
    with pytest.raises(ConfigurationError, match="leave --resolution out"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}.tif", collection="a", crs="EPSG:32633", resolution=10)


def test_the_bands_of_a_series_become_composites_with_the_middle_day(tmp_path: Path, grid: Grid) -> None:
    write(tmp_path / "ndvi_2024.tif", bands=3, size=40, crs="EPSG:32633", corner=(499_920, 4_904_160), cell=240)
    report = build_catalog(tmp_path, "ndvi_{date:%Y}.tif", collection="coarse", asset="ndvi", step=16)
    assert report.items == 3
    product = Product(role="coarse", day="datetime", bands={"ndvi": {"asset": "ndvi"}}, support={"before": 8, "after": 7, "centre": -0.5})
    search = find_scenes(
        [source("coarse")], {"default": catalog(report.catalog)}, {"coarse": product}, grid, date(2024, 1, 16), date(2024, 1, 17)
    )
    assert [(scene.first_day, scene.day, scene.last_day) for scene in search.scenes] == [
        (date(2024, 1, 1), date(2024, 1, 9), date(2024, 1, 16)),
        (date(2024, 1, 17), date(2024, 1, 25), date(2024, 2, 1)),
    ]
    path, part = split_part(search.scenes[1].assets["ndvi"])
    assert (path, part) == (str(tmp_path / "ndvi_2024.tif"), Part(band=2))


def test_the_bands_of_one_date_become_assets(tmp_path: Path) -> None:
    write(tmp_path / "landsat7_20011008.tif", bands=2, crs="EPSG:32655", corner=(300_000, 6_100_000))
    report = build_catalog(tmp_path, "landsat7_{date:%Y%m%d}.tif", collection="cia", bands=("red", "nir08"))
    assets = only_item(report.catalog, "cia")["assets"]
    assert {key: asset["landfuse:band"] for key, asset in assets.items()} == {"red": 1, "nir08": 2}
    with pytest.raises(ConfigurationError, match="2 bands, but 3 names"):
        build_catalog(tmp_path, "landsat7_{date:%Y%m%d}.tif", bands=("a", "b", "c"))
    with pytest.raises(ConfigurationError, match="--band, or give --step"):
        build_catalog(tmp_path, "landsat7_{date:%Y%m%d}.tif")


def test_two_files_of_one_item_and_asset_are_an_error(tmp_path: Path) -> None:
    for version in "12":
        write(tmp_path / f"a_20240610_v{version}.tif", crs="EPSG:32633", corner=(500_000, 4_900_000))
    with pytest.raises(ConfigurationError, match="already has an asset 'data'"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}_v{*}.tif")


def test_a_template_that_fits_nothing_shows_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "other.tif", crs="EPSG:32633", corner=(500_000, 4_900_000))
    with pytest.raises(ConfigurationError, match=r"no file .* there are other\.tif"):
        build_catalog(tmp_path, "a_{date:%Y%m%d}.tif")


def test_a_replaced_file_is_a_newer_processing(tmp_path: Path, grid: Grid) -> None:
    path = write(tmp_path / "ndvi_20240610.tif", size=200, crs="EPSG:32633", corner=(499_995, 4_904_025))
    identities = []
    for changed in (1_700_000_000, 1_700_000_060):
        os.utime(path, (changed, changed))
        report = build_catalog(tmp_path, "ndvi_{date:%Y%m%d}.tif", collection="fine", asset="ndvi")
        search = find_scenes(
            [source("fine")], {"default": catalog(report.catalog)}, {"fine": NDVI}, grid, date(2024, 6, 10), date(2024, 6, 10)
        )
        identities.append(search.scenes[0].identity)
    assert identities[0] < identities[1]


def test_files_outside_the_catalog_are_read_only_where_the_area_allows_it(tmp_path: Path, grid: Grid) -> None:
    data = write(tmp_path / "data" / "ndvi_20240610.tif", size=200, crs="EPSG:32633", corner=(499_995, 4_904_025)).parent
    report = build_catalog(data, "ndvi_{date:%Y%m%d}.tif", tmp_path / "catalog", collection="fine", asset="ndvi")
    assert f"add {data} to allow" in report.notes[0]
    period = (grid, date(2024, 6, 10), date(2024, 6, 10))
    closed = find_scenes([source("fine")], {"default": catalog(report.catalog)}, {"fine": NDVI}, *period)
    assert closed.scenes == ()
    assert "outside the folders" in closed.skipped[0][1]
    opened = find_scenes([source("fine")], {"default": catalog(report.catalog, allow=(str(data),))}, {"fine": NDVI}, *period)
    assert len(opened.scenes) == 1


def test_the_ifsdaf_year_is_indexed_and_the_example_area_finds_all_of_it(tmp_path: Path) -> None:
    data = SHARED / "data" / "ifsdaf-ndvi-2015"
    if not data.exists():
        pytest.skip(f"no data at {data}: set LANDFUSE_SHARED")
    fine = build_catalog(
        data, "LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif", tmp_path / "catalog", collection="ifsdaf-landsat8-ndvi", crs="EPSG:32649"
    )
    coarse = build_catalog(
        data, "mod_ndvi_16day_{date:%Y}.tif", tmp_path / "catalog", collection="ifsdaf-modis-ndvi", crs="EPSG:32649", step=16, asset="ndvi"
    )
    assert (fine.items, fine.files, coarse.items, coarse.files) == (9, 17, 23, 1)
    area = load_area(EXAMPLE / "area.yaml")
    assert area.grid.bounds == (0, 0, 17280, 16560)
    catalogs = {"default": catalog(fine.catalog, allow=(str(data.resolve()),))}
    sources = (*area.science.fine, *area.science.coarse)
    search = find_scenes(sources, catalogs, area.products, area.grid, date(2015, 1, 1), date(2015, 12, 31))
    assert search.skipped == ()
    landsat = [scene for scene in search.scenes if scene.role == "fine"]
    assert [scene.day.timetuple().tm_yday for scene in landsat] == [104, 191, 200, 216, 239, 248, 287, 344, 360]
    assert [scene.id for scene in landsat if "fmask" not in scene.assets] == ["LC81260382015287LGN00"]
    assert area.science.withhold == tuple(scene.day for scene in landsat if "fmask" not in scene.assets)
    modis = [scene for scene in search.scenes if scene.role == "coarse"]
    covered = {day for scene in modis for day in range(scene.first_day.toordinal(), scene.last_day.toordinal() + 1)}
    assert set(range(date(2015, 1, 1).toordinal(), date(2015, 12, 31).toordinal() + 1)) <= covered
    assert all(scene.shape == (69, 72) and scene.transform == (240, 0, 0, 0, -240, 16560) for scene in modis)


def test_an_item_id_written_by_someone_else_cannot_leave_the_catalog(tmp_path: Path, grid: Grid) -> None:
    write(tmp_path / "ndvi_20240610.tif", size=200, crs="EPSG:32633", corner=(499_995, 4_904_025))
    report = build_catalog(tmp_path, "ndvi_{date:%Y%m%d}.tif", collection="fine", asset="ndvi")
    path = next((tmp_path / "fine" / "items").glob("*.json"))
    path.write_text(path.read_text().replace('"id": "ndvi_20240610"', '"id": "../../x"'))
    search = find_scenes([source("fine")], {"default": catalog(report.catalog)}, {"fine": NDVI}, grid, date(2024, 6, 10), date(2024, 6, 10))
    assert search.scenes == ()
    assert "not safe" in search.skipped[0][1]
    with pytest.raises((CatalogError, ConfigurationError), match="not safe"):
        build_catalog(tmp_path, "ndvi_{date:%Y%m%d}.tif", collection="../x")
