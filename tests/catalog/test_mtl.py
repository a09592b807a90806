"""Landsat metadata files: what is read of them, and real Collection 2 pixels through catalog, reader and scale."""

from __future__ import annotations

import json
import tarfile
import warnings
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from pipeline.catalog import find_scenes
from pipeline.catalog.build import build_landsat_catalog
from pipeline.catalog.mtl import read_metadata
from pipeline.catalog.scene import Scene
from pipeline.errors import ConfigurationError
from pipeline.grid import Grid
from pipeline.observations.cube import lazy_scenes
from pipeline.observations.masking import physical, raw_type
from pipeline.sensors import Product, builtin_products

from .conftest import SHARED, catalog, source

CROPS = SHARED / "data" / "xlandsat-l2sp"
WHOLE = SHARED / "stac" / "mtl"
DAM = "LC08_L2SP_218074_20190114_20200829_02_T1"
needs_crops = pytest.mark.skipif(not CROPS.is_dir(), reason=f"no data at {CROPS}: set LANDFUSE_SHARED")
needs_whole = pytest.mark.skipif(not WHOLE.is_dir(), reason=f"no data at {WHOLE}: set LANDFUSE_SHARED")

PRODUCT_ID = "LE07_L2SP_190029_20030805_20200915_02_T1"
ROWS, COLUMNS = 6, 8
SCALES = "".join(f"    REFLECTANCE_MULT_BAND_{n} = 2.75e-05\n    REFLECTANCE_ADD_BAND_{n} = -0.2\n" for n in (1, 2, 3, 4, 5, 7))
ODL = f"""GROUP = LANDSAT_METADATA_FILE
  GROUP = PRODUCT_CONTENTS
    LANDSAT_PRODUCT_ID = "{PRODUCT_ID}"
    PROCESSING_LEVEL = "L2SP"
    COLLECTION_NUMBER = 02
    COLLECTION_CATEGORY = "T1"
    FILE_NAME_BAND_3 = "{PRODUCT_ID}_SR_B3.TIF"
    FILE_NAME_BAND_4 = "{PRODUCT_ID}_SR_B4.TIF"
    FILE_NAME_QUALITY_L1_PIXEL = "{PRODUCT_ID}_QA_PIXEL.TIF"
    FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION = "../{PRODUCT_ID}_QA_RADSAT.TIF"
  END_GROUP = PRODUCT_CONTENTS
  GROUP = IMAGE_ATTRIBUTES
    SPACECRAFT_ID = "LANDSAT_7"
    SENSOR_ID = "ETM"
    WRS_PATH = 190
    WRS_ROW = 29
    DATE_ACQUIRED = 2003-08-05
    SCENE_CENTER_TIME = "09:33:21.1234567Z"
    CLOUD_COVER = 12.00
    CLOUD_COVER_LAND = -1.00
    SUN_AZIMUTH = 137.5
    SUN_ELEVATION = 55.25
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = PROJECTION_ATTRIBUTES
    MAP_PROJECTION = "UTM"
    DATUM = "WGS84"
    UTM_ZONE = 33
    GRID_CELL_SIZE_REFLECTIVE = 30.00
    REFLECTIVE_LINES = {ROWS}\t
    REFLECTIVE_SAMPLES = {COLUMNS}
    CORNER_UL_PROJECTION_X_PRODUCT = 499800.000
    CORNER_UL_PROJECTION_Y_PRODUCT = 4904100.000
    CORNER_UR_PROJECTION_X_PRODUCT = {499800 + 30 * (COLUMNS - 1)}
    CORNER_UR_PROJECTION_Y_PRODUCT = 4904100.000
    CORNER_LL_PROJECTION_X_PRODUCT = 499800.000
    CORNER_LL_PROJECTION_Y_PRODUCT = {4904100 - 30 * (ROWS - 1)}
    CORNER_LR_PROJECTION_X_PRODUCT = {499800 + 30 * (COLUMNS - 1)}
    CORNER_LR_PROJECTION_Y_PRODUCT = {4904100 - 30 * (ROWS - 1)}
  END_GROUP = PROJECTION_ATTRIBUTES
  GROUP = LEVEL2_PROCESSING_RECORD
    DATE_PRODUCT_GENERATED = 2020-09-15T10:11:12Z
  END_GROUP = LEVEL2_PROCESSING_RECORD
  GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
{SCALES}  END_GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_3 = 1.0e-03
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""


def product_folder(folder: Path, text: str = ODL, **placed: object) -> Path:
    """A product of a red and a near infrared band; `placed` goes to the header of the GeoTIFFs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{PRODUCT_ID}_MTL.txt").write_text(text)
    for number, suffix in enumerate(("SR_B3", "SR_B4", "QA_PIXEL"), start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            profile = {"driver": "GTiff", "width": COLUMNS, "height": ROWS, "count": 1, "dtype": "uint16", **placed}
            with rasterio.open(folder / f"{PRODUCT_ID}_{suffix}.TIF", "w", **profile) as target:
                target.write(np.full((1, profile["height"], profile["width"]), 1000 * number, np.uint16))
    return folder


def test_every_fact_of_a_metadata_file_reaches_the_item(tmp_path: Path) -> None:
    report = build_landsat_catalog(product_folder(tmp_path))
    assert (report.items, report.files, report.assigned, report.collection) == (1, 3, 3, "landsat-c2-l2")
    item = json.loads((tmp_path / "landsat-c2-l2" / "items" / f"{PRODUCT_ID}.json").read_text())
    properties = item["properties"]
    assert properties["datetime"] == "2003-08-05T09:33:21.123456Z"
    assert properties["platform"] == "landsat-7"
    assert (properties["view:sun_elevation"], properties["view:sun_azimuth"], properties["view:off_nadir"]) == (55.25, 137.5, 0.0)
    assert properties["eo:cloud_cover"] == 12
    assert "landsat:cloud_cover_land" not in properties, "−1 means unknown"
    assert (properties["landsat:wrs_path"], properties["landsat:wrs_row"]) == ("190", "029")
    assert (properties["landsat:collection_category"], properties["landsat:correction"]) == ("T1", "L2SP")
    # Corners are centres of pixels: the edge lies half a pixel outside, 15 mod 30 m as in all of Collection 2.
    assert properties["proj:code"] == "EPSG:32633"
    assert properties["proj:transform"] == [30.0, 0.0, 499785.0, 0.0, -30.0, 4904115.0]
    assert properties["proj:shape"] == [ROWS, COLUMNS]
    assert properties["landfuse:georeference"] == "mtl"
    # The numbers of ETM+ bands mean other colours than those of OLI; a name that leads out of the folder is not taken.
    assert {key: Path(asset["href"]).name for key, asset in item["assets"].items()} == {
        "red": f"{PRODUCT_ID}_SR_B3.TIF",
        "nir08": f"{PRODUCT_ID}_SR_B4.TIF",
        "qa_pixel": f"{PRODUCT_ID}_QA_PIXEL.TIF",
    }


def test_missing_bands_and_quality_layers_are_told(tmp_path: Path) -> None:
    report = build_landsat_catalog(product_folder(tmp_path))
    assert report.notes[0].startswith(f"{PRODUCT_ID} has no blue, green, swir16, swir22")
    assert f"{PRODUCT_ID} has no qa_radsat" in report.notes[1]
    assert "no georeference" in report.notes[2]


def test_a_file_with_a_place_of_its_own_keeps_it_and_must_agree(tmp_path: Path) -> None:
    right = {"crs": "EPSG:32633", "transform": Affine(30, 0, 499785, 0, -30, 4904115)}
    report = build_landsat_catalog(product_folder(tmp_path / "right", **right))
    assert report.assigned == 0
    with pytest.raises(ConfigurationError, match=r"SR_B3\.TIF is not what its metadata file says: .*transform"):
        build_landsat_catalog(product_folder(tmp_path / "shifted", **right | {"transform": Affine(30, 0, 499800, 0, -30, 4904100)}))
    with pytest.raises(ConfigurationError, match=r"the CRS EPSG:32632, not EPSG:32633"):
        build_landsat_catalog(product_folder(tmp_path / "zone", **right | {"crs": "EPSG:32632"}))
    with pytest.raises(ConfigurationError, match=rf"it has {ROWS} × {COLUMNS - 1} pixels, not {ROWS} × {COLUMNS}"):
        build_landsat_catalog(product_folder(tmp_path / "cut", width=COLUMNS - 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"REFLECTIVE_SAMPLES = {COLUMNS}", f"REFLECTIVE_SAMPLES = {COLUMNS + 1}", r"9 samples of 30 m .* CORNER_UR says"),
        (
            "REFLECTANCE_MULT_BAND_3 = 2.75e-05",
            "REFLECTANCE_MULT_BAND_3 = 1e-4",
            r"MULT_BAND_3 is 0\.0001; product .* 2\.75e-05",
        ),
        ('PROCESSING_LEVEL = "L2SP"', 'PROCESSING_LEVEL = "L1TP"', "level L1TP.*expected L2SP or L2SR"),
        ("    SUN_ELEVATION = 55.25\n", "", "no SUN_ELEVATION in IMAGE_ATTRIBUTES"),
        ("SUN_ELEVATION = 55.25", "SUN_ELEVATION = high", "SUN_ELEVATION is 'high'; expected a number"),
        ("UTM_ZONE = 33", "UTM_ZONE = 61", "UTM_ZONE is 61; expected 1 to 60"),
        ('MAP_PROJECTION = "UTM"', 'MAP_PROJECTION = "AEA"', "MAP_PROJECTION AEA on WGS84; expected UTM or PS"),
        (f'PRODUCT_ID = "{PRODUCT_ID}"', 'PRODUCT_ID = "../../x"', "no product id"),
        ("09:33:21.1234567Z", "9 o'clock", "no date and time"),
        ('SENSOR_ID = "ETM"', 'SENSOR_ID = "MSS"', "SENSOR_ID 'MSS' is not known"),
        ("GROUP = IMAGE_ATTRIBUTES", "GROUP = OTHER", "no group IMAGE_ATTRIBUTES"),
    ],
)
def test_what_is_wrong_in_a_metadata_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / f"{PRODUCT_ID}_MTL.txt"
    path.write_text(ODL.replace(old, new))
    with pytest.raises(ConfigurationError, match=message):
        read_metadata(path)


def test_a_json_file_that_is_none_and_a_folder_without_any_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)no \*_MTL\.txt or \*_MTL\.json .*unpack the products first"):
        build_landsat_catalog(tmp_path)
    (tmp_path / "x_MTL.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="no LANDSAT_METADATA_FILE"):
        build_landsat_catalog(tmp_path)


def test_one_product_in_two_folders_is_an_error_and_in_two_formats_is_not(tmp_path: Path) -> None:
    product_folder(tmp_path / "a")
    groups = {"LANDSAT_METADATA_FILE": {}}
    current = ""
    for line in ODL.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        current = value if key == "GROUP" else current
        if key not in ("GROUP", "END_GROUP", "END"):
            groups["LANDSAT_METADATA_FILE"].setdefault(current, {})[key] = value.strip('"')
    (tmp_path / "a" / f"{PRODUCT_ID}_MTL.json").write_text(json.dumps(groups))
    assert build_landsat_catalog(tmp_path).items == 1
    product_folder(tmp_path / "b")
    with pytest.raises(ConfigurationError, match="remove one of them"):
        build_landsat_catalog(tmp_path)


@needs_whole
@pytest.mark.parametrize(
    ("name", "crs", "corner", "shape", "off_nadir"),
    [
        ("LC08_L2SP_005009_20150710_20200908_02_T2", "EPSG:32624", (365685, 8143815), (8821, 8791), 0.001),
        ("LC08_L2SP_008059_20191201_20200825_02_T1", "EPSG:32618", (378285, 275715), (7741, 7591), 0.001),
        ("LC08_L2SP_017036_20130419_20200913_02_T2", "EPSG:32617", (207585, 3942915), (7441, 7921), 11.696),
        ("LC08_L2SR_099120_20191129_20201016_02_T2", "EPSG:3031", (733785, 494415), (9011, 9031), 0.0),
    ],
)
def test_whole_scenes_lie_on_the_lattice_of_collection_2(
    name: str, crs: str, corner: tuple[int, int], shape: tuple[int, int], off_nadir: float
) -> None:
    metadata = read_metadata(WHOLE / f"{name}_MTL.json")
    assert metadata.id == name
    assert (metadata.crs, metadata.shape) == (crs, shape)
    assert metadata.transform == (30.0, 0.0, corner[0], 0.0, -30.0, corner[1])
    assert metadata.properties["view:off_nadir"] == off_nadir
    assert {"blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel", "qa_radsat", "qa_aerosol"} <= set(metadata.files)


@needs_whole
def test_metadata_without_any_of_its_files_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none of the files"):
        build_landsat_catalog(WHOLE, tmp_path)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six real products, unpacked."""
    folder = tmp_path_factory.mktemp("crops")
    for path in sorted(CROPS.glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            # Python 3.11 knows filters from 3.11.4 on.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(folder / path.name.removesuffix("-cropped.tar.gz"))
    return folder


def unmasked(bands: tuple[str, ...]) -> Product:
    """Collection 2 Level 2 without its QA: the crops have none."""
    known = builtin_products()["landsat-c2-l2"]
    return known.model_copy(update={"bands": {name: known.bands[name] for name in bands}, "layers": ()})


def found(folder: Path, product: Product, bounds: tuple[float, float, float, float], crs: str, day: date) -> tuple[list[Scene], Grid]:
    grid = Grid.from_bounds(crs, bounds)
    search = find_scenes([source("crops")], {"default": catalog(folder / "catalog.json")}, {"crops": product}, grid, day, day)
    return list(search.scenes), grid


@needs_crops
def test_real_pixels_are_found_loaded_and_scaled_as_an_independent_read_says(crops: Path) -> None:
    report = build_landsat_catalog(crops, collection="crops")
    assert (report.items, report.files, report.assigned, report.unmatched) == (6, 36, 36, ())
    product = unmasked(("blue", "green", "red", "nir08", "swir16", "swir22"))
    scenes, grid = found(crops, product, (583485, -2231685, 595485, -2222685), "EPSG:32623", date(2019, 1, 14))
    (scene,) = scenes
    assert (scene.id, scene.platform, scene.tier, scene.row) == (DAM, "landsat-8", 1, 74)
    assert scene.datetime == datetime(2019, 1, 14, 12, 57, 13, 180496, tzinfo=UTC)
    assert (scene.properties["view:sun_elevation"], scene.properties["view:sun_azimuth"]) == (59.92196710, 97.81448496)
    dtype, fill = raw_type(product.bands["red"])
    numbers = lazy_scenes(scenes, list(product.bands), grid, dtype, fill, {"default": catalog(crops / "catalog.json")}).compute().values[0]
    top, left = round((grid.north - scene.transform[5]) / 30), round((scene.transform[2] - grid.west) / 30)
    for at, (suffix, name) in enumerate(zip(("B2", "B3", "B4", "B5", "B6", "B7"), product.bands, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(crops / DAM / f"{DAM}_SR_{suffix}.TIF") as file:
                truth = file.read(1)
        inside = (slice(top, top + truth.shape[0]), slice(left, left + truth.shape[1]))
        assert np.array_equal(numbers[at][inside], truth), name
        reflectance = physical(numbers[at], product.bands[name])
        assert np.array_equal(reflectance[inside], np.where(truth == 0, np.nan, truth * 2.75e-5 - 0.2), equal_nan=True), name
        reflectance[inside] = np.nan
        assert np.isnan(reflectance).all(), "what lies outside the crop is no data"
    # Golden values of the red band, read once by hand: first pixel, and the middle of the crop.
    assert [int(numbers[2][top, left]), int(numbers[2][top + 150, left + 200])] == [9031, 9444]


@needs_crops
def test_a_crop_with_three_bands_serves_an_area_that_asks_for_no_others(crops: Path) -> None:
    build_landsat_catalog(crops, collection="crops")
    product = unmasked(("blue", "green", "red"))
    scenes, _ = found(crops, product, (736020, 574020, 756000, 585000), "EPSG:32620", date(2015, 10, 4))
    assert [(scene.id, sorted(scene.assets)) for scene in scenes] == [
        ("LC08_L2SP_232056_20151004_20200908_02_T1", ["blue", "green", "red"])
    ]


@needs_crops
def test_the_two_dates_of_one_place_lie_thirty_pixels_apart_as_their_metadata_say(crops: Path) -> None:
    """The crops of 14 and 30 January begin 900 m apart: read on one grid, stable ground agrees where the files do not."""
    build_landsat_catalog(crops, collection="crops")
    product = unmasked(("nir08",))
    numbers = []
    for day in (date(2019, 1, 14), date(2019, 1, 30)):
        scenes, grid = found(crops, product, (584400, -2231400, 595200, -2222700), "EPSG:32623", day)
        dtype, fill = raw_type(product.bands["nir08"])
        cube = lazy_scenes(scenes, ["nir08"], grid, dtype, fill, {"default": catalog(crops / "catalog.json")})
        numbers.append(cube.values[0, 0].astype(float))
    both = (numbers[0] > 0) & (numbers[1] > 0)
    together = np.corrcoef(numbers[0][both], numbers[1][both])[0, 1]
    moved = np.roll(numbers[1], 30, axis=1)
    apart = np.corrcoef(numbers[0][both], moved[both])[0, 1]
    assert together > apart + 0.2
