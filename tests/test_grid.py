"""The grid, its windows, and the day rule."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid import Grid, Window, day_from_number, day_number, day_of, halo_cells


def test_edges_of_landsat_pixels_and_of_shared_coarse_cells_are_kept() -> None:
    west_area = Grid.from_bounds("EPSG:32633", (500000, 4900000, 507000, 4907000))
    east_area = Grid.from_bounds("EPSG:32633", (507000, 4901000, 512000, 4909000))
    for grid in (west_area, east_area):
        assert grid.west % 30 == 15
        assert grid.north % 30 == 15
        assert grid.west % 240 == 15
        assert grid.north % 240 == 15
        assert grid.height % 8 == 0
    assert (east_area.west - west_area.west) % 240 == 0


def test_bounds_are_covered_by_the_smallest_whole_number_of_cells() -> None:
    exact = (15.0 + 240 * 10, 15.0 + 240 * 20, 15.0 + 240 * 14, 15.0 + 240 * 23)
    grid = Grid.from_bounds("EPSG:32633", exact)
    assert grid.bounds == exact
    assert grid.coarse_shape == (3, 4)


def test_a_crs_in_degrees_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"degrees.*UTM"):
        Grid.from_bounds("EPSG:4326", (10, 45, 11, 46))


def test_empty_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="west < east"):
        Grid.from_bounds("EPSG:32633", (5, 5, 5, 9))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([64, 128, 256]))
def test_blocks_cover_every_pixel_once(rows: int, cols: int, size: int) -> None:
    grid = Grid("EPSG:32633", 15.0, 15.0, 30.0, rows * 8, cols * 8)
    blocks = list(grid.blocks(size))
    assert sum(block.window.height * block.window.width for block in blocks) == grid.height * grid.width
    assert all(block.window == block.window.clipped(*grid.shape) for block in blocks)
    assert (max(b.row for b in blocks) + 1, max(b.col for b in blocks) + 1) == grid.block_shape(size)


def test_a_window_off_the_coarse_cells_is_refused() -> None:
    assert Window(8, 16, 24, 8).coarse(8) == Window(1, 2, 3, 1)
    assert Window(1, 2, 3, 1).fine(8) == Window(8, 16, 24, 8)
    with pytest.raises(ValueError, match="whole coarse cells"):
        Window(4, 0, 8, 8).coarse(8)


def test_a_window_of_bounds_touches_every_pixel_and_stays_inside() -> None:
    grid = Grid("EPSG:32633", 15.0, 2415.0, 30.0, 80, 80)
    assert grid.window_of((14.0, 2300.0, 80.0, 2500.0)) == Window(0, 0, 4, 3)
    assert grid.window_bounds(Window(0, 0, 80, 80)) == grid.bounds


def test_a_halo_holds_the_distance_and_one_cell_for_lifting() -> None:
    assert halo_cells(0, 30, 8) == 1
    assert halo_cells(300, 30, 8) == 3


@pytest.mark.parametrize(
    ("instant", "longitude", "expected"),
    [
        (datetime(2024, 2, 28, 23, 30, tzinfo=UTC), 15.0, date(2024, 2, 29)),
        (datetime(2024, 2, 28, 10, 10, tzinfo=UTC), 15.0, date(2024, 2, 28)),
        (datetime(2023, 12, 31, 22, 0, tzinfo=UTC), 175.0, date(2024, 1, 1)),
        (datetime(2024, 1, 1, 10, 0, tzinfo=UTC), -175.0, date(2023, 12, 31)),
        (datetime(2024, 3, 31, 1, 30), 0.0, date(2024, 3, 31)),
    ],
)
def test_a_day_is_the_solar_local_calendar_day(instant: datetime, longitude: float, expected: date) -> None:
    assert day_of(instant, longitude) == expected


@given(st.dates())
def test_day_numbers_and_days_are_inverse(day: date) -> None:
    assert day_from_number(day_number(day)) == day
