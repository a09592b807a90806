"""Fine and coarse images of real and of simulated places, brought into one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from control_errors import Series

from pipeline.catalog.search import find_scenes
from pipeline.config import Area, load_area
from pipeline.fusion.interface import FusionInput
from pipeline.grid import Grid, Window, day_from_number, day_number
from pipeline.observations.ingest import ingest
from pipeline.observations.masking import mask_scene
from pipeline.observations.working import WorkingStore
from pipeline.operators.resample import area_mean
from pipeline.restoration.smoother import restore
from pipeline.sandbox import SandboxSpec, write_sandbox
from pipeline.vocabulary import BANDS, HIDING

Image = npt.NDArray[np.float32]
RED_NIR = ("red", "nir08")
NDVI = ("ndvi",)

_IFSDAF_AREA = Path(__file__).resolve().parents[1] / "examples" / "ifsdaf-ndvi-2015" / "area.yaml"
_IFSDAF_DAYS = (104, 191, 200, 216, 239, 248, 344, 360)
"""Days of the year with a Landsat image, without 287, on which the example is scored and nothing else looks at."""

_WHOLE_STORE = 32767
"""Number of a day after all."""

_NDVI_STD = 0.03
"""1 σ of a coarse NDVI: all alike, so that only distance in time weights them."""


def ndvi(red_nir: Image) -> Image:
    """NDVI (..., 1, y, x) from red and near infrared (..., 2, y, x); NaN where both are dark."""
    red, nir = red_nir[..., 0:1, :, :], red_nir[..., 1:2, :, :]
    bright = red + nir > 0.01
    return np.where(bright, np.clip((nir - red) / np.where(bright, nir + red, 1), -1, 1), np.nan).astype(np.float32)


@dataclass(frozen=True)
class ThreeDates:
    """A real set of three clear dates, with MODIS of the same days on the fine grid.

    Parameters
    ----------
    name, folder : str
    fine, coarse : str
        File names with ``{}`` for the date (YYYYMMDD).
    days : tuple of date
    bands : (int, int)
        Where red and near infrared are in the files, from 1.
    scale : int
        Fine pixels along the edge of the cells that MODIS is averaged to.
    resolution : float
        Of a fine pixel [m].
    """

    name: str
    folder: str
    fine: str
    coarse: str
    days: tuple[date, ...]
    bands: tuple[int, int]
    scale: int
    resolution: float

    def image(self, data: Path, day: date, coarse: bool = False) -> Image:
        """Red and near infrared of a day, (2, y, x)."""
        with rasterio.open(data / self.folder / (self.coarse if coarse else self.fine).format(f"{day:%Y%m%d}")) as source:
            return np.asarray(source.read(self.bands), dtype=np.float32) / np.float32(1e4)

    def series(self, data: Path) -> list[Series]:
        """Red and near infrared, and their NDVI; days between the three have no coarse values."""
        sharp, blurred = (np.stack([self.image(data, day, coarse) for day in self.days]) for coarse in (False, True))
        numbers = tuple(day_number(day) for day in self.days)
        at = [number - numbers[0] for number in numbers]
        made = []
        for bands, fine, coarse in ((RED_NIR, sharp, blurred), (NDVI, ndvi(sharp), ndvi(blurred))):
            cells, _ = area_mean(torch.from_numpy(coarse), self.scale)
            every = cells.new_full((at[-1] + 1, *cells.shape[1:]), torch.nan)
            every[at] = cells
            block = _block(fine, numbers, every, torch.full_like(every, 0.02), numbers[0], self.scale, self.resolution)
            made.append(Series(self.name, bands, block))
        return made


REAL = (
    ThreeDates(
        "CIA, 50 m",
        "cia-3date-50m",
        "landsat7_{}.tif",
        "mod09ga_{}.tif",
        (date(2001, 10, 8), date(2001, 10, 17), date(2001, 11, 2)),
        (3, 4),
        5,
        50.0,
    ),
    ThreeDates(
        "BOREAS, 30 m",
        "boreas-estarfm-30m",
        "landsat7_{}.tif",
        "modis_{}.tif",
        (date(2001, 5, 24), date(2001, 7, 11), date(2001, 8, 12)),
        (2, 3),
        8,
        30.0,
    ),
)


def ifsdaf(folder: Path, window: Window) -> Series:
    """A window of the year of clouded Landsat NDVI, masked and restored as the example does it, without day 287."""
    area = load_area(_IFSDAF_AREA)
    product = area.products["ifsdaf-landsat8-ndvi"]
    images, days = [], []
    for number in _IFSDAF_DAYS:
        (path,) = folder.glob(f"*2015{number}LGN00_ndvi.tif")
        raw = {name: _read(Path(str(path).replace("_ndvi", f"_{name}"))) for name in ("ndvi", "fmask")}
        science = area.science
        stored, reasons = mask_scene(
            product,
            {"ndvi": raw["ndvi"]},
            {"fmask": raw["fmask"].astype(np.int32)},
            "landsat-8",
            NDVI,
            science.mask.reflectance,
            science.mask.dilate / science.grid.resolution,
        )
        image = np.where(reasons & HIDING, np.nan, stored[0] / 1e4).astype(np.float32)
        images.append(image[None, window.slices[0], window.slices[1]])
        days.append(day_number(date(2015, 1, 1)) + number - 1)
    cells = window.coarse(science.grid.scale)
    with rasterio.open(folder / "mod_ndvi_16day_2015.tif") as source:
        composites = torch.from_numpy(source.read().astype(np.float32)[:, None, cells.slices[0], cells.slices[1]] / 1e4)
    first = day_number(date(2015, 1, 1))
    centres = first + 16 * np.arange(len(composites)) + 7.5
    mean, std, _ = restore(
        composites,
        torch.full_like(composites, area.products["ifsdaf-modis-ndvi"].std),
        centres,
        np.arange(first, first + 365),
        science.restoration.window,
        science.restoration.tau,
    )
    return Series("IFSDAF 2015", NDVI, _block(np.stack(images), tuple(days), mean, std, first, science.grid.scale, 30.0))


class Simulated:
    """A sandbox with its observations read as a run reads them."""

    def __init__(self, folder: Path, seed: int, first: date, last: date, size: int) -> None:
        grid = Grid.from_bounds("EPSG:32633", (500_175.0, 4_900_815.0, 500_175.0 + size * 30, 4_900_815.0 + size * 30))
        self.spec = SandboxSpec(grid, first, last, seed)
        catalog = write_sandbox(folder / "sandbox", self.spec, workers=2)
        science: dict[str, Any] = {
            "grid": {"crs": grid.crs, "bounds": grid.bounds},
            "start": first,
            "bands": RED_NIR,
            "fine": [{"collection": "landsat-c2-l2"}],
            "coarse": [{"collection": "modis-43A4-061"}],
        }
        area = Area.model_validate({"name": "sandbox", "science": science, "runtime": {"catalogs": {"default": {"url": str(catalog)}}}})
        self.restoration = area.science.restoration
        sources = (*area.science.fine, *area.science.coarse)
        scenes = find_scenes(sources, area.runtime.catalogs, area.products, grid, first, last).scenes
        store = WorkingStore.create(folder / "observations.zarr", grid, RED_NIR, ["modis-43A4-061"], area.science.block)
        mask, normalise, runtime = area.science.mask, area.science.normalise, area.runtime
        ingest(scenes, store, grid, RED_NIR, area.products, mask, normalise, runtime.catalogs, runtime.read_threads)
        self.fine = store.read_fine(grid.window, 0, _WHOLE_STORE)
        self.coarse = store.read_coarse(grid.window.coarse(grid.scale), 0, _WHOLE_STORE)
        self.looks = sorted({day_number(scene.day) for scene in scenes if scene.role == "fine"})

    @property
    def clear(self) -> npt.NDArray[np.bool_]:
        """Where each look shows the ground, (look, y, x)."""
        seen = dict(zip(self.fine.days.tolist(), np.isfinite(self.fine.values).all(axis=1), strict=True))
        nothing = np.zeros(self.spec.grid.shape, bool)
        return np.stack([seen.get(day, nothing) for day in self.looks])

    def series(self) -> list[Series]:
        """Red and near infrared, and their NDVI, with their truth."""
        bands = [BANDS.index(band) for band in RED_NIR]

        @cache
        def truth(day: int) -> Image:
            return self.spec.world.truth(day_from_number(day))[bands]

        return [
            self._series(RED_NIR, self.fine.values, self.coarse.values, self.coarse.std, truth),
            self._series(
                NDVI,
                ndvi(self.fine.values),
                ndvi(self.coarse.values),
                np.full_like(self.coarse.std[:, :1], _NDVI_STD),
                lambda day: ndvi(truth(day)),
            ),
        ]

    def _series(self, bands: tuple[str, ...], fine: Image, coarse: Image, std: Image, truth: Callable[[int], Image]) -> Series:
        first, last = day_number(self.spec.first_day), day_number(self.spec.last_day)
        mean, error, _ = restore(
            torch.from_numpy(coarse),
            torch.from_numpy(std),
            self.coarse.days,
            np.arange(first, last + 1),
            self.restoration.window,
            self.restoration.tau,
        )
        block = _block(fine, tuple(self.fine.days.tolist()), mean, error, first, self.spec.grid.scale, self.spec.grid.resolution)
        return Series(f"sandbox {self.spec.seed}", bands, block, truth)


def _read(path: Path) -> npt.NDArray[np.int16]:
    with rasterio.open(path) as source:
        return np.asarray(source.read(1))


def _block(
    fine: Image, days: tuple[int, ...], coarse: torch.Tensor, std: torch.Tensor, first: int, scale: int, resolution: float
) -> FusionInput:
    """Images and a coarse series from day `first` on, cut to whole cells."""
    height, width = (cells * scale for cells in coarse.shape[-2:])
    return FusionInput(
        fine=torch.from_numpy(np.ascontiguousarray(fine[..., :height, :width])),
        fine_days=days,
        fine_std=torch.full(fine.shape[:2], 0.01),
        coarse=coarse,
        coarse_std=std,
        coarse_days=tuple(range(first, first + len(coarse))),
        scale=scale,
        resolution=resolution,
    )
