"""The reader changes no number, hides no error and tells no secret."""

from __future__ import annotations

import http.server
import pickle
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rasterio.windows import Window as RasterWindow
from stackstac.raster_spec import RasterSpec

from pipeline.catalog.signing import Access
from pipeline.errors import ReadError
from pipeline.grid import Window
from pipeline.observations import opening
from pipeline.observations.reader import SceneReader, locate, located, read_window
from pipeline.observations.warp import Lattice

from .scenes import LOCAL, SINUSOIDAL, UTM33, write_tiff

TRANSFORM = (30.0, 0.0, 500175.0, 0.0, -30.0, 5091135.0)
TARGET = Lattice(UTM33, 500175.0, 5091135.0, 30.0, 30.0)
UINT16 = np.dtype(np.uint16)
WHOLE = Window(0, 0, 40, 50)
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


def test_the_files_nodata_becomes_nan_where_nan_is_the_fill(tmp_path: Path) -> None:
    values = PIXELS.astype(np.float32)
    values[0, 0] = -9999
    path = write_tiff(tmp_path / "a.tif", values, UTM33, TRANSFORM, nodata=-9999)
    out = read(locate(path, UTM33, TRANSFORM, (40, 50)), dtype=np.dtype(np.float32), fill=np.nan)
    assert np.isnan(out[0, 0])
    assert np.isfinite(out).sum() == out.size - 1


@pytest.mark.parametrize("damage", ["missing", "html", "truncated"])
def test_a_missing_or_corrupt_file_is_an_error_never_nodata(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.tif"
    random = np.random.default_rng(0).integers(0, 60000, (512, 512)).astype(np.uint16)
    write_tiff(path, random, UTM33, TRANSFORM)
    if damage == "missing":
        path.unlink()
    elif damage == "html":
        path.write_text("<html><body>503 Service Unavailable</body></html>")
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError, match=r"a\.tif cannot be read"):
        read(locate(str(path), UTM33, TRANSFORM, (512, 512)), Window(0, 0, 512, 512))


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


class _Server(http.server.SimpleHTTPRequestHandler):
    """Serves files whole; fails the first requests, and tells which queries came."""

    failures = 0
    queries: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._answer(super().do_GET)

    def do_HEAD(self) -> None:
        self._answer(super().do_HEAD)

    def _answer(self, answer) -> None:
        type(self).queries.append(self.path.partition("?")[2])
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(404)
        else:
            answer()

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[_Server]]]:
    write_tiff(tmp_path / "a.tif", PIXELS, UTM33, TRANSFORM, nodata=0)
    handler = type("Handler", (_Server,), {"failures": 0, "queries": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    # A provider on loopback: its signature is what a real one puts behind the question mark.
    monkeypatch.setattr(opening, "access", lambda href, how: Access(href if how == "none" else f"{href}?sig=TOPSECRET"))
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_a_signed_asset_is_read_over_http(served: tuple[str, type[_Server]]) -> None:
    address, handler = served
    url = locate(f"{address}/a.tif", UTM33, TRANSFORM, (40, 50), "planetary-computer")
    assert np.array_equal(read(url), PIXELS)
    assert "sig=TOPSECRET" in handler.queries
    assert "TOPSECRET" not in url


def test_a_failed_open_is_not_remembered_by_gdal(served: tuple[str, type[_Server]]) -> None:
    address, handler = served
    handler.failures = 1
    assert np.array_equal(read(locate(f"{address}/a.tif", UTM33, TRANSFORM, (40, 50))), PIXELS)


def test_no_signature_is_in_an_error_or_its_context(served: tuple[str, type[_Server]]) -> None:
    address, _ = served
    with pytest.raises(ReadError) as caught:
        read(locate(f"{address}/missing.tif", UTM33, TRANSFORM, (40, 50), "planetary-computer"))
    text = "".join(traceback.format_exception(caught.value))
    assert f"{address}/missing.tif" in text
    assert "TOPSECRET" not in text
    assert caught.value.__context__ is None
    assert b"TOPSECRET" not in pickle.dumps(caught.value)
