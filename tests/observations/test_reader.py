"""The reader changes no number, hides no error and tells no secret."""

from __future__ import annotations

import http.server
import logging
import pickle
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow
from stackstac.raster_spec import RasterSpec

from pipeline.catalog.signing import Access
from pipeline.errors import ReadError
from pipeline.grid import Window
from pipeline.observations import opening
from pipeline.observations.reader import SceneReader, locate, located, read_window
from pipeline.observations.warp import Lattice

from .scenes import H19V04, LOCAL, SINUSOIDAL, UTM33, write_tiff

TRANSFORM = (30.0, 0.0, 500175.0, 0.0, -30.0, 5091135.0)
TARGET = Lattice(UTM33, 500175.0, 5091135.0, 30.0, 30.0)
UINT16 = np.dtype(np.uint16)
WHOLE = Window(0, 0, 40, 50)
ESRI_SINUSOIDAL = (
    'PROJCS["Sinusoidal",GEOGCS["GCS_Undefined",DATUM["D_Undefined",SPHEROID["User_Defined_Spheroid",6371007.181,0.0]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Sinusoidal"],PARAMETER["False_Easting",0.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",0.0],UNIT["Meter",1.0]]'
)
PIXELS = np.arange(1, 40 * 50 + 1, dtype=np.uint16).reshape(40, 50)


def read(url: str, window: Window = WHOLE, dtype: np.dtype = UINT16, fill: float = 0) -> np.ndarray:
    return read_on(TARGET, url, window, dtype, fill)


def read_on(target: Lattice, url: str, window: Window = WHOLE, dtype: np.dtype = UINT16, fill: float = 0) -> np.ndarray:
    out = np.empty(window.shape, dtype)
    read_window(url, target, window, dtype.type(fill), out)
    return out


def test_pixels_are_handed_through_bit_by_bit(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM, nodata=0)
    assert np.array_equal(read(locate(path, UTM33, TRANSFORM, (40, 50))), PIXELS)


def test_a_window_that_reaches_outside_is_filled(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM, nodata=0)
    out = read(locate(path, UTM33, TRANSFORM, (40, 50)), Window(-3, 45, 10, 10), fill=7)
    assert np.array_equal(out[3:, :5], PIXELS[:7, 45:])
    assert np.all(out[:3] == 7)
    assert np.all(out[:, 5:] == 7)


def test_one_band_of_a_multi_band_file_is_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.stack([PIXELS, PIXELS + 1, PIXELS + 2]), UTM33, TRANSFORM)
    assert np.array_equal(read(locate(f"{path}#band=3", UTM33, TRANSFORM, (40, 50))), PIXELS + 2)
    with pytest.raises(ReadError, match="has 3 bands; expected band 4"):
        read(locate(f"{path}#band=4", UTM33, TRANSFORM, (40, 50)))


def test_what_travels_in_the_fragment_comes_back() -> None:
    url = locate(
        "https://host/a b.tif?x=1#band=2", SINUSOIDAL, (463.312716527917, 0, 0.1, 0, -463.312716527917, 1e-9), (3, 4), "none", True
    )
    asset = located(url)
    assert (asset.href, asset.part.band, asset.crs, asset.shape, asset.assigned) == (
        "https://host/a b.tif?x=1",
        2,
        SINUSOIDAL,
        (3, 4),
        True,
    )
    assert asset.transform == (463.312716527917, 0, 0.1, 0, -463.312716527917, 1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crs": "EPSG:32634"}, "its CRS is EPSG:32633; the item says EPSG:32634"),
        ({"transform": (30.0, 0.0, 500190.0, 0.0, -30.0, 5091135.0)}, "its transform is"),
        ({"shape": (41, 50)}, "its shape is"),
    ],
)
def test_a_file_that_is_not_what_its_item_says_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM)
    facts = {"crs": UTM33, "transform": TRANSFORM, "shape": (40, 50), **changes}
    target = Lattice(facts["crs"], *facts["transform"][2::3], 30.0, 30.0)
    with pytest.raises(ReadError, match=message):
        read_on(target, locate(path, **facts), Window(0, 0, 8, 8))


def test_numbers_that_the_result_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS.astype(np.int16), UTM33, TRANSFORM)
    with pytest.raises(ReadError, match="its numbers are int16; expected a type that uint16 holds"):
        read(locate(path, UTM33, TRANSFORM, (40, 50)))


def test_a_file_without_crs_is_read_only_where_the_item_was_given_one(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, None, (1.0, 0.0, 0.0, 0.0, -1.0, 40.0))
    with pytest.raises(ReadError, match="has no CRS"):
        read(locate(path, UTM33, TRANSFORM, (40, 50)))
    assert np.array_equal(read(locate(path, UTM33, TRANSFORM, (40, 50), assigned=True)), PIXELS)


def test_a_quality_layer_may_be_coarser_by_a_whole_number(tmp_path: Path) -> None:
    coarse = np.arange(20 * 25, dtype=np.uint16).reshape(20, 25)
    path = write_tiff(tmp_path / "a.tif", coarse, UTM33, (60.0, 0.0, 500175.0, 0.0, -60.0, 5091135.0))
    assert np.array_equal(read(locate(path, UTM33, TRANSFORM, (40, 50))), coarse.repeat(2, 0).repeat(2, 1))


def test_wkt_of_another_writer_is_the_same_place(tmp_path: Path) -> None:
    transform = (463.312716527917, 0.0, 1e6, 0.0, -463.312716527917, 5.1e6)
    path = write_tiff(tmp_path / "a.tif", PIXELS, "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs", transform)
    target = Lattice(SINUSOIDAL, 1e6, 5.1e6, 463.312716527917, 463.312716527917)
    url = locate(path, SINUSOIDAL, transform, (40, 50))
    assert np.array_equal(read_on(target, url), PIXELS)


@pytest.mark.parametrize("southern", ["file", "item", "both"])
def test_both_crs_of_a_utm_zone_are_the_same_place(tmp_path: Path, southern: str) -> None:
    def given(south: bool) -> tuple[str, tuple[float, float, float, float, float, float]]:
        crs, north = ("EPSG:32755", 5_178_415.0) if south else ("EPSG:32655", -4_821_585.0)
        return crs, (30.0, 0.0, 353685.0, 0.0, -30.0, north)

    path = write_tiff(tmp_path / "a.tif", PIXELS, *given(southern != "item"))
    url = locate(path, *given(southern != "file"), (40, 50))
    for crs, transform in (given(False), given(True)):
        assert np.array_equal(read_on(Lattice.of(crs, transform), url), PIXELS)


@pytest.mark.parametrize(
    "other",
    ["+proj=sinu +R=6371007.181 +nadgrids=@null +wktext +units=m", "+proj=sinu +a=6371007.181 +b=6371007.181 +units=m", ESRI_SINUSOIDAL],
)
def test_the_sphere_of_modis_is_one_place_under_all_its_names(tmp_path: Path, other: str) -> None:
    transform = (463.312716527917, 0.0, *H19V04[:1], 0.0, -463.312716527917, H19V04[1])
    path = write_tiff(tmp_path / "a.tif", PIXELS, other, transform)
    assert np.array_equal(read_on(Lattice.of(SINUSOIDAL, transform), locate(path, SINUSOIDAL, transform, (40, 50))), PIXELS)


def test_the_sphere_of_modis_is_not_the_ellipsoid(tmp_path: Path) -> None:
    transform = (463.312716527917, 0.0, *H19V04[:1], 0.0, -463.312716527917, H19V04[1])
    path = write_tiff(tmp_path / "a.tif", PIXELS, "+proj=sinu +datum=WGS84 +units=m", transform)
    with pytest.raises(ReadError, match=r"its CRS is .*; the item says PROJCS"):
        read_on(Lattice.of(SINUSOIDAL, transform), locate(path, SINUSOIDAL, transform, (40, 50)))


def test_the_same_numbers_in_the_other_crs_of_the_zone_are_another_place(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, "EPSG:32733", TRANSFORM)
    with pytest.raises(ReadError, match="its CRS is EPSG:32733; the item says EPSG:32633"):
        read(locate(path, UTM33, TRANSFORM, (40, 50)))


def write_hdf5(path: Path) -> str:
    """A granule in the layout of HDF-EOS5, as VNP09GA has it: two grids, whole numbers with fill, no georeference."""
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        for size, names in ((1, {"SurfReflect_I1_1": "i2"}), (2, {"SurfReflect_QF1_1": "u1"})):
            group = file.createGroup(f"HDFEOS/GRIDS/VIIRS_Grid_{500 * size}m_2D/Data Fields")
            group.createDimension("YDim", 40 // size)
            group.createDimension("XDim", 50 // size)
            for name, kind in names.items():
                variable = group.createVariable(
                    name, kind, ("YDim", "XDim"), fill_value=FILL if kind == "i2" else 255, zlib=True, chunksizes=(10, 25)
                )
                variable.set_auto_maskandscale(False)
                variable[:] = VIIRS if kind == "i2" else QUALITY
    return str(path)


FILL = -28672
VIIRS = np.where(np.arange(2000).reshape(40, 50) % 7 == 0, FILL, PIXELS).astype(np.int16)
QUALITY = np.arange(500, dtype=np.uint8).reshape(20, 25)
DATASET = "/HDFEOS/GRIDS/VIIRS_Grid_500m_2D/Data Fields/SurfReflect_I1_1"
TILE = (463.312716527917, 0.0, H19V04[0], 0.0, -463.312716527917, H19V04[1])
INT16 = np.dtype(np.int16)


@pytest.mark.parametrize("blank", [" ", "_"])
def test_a_dataset_in_hdf5_is_read_where_its_item_says_it_lies(tmp_path: Path, blank: str) -> None:
    path = write_hdf5(tmp_path / "VNP09GA.A2024001.h18v04.002.h5")
    target = Lattice.of(SINUSOIDAL, TILE)
    url = locate(f"{path}#hdf5={DATASET.replace(' ', blank)}", SINUSOIDAL, TILE, (40, 50))
    assert np.array_equal(read_on(target, url, dtype=INT16, fill=FILL), VIIRS)
    assert np.array_equal(read_on(target, url, Window(30, 40, 20, 20), INT16, FILL)[:10, :10], VIIRS[30:, 40:])
    # The quality layer has pixels of twice the size on the same tile.
    url = locate(f"{path}#hdf5=/HDFEOS/GRIDS/VIIRS_Grid_1000m_2D/Data Fields/SurfReflect_QF1_1", SINUSOIDAL, TILE, (40, 50))
    assert np.array_equal(read_on(target, url, dtype=np.dtype(np.int32)), QUALITY.repeat(2, 0).repeat(2, 1))


def test_a_dataset_that_is_not_in_the_hdf5_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    with pytest.raises(ReadError, match=r"a\.h5#hdf5=/HDFEOS/nothing cannot be read: there is no such HDF5 dataset"):
        read_on(Lattice.of(SINUSOIDAL, TILE), locate(f"{path}#hdf5=/HDFEOS/nothing", SINUSOIDAL, TILE, (40, 50)), dtype=INT16)


def test_the_shape_of_a_dataset_is_held_against_the_item(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    with pytest.raises(ReadError, match=r"its shape is \(40, 50\); the item says \(2400, 2400\)"):
        read_on(Lattice.of(SINUSOIDAL, TILE), locate(f"{path}#hdf5={DATASET}", SINUSOIDAL, TILE, (2400, 2400)), dtype=INT16)


def test_the_files_nodata_becomes_nan_where_nan_is_the_fill(tmp_path: Path) -> None:
    values = PIXELS.astype(np.float32)
    values[0, 0] = -9999
    path = write_tiff(tmp_path / "a.tif", values, UTM33, TRANSFORM, nodata=-9999)
    out = read(locate(path, UTM33, TRANSFORM, (40, 50)), dtype=np.dtype(np.float32), fill=np.nan)
    assert np.isnan(out[0, 0])
    assert np.isfinite(out).sum() == out.size - 1


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("missing", "there is no such GeoTIFF"),
        ("html", "it is no GeoTIFF, which was expected"),
        ("empty", "it is no GeoTIFF, which was expected"),
        ("truncated", "its pixels cannot be decoded; it is truncated or damaged"),
    ],
)
def test_a_missing_or_corrupt_file_is_an_error_never_nodata(tmp_path: Path, damage: str, found: str) -> None:
    path = tmp_path / "a.tif"
    random = np.random.default_rng(0).integers(0, 60000, (512, 512)).astype(np.uint16)
    write_tiff(path, random, UTM33, TRANSFORM)
    if damage == "missing":
        path.unlink()
    elif damage == "html":
        path.write_text("<html><body>503 Service Unavailable</body></html>")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError, match=rf"{re.escape(str(path))} cannot be read: {found}[\s\S]*→ it is tried again in the next run"):
        read(locate(str(path), UTM33, TRANSFORM, (512, 512)), Window(0, 0, 512, 512))


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM)
    url = locate(path, UTM33, TRANSFORM, (40, 50))
    assert np.array_equal(read(url), PIXELS)
    write_tiff(tmp_path / "b.tif", PIXELS + 1, UTM33, TRANSFORM)
    (tmp_path / "b.tif").replace(path)
    assert np.array_equal(read(url), PIXELS + 1)


def test_threads_share_no_open_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 60000, (512, 512)).astype(np.uint16)
    path = write_tiff(tmp_path / "a.tif", random, UTM33, TRANSFORM)
    url = locate(path, UTM33, TRANSFORM, (512, 512))
    windows = [Window(row, col, 100, 100) for row in range(0, 400, 50) for col in range(0, 400, 50)]
    with ThreadPoolExecutor(8) as pool:
        for window, pixels in zip(windows, pool.map(lambda window: read(url, window), windows), strict=True):
            assert np.array_equal(pixels, random[window.slices])


def test_a_raster_of_absurd_size_is_refused_before_its_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": UTM33, "transform": Affine(*TRANSFORM), "sparse_ok": True}
    with rasterio.open(path, "w", width=600_000, height=600_000, tiled=True, blockxsize=4096, blockysize=4096, BIGTIFF="YES", **profile):
        pass
    with pytest.raises(ReadError, match=r"its size 600000 × 600000 is absurd; expected at most 500000"):
        read(locate(str(path), UTM33, TRANSFORM, (600_000, 600_000)))


def test_a_block_that_would_burst_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": UTM33, "transform": Affine(*TRANSFORM), "sparse_ok": True}
    # A few hundred bytes of file, two gigabytes of pixels in one block.
    with rasterio.open(path, "w", width=32768, height=32768, tiled=True, blockxsize=32768, blockysize=32768, compress="deflate", **profile):
        pass
    with pytest.raises(ReadError, match=r"its blocks of 32768 × 32768 pixels are absurd; expected at most 256 MiB"):
        read(locate(str(path), UTM33, TRANSFORM, (32768, 32768)))


@pytest.mark.parametrize(
    "href",
    [
        "ftp://h.example/a.tif",
        "gs://bucket/a.tif",
        "zip+https://h.example/a.zip!a.tif",
        "/vsicurl/http://h.example/a.tif",
        "a.tif",
        '/a.h5"',
    ],
)
def test_an_href_of_another_kind_is_not_opened(href: str) -> None:
    with pytest.raises(ReadError, match=r"has the scheme|is no path that is read"):
        read(locate(href, UTM33, TRANSFORM, (40, 50)))


def test_an_asset_beside_the_window_is_not_opened() -> None:
    url = locate("/nowhere/at/all.tif", UTM33, TRANSFORM, (40, 50))
    assert np.all(read(url, Window(100, 100, 5, 5), fill=3) == 3)


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    secret = write_tiff(tmp_path / "secret.tif", PIXELS, UTM33, TRANSFORM)
    vrt = tmp_path / "a.tif"
    vrt.write_text(
        f'<VRTDataset rasterXSize="50" rasterYSize="40"><SRS>EPSG:32633</SRS><GeoTransform>500175,30,0,5091135,0,-30</GeoTransform>'
        f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename>{secret}</SourceFilename></SimpleSource>'
        f"</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(ReadError, match="cannot be read"):
        read(locate(str(vrt), UTM33, TRANSFORM, (40, 50)))


def test_a_reader_pickles_as_its_url_and_its_grid() -> None:
    spec = RasterSpec(epsg=32633, bounds=(500175.0, 5089935.0, 501675.0, 5091135.0), resolutions_xy=(30.0, 30.0))
    url = locate("https://account.blob.core.windows.net/c/a.tif", UTM33, TRANSFORM, (40, 50), "planetary-computer")
    reader = SceneReader(url=url, spec=spec, dtype=UINT16, fill_value=np.uint16(0))
    again = pickle.loads(pickle.dumps(reader))
    assert (again.url, again.target, again.fill) == (url, TARGET, 0)
    assert set(reader.__getstate__()) == {"url", "spec", "dtype", "fill_value"}
    with pytest.raises(ValueError, match="neither scales"):
        SceneReader(url=url, spec=spec, dtype=UINT16, fill_value=np.uint16(0), errors_as_nodata=(OSError(),))


def test_a_reader_of_a_grid_without_code_reads_the_same(tmp_path: Path) -> None:
    transform = (30.0, 0.0, 400095.0, 0.0, -30.0, 5091135.0)
    path = write_tiff(tmp_path / "a.tif", PIXELS, LOCAL, transform)
    spec = RasterSpec(epsg=LOCAL, bounds=(400095.0, 5089935.0, 401595.0, 5091135.0), resolutions_xy=(30.0, 30.0))
    reader = SceneReader(url=locate(path, LOCAL, transform, (40, 50)), spec=spec, dtype=UINT16, fill_value=np.uint16(0))
    assert np.array_equal(reader.read(RasterWindow(0, 0, 50, 40)), PIXELS)


Respond = Callable[[str, str, Mapping[str, str]], "tuple[int, dict[str, str]] | None"]


class _Server:
    """Files of a folder over HTTP with byte ranges, and what was asked: (method, path, headers) each.

    `respond(method, path, headers)` may answer in place of the file with a status and headers.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.respond: Respond = lambda method, path, headers: None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.command, self.path, self.headers))
                status, headers = server.respond(self.command, self.path, self.headers) or (200, {})
                body = b""
                if status == 200:
                    path = folder / Path(self.path.partition("?")[0]).name
                    status, body = (200, path.read_bytes()) if path.is_file() else (404, b"")
                    size = len(body)
                    if status == 200 and "Range" in self.headers and self.command == "GET":
                        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                        status, body = 206, body[int(first) : int(last) + 1]
                        headers = {"Content-Range": f"bytes {first}-{int(first) + len(body) - 1}/{size}"}
                self.send_response(status)
                for name, value in {"Accept-Ranges": "bytes", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *args) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=partial(self.server.serve_forever, poll_interval=0.02), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def sent(self, header: str) -> dict[str, set[str | None]]:
        """Values of a request header by the name of the host that they were sent to."""
        found: dict[str, set[str | None]] = {}
        for _, _, headers in self.requests:
            found.setdefault(headers["Host"].partition(":")[0], set()).add(headers.get(header))
        return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[_Server]:
    write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM, nodata=0)
    server = _Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider on loopback: its signature is what a real one puts behind the question mark."""
    monkeypatch.setattr(opening, "access", lambda href, how: Access(href if how == "none" else f"{href}?sig=TOPSECRET"))


@pytest.fixture
def earthdata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earthdata on 127.0.0.1, without TLS; any other name of this machine is another host."""
    monkeypatch.setattr(
        opening, "access", lambda href, how: Access(href, bearer="TOPSECRET" if how == "earthdata" and "//127.0.0.1" in href else "")
    )


@pytest.mark.usefixtures("signed")
def test_a_signed_asset_is_read_over_http(served: _Server) -> None:
    url = locate(f"{served.address}/a.tif", UTM33, TRANSFORM, (40, 50), "planetary-computer")
    assert np.array_equal(read(url), PIXELS)
    assert all(path == "/a.tif?sig=TOPSECRET" for _, path, _ in served.requests)
    assert "TOPSECRET" not in url


def test_a_dataset_in_hdf5_is_read_over_http_by_ranges(tmp_path: Path, served: _Server) -> None:
    write_hdf5(tmp_path / "a.h5")
    url = locate(f"{served.address}/a.h5#hdf5={DATASET}", SINUSOIDAL, TILE, (40, 50))
    assert np.array_equal(read_on(Lattice.of(SINUSOIDAL, TILE), url, dtype=INT16, fill=FILL), VIIRS)
    # Nothing beside the file is asked for.
    assert {path for _, path, _ in served.requests} == {"/a.h5"}
    assert all("Range" in headers for method, _, headers in served.requests if method == "GET")


def needs_token(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str]] | None:
    return None if headers.get("Authorization") == "Bearer TOPSECRET" else (401, {})


@pytest.mark.usefixtures("earthdata")
@pytest.mark.parametrize("container", ["a.tif", f"b.h5#hdf5={DATASET}"])
def test_an_earthdata_token_is_sent_as_a_header(tmp_path: Path, served: _Server, container: str) -> None:
    write_hdf5(tmp_path / "b.h5")
    served.respond = needs_token
    url = locate(f"{served.address}/{container}", UTM33, TRANSFORM, (40, 50), "earthdata")
    assert np.array_equal(read(url, dtype=INT16, fill=FILL) if "h5" in container else read(url), VIIRS if "h5" in container else PIXELS)
    assert served.sent("Authorization") == {"127.0.0.1": {"Bearer TOPSECRET"}}
    assert not any("TOPSECRET" in path for _, path, _ in served.requests)


@pytest.mark.usefixtures("earthdata")
def test_an_earthdata_token_does_not_follow_a_redirect_to_another_host(served: _Server) -> None:
    elsewhere = {"Location": f"http://localhost:{served.port}/a.tif?Signature=abc"}
    served.respond = lambda method, path, headers: (303, elsewhere) if path == "/protected/a.tif" else None
    assert np.array_equal(read(locate(f"{served.address}/protected/a.tif", UTM33, TRANSFORM, (40, 50), "earthdata")), PIXELS)
    assert served.sent("Authorization") == {"127.0.0.1": {"Bearer TOPSECRET"}, "localhost": {None}}


@pytest.mark.usefixtures("earthdata")
def test_an_earthdata_token_is_not_seen_by_reads_of_other_hosts_at_the_same_time(tmp_path: Path, served: _Server) -> None:
    names = [f"a{number}.tif" for number in range(8)]
    for name in names:
        write_tiff(tmp_path / name, PIXELS, UTM33, TRANSFORM)
    hosts = (served.address, f"http://localhost:{served.port}")
    urls = [locate(f"{host}/{name}", UTM33, TRANSFORM, (40, 50), "earthdata") for name in names for host in hosts]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(pixels, PIXELS) for pixels in pool.map(read, urls))
        # The first thread of a process sets GDAL's options for all.
        assert all(np.array_equal(read(url), PIXELS) for url in urls)
    assert served.sent("Authorization") == {"127.0.0.1": {"Bearer TOPSECRET"}, "localhost": {None}}


@pytest.mark.usefixtures("earthdata")
def test_a_refused_token_is_said_and_shown_nowhere(
    served: _Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    served.respond = lambda method, path, headers: (403, {})
    with pytest.raises(ReadError, match=r"a\.tif cannot be read: the server refuses it[\s\S]*→ check sign of the catalog") as caught:
        read(locate(f"{served.address}/a.tif", UTM33, TRANSFORM, (40, 50), "earthdata"))
    said = capfd.readouterr()
    assert "TOPSECRET" not in caplog.text + said.out + said.err + "".join(traceback.format_exception(caught.value))


@pytest.fixture
def bucket(served: _Server, monkeypatch: pytest.MonkeyPatch) -> _Server:
    """S3 on loopback, with credentials in the environment."""
    for name, value in {
        "AWS_S3_ENDPOINT": f"127.0.0.1:{served.port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "TOPSECRET",
    }.items():
        monkeypatch.setenv(name, value)
    return served


def test_an_asset_in_a_bucket_is_read_at_the_readers_cost(bucket: _Server) -> None:
    paying: Respond = lambda method, path, headers: None if headers.get("x-amz-request-payer") == "requester" else (403, {})  # noqa: E731
    bucket.respond = paying
    assert np.array_equal(read(locate("s3://usgs-landsat/collection02/a.tif", UTM33, TRANSFORM, (40, 50), "requester-pays")), PIXELS)
    assert {path for _, path, _ in bucket.requests} == {"/usgs-landsat/collection02/a.tif"}
    assert all("/us-west-2/s3/" in headers["Authorization"] for _, _, headers in bucket.requests)
    with pytest.raises(ReadError, match="the server refuses it"):
        read(locate("s3://usgs-landsat/collection02/other/a.tif", UTM33, TRANSFORM, (40, 50)))


def test_a_failed_open_is_not_remembered_by_gdal(served: _Server) -> None:
    answers = iter([(404, {})])
    served.respond = lambda method, path, headers: next(answers, None)
    assert np.array_equal(read(locate(f"{served.address}/a.tif", UTM33, TRANSFORM, (40, 50))), PIXELS)


def test_a_failed_open_in_a_bucket_is_not_remembered_by_gdal(bucket: _Server) -> None:
    answers = iter([(404, {})])
    bucket.respond = lambda method, path, headers: next(answers, None)
    assert np.array_equal(read(locate("s3://usgs-landsat/once/a.tif", UTM33, TRANSFORM, (40, 50))), PIXELS)


@pytest.mark.usefixtures("earthdata")
def test_a_failed_open_with_a_token_is_not_remembered_by_gdal(served: _Server) -> None:
    answers = iter([(404, {})])
    served.respond = lambda method, path, headers: next(answers, None)
    assert np.array_equal(read(locate(f"{served.address}/a.tif", UTM33, TRANSFORM, (40, 50), "earthdata")), PIXELS)


def test_a_file_that_the_server_does_not_have_is_said_to_be_missing(served: _Server) -> None:
    with pytest.raises(ReadError, match=r"nothing\.tif cannot be read: the server has no such file \(HTTP 404\)"):
        read(locate(f"{served.address}/nothing.tif", UTM33, TRANSFORM, (40, 50)))


def test_a_page_in_place_of_a_raster_is_said_to_be_none(tmp_path: Path, served: _Server) -> None:
    (tmp_path / "page.tif").write_text("<html><body>Please log in</body></html>")
    with pytest.raises(ReadError, match=r"page\.tif cannot be read: it is no GeoTIFF, which was expected, but perhaps an error page"):
        read(locate(f"{served.address}/page.tif", UTM33, TRANSFORM, (40, 50)))


def test_a_server_that_hangs_is_given_up(served: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(opening._REMOTE_OPTIONS, "GDAL_HTTP_TIMEOUT", "1")
    monkeypatch.setitem(opening._REMOTE_OPTIONS, "GDAL_HTTP_MAX_RETRY", "0")
    woken = threading.Event()
    served.respond = lambda method, path, headers: (500, {}) if woken.wait(20) else None
    started = time.monotonic()
    with pytest.raises(
        ReadError, match=r"a\.tif cannot be read: the server did not answer in time[\s\S]*→ it is tried again in the next run"
    ):
        read(locate(f"{served.address}/a.tif", UTM33, TRANSFORM, (40, 50)))
    woken.set()
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("signed")
def test_no_signature_is_in_an_error_or_its_context(served: _Server) -> None:
    with pytest.raises(ReadError) as caught:
        read(locate(f"{served.address}/missing.tif", UTM33, TRANSFORM, (40, 50), "planetary-computer"))
    text = "".join(traceback.format_exception(caught.value))
    assert f"{served.address}/missing.tif" in text
    assert "TOPSECRET" not in text
    assert caught.value.__context__ is None
    assert b"TOPSECRET" not in pickle.dumps(caught.value)
