"""Recorded items of real providers, items shaped like them, and servers on loopback."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.grid import Grid
from pipeline.sensors import Product

SHARED = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).parents[2] / ".." / "shared"))


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], list[dict[str, Any]]]:
    """Items of a recorded response, by its path below the folder of responses."""

    def read(name: str) -> list[dict[str, Any]]:
        path = SHARED / "stac" / name
        if not path.exists():
            pytest.skip(f"no recorded response at {path}: set LANDFUSE_SHARED")
        document = json.loads(path.read_text(encoding="utf-8"))
        items = document if isinstance(document, list) else document.get("features", [document])
        # As when a static catalog is read: an item that does not say where it lies lies where it was read.
        return [
            item if any(link["rel"] == "self" for link in item["links"]) else {**item, "links": [{"rel": "self", "href": str(path)}]}
            for item in items
        ]

    return read


@pytest.fixture
def grid() -> Grid:
    """3840 m square in UTM 33 N, within the scenes that `landsat_item` makes."""
    return Grid.from_bounds("EPSG:32633", (500_000, 4_900_000, 503_840, 4_903_840))


def landsat_item(
    item_id: str = "LC08_L2SP_190029_20240610_02_T1", datetime: str = "2024-06-10T09:50:00Z", **changes: Any
) -> dict[str, Any]:
    """An item as the Planetary Computer writes it."""
    keys = ("blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel", "qa_radsat", "qa_aerosol")
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "landsat-c2-l2",
        "geometry": {"type": "Polygon", "coordinates": [[[14.5, 44.0], [15.5, 44.0], [15.5, 44.6], [14.5, 44.6], [14.5, 44.0]]]},
        "bbox": [14.5, 44.0, 15.5, 44.6],
        "properties": {
            "datetime": datetime,
            "created": "2024-06-12T09:20:11.670692Z",
            "platform": "landsat-8",
            "proj:epsg": 32633,
            "proj:shape": [600, 600],
            "proj:transform": [30.0, 0.0, 495015.0, 0.0, -30.0, 4910415.0],
            "landsat:wrs_row": "029",
            "landsat:collection_category": "T1",
            "eo:cloud_cover": 12.5,
        },
        "assets": {key: {"href": f"https://data.example/{item_id}_{key}.TIF"} for key in keys},
        "links": [],
    }
    item["properties"].update(changes)
    return item


def modis_item(doy: str = "2024160", stamp: str = "2024169035331") -> dict[str, Any]:
    """An MCD43A4 item as the Planetary Computer writes it since 2024: no platform, and dates that start on the nominal day."""
    from datetime import datetime, timedelta

    start = datetime.strptime(doy, "%Y%j")
    item_id = f"MCD43A4.A{doy}.h19v04.061.{stamp}"
    keys = [name.format(band) for band in range(1, 8) for name in ("Nadir_Reflectance_Band{}", "BRDF_Albedo_Band_Mandatory_Quality_Band{}")]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "modis-43A4-061",
        "geometry": {"type": "Polygon", "coordinates": [[[13.1, 40], [31.1, 40], [31.1, 50], [13.1, 50], [13.1, 40]]]},
        "bbox": [13.1, 40.0, 31.1, 50.0],
        "properties": {
            "datetime": f"{start + timedelta(days=4):%Y-%m-%d}T00:00:00Z",
            "start_datetime": f"{start:%Y-%m-%d}T00:00:00Z",
            "end_datetime": f"{start + timedelta(days=7):%Y-%m-%d}T23:59:59.999000Z",
            "platform": "",
            "proj:epsg": None,
            "proj:wkt2": (
                'PROJCS["unnamed",GEOGCS["Unknown datum based upon the custom spheroid",DATUM["Not specified (based on custom spheroid)",'
                'SPHEROID["Custom spheroid",6371007.181,0]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
                'PROJECTION["Sinusoidal"],PARAMETER["longitude_of_center",0],PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["Meter",1]]'
            ),
            "proj:shape": [2400, 2400],
            "proj:transform": [463.3127165279165, 0.0, 1111950.519667, 0.0, -463.3127165274999, 5559752.598333],
        },
        "assets": {key: {"href": f"https://data.example/{item_id}_{key}.tif"} for key in keys},
        "links": [],
    }


def tile_item(
    sensor: str, day: date, product: Product, tile: str = "h19v04", version: str | None = None, **properties: Any
) -> dict[str, Any]:
    """An item of a product on a tile, in GeoTIFFs, without a projection: its tile says where it lies."""
    if version is None:
        version = "002" if sensor.startswith("V") else "061"
    item_id = f"{sensor}.A{day:%Y%j}.{tile}.{version}.{day:%Y%j}123456"
    keys = {band.asset for band in product.bands.values()} | {band.quality_asset for band in product.bands.values() if band.quality_asset}
    keys |= {layer.asset for layer in product.layers}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": sensor,
        "geometry": {"type": "Polygon", "coordinates": [[[13.1, 40], [31.1, 40], [31.1, 50], [13.1, 50], [13.1, 40]]]},
        "bbox": [13.1, 40.0, 31.1, 50.0],
        "properties": {"datetime": f"{day}T00:00:00Z", **properties},
        "assets": {key: {"href": f"https://data.example/{item_id}.{key}.tif"} for key in sorted(keys)},
        "links": [],
    }


def static_catalog(folder: Path, items: list[dict[str, Any]], write_files: bool = False) -> Path:
    """A catalog on disk with relative hrefs; every asset lies beside its item."""
    items = copy.deepcopy(items)
    collections = dict.fromkeys(item["collection"] for item in items)
    for name in collections:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        links = []
        for number, item in enumerate(item for item in items if item["collection"] == name):
            for key, asset in item["assets"].items():
                asset["href"] = f"./{item['id']}_{key}.tif"
                if write_files:
                    (place / asset["href"]).write_bytes(b"")
            (place / f"{number}.json").write_text(json.dumps(item))
            links.append({"rel": "item", "href": f"./{number}.json"})
        (place / "collection.json").write_text(json.dumps({"type": "Collection", "id": name, "links": links}))
    root = folder / "catalog.json"
    children = [{"rel": "child", "href": f"./{name}/collection.json"} for name in collections]
    root.write_text(json.dumps({"type": "Catalog", "id": "test", "links": children}))
    return root


def source(collection: str, catalog: str = "default", product: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(collection=collection, catalog=catalog, product=product)


def catalog(url: object, sign: str = "none", allow: tuple[str, ...] = (), alternate: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(url=str(url), sign=sign, allow=allow, alternate=alternate)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(items: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """Items behind a real STAC API on loopback, whose documents are written to a folder; its address."""
    program = shutil.which("rustac", path=str(Path(sys.executable).parent)) or shutil.which("rustac")
    if program is None:
        pytest.skip("rustac is not installed")
    files = []
    for name in dict.fromkeys(item["collection"] for item in items):
        files.append(folder / f"{name}.collection.json")
        files[-1].write_text(json.dumps(_collection(name)))
    files.append(folder / "items.json")
    files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    port = free_port()
    command = [program, "serve", *map(str, files), "-a", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError(f"no STAC API at {url} after 5 s")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=5)


@pytest.fixture
def stac_api(tmp_path: Path) -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    """Serves items by a real STAC API on loopback; gives its address."""
    with ExitStack() as stack:
        yield lambda items: stack.enter_context(serving(items, tmp_path))


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2000-01-01T00:00:00Z", None]]}},
        "links": [],
    }


class Answers(BaseHTTPRequestHandler):
    """Hands every request to the server's `answer(method, path, body) -> (status, headers, document)`."""

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, document = self.server.answer(method, self.path, json.loads(body) if body else None)  # type: ignore[attr-defined]
        payload = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def http_server() -> Iterator[Callable[[Callable[..., tuple[int, dict[str, str], Any]]], str]]:
    """Serves a function over HTTP on loopback; gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(answer: Callable[..., tuple[int, dict[str, str], Any]]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.answer = answer  # type: ignore[attr-defined]
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
