"""Coarse cells are masked means of their own sub-pixels: the same bits whatever block or area they are computed in."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import MaskPart
from pipeline.grid import Grid, Window
from pipeline.observations.coarse import (
    DAILY_CHANGE,
    NO_DAY,
    cell_days,
    cell_values,
    coarse_std,
    directions_of,
    native_index,
    sub_grid,
    subdivision,
)
from pipeline.observations.ingest import ingest
from pipeline.observations.working import WorkingStore
from pipeline.sensors import Product, builtin_products
from pipeline.sensors.product import AngleLayers, Band, DayLayer, Support
from pipeline.store.encoding import decode_reflectance
from pipeline.vocabulary import BANDS, Reason

from .scenes import AS_SEEN, LOCAL, MCD43, UTM33, make_scene, modis_scene, small_grid, write_tiff

LIMITS = (-0.05, 1.6)
BAND = Band(asset="b", scale=1e-4, nodata=32767, dtype="int16", quality_asset="q", quality_drop=(255,), quality_inflate=(1,))


def test_a_cell_is_the_mean_of_what_was_seen_of_it() -> None:
    numbers = np.full((4, 8), 1000, np.int16)
    numbers[0] = 3000
    hidden = np.zeros((4, 8), bool)
    hidden[0, :4] = True
    numbers[1, 4:] = 32767
    mean, std, share = cell_values(numbers, hidden, None, BAND, 0.02, LIMITS, 4)
    assert mean[0].tolist() == pytest.approx([0.1, (4 * 0.3 + 8 * 0.1) / 12])
    assert share[0].tolist() == [0.75, 0.75]
    assert std[0].tolist() == pytest.approx([0.02 / 0.75**0.5] * 2)


def test_low_quality_enlarges_sigma_and_bad_quality_hides() -> None:
    numbers = np.full((4, 12), 1000, np.int16)
    quality = np.zeros((4, 12), np.int32)
    quality[:, 4:8] = 1
    quality[:, 8:] = 255
    mean, std, share = cell_values(numbers, np.zeros((4, 12), bool), quality, BAND, 0.02, LIMITS, 4)
    assert std[0, :2].tolist() == pytest.approx([0.02, 0.04])
    assert np.isnan(mean[0, 2])
    assert np.isnan(std[0, 2])
    assert share[0].tolist() == [1, 1, 0]


def test_a_tiny_share_does_not_enlarge_sigma_without_bound() -> None:
    hidden = np.ones((8, 8), bool)
    hidden[0, 0] = False
    _, std, _ = cell_values(np.full((8, 8), 1000, np.int16), hidden, None, BAND, 0.02, LIMITS, 8)
    assert std[0, 0] == pytest.approx(0.08)


def coarse_of(folder: Path, grid: Grid, scene, block: int, products: dict[str, Product] | None = None) -> tuple[np.ndarray, ...]:
    store = WorkingStore.create(folder, grid, BANDS, [scene.product], block)
    records = ingest([scene], store, grid, BANDS, products or builtin_products(), MaskPart(), AS_SEEN, {}, 1)
    assert [record.error for record in records] == [""]
    cells = Window(0, 0, *grid.coarse_shape)
    stack = store.read_coarse(cells, 0, 30000)
    return stack.values[0], stack.std[0], store.read_native(scene.product, cells)


@pytest.mark.parametrize("crs", [UTM33, LOCAL])
def test_cells_do_not_depend_on_the_block_or_the_corner_of_the_area(tmp_path: Path, crs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = small_grid(crs, 2880)
    scene = modis_scene(tmp_path, "m", grid)
    whole = coarse_of(tmp_path / "a.zarr", grid, scene, 96)
    assert 0.5 < np.isfinite(whole[0]).mean() < 1
    # Another corner: an area inside, three cells further south and two further east.
    inner = Grid(grid.crs, grid.west + 480, grid.north - 720, 30.0, 48, 40, 8)
    for one, other in zip(whole, coarse_of(tmp_path / "b.zarr", inner, scene, 96), strict=True):
        assert np.array_equal(one[..., 3:9, 2:7], other, equal_nan=True)
    # Strips of one chunk of two cells, where the whole was one strip.
    monkeypatch.setattr("pipeline.observations.ingest.STRIP_PIXELS", 1)
    monkeypatch.setattr("pipeline.observations.working.CELL_CHUNK", 2)
    for one, other in zip(whole, coarse_of(tmp_path / "c.zarr", grid, scene, 16), strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_a_coarse_raster_on_the_cells_of_the_area_is_taken_as_it_is(tmp_path: Path) -> None:
    grid = small_grid()
    pixels = np.arange(16, dtype=np.int16).reshape(4, 4) * 100
    transform = (240.0, 0.0, grid.west, 0.0, -240.0, grid.north)
    href = write_tiff(tmp_path / "p.tif", pixels, UTM33, transform)
    product = Product(role="coarse", bands={"red": Band(asset="red", nodata=-1, dtype="int16")})
    scene = make_scene("p", {"red": href}, UTM33, transform, (4, 4), role="coarse")
    values, _, native = coarse_of(tmp_path / "a.zarr", grid, scene, 64, {"landsat-c2-l2": product})
    assert np.array_equal(values[BANDS.index("red")], decode_reflectance(pixels))
    assert len(np.unique(native)) == 16


def test_native_pixels_finer_than_a_quarter_cell_are_all_looked_at(tmp_path: Path) -> None:
    grid = small_grid()
    scene = make_scene("p", {}, UTM33, (30.0, 0.0, grid.west, 0.0, -30.0, grid.north), (32, 32), product="modis-43A4-061")
    assert subdivision(grid, scene) == 8
    assert subdivision(grid, modis_scene(tmp_path, "m", grid)) == 4
    assert sub_grid(grid, Window(1, 2, 2, 2), 8).bounds == grid.window_bounds(Window(8, 16, 16, 16))


def test_cells_of_one_native_pixel_share_its_index(tmp_path: Path) -> None:
    grid = small_grid(size=4800)
    scene = modis_scene(tmp_path, "m", grid)
    native = native_index(grid, scene, Window(0, 0, *grid.coarse_shape))
    counts = np.unique(native, return_counts=True)[1]
    # 463 m over 240 m: mostly four cells to a native pixel.
    assert 2.5 < counts.mean() < 4.5
    assert MCD43.footprint > 0


def test_days_of_the_year_become_days_from_the_nominal_one_over_new_year() -> None:
    layer = DayLayer(asset="d", nodata=-1)
    numbers = np.array([[361, 365, 366, 1], [2, 4, -1, 0]], np.int16)
    seen = np.ones((2, 4), bool)
    leap = cell_days(numbers, seen, layer, date(2024, 12, 26), 1)  # day 361 of 366
    assert leap.tolist() == [[0, 4, 5, 6], [7, 9, NO_DAY, NO_DAY]]
    common = cell_days(numbers[:, :2], seen[:, :2], layer, date(2023, 12, 27), 1)  # day 361 of 365
    assert common.tolist() == [[0, 4], [6, 8]]
    seen[0, 0] = False
    assert cell_days(numbers, seen, layer, date(2024, 12, 26), 2).tolist() == [[7, 6]], "the mean of what is seen, rounded"


def test_an_unknown_instant_and_high_aerosol_make_sigma_larger() -> None:
    product = builtin_products()["modis-09Q1-061"].model_copy(update={"std": 0.02, "support": Support(after=7, centre=3.5, time_std=2.0)})
    clear, hazy = np.zeros((1, 2), np.uint16), np.array([[0, int(Reason.AEROSOL)]], np.uint16)
    known, unknown = coarse_std(product, clear, True), coarse_std(product, clear, False)
    assert known.tolist() == [pytest.approx([0.02, 0.02])]
    assert unknown.tolist() == [pytest.approx([(0.02**2 + (2 * DAILY_CHANGE) ** 2) ** 0.5] * 2)]
    assert coarse_std(product, hazy, True).tolist() == [pytest.approx([0.02, 0.04])]


def test_four_bits_of_a_32_bit_layer_speak_of_one_band() -> None:
    band = BAND.model_copy(update={"quality_bits": (10, 4), "quality_drop": (13,), "quality_inflate": (8,)})
    quality = np.array([[0, 8 << 10, 13 << 10, (13 << 6) | (1 << 31)]], np.int64)
    mean, std, _ = cell_values(np.full((1, 4), 1000, np.int16), np.zeros((1, 4), bool), quality, band, 0.02, LIMITS, 1)
    assert np.isfinite(mean[0]).tolist() == [True, True, False, True]
    assert std[0, [0, 1, 3]].tolist() == pytest.approx([0.02, 0.04, 0.02])


def test_the_mean_is_taken_in_the_published_geometry_and_judged_as_measured() -> None:
    numbers = np.array([[1000, 3000]], np.int16)
    mean, _, _ = cell_values(np.repeat(numbers, 2, 0), np.zeros((2, 2), bool), None, BAND, 0.02, LIMITS, 2, np.array([[1.1, 0.9]] * 2))
    assert mean[0, 0] == pytest.approx((0.11 + 0.27) / 2)


def test_missing_angles_give_no_directions_and_fill_no_number() -> None:
    angles = AngleLayers(view_zenith="v", sun_zenith="s", relative_azimuth="r", nodata=-32768)
    product = builtin_products()["modis-09A1-061"].model_copy(update={"angles": angles})
    layers = {"v": np.array([[3000, -32768]]), "s": np.array([[4500, 4500]]), "r": np.array([[-9000, 9000]])}
    found = directions_of(product, layers)
    assert found is not None
    assert found.view_zenith.tolist() == [[30.0, pytest.approx(np.nan, nan_ok=True)]]
    assert found.relative_azimuth.tolist() == [[-90.0, 90.0]]
    assert directions_of(product, {"v": layers["v"]}) is None
