"""One band of one asset as pixels of a grid: signed and opened when it is read, checked against its item.

`SceneReader` is a stackstac reader over `read_window`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window as RasterWindow

from pipeline.catalog.hrefs import redact
from pipeline.errors import LandfuseError, ReadError
from pipeline.grid import Window
from pipeline.observations.asset import Asset, locate, located
from pipeline.observations.header import checked
from pipeline.observations.opening import opened
from pipeline.observations.warp import Lattice, gather

if TYPE_CHECKING:
    from stackstac.raster_spec import RasterSpec

__all__ = ["SceneReader", "locate", "located", "read_window"]

_LARGEST_READ = 1 << 31
"""Bytes read at once."""

_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        "not recognized as being in a supported",
        "it is no {format}, which was expected, but perhaps an error page under its name",
        "{mend}",
    ),
    ("No such file or directory", "there is no such {format}", "{mend}"),
    ("response code: 404", "the server has no such file (HTTP 404)", "{mend}"),
    ("response code: 40[13]", "the server refuses it (HTTP 401 or 403)", "check sign of the catalog and the token or credentials it needs"),
    ("timed out|Timeout", "the server did not answer in time", "{later}"),
    ("response code: (429|5..)|onnect", "the server is not there or overloaded", "{later}"),
    ("Read failed|IReadBlock|TIFFRead|TIFFFetch|H5Dread", "its pixels cannot be decoded; it is truncated or damaged", "{mend}"),
)
"""What GDAL says (a regular expression), what that means, what to do."""
_MEND = "it is tried again in the next run; if it stays, the file is missing or corrupt at the provider: get it anew, or take out its scene"
_LATER = "it is tried again in the next run; see whether the provider reports an outage"


def read_window(url: str, target: Lattice, window: Window, fill: np.generic, out: np.ndarray) -> None:
    """Read a window of a target lattice from one asset, by nearest neighbour and without any change of the numbers.

    Parameters
    ----------
    url : str
        From `locate`.
    target : Lattice
    window : Window
        Pixels of the target; what lies outside the raster is `fill`, and an asset that lies
        wholly outside is not opened.
    fill : numpy scalar
        Of the type of `out`. If it is NaN, the nodata value of the file becomes NaN too.
    out : ndarray, (y, x)
        Written to. Its type must hold every number of the file's.

    Raises
    ------
    ReadError
        If the asset cannot be opened or read, or is not what its item says. The message
        names the redacted href and carries no signature.
    """
    asset = located(url)
    if not gather(target, window, asset.lattice, asset.shape).source.width:
        out[...] = fill
        return
    try:
        try:
            _read(asset, target, window, fill, out)
        except LandfuseError:
            raise
        except Exception as error:
            # Once more, for what has gone by in the meantime; a server that hung will hang again.
            if "://" not in asset.href or _matches("timed out|Timeout", error):
                raise
            _read(asset, target, window, fill, out, again=True)
        return
    except LandfuseError as error:
        problem: LandfuseError = error
    except Exception as error:
        problem = _explained(asset, error)
    # The original error and the frames below name the signed URL: neither may travel along.
    problem.__context__ = None
    raise problem.with_traceback(None)


def _read(asset: Asset, target: Lattice, window: Window, fill: np.generic, out: np.ndarray, again: bool = False) -> None:
    with opened(asset, again) as dataset:
        lattice = checked(dataset, asset, out.dtype)
        take = gather(target, window, lattice, dataset.shape)
        source = take.source
        if source.height * source.width * out.dtype.itemsize > _LARGEST_READ:
            raise ReadError(f"{asset}: {source} would be read at once for {window}", "read smaller windows")
        rectangle = RasterWindow(source.col, source.row, source.width, source.height)
        if take.flat is None:
            # Straight to where they belong: fresh memory costs as much as half the decoding.
            if source.shape != window.shape:
                out[...] = fill
            if source.width:
                dataset.read(asset.part.band, window=rectangle, out=out[take.inside.slices])
        else:
            take.scatter(dataset.read(asset.part.band, window=rectangle), out, fill)
        nodata = dataset.nodata
    if nodata is not None and out.dtype.kind == "f" and np.isnan(fill):
        out[out == out.dtype.type(nodata)] = np.nan


def _explained(asset: Asset, error: Exception) -> ReadError:
    """What is wrong with the asset, in words, and what GDAL said of it, without secrets."""
    said = "; ".join(redact(str(part)) for part in _chain(error))
    known = next(((meaning, remedy) for pattern, meaning, remedy in _CAUSES if _matches(pattern, error)), ("", "{mend}"))
    words = {"format": "HDF5 dataset" if asset.part.dataset else "GeoTIFF", "mend": _MEND, "later": _LATER}
    meaning, remedy = (text.format(**words) for text in known)
    return ReadError(f"{asset} cannot be read: {meaning}{' – ' if meaning else ''}{type(error).__name__}: {said}", remedy)


def _matches(pattern: str, error: Exception) -> bool:
    return any(re.search(pattern, str(part)) for part in _chain(error))


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and its causes: rasterio says of a failed read only that there is one."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__
    return found


class SceneReader:
    """A stackstac reader that signs on opening, never invents nodata, and holds no open file of its own.

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
        out = np.empty(pixels.shape, self.dtype)
        read_window(self.url, self.target, pixels, self.fill, out)
        return out

    def close(self) -> None:
        """Files are closed when others need their place; see `opened`."""

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "spec": self.spec, "dtype": self.dtype, "fill_value": self.fill}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
