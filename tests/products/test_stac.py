"""STAC documents are valid, complete and safe to publish."""

from __future__ import annotations

import itertools
import json
import posixpath
from datetime import UTC, date, datetime
from pathlib import Path

import pystac
import pytest
import xarray as xr
from pystac.extensions.datacube import DatacubeExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.local_validator import get_local_schema_cache

from pipeline.errors import StoreError
from pipeline.grid import Grid
from pipeline.products.stac import (
    ZARR_MEDIA_TYPE,
    CubeFacts,
    DayFacts,
    Layout,
    collection_document,
    cube_variables,
    day_item,
    footprint,
    stac_objects,
)
from pipeline.vocabulary import Maturity, Outcome, Provenance

jsonschema = pytest.importorskip("jsonschema")
referencing = pytest.importorskip("referencing")

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")


@pytest.fixture
def facts(grid: Grid) -> CubeFacts:
    return CubeFacts("sava-plain", grid, BANDS, title="Sava plain", software={"landfuse": "0.1.0"})


def day_facts(day: date, **changes: object) -> DayFacts:
    values = {
        "day": day,
        "maturity": Maturity.INTERIM,
        "method": "residual",
        "outcome": Outcome.PUBLISHED,
        "generation": 4,
        "shares": {Provenance.OBSERVED: 0.25, Provenance.FUSED_TWO_SIDED: 0.75},
        "run_id": "20230612T040000Z-1a2b",
        "input_digest": "0123456789abcdef",
        "updated": datetime(2023, 6, 12, 4, 0, 1, tzinfo=UTC),
        **changes,
    }
    return DayFacts(**values)  # type: ignore[arg-type]


def assert_valid(document: dict, kind: str) -> None:
    """Against the core schema of STAC 1.1 that pystac ships, without a network."""
    cache = get_local_schema_cache()
    schemas = referencing.Registry().with_resources([(uri, referencing.Resource.from_contents(schema)) for uri, schema in cache.items()])
    schema = cache[f"https://schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema/{kind}.json"]
    problems = list(jsonschema.Draft7Validator(schema, registry=schemas).iter_errors(document))
    assert not problems, problems


def test_an_item_and_its_collection_pass_the_core_schemas(facts: CubeFacts) -> None:
    assert_valid(day_item(facts, day_facts(date(2023, 6, 2))), "item")
    assert_valid(collection_document(facts, [date(2023, 6, 2)]), "collection")


def test_pystac_reads_what_was_written_and_follows_every_link(facts: CubeFacts, tmp_path: Path) -> None:
    for path, data in stac_objects(facts, [day_facts(date(2023, 6, day)) for day in (1, 2, 3)], []):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    collection = pystac.Collection.from_file(str(tmp_path / "stac" / "collection.json"))
    items = list(collection.get_items())
    assert [item.id for item in items] == ["sava-plain-2023-06-01", "sava-plain-2023-06-02", "sava-plain-2023-06-03"]
    assert items[0].get_collection() is collection
    assert Path(items[0].assets["cube"].get_absolute_href() or "") == tmp_path / "fused.zarr"
    assert Path(items[0].assets["thumbnail"].get_absolute_href() or "") == tmp_path / "quicklooks" / "sava-plain-2023-06-01.png"
    assert Path(items[0].assets["manifest"].get_absolute_href() or "") == tmp_path / "manifests" / "20230612T040000Z-1a2b.json"


def test_the_projection_of_an_item_is_the_grid(facts: CubeFacts, grid: Grid) -> None:
    item = pystac.Item.from_dict(day_item(facts, day_facts(date(2023, 6, 2))))
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32633"
    assert projection.shape == list(grid.shape)
    assert projection.transform == list(grid.transform)
    assert projection.bbox == list(grid.bounds)


def test_a_grid_without_an_authority_code_is_described_by_its_wkt() -> None:
    grid = Grid.from_bounds("+proj=laea +lat_0=45 +lon_0=15 +units=m", (0, 0, 9600, 9600))
    item = day_item(CubeFacts("laea", grid, ("ndvi",)), day_facts(date(2023, 6, 2)))
    assert item["properties"]["proj:code"] is None
    assert "Lambert Azimuthal Equal Area" in item["properties"]["proj:wkt2"]
    assert_valid(item, "item")
    assert_valid(collection_document(CubeFacts("laea", grid, ("ndvi",)), [date(2023, 6, 2)]), "collection")


def test_the_data_cube_extension_names_the_axes_and_the_variables_of_the_cube(cube: Path, grid: Grid) -> None:
    facts = CubeFacts("sava-plain", grid, ("blue", "green", "red", "nir08"))
    collection = pystac.Collection.from_dict(collection_document(facts, [date(2023, 6, 1), date(2023, 6, 4)]))
    described = DatacubeExtension.ext(collection)
    with xr.open_zarr(cube, mask_and_scale=False) as dataset:
        pixels = {name for name, variable in dataset.data_vars.items() if variable.dims == ("time", "y", "x")}
        assert set(described.variables or {}) == pixels
        assert {name: entry["data_type"] for name, entry in cube_variables(facts.bands).items()} == {
            name: str(dataset[name].dtype) for name in pixels
        }
        assert described.dimensions["x"].extent == [dataset.x.values.min(), dataset.x.values.max()]
        assert described.dimensions["y"].extent == [dataset.y.values.min(), dataset.y.values.max()]
    assert described.dimensions["time"].extent == ["2023-06-01T00:00:00Z", "2023-06-04T00:00:00Z"]
    assert described.dimensions["time"].to_dict()["step"] == "P1D"


def test_the_cube_asset_is_the_zarr_group_with_its_bands(facts: CubeFacts) -> None:
    asset = day_item(facts, day_facts(date(2023, 6, 2)))["assets"]["cube"]
    assert asset["type"] == ZARR_MEDIA_TYPE == "application/vnd.zarr; version=3"
    assert asset["href"] == "../../fused.zarr"
    assert [band["name"] for band in asset["bands"]] == list(BANDS)
    assert asset["bands"][0] == {"name": "blue", "data_type": "int16", "nodata": -32768, "raster:scale": 1e-4, "eo:common_name": "blue"}


def test_an_index_has_no_common_name(grid: Grid) -> None:
    asset = day_item(CubeFacts("a", grid, ("ndvi",)), day_facts(date(2023, 6, 2)))["assets"]["cube"]
    assert "eo:common_name" not in asset["bands"][0]


def test_an_item_carries_what_a_user_filters_on(facts: CubeFacts) -> None:
    properties = day_item(facts, day_facts(date(2023, 6, 2)))["properties"]
    assert properties["datetime"] == "2023-06-02T00:00:00Z"
    assert properties["landfuse:maturity"] == "interim"
    assert properties["landfuse:outcome"] == "published"
    assert properties["landfuse:clear_share"] == 0.25
    assert sum(properties[f"landfuse:share_{kind.name.lower()}"] for kind in Provenance) == pytest.approx(1.0)
    assert properties["processing:software"] == {"landfuse": "0.1.0"}


def test_the_footprint_is_a_closed_counter_clockwise_ring_around_the_box(grid: Grid) -> None:
    ring = footprint(grid)["coordinates"][0]
    assert ring[0] == ring[-1]
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(ring)) / 2
    assert area > 0
    west, south, east, north = grid.lonlat_bounds
    assert all(west - 1e-6 <= x <= east + 1e-6 and south - 1e-6 <= y <= north + 1e-6 for x, y in ring)


def test_the_collection_links_days_of_earlier_runs_and_spans_them_all(facts: CubeFacts) -> None:
    objects = stac_objects(facts, [day_facts(date(2023, 6, 5))], [date(2023, 5, 31), date(2023, 6, 5)])
    assert [path for path, _ in objects] == ["stac/2023/sava-plain-2023-06-05.json", "stac/collection.json"]
    collection = json.loads(objects[-1][1])
    links = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert links == ["./2023/sava-plain-2023-05-31.json", "./2023/sava-plain-2023-06-05.json"]
    assert collection["extent"]["temporal"]["interval"] == [["2023-05-31T00:00:00Z", "2023-06-05T00:00:00Z"]]


def test_equal_facts_give_equal_bytes(facts: CubeFacts) -> None:
    assert stac_objects(facts, [day_facts(date(2023, 6, 5))], []) == stac_objects(facts, [day_facts(date(2023, 6, 5))], [])


def test_every_reference_to_what_is_published_is_relative(facts: CubeFacts) -> None:
    for path, data in stac_objects(facts, [day_facts(date(2023, 6, 5))], []):
        document = json.loads(data)
        hrefs = [link["href"] for link in document["links"]] + [asset["href"] for asset in document["assets"].values()]
        for href in hrefs:
            assert "://" not in href
            assert "?" not in href
            assert not posixpath.normpath(posixpath.join(posixpath.dirname(path), href)).startswith("..")


@pytest.mark.parametrize("cube", ["https://host/fused.zarr?sig=secret", "/data/fused.zarr", "../elsewhere/fused.zarr"])
def test_a_layout_that_leaves_the_published_folder_is_refused(cube: str) -> None:
    with pytest.raises(ValueError, match="relative to the published folder"):
        Layout(cube=cube)


def test_a_run_id_that_is_a_path_is_refused(facts: CubeFacts) -> None:
    with pytest.raises(StoreError, match="not a plain name"):
        day_item(facts, day_facts(date(2023, 6, 5), run_id="../../etc/passwd"))


def test_a_collection_without_days_is_refused(facts: CubeFacts) -> None:
    with pytest.raises(ValueError, match="at least one published day"):
        collection_document(facts, [])
