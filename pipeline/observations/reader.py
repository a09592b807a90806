"""One band of one asset as pixels of a grid: opened when it is read, signed when it is opened, checked against its item.

`SceneReader` is a stackstac reader. What it needs to know of an asset travels in the
fragment of its href (see `locate`), so that a Dask graph holds unsigned hrefs and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import rasterio
from rasterio.windows import Window as RasterWindow

from pipeline.catalog.hrefs import local_path, redact, sign, split_band
from pipeline.errors import LandfuseError, ReadError
from pipeline.grid import Window
from pipeline.observations.warp import Gather, Lattice, gather, same_crs

if TYPE_CHECKING:
    from stackstac.raster_spec import RasterSpec

_LOCAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",
    # Megabytes of the process; the default is a share of the memory of the whole machine, for every worker.
    "GDAL_CACHEMAX": 128,
}
_REMOTE_OPTIONS: dict[str, Any] = {
    **_LOCAL_OPTIONS,
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": 4_000_000,
}
# GDAL remembers that a file could not be opened: a second try must not look at what it remembers.
_RETRY_OPTIONS: dict[str, Any] = {**_REMOTE_OPTIONS, "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/"}

_LARGEST_SIDE = 500_000
"""Pixels; a global raster at 100 m has 400 000."""
_LARGEST_BLOCK = 1 << 30
"""Bytes of one compressed block once decoded: more is no image but an attack or an accident."""
_LARGEST_READ = 1 << 31
_CLOSE = 0.01
"""Pixels by which header and item may differ."""


@dataclass(frozen=True)
class Asset:
    """What is known of an asset before it is opened.

    Parameters
    ----------
    href : str
        Unsigned.
    band : int
        Band of the file, from 1.
    crs : str
        ``"EPSG:n"`` or WKT, as the item says.
    transform : tuple of 6 floats
        Affine coefficients (a, b, c, d, e, f) of the pixel edges, as the item says.
    shape : tuple of int
        (rows, columns), as the item says.
    sign : str
        How the href is signed when it is opened.
    assigned : bool
        The file itself has no georeference; the item was given one.
    """

    href: str
    band: int
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    sign: str = "none"
    assigned: bool = False

    @property
    def lattice(self) -> Lattice:
        return Lattice.of(self.crs, self.transform)


def locate(
    href: str,
    crs: str,
    transform: tuple[float, float, float, float, float, float],
    shape: tuple[int, int],
    sign: str = "none",
    assigned: bool = False,
) -> str:
    """The href with what its item says of it in the fragment: all that a reader needs, in one string.

    Parameters
    ----------
    href : str
        Unsigned; ``#band=n`` means band n of a multi-band file (from 1).
    crs, transform, shape, sign, assigned
        See `Asset`.
    """
    bare, band = split_band(href)
    facts = {
        "band": band or 1,
        "crs": crs,
        "transform": ",".join(repr(float(value)) for value in transform),
        "shape": f"{shape[0]},{shape[1]}",
        "sign": sign,
        "assigned": int(assigned),
    }
    return f"{bare}#{urlencode(facts)}"


@lru_cache(maxsize=4096)
def located(url: str) -> Asset:
    """The inverse of `locate`."""
    href, _, fragment = url.rpartition("#")
    facts = {key: values[0] for key, values in parse_qs(fragment).items()}
    a, b, c, d, e, f = (float(value) for value in facts["transform"].split(","))
    rows, columns = (int(value) for value in facts["shape"].split(","))
    return Asset(href, int(facts["band"]), facts["crs"], (a, b, c, d, e, f), (rows, columns), facts["sign"], facts["assigned"] == "1")


def read_window(url: str, target: Lattice, window: Window, dtype: np.dtype[Any], fill: np.generic) -> np.ndarray:
    """A window of a target lattice from one asset, by nearest neighbour and without any change of the numbers.

    Parameters
    ----------
    url : str
        From `locate`.
    target : Lattice
    window : Window
        Pixels of the target; what lies outside the raster is `fill`, and an asset that lies
        wholly outside is not opened.
    dtype : dtype
        Of the result; it must hold every number of the file's type.
    fill : numpy scalar
        Of `dtype`. If it is NaN, the nodata value of the file becomes NaN too.

    Raises
    ------
    ReadError
        If the asset cannot be opened or read, or is not what its item says. The message
        names the redacted href and carries no signature.
    """
    asset = located(url)
    if not gather(target, window, asset.lattice, asset.shape).source.width:
        return np.full(window.shape, fill, dtype)
    try:
        path = local_path(asset.href)
        if path is not None:
            return _read(asset, path, _LOCAL_OPTIONS, target, window, dtype, fill)
        try:
            return _read(asset, sign(asset.href, asset.sign), _REMOTE_OPTIONS, target, window, dtype, fill)
        except ReadError:
            raise
        except Exception:
            return _read(asset, sign(asset.href, asset.sign), _RETRY_OPTIONS, target, window, dtype, fill)
    except LandfuseError as error:
        problem = error
    except Exception as error:
        problem = ReadError(
            f"asset {redact(asset.href)} cannot be read: {_described(error)}",
            "it is tried again in the next run; if it stays, the file is missing or corrupt at the provider",
        )
    # The original error and the frames below name the signed URL: neither may travel along.
    problem.__context__ = None
    raise problem.with_traceback(None)


def _read(
    asset: Asset, href: str, options: dict[str, Any], target: Lattice, window: Window, dtype: np.dtype[Any], fill: np.generic
) -> np.ndarray:
    # Only GeoTIFF: other drivers (VRT, WMS) would follow what the file says to other places.
    with rasterio.Env(**options), rasterio.open(href, driver="GTiff") as dataset:
        lattice = _checked(dataset, asset, dtype)
        take = gather(target, window, lattice, dataset.shape)
        source = take.source
        if not source.width:
            return np.full(window.shape, fill, dtype)
        if source.height * source.width * dtype.itemsize > _LARGEST_READ:
            raise ReadError(f"asset {redact(asset.href)}: {source} would be read at once for {window}; read smaller windows")
        pixels = dataset.read(asset.band, window=RasterWindow(source.col, source.row, source.width, source.height))
        nodata = dataset.nodata
    return _filled(pixels.astype(dtype, copy=False), take, window, fill, nodata)


def _filled(pixels: np.ndarray, take: Gather, window: Window, fill: np.generic, nodata: float | None) -> np.ndarray:
    out = take.take(pixels, window.shape, fill)
    if nodata is not None and out.dtype.kind == "f" and np.isnan(fill):
        out[out == out.dtype.type(nodata)] = np.nan
    return out


def _checked(dataset: Any, asset: Asset, dtype: np.dtype[Any]) -> Lattice:
    """The lattice of the pixels, once the header agrees with the item."""
    problems: list[str] = []
    height, width = dataset.shape
    if max(height, width) > _LARGEST_SIDE:
        problems.append(f"its size {height} × {width} is absurd; expected at most {_LARGEST_SIDE} pixels along a side")
    if not 1 <= asset.band <= dataset.count:
        raise ReadError(f"asset {redact(asset.href)} has {dataset.count} bands; expected band {asset.band}")
    stored = np.dtype(dataset.dtypes[asset.band - 1])
    if math.prod(dataset.block_shapes[asset.band - 1]) * stored.itemsize > _LARGEST_BLOCK:
        problems.append(f"its blocks of {dataset.block_shapes[asset.band - 1]} pixels are absurd")
    if not np.can_cast(stored, dtype):
        problems.append(f"its numbers are {stored}; expected a type that {dtype} holds")
    # A quality layer may be coarser or finer than the bands of its scene by a whole number, on the same footprint.
    ratio = asset.shape[0] / height
    if asset.shape[1] / width != ratio or not (ratio.is_integer() or (1 / ratio).is_integer()):
        problems.append(f"its shape is {dataset.shape}; the item says {asset.shape}")
    a, b, west, d, e, north = asset.transform
    transform = (a * ratio, b, west, d, e * ratio, north)
    if not asset.assigned:
        header = tuple(dataset.transform)[:6]
        corners = [
            abs(header[0] - transform[0]) * width,
            abs(header[4] - transform[4]) * height,
            abs(header[2] - west),
            abs(header[5] - north),
            (abs(header[1]) + abs(header[3])) * max(height, width),
        ]
        if max(corners) > _CLOSE * abs(transform[0]):
            problems.append(f"its transform is {tuple(round(value, 6) for value in header)}; the item says {transform}")
        if dataset.crs is None:
            problems.append("it has no CRS; the item says " + _short(asset.crs))
        elif not _same_place(dataset.crs.to_wkt(), asset.crs, Lattice.of(asset.crs, transform), dataset.shape):
            problems.append(f"its CRS is {_short(dataset.crs.to_string())}; the item says {_short(asset.crs)}")
    if problems:
        raise ReadError(
            f"asset {redact(asset.href)} is not what its item says: " + "; ".join(problems),
            "mend the item or the file; its pixels are not used as long as they disagree",
        )
    return Lattice.of(asset.crs, transform)


@lru_cache(maxsize=256)
def _same_place(header: str, item: str, lattice: Lattice, shape: tuple[int, int]) -> bool:
    """Whether two CRS put the raster at one place: names and codes differ between writers where nothing else does."""
    if same_crs(header, item):
        return True
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    eastings = lattice.west + lattice.width * np.array([0.0, 0.5, 1.0, 0.0, 1.0]) * shape[1]
    northings = lattice.north - lattice.height * np.array([0.0, 0.5, 0.0, 1.0, 1.0]) * shape[0]
    try:
        moved = Transformer.from_crs(item, header, always_xy=True).transform(eastings, northings)
    except ProjError:
        return False
    # The corners of a sinusoidal tile may lie off the Earth; the centre then decides.
    known = np.isfinite(moved[0]) & np.isfinite(moved[1])
    distance = np.hypot(moved[0] - eastings, moved[1] - northings)[known]
    return bool(distance.size and distance.max() <= _CLOSE * lattice.width)


def _short(crs: str) -> str:
    return crs if len(crs) <= 80 else crs[:77] + "…"


def _described(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}")


class SceneReader:
    """A stackstac reader that signs on opening, never invents nodata, and holds no open file between reads.

    Parameters
    ----------
    url : str
        From `locate`.
    spec : RasterSpec
        Target grid. Its ``epsg`` may be WKT as well: it is handed on to PROJ.
    dtype, fill_value
        Of the result.
    resampling, scale_offset, gdal_env, errors_as_nodata
        Part of stackstac's protocol. Nearest neighbour, no scaling, our own GDAL options and no error
        taken for nodata is all that is offered.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: RasterSpec,
        resampling: Any = None,
        dtype: np.dtype[Any],
        fill_value: Any,
        scale_offset: tuple[float, float] = (1, 0),
        gdal_env: Any = None,
        errors_as_nodata: tuple[Exception, ...] = (),
    ) -> None:
        if tuple(scale_offset) != (1, 0) or errors_as_nodata:
            raise ValueError("SceneReader neither scales nor takes errors for nodata: pass rescale=False and errors_as_nodata=()")
        self.url = url
        self.spec = spec
        self.dtype = np.dtype(dtype)
        self.fill = self.dtype.type(fill_value)

    @property
    def target(self) -> Lattice:
        crs = self.spec.epsg
        west, _, _, north = self.spec.bounds
        width, height = self.spec.resolutions_xy
        return Lattice(f"EPSG:{crs}" if isinstance(crs, int) else crs, west, north, width, height)

    def read(self, window: RasterWindow) -> np.ndarray:
        """A window of the target grid; see `read_window`."""
        pixels = Window(int(window.row_off), int(window.col_off), int(window.height), int(window.width))
        return read_window(self.url, self.target, pixels, self.dtype, self.fill)

    def close(self) -> None:
        """Nothing is open between reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "spec": self.spec, "dtype": self.dtype, "fill_value": self.fill}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
