"""A dam broke on 25 January 2019: what two real images say of the mud must not be refused (Landsat 8, path 218, row 74).

The crops come without QA and without a coarse series. So nothing is masked but what cannot be a reflectance, clouds included, and
the coarse series stands in from the images themselves: area means of their dark part (a cloud is not the coarse of its day), those
of the first until the day of the break and those of the second from then on. All else is the way of a run: metadata files →
catalog → ingest → working store → `screen_block` → verdicts.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.catalog import find_scenes
from pipeline.catalog.build import build_landsat_catalog
from pipeline.compute.job import Job
from pipeline.compute.screening import screen_block
from pipeline.config import MaskPart, NormalisePart
from pipeline.grid import Block, Grid, day_number
from pipeline.observations.ingest import ingest
from pipeline.observations.verdicts import read_verdicts
from pipeline.observations.working import FineStack, WorkingStore
from pipeline.operators.resample import area_mean
from pipeline.screening.options import ScreeningOptions
from pipeline.sensors import builtin_products
from pipeline.store.encoding import encode_reflectance
from pipeline.vocabulary import BANDS, Verdict
from tests.catalog.conftest import SHARED, catalog, source

CROPS = SHARED / "data" / "xlandsat-l2sp"
pytestmark = pytest.mark.skipif(not CROPS.is_dir(), reason=f"no data at {CROPS}: set LANDFUSE_SHARED")

BEFORE, BREAK, AFTER = (day_number(date(2019, 1, day)) for day in (14, 25, 30))
LATER = AFTER + 16
"""The next pass of the satellite, which the crops do not hold: the second image stands in for it, with noise of its own."""

GRID = Grid.from_bounds("EPSG:32623", (584655, -2231385, 595215, -2222985))
"""Within both crops, but for a rim."""

WHOLE = Block(0, 0, GRID.window)
DARK = 0.12
"""Blue up to which a pixel may go into the coarse series, and into the mud [reflectance]."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WorkingStore:
    """The two images, read as a run reads them."""
    folder = tmp_path_factory.mktemp("dam")
    for path in sorted(CROPS.glob("*_218074_*.tar.gz")):
        with tarfile.open(path) as archive:
            # Python 3.11 knows filters from 3.11.4 on.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(folder / path.name.removesuffix("-cropped.tar.gz"))
    build_landsat_catalog(folder, collection="crops")
    products = {"crops": builtin_products()["landsat-c2-l2"].model_copy(update={"layers": ()})}
    catalogs = {"default": catalog(folder / "catalog.json")}
    found = find_scenes([source("crops")], catalogs, products, GRID, date(2019, 1, 1), date(2019, 2, 28))
    made = WorkingStore.create(folder / "observations.zarr", GRID, BANDS, [], GRID.width - GRID.width % GRID.scale)
    records = ingest(found.scenes, made, GRID, BANDS, products, MaskPart(), NormalisePart(), catalogs, 1)
    assert [record.error for record in records] == ["", ""]
    return made


@pytest.fixture(scope="module")
def images(store: WorkingStore) -> FineStack:
    """Both images as the masks left them."""
    made = store.read_fine(GRID.window, BEFORE, AFTER)
    assert made.days.tolist() == [BEFORE, AFTER]
    return made


@pytest.fixture(scope="module")
def mud(images: FineStack) -> np.ndarray:
    """The valley that was green and is brown: the largest patch that lost its leaves and is redder than it is blue."""
    (green, brown) = ((image[3] - image[2]) / (image[3] + image[2]) for image in images.values)
    after = images.values[1]
    lost = (green - brown > 0.2) & (after[2] - after[0] > 0.03) & (images.values[:, 0] < DARK).all(axis=0)
    patches, _ = ndimage.label(lost)
    largest = patches == np.bincount(patches[patches > 0]).argmax()
    assert 1500 < largest.sum() < 4000, "pixels of 900 m²: a valley, not a field"
    return largest


Judged = Callable[..., np.ndarray]


@pytest.fixture
def judged(store: WorkingStore, images: FineStack) -> Judged:
    """Verdicts (K, y, x) when the coarse series is known until a day, or nothing of the break is in it."""

    def judge(until: int, *days: int, coarse_knows: bool = True) -> np.ndarray:
        dark = np.where(images.values[:, :1] < DARK, images.values, np.nan).astype(np.float32)
        (before, after), _ = area_mean(torch.from_numpy(dark), GRID.scale)
        first = BEFORE - 16
        series = np.stack([(after if coarse_knows and day >= BREAK else before).numpy() for day in range(first, AFTER + 48)])
        series[until - first + 1 :] = np.nan
        known = np.isfinite(series).all(axis=1).astype(np.float32)
        store.write_restored(GRID.window.coarse(GRID.scale), first, series, np.where(np.isfinite(series), np.float32(0.01), np.nan), known)
        job = Job(str(store.path), "", GRID, BANDS, "delta2", {"days": 24}, screening=ScreeningOptions())
        screen_block(job, WHOLE, days)
        return np.stack([read_verdicts(store, GRID.window, day)[0] for day in days])

    return judge


def shares(verdict: np.ndarray, where: np.ndarray) -> list[float]:
    return [float((verdict[where] == kind).mean()) for kind in Verdict]


def test_mud_that_only_the_first_image_after_the_break_shows_is_suspect_at_most(judged: Judged, mud: np.ndarray) -> None:
    for until in (AFTER, AFTER + 32):
        before, after = judged(until, BEFORE, AFTER)
        assert shares(before, mud)[Verdict.REFUSED] <= 0.01
        assert shares(after, mud)[Verdict.REFUSED] <= 0.01


def test_mud_is_not_refused_though_the_coarse_series_never_shows_it(judged: Judged, mud: np.ndarray) -> None:
    for verdict in judged(AFTER + 32, BEFORE, AFTER, coarse_knows=False):
        assert shares(verdict, mud)[Verdict.REFUSED] <= 0.01


def test_clouds_of_the_same_image_do_not_pass_for_clear(judged: Judged, images: FineStack) -> None:
    cloud = images.values[1, 0] > 0.3
    assert cloud.sum() > 300
    (verdict,) = judged(AFTER, AFTER)
    assert shares(verdict, cloud)[Verdict.CLEAR] < 0.2


def test_mud_is_clear_once_a_later_image_shows_it_too(store: WorkingStore, judged: Judged, images: FineStack, mud: np.ndarray) -> None:
    scene = max((row.scene for row in store.rows()), key=lambda scene: scene.day)
    gap = timedelta(days=LATER - AFTER)
    day = scene.day + gap
    again = replace(scene, id="again", acquisition="again", datetime=scene.datetime + gap, day=day, first_day=day, last_day=day)
    (row,) = store.allocate([again])
    noise = np.random.default_rng(0).normal(0, 0.005, images.values[1].shape)
    store.write_fine(row, GRID.window, encode_reflectance((images.values[1] + noise).astype(np.float32)), images.reasons[1])
    store.complete(row, GRID.window, 1.0, tuple(images.std[1].tolist()))
    store.flush()
    try:
        verdicts = judged(LATER, BEFORE, AFTER, LATER)
    finally:
        store.select({other.scene.identity for other in store.rows()} - {again.identity})
    for verdict in verdicts:
        assert shares(verdict, mud)[Verdict.REFUSED] <= 0.01
    assert shares(verdicts[1], mud)[Verdict.CLEAR] > 0.95
