"""The loopback STAC API answers a real client and stops."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlparse

import pystac_client
import pytest
import rasterio

from pipeline.errors import CatalogError
from pipeline.sandbox.server import serve


def test_a_client_finds_scenes_by_place_and_time_and_opens_them(sandbox: Path) -> None:
    with serve(sandbox) as url:
        client = pystac_client.Client.open(url)
        assert {entry.id for entry in client.get_collections()} == {"landsat-c2-l2", "modis-43A4-061"}
        search = client.search(collections=["landsat-c2-l2"], bbox=[14.9, 45.9, 15.2, 46.3], datetime="2022-05-24/2022-06-02", limit=3)
        found = list(search.items_as_dicts())
        assert len(found) > 3
        assert all("2022-05-24" <= item["properties"]["datetime"][:10] <= "2022-06-02" for item in found)
        with rasterio.open(found[0]["assets"]["red"]["href"]) as source:
            assert source.dtypes == ("uint16",)
        assert not list(client.search(collections=["landsat-c2-l2"], bbox=[0, 0, 1, 1]).items_as_dicts())
        address = urlparse(url)
    assert address.hostname == "127.0.0.1"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address.port or 0))) != 0


def test_a_folder_without_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no catalog\.json"), serve(tmp_path):
        pass
