"""Pictures show what the cube holds, at the size asked for, the same every time."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from pipeline.errors import StoreError
from pipeline.grid import Grid, day_number
from pipeline.products.colour import (
    NODATA_COLOUR,
    PROVENANCE_COLOURS,
    STD_LIMIT,
    Stretch,
    colours,
    fixed_stretch,
    percentile_stretch,
    provenance_colours,
    std_colours,
)
from pipeline.products.contact_sheet import contact_sheet_png
from pipeline.products.drawing import percent
from pipeline.products.picture import DayPicture, band_names, picture_bands, read_picture, thumbnail
from pipeline.products.quicklook import quicklook_png
from pipeline.store.staging import BlockDay, create_staging, write_block_day
from pipeline.vocabulary import Maturity, Provenance

from .conftest import BANDS, START, fill_cube


def picture_of(values: np.ndarray, bands: tuple[str, ...] = ("red", "green", "blue")) -> DayPicture:
    return DayPicture(date(2023, 6, 1), bands, values.astype(np.float32), np.ones(values.shape[1:], np.uint8), {Provenance.OBSERVED: 1.0})


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_small_day_is_read_as_it_is(cube: Path) -> None:
    picture = read_picture(cube, 1)
    with xr.open_zarr(cube) as dataset:
        expected = dataset[["red", "green", "blue"]].isel(time=1).to_array().values
        np.testing.assert_allclose(picture.values, expected, atol=1e-6)
        np.testing.assert_array_equal(picture.provenance, dataset.provenance[1])
    assert picture.day == date(2023, 6, 2)
    assert picture.maturity is Maturity.INTERIM


@pytest.mark.parametrize("size", [48, 50, 17, 1])
def test_a_reduced_pixel_is_the_mean_of_its_valid_fine_pixels_whatever_the_blocks(cube: Path, grid: Grid, size: int) -> None:
    picture = read_picture(cube, 0, size=size)
    factor = -(-max(grid.shape) // size)
    with xr.open_zarr(cube) as dataset:
        red = dataset.red.isel(time=0)
        expected = red.coarsen(y=factor, x=factor, boundary="pad").mean().values
    np.testing.assert_allclose(picture.values[0], expected, atol=1e-6)
    assert max(picture.provenance.shape) <= size


def test_a_dataset_opened_with_scale_and_fill_applied_gives_the_same_picture(cube: Path) -> None:
    raw = read_picture(cube, 0, size=40)
    with xr.open_zarr(cube) as dataset:
        decoded = read_picture(dataset, 0, size=40)
    np.testing.assert_allclose(raw.values, decoded.values, atol=1e-6)
    assert raw.day == decoded.day
    assert raw.shares == decoded.shares


@pytest.mark.parametrize("size", [100, 48, 24])
def test_a_thumbnail_of_a_whole_picture_is_the_day_read_at_that_size(cube: Path, size: int) -> None:
    small, read = thumbnail(read_picture(cube, 0), size), read_picture(cube, 0, size=size)
    np.testing.assert_allclose(small.values, read.values, atol=1e-6)
    np.testing.assert_array_equal(small.provenance, read.provenance)
    assert small.shares == read.shares


def test_shares_are_counted_on_all_fine_pixels_and_add_up_to_one(cube: Path, grid: Grid) -> None:
    shares = read_picture(cube, 0, size=16).shares
    assert shares[Provenance.MISSING] == 64 / (grid.height * grid.width)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_what_the_cube_lacks_is_named(cube: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no swir22; it holds"):
        read_picture(cube, 0, ("swir22", "nir08", "red"))
    with pytest.raises(StoreError, match="holds 4 days"):
        read_picture(cube, 4)
    with pytest.raises(StoreError, match="no cube at"):
        read_picture(tmp_path / "nothing.zarr", 0)


def test_the_bands_of_a_picture_follow_from_those_of_the_cube(cube: Path) -> None:
    with xr.open_zarr(cube) as dataset:
        assert band_names(dataset) == BANDS
    assert picture_bands(("green", "red", "nir08")) == ("nir08", "red", "green")
    assert picture_bands(("ndvi",)) == ("ndvi",)


def test_the_fixed_stretch_is_linear_between_its_limits_then_a_power() -> None:
    image = colours(picture_of(np.array([[[0.0, 0.25, 0.1, 0.9, -0.1]]] * 3)), fixed_stretch(("red", "green", "blue")))
    assert image[0, :, 0].tolist() == [0, 255, round(255 * 0.4 ** (1 / 1.5)), 255, 0]


def test_a_pixel_with_a_missing_band_is_dark() -> None:
    values = np.full((3, 1, 2), 0.2)
    values[1, 0, 0] = np.nan
    image = colours(picture_of(values), fixed_stretch(("red", "green", "blue")))
    assert tuple(image[0, 0]) == NODATA_COLOUR
    assert image[0, 1].min() > 200


def test_a_single_band_gets_greener_from_low_to_high() -> None:
    image = colours(picture_of(np.linspace(0, 0.9, 10)[None, None], ("ndvi",)), fixed_stretch(("ndvi",))).astype(int)
    greenness = image[0, :, 1] - image[0, :, 0]
    assert greenness[0] < 0 < greenness[-1]


def test_two_bands_are_no_picture() -> None:
    with pytest.raises(ValueError, match="one band or three"):
        colours(picture_of(np.zeros((2, 1, 1)), ("red", "green")), Stretch(((0, 1), (0, 1))))


def test_the_percentile_stretch_is_one_for_all_days_of_a_run() -> None:
    dark, bright = picture_of(np.full((3, 10, 10), 0.1)), picture_of(np.full((3, 10, 10), 0.3))
    stretch = percentile_stretch([dark, bright], 0, 100)
    assert stretch.limits[0] == pytest.approx((0.1, 0.3))
    assert colours(dark, stretch).max() == 0
    assert colours(bright, stretch).min() == 255


def test_a_run_without_a_valid_pixel_still_has_a_stretch() -> None:
    empty = picture_of(np.full((1, 4, 4), np.nan), ("ndvi",))
    assert (colours(empty, percentile_stretch([empty])) == NODATA_COLOUR).all()


def test_kinds_of_provenance_differ_in_lightness() -> None:
    lightness = sorted(float(np.dot(colour, (0.299, 0.587, 0.114))) for colour in PROVENANCE_COLOURS.values())
    assert min(np.diff(lightness)) > 4
    assert provenance_colours(np.array([[1]], np.uint8))[0, 0].tolist() == list(PROVENANCE_COLOURS[Provenance.OBSERVED])


def test_a_quick_look_holds_the_picture_and_the_provenance_map(cube: Path) -> None:
    image = pixels(quicklook_png(cube, 3, title="sava-plain"))
    picture = read_picture(cube, 3)
    height, width = picture.provenance.shape
    enlarge = 400 // width
    top = (image.shape[0] - height * enlarge) // 2
    expected = colours(picture, fixed_stretch(picture.bands)).repeat(enlarge, 0).repeat(enlarge, 1)
    np.testing.assert_array_equal(image[top : top + height * enlarge, : width * enlarge], expected)
    panel = image[:, width * enlarge :]
    for kind in (Provenance.OBSERVED, Provenance.EXTRAPOLATED):
        assert (panel == PROVENANCE_COLOURS[kind]).all(axis=-1).sum() > 1000


def test_the_same_day_gives_the_same_bytes(cube: Path) -> None:
    assert quicklook_png(cube, 2, size=64) == quicklook_png(cube, 2, size=64)


def test_an_area_of_one_index_gets_a_quick_look(tmp_path: Path, grid: Grid) -> None:
    image = pixels(quicklook_png(fill_cube(tmp_path / "ndvi.zarr", grid, ("ndvi",), days=1), 0))
    assert image.ndim == 3


@pytest.mark.parametrize(("days", "columns"), [(1, 1), (5, 5), (31, 7), (365, 24)])
def test_a_contact_sheet_shows_every_day_and_stays_legible(cube: Path, days: int, columns: int) -> None:
    first = read_picture(cube, 1, size=64)
    pictures = [replace(first, day=first.day + timedelta(days=number)) for number in range(days)]
    sheet = pixels(contact_sheet_png(pictures, "sava-plain", "run of June"))
    assert sheet.shape[1] <= 2200
    # One bar of provenance a day: count the rows of green (two-sided) runs below the thumbnails.
    green = (sheet[150:] == PROVENANCE_COLOURS[Provenance.FUSED_TWO_SIDED]).all(axis=-1)
    bars = np.diff(np.flatnonzero(green.any(axis=1)), prepend=-9)
    assert (bars > 1).sum() == -(-days // columns)


def test_a_contact_sheet_without_days_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one day"):
        contact_sheet_png([], "nothing")


def test_a_share_is_written_as_none_or_all_only_when_it_is() -> None:
    assert [percent(share) for share in (0.0, 0.004, 0.5, 0.995, 1.0)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %"]


def test_products_import_neither_torch_nor_prefect() -> None:
    names = "stac, picture, colour, drawing, quicklook, contact_sheet, report"
    code = f"import sys; from pipeline.products import {names}; sys.exit(any(name in sys.modules for name in ('torch', 'prefect')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_staging_is_shown_like_a_cube(cube: Path, grid: Grid) -> None:
    days = [day_number(START) + offset for offset in (0, 9)]
    staging = create_staging(cube, "preview", days)
    for block in grid.blocks(64):
        shape = block.window.shape
        codes = np.full(shape, 2, np.uint8)
        write_block_day(
            staging,
            block,
            1,
            BlockDay(
                bands=np.full((len(BANDS), *shape), 0.2, np.float32),
                std=np.full((len(BANDS), *shape), 0.02, np.float32),
                provenance=codes,
                condition=np.zeros_like(codes),
                days_to_observation=np.zeros(shape, np.int16),
                coarse_valid=codes,
            ),
        )
    picture = read_picture(staging, 1, maturity=Maturity.NRT)
    assert picture.day == START + timedelta(days=9)
    assert picture.maturity is Maturity.NRT
    assert picture.shares[Provenance.FUSED_TWO_SIDED] == 1.0
    np.testing.assert_allclose(picture.values, 0.2, atol=1e-6)
    empty = read_picture(staging, 0)
    assert np.isnan(empty.values).all()
    assert empty.shares[Provenance.MISSING] == 1.0
    assert empty.maturity is None


def test_the_uncertainty_is_paper_where_it_is_nothing_and_darkens_to_its_limit() -> None:
    shown = std_colours(np.array([[0.0, STD_LIMIT / 2, STD_LIMIT, 1.0, np.nan]])).astype(int).sum(axis=-1)[0]
    assert shown[0] > shown[1] > shown[2] == shown[3]
    assert tuple(std_colours(np.array([[np.nan]]))[0, 0]) == NODATA_COLOUR
