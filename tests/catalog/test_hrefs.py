from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog.hrefs import Part, allowed_of, check_href, redact, resolve, split_part, unsigned
from pipeline.errors import CatalogError

from .conftest import catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "catalog"
    (place / "scenes").mkdir(parents=True)
    (place / "scenes" / "a.tif").write_bytes(b"")
    (tmp_path / "secret.tif").write_bytes(b"")
    return place


def test_files_below_the_folder_of_a_static_catalog_may_be_read(folder: Path) -> None:
    allowed = allowed_of(catalog(folder / "catalog.json"))
    path = str(folder / "scenes" / "a.tif")
    assert check_href(path, allowed) == path
    assert check_href(f"file://{path}", allowed) == path


def test_files_elsewhere_are_refused_however_the_path_is_written(folder: Path) -> None:
    allowed = allowed_of(catalog(folder / "catalog.json"))
    os.symlink(folder.parent / "secret.tif", folder / "link.tif")
    os.symlink(folder.parent, folder / "up")
    for href in (
        f"{folder}/../secret.tif",
        f"file://{folder}/%2e%2e/secret.tif",
        f"{folder}/link.tif",
        f"{folder}/up/secret.tif",
        f"{folder}-other/a.tif",
        "/etc/passwd",
        "/vsicurl/http://elsewhere.example/a.tif",
    ):
        with pytest.raises(CatalogError, match=r"outside the folders|scheme ''"):
            check_href(href, allowed)


def test_a_folder_is_opened_by_allow(folder: Path) -> None:
    allowed = allowed_of(catalog(folder / "catalog.json", allow=(str(folder.parent),)))
    assert check_href(str(folder.parent / "secret.tif"), allowed)


def test_remote_hosts_are_refused_unless_they_are_the_catalogs_own_or_allowed() -> None:
    allowed = allowed_of(catalog("https://stac.example/v1", allow=("data.example", "s3://usgs-landsat", "http://plain.example:8080")))
    for href in (
        "https://stac.example/a.tif",
        "https://DATA.example/a.tif",
        "s3://usgs-landsat/a.tif",
        "http://plain.example:8080/a.tif",
    ):
        assert check_href(href, allowed) == href
    for href in (
        "https://elsewhere.example/a.tif",
        "https://data.example.evil.org/a.tif",
        "s3://other/a.tif",
        "http://127.0.0.1:9000/a.tif",
        "http://169.254.169.254/latest",
        "ftp://data.example/a.tif",
        "file:///etc/passwd",
        "/etc/passwd",
    ):
        with pytest.raises(CatalogError):
            check_href(href, allowed)


def test_files_may_be_named_by_a_server_on_this_machine_only(folder: Path) -> None:
    href = f"file://{folder}/scenes/a.tif"
    assert check_href(href, allowed_of(catalog("http://127.0.0.1:8080"))) == str(folder / "scenes" / "a.tif")
    with pytest.raises(CatalogError):
        check_href(href, allowed_of(catalog("https://stac.example")))


def test_the_planetary_computer_may_serve_from_its_blobs() -> None:
    allowed = allowed_of(catalog("https://planetarycomputer.microsoft.com/api/stac/v1", sign="planetary-computer"))
    assert check_href("https://modiseuwest.blob.core.windows.net/modis-061-cogs/a.tif", allowed)
    with pytest.raises(CatalogError):
        check_href("https://blob.core.windows.net.evil.org/a.tif", allowed)


def test_passwords_in_hrefs_are_refused_without_being_shown() -> None:
    with pytest.raises(CatalogError) as caught:
        check_href("https://me:hunter2@data.example/a.tif", allowed_of(catalog("https://data.example")))
    assert "hunter2" not in str(caught.value)


def test_relative_hrefs_are_resolved_against_their_document() -> None:
    assert resolve("./a.tif", "/data/items/1.json") == "/data/items/a.tif"
    assert resolve("../a.tif", "https://h.example/items/1.json") == "https://h.example/a.tif"
    assert resolve("../a.tif", "file:///data/items/1.json") == "/data/a.tif"
    assert resolve("/abs/a.tif", "/data/1.json") == "/abs/a.tif"
    assert resolve("https://o.example/a.tif", "/data/1.json") == "https://o.example/a.tif"
    with pytest.raises(CatalogError, match="no self link"):
        resolve("a.tif", None)


def test_the_part_of_a_file_is_split_from_the_href() -> None:
    assert split_part("/data/a.tif#band=12") == ("/data/a.tif", Part(band=12))
    assert split_part("/data/a#b.tif") == ("/data/a#b.tif", Part())
    dataset = "/HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data Fields/SurfReflect_I1_1"
    assert split_part(f"https://h.example/VNP09GA.h5#hdf5={dataset}") == ("https://h.example/VNP09GA.h5", Part(dataset=dataset))


def test_a_dataset_that_would_end_its_quotes_is_no_part() -> None:
    for fragment in ('#hdf5=/a"://b', "#hdf5=a", "#hdf5=", "#hdf5=/a/"):
        assert split_part(f"/data/a.h5{fragment}") == (f"/data/a.h5{fragment}", Part())


def test_each_way_of_signing_brings_the_places_of_its_provider() -> None:
    earthdata = allowed_of(catalog("https://cmr.earthdata.nasa.gov/stac/LPCLOUD", sign="earthdata"))
    assert check_href("https://data.lpdaac.earthdatacloud.nasa.gov/lp-prod-protected/a.tif", earthdata)
    paid = allowed_of(catalog("https://earth-search.aws.element84.com/v1", sign="requester-pays"))
    assert check_href("s3://usgs-landsat/a.TIF", paid)
    for href, allowed in (
        ("s3://usgs-landsat/a.TIF", earthdata),
        ("https://earthdatacloud.nasa.gov.evil.org/a.tif", earthdata),
        ("s3://usgs-landsat-private/a.TIF", paid),
    ):
        with pytest.raises(CatalogError, match="is not allowed"):
            check_href(href, allowed)


secrets = st.text("abcdefgh0123456789%+/", min_size=6, max_size=30).map(lambda text: "S3CR3T" + text)


@settings(deadline=None)
@given(secrets)
def test_redaction_leaves_no_secret_of_a_url_in_any_text(secret: str) -> None:
    text = f"GET https://user:{secret.replace('/', '')}@h.example:8443/a/b.tif?sig={secret}&x=1 failed, then s3://b/k?token={secret}: 'https://h/x#{secret}'"
    shown = redact(text)
    assert "S3CR3T" not in shown
    assert "https://h.example:8443/a/b.tif failed" in shown


def test_only_signed_queries_are_dropped() -> None:
    assert unsigned("https://x.blob.core.windows.net/c/a.tif?any=1") == "https://x.blob.core.windows.net/c/a.tif"
    assert unsigned("https://h.example/a.tif?TOKEN=1") == "https://h.example/a.tif"
    assert unsigned("https://h.example/get?file=a.tif") == "https://h.example/get?file=a.tif"
