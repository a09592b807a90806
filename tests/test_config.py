"""The area file: what is refused, and what a change means."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_area
from pipeline.errors import ConfigurationError
from pipeline.starter import starter_area

TEXT = starter_area("field", "EPSG:32633", (500000, 4900000, 515000, 4915000), date(2024, 1, 1))


def write(folder: Path, text: str) -> Path:
    path = folder / "area.yaml"
    path.write_text(text)
    return path


def test_the_starter_file_is_valid_and_its_root_is_its_own_folder(tmp_path: Path) -> None:
    area = load_area(write(tmp_path, TEXT))
    assert area.name == "field"
    assert area.cube_path == tmp_path.resolve() / "fused.zarr"
    assert area.grid.west % 240 == 15


def test_an_unknown_key_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"science\.mask\.dilute"):
        load_area(write(tmp_path, TEXT.replace("dilate: 90", "dilute: 90")))


def test_a_wrong_value_is_shown_beside_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"science\.block.*not a multiple|block 500 is not a multiple"):
        load_area(write(tmp_path, TEXT.replace("block: 512", "block: 500")))


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="reads version 1"):
        load_area(write(tmp_path, TEXT.replace("version: 1", "version: 2")))


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="landfuse init"):
        load_area(tmp_path / "none.yaml")


def test_a_runtime_key_leaves_the_science_digest_and_a_science_key_changes_it(tmp_path: Path) -> None:
    first = load_area(write(tmp_path, TEXT)).science_digest
    assert load_area(write(tmp_path, TEXT.replace("workers: 2", "workers: 7"))).science_digest == first
    assert load_area(write(tmp_path, TEXT.replace("dilate: 90", "dilate: 60"))).science_digest != first


def test_a_path_of_a_static_catalog_is_taken_relative_to_the_file(tmp_path: Path) -> None:
    document = yaml.safe_load(TEXT)
    document["runtime"]["catalogs"]["here"] = {"url": "stac/catalog.json"}
    area = load_area(write(tmp_path, yaml.safe_dump(document)))
    assert area.runtime.catalogs["here"].url == str(tmp_path.resolve() / "stac" / "catalog.json")
    assert area.runtime.catalogs["planetary-computer"].url.startswith("https://")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("resolution: 30 ", "resolution: 0.00027 ", "resolution 0.00027: expected 1 to 10000 m: the unit is metres, not degrees"),
        ("resolution: 30 ", "resolution: 30000 ", "resolution 30000: expected 1 to 10000 m"),
        ("dilate: 90", "dilate: 90000", "dilate 90000: expected 0 to 5000 m: the unit is metres"),
        ("dilate: 90", "dilate: -30", "dilate -30: expected 0 to 5000 m"),
        ("dilate: 90", "reflectance: [0, 10000]", r"reflectance \[0\.0, 10000\.0\]: .* in reflectance, not in DN"),
        ("dilate: 90", "reflectance: [1, 0]", "lowest < highest"),
        ("block: 512", "block: 15360", "block 15360: expected 64 to 4096 fine pixels: the unit is pixels, not metres"),
        ("block: 512", "block: 16", "block 16: expected 64 to 4096"),
        ("crs: EPSG:32633", "crs: EPSG:4326", "crs 'EPSG:4326' is in degrees; give a projected CRS in metres"),
        ("bounds: [500000, 4900000, 515000, 4915000]", "bounds: [15.0, 44.2, 15.3, 44.4]", "smaller than one coarse cell of 240 m"),
        ("bounds: [500000, 4900000, 515000, 4915000]", "bounds: [500000, 4900000, 515000, 9915000]", "at most 100000 along a side"),
        ("bounds: [500000, 4900000, 515000, 4915000]", "bounds: [515000, 4900000, 500000, 4915000]", "expected west < east"),
    ],
)
def test_a_value_in_the_wrong_unit_is_named_with_the_unit_that_is_meant(tmp_path: Path, old: str, new: str, named: str) -> None:
    text = TEXT.replace("500000.0", "500000").replace(".0, ", ", ").replace(".0]", "]")
    assert old in text
    with pytest.raises(ConfigurationError, match=rf"science\.\S+: .*{named}"):
        load_area(write(tmp_path, text.replace(old, new)))


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"notes\.txt is a file; expected a folder"):
        load_area(write(tmp_path, TEXT.replace("root: .", "root: notes.txt")))
