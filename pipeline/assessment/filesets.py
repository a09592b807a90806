"""Sets of plain GeoTIFFs with real images, read from a folder of data as they are distributed. Their folders keep their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from pipeline.assessment.archives import Archive, Image, Mask
from pipeline.errors import ConfigurationError
from pipeline.grid import day_number
from pipeline.vocabulary import BANDS, Surface

MODIS = 500.0
"""Nominal pixel of the daily MODIS bands [m], which public figures of ERGAS are given for."""

_FOOTPRINT = 1.4
"""Effective footprint of a gridded MODIS product, in its pixels: a cell holds what was seen around it, from several angles."""

_FINE_STD, _COARSE_STD = 0.01, 0.02

_FMASK_WATER, _FMASK_SNOW = 1, 3
_FMASK_HIDES = (2, 4, 255)
_SURFACE = np.full(256, Surface.LAND, np.uint8)
_SURFACE[[_FMASK_WATER, _FMASK_SNOW]] = Surface.WATER, Surface.SNOW
"""`Surface` of the codes of Fmask."""
_DILATE = 90.0
"""Metres around clouds and shadows that are hidden too."""


@dataclass(frozen=True)
class ThreeDates:
    """Three clear dates with MODIS of the same days on the fine grid.

    Parameters
    ----------
    fine, coarse : str
        File names with ``{}`` for the day (YYYYMMDD).
    days : sequence of date
    bands : tuple of str
    scale : int
    resolution, coarse_pixel : float
    """

    fine: str
    coarse: str
    days: Sequence[date]
    bands: tuple[str, ...]
    scale: int
    resolution: float
    coarse_pixel: float

    def __call__(self, folder: Path) -> Archive:
        sharp, blurred = (
            np.stack([_read(folder / name.format(f"{day:%Y%m%d}")) / np.float32(1e4) for day in self.days])
            for name in (self.fine, self.coarse)
        )
        numbers = tuple(day_number(day) for day in self.days)
        return _archive(folder, self.bands, self.resolution, self.scale, self.coarse_pixel, numbers, sharp, np.array(numbers), blurred)


def _ifsdaf(folder: Path) -> Archive:
    """A year of clouded Landsat 8 NDVI with Fmask, and MODIS composites of 16 days that stand at their centres."""
    start = day_number(date(2015, 1, 1))
    images, days, water, shown = [], [], [], []
    for path in sorted(folder.glob("*_ndvi.tif"), key=lambda path: path.name[9:16]):
        values = _read(path)
        mask = path.with_name(path.name.replace("_ndvi", "_fmask"))
        codes = _read(mask)[0].astype(int) if mask.exists() else np.zeros(values.shape[1:], int)
        hidden = _widened(np.isin(codes, _FMASK_HIDES), 30.0) | (np.abs(values[0]) > 10000)
        images.append(np.where(hidden, np.nan, values / 1e4).astype(np.float32))
        shown.append(_SURFACE[codes])
        days.append(start + int(path.name[13:16]) - 1)
        if mask.exists():
            water.append(np.where(hidden, np.nan, codes == _FMASK_WATER))
    composites = _read(folder / "mod_ndvi_16day_2015.tif")[:, None] / np.float32(1e4)
    cover = _read(folder / "landcover.tif")[0].astype(int)
    layers = {"water": np.nanmean(np.stack(water), axis=0) > 0.5}
    layers |= {f"cover class {code}": cover == code for code in np.unique(cover).tolist() if code > 0}
    centres = start + 16.0 * np.arange(len(composites)) + 7.5
    return _archive(
        folder,
        ("ndvi",),
        30.0,
        8,
        240.0,
        tuple(days),
        np.stack(images),
        centres,
        composites,
        std=0.03,
        restoration=(32.0, 8.0),
        layers=layers,
        surface=np.stack(shown),
    )


def _kranj(folder: Path) -> Archive:
    """Four Landsat 8 dates with real gaps and daily MODIS, 1.3 km wide: for tests, not for figures."""

    def gather(pattern: str, unit: float) -> tuple[tuple[int, ...], Image]:
        paths = sorted(folder.glob(pattern))
        numbers = [day_number(date(int(path.name[:4]), 1, 1)) + int(path.name[4:7]) - 1 for path in paths]
        values = np.stack([_read(path) for path in paths])[..., :40, :40]
        return tuple(numbers), np.where(np.abs(values) < 1e30, values / unit, np.nan).astype(np.float32)

    days, fine = gather("landsat/unfilled/*.tif", 1e4)
    coarse_days, coarse = gather("modis/filled/*.tif", 1.0)
    return _archive(folder, BANDS, 30.0, 8, MODIS, days, fine, np.array(coarse_days), coarse, restoration=(16.0, 8.0))


FILE_SETS: Mapping[str, Callable[[Path], Archive]] = {
    "boreas-estarfm-30m": ThreeDates(
        "landsat7_{}.tif",
        "modis_{}.tif",
        (date(2001, 5, 24), date(2001, 7, 11), date(2001, 8, 12)),
        ("green", "red", "nir08"),
        scale=8,
        resolution=30.0,
        coarse_pixel=MODIS,
    ),
    "cia-3date-50m": ThreeDates(
        "landsat7_{}.tif",
        "mod09ga_{}.tif",
        (date(2001, 10, 8), date(2001, 10, 17), date(2001, 11, 2)),
        BANDS,
        scale=5,
        resolution=50.0,
        coarse_pixel=463.3127,
    ),
    "ifsdaf-ndvi-2015": _ifsdaf,
    "kranj-imagefusion": _kranj,
}
"""Readers by the name of the set's folder."""


def read_set(name: str, data: Path) -> Archive:
    """Read a set from a folder of sets.

    Raises
    ------
    ConfigurationError
        If the set is unknown or not there.
    """
    if name not in FILE_SETS:
        raise ConfigurationError(f"no set {name!r}", f"known sets: {', '.join(FILE_SETS)}")
    if not (data / name).is_dir():
        raise ConfigurationError(f"{data} holds no set {name!r}", "name the folder that holds the sets: --data FOLDER")
    return FILE_SETS[name](data / name)


def fmask_clouds(data: Path) -> list[Mask]:
    """Real masks of clouds, shadows and swath edges, (y, x) bool, of the dates of the IFSDAF set that have any."""
    masks = [np.isin(_read(path)[0].astype(int), _FMASK_HIDES) for path in sorted((data / "ifsdaf-ndvi-2015").glob("*_fmask.tif"))]
    if not masks:
        raise ConfigurationError(f"{data} holds no cloud masks", "they are those of the set ifsdaf-ndvi-2015: --data FOLDER")
    return [mask for mask in masks if mask.mean() > 0.02]


def line_series(data: Path) -> tuple[tuple[date, ...], np.ndarray]:
    """Days (K,) and Fmask codes (K, x) of one Landsat image row over thirty years; 255 = missing, after 2003 the SLC gaps."""
    path = data / "landsat-line-series" / "p013r030_r50_n423_b8.npz"
    if not path.exists():
        raise ConfigurationError(f"{data} holds no stripe masks", "they are those of the set landsat-line-series: --data FOLDER")
    with np.load(path, allow_pickle=False) as stored:
        return tuple(date.fromordinal(int(day)) for day in stored["dates"]), stored["Y"][-1]


def _archive(
    folder: Path,
    bands: tuple[str, ...],
    resolution: float,
    scale: int,
    coarse_pixel: float,
    days: tuple[int, ...],
    fine: Image,
    coarse_days: np.ndarray,
    coarse: Image,
    std: float = _COARSE_STD,
    restoration: tuple[float, float] | None = None,
    layers: Mapping[str, Mask] | None = None,
    surface: NDArray[np.uint8] | None = None,
) -> Archive:
    return Archive(
        name=folder.name,
        bands=bands,
        resolution=resolution,
        scale=scale,
        coarse_pixel=coarse_pixel,
        fine_days=days,
        fine=np.ascontiguousarray(fine, np.float32),
        fine_std=np.full(fine.shape[:2], _FINE_STD, np.float32),
        coarse_days=coarse_days.astype(np.float64),
        coarse=np.ascontiguousarray(coarse, np.float32),
        coarse_std=std,
        restoration=restoration,
        layers=layers or {},
        fine_surface=surface,
        footprint=_FOOTPRINT * coarse_pixel,
    )


def _read(path: Path) -> Image:
    with rasterio.open(path) as source:
        return np.asarray(source.read(), np.float32)


def _widened(mask: Mask, resolution: float) -> Mask:
    reach = round(_DILATE / resolution)
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(binary_dilation(mask, down**2 + right**2 <= reach**2))
