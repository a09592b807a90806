"""Where the shared sets are, and the fine images of those that come without a reader of their own."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile

DATA = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared")).resolve() / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data sets {DATA} are not here")

RED = {"boreas-estarfm-30m": (30.0, 2), "boreas-fine-60m": (60.0, 1), "cia-3date-50m": (50.0, 3), "northchina-rostf-fine": (30.0, 3)}
"""Pixel size [m] and band of red."""


def red_images(name: str) -> list[tuple[np.ndarray, float]]:
    """Red of every fine image of a set, or its NDVI, with the pixel size [m]; nothing for sets without images."""
    folder = DATA / name
    if name in RED:
        resolution, band = RED[name]
        return [(_band(path, band), resolution) for path in sorted([*folder.glob("landsat7_*.tif"), *folder.glob("fine_*.tif")])]
    if name == "ifsdaf-ndvi-2015":
        return [(_band(folder / "LC81260382015287LGN00_ndvi.tif", 1), 30.0)]
    if name == "xlandsat-l2sp":
        return [(_member(path, "SR_B4"), 30.0) for path in sorted(folder.glob("*.tar.gz"))]
    return []


def _band(path: Path, band: int) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read(band).astype(np.float64)


def _member(path: Path, word: str) -> np.ndarray:
    with tarfile.open(path) as archive:
        (member,) = [member for member in archive.getmembers() if word in member.name]
        with MemoryFile(archive.extractfile(member).read()) as memory, memory.open() as source:
            return source.read(1).astype(np.float64)
