"""The world: daily truth, anchored to the plane, the same however it is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.grid import Grid
from pipeline.sandbox import LandCover, World
from pipeline.sandbox.noise import field, gauss, key_of, uniform
from pipeline.sandbox.sun import anisotropy, kernels, sun_position
from tests.sandbox.conftest import small_grid

DAY = date(2022, 6, 10)


@pytest.fixture(scope="module")
def world() -> World:
    return World(3, small_grid(192), date(2022, 4, 1), date(2022, 9, 30))


def test_the_same_seed_gives_the_same_truth_and_another_seed_another(world: World) -> None:
    again = World(3, world.grid, world.first_day, world.last_day)
    assert np.array_equal(world.truth(DAY), again.truth(DAY))
    other = World(4, world.grid, world.first_day, world.last_day)
    assert np.abs(world.truth(DAY) - other.truth(DAY)).mean() > 0.01


def test_truth_does_not_depend_on_the_period_nor_on_the_order_of_asking(world: World) -> None:
    short = World(3, world.grid, DAY, DAY)
    alone = short.truth(DAY)
    world.truth(DAY + timedelta(days=40))
    assert np.array_equal(world.truth(DAY), alone)


def test_a_smaller_area_is_a_cutout_of_a_larger_one(world: World) -> None:
    grid = world.grid
    part = replace(grid, west=grid.west + 16 * 30, north=grid.north - 24 * 30, height=64, width=80)
    cut = World(3, part, world.first_day, world.last_day)
    whole = world.truth(DAY)[:, 24 : 24 + 64, 16 : 16 + 80]
    np.testing.assert_allclose(cut.truth(DAY), whole, atol=1e-5)
    assert np.array_equal(cut.land_cover, world.land_cover[24 : 24 + 64, 16 : 16 + 80])


def test_truth_is_reflectance_of_six_bands(world: World) -> None:
    truth = world.truth(DAY)
    assert truth.dtype == np.float32
    assert truth.shape == (6, *world.grid.shape)
    assert truth.min() > 0
    assert truth.max() <= 1
    assert np.isfinite(truth).all()


def test_vegetation_greens_up_between_winter_and_summer(world: World) -> None:
    forest = world.land_cover == LandCover.BROADLEAF_FOREST
    fields = world.land_cover == LandCover.FIELD

    def greenness(day: date) -> np.ndarray:
        red, infrared = world.truth(day)[2:4]
        return (infrared - red) / (infrared + red)

    for cover in (forest, fields):
        if cover.sum() > 200:
            assert greenness(DAY)[cover].mean() > greenness(date(2022, 3, 20))[cover].mean() + 0.1


def test_abrupt_changes_are_where_the_mask_says(world: World) -> None:
    """Within the mask the surface jumps, outside it drifts."""
    jumps, drifts = [], []
    for offset in range(0, 60, 6):
        day = date(2022, 7, 1) + timedelta(days=offset)
        change = np.abs(world.truth(day) - world.truth(day - timedelta(days=2)))[3]
        mask = world.events(day, within=2)
        fields = world.land_cover == LandCover.FIELD
        jumps.append(change[mask & fields])
        drifts.append(change[~mask & fields])
    jump, drift = np.concatenate(jumps), np.concatenate(drifts)
    assert jump.size > 300
    assert np.median(jump) > 4 * np.median(drift)


def test_events_of_a_longer_window_contain_those_of_a_shorter_one(world: World) -> None:
    for day in (date(2022, 7, 20), date(2022, 10, 3)):
        assert not (world.events(day, within=2) & ~world.events(day, within=10)).any()


def test_winter_brings_snow_to_high_ground_first() -> None:
    world = World(1, Grid.from_bounds("EPSG:32633", (500_000, 5_100_000, 509_000, 5_109_000)), date(2022, 1, 1), date(2022, 4, 1))
    shares = {day: float(world.snow(day).mean()) for day in (date(2022, 1, 20), date(2022, 7, 1))}
    assert shares[date(2022, 1, 20)] > 0.3
    assert shares[date(2022, 7, 1)] == 0
    partly = [day for day in (date(2022, 1, 25) + timedelta(days=step) for step in range(0, 70, 3)) if 0.05 < world.snow(day).mean() < 0.95]
    assert partly, "no day of partial snow in late winter"


def test_seasons_turn_round_in_the_south() -> None:
    south = Grid.from_bounds("EPSG:32755", (401_000, 6_148_000, 404_000, 6_151_000))
    world = World(2, south, date(2022, 1, 1), date(2022, 12, 31))
    assert world.latitude < 0
    assert world.scenery.weather.season(date(2022, 1, 10)) > 0.9


def test_fields_are_polygons_of_many_sizes_not_a_raster_of_squares(world: World) -> None:
    land = world.scenery.landscape
    fields = land.cover == LandCover.FIELD
    sizes = np.bincount(land.parcel[fields])
    sizes = sizes[sizes > 4]
    assert np.percentile(sizes, 90) > 4 * np.percentile(sizes, 10)
    # A raster of squares has all of its borders along rows and columns at few positions; here every column has some.
    borders = (land.parcel[:, 1:] != land.parcel[:, :-1]).mean(axis=0)
    assert (borders > 0).all()


def test_random_fields_have_unit_variance_and_are_cutouts_of_each_other() -> None:
    key = key_of(5, "test")
    x, y = np.arange(0.0, 60_000, 100), np.arange(60_000.0, 0, -100)
    whole = field(key, x, y, 700.0)
    assert abs(whole.std() - 1) < 0.1
    assert abs(whole.mean()) < 0.1
    assert np.array_equal(field(key, x[50:90], y[100:170], 700.0), whole[100:170, 50:90])


def test_hashed_numbers_are_uniform_and_normal() -> None:
    numbers = np.arange(200_000)
    even, normal = uniform(key_of(1, "u"), numbers), gauss(key_of(1, "g"), numbers)
    assert abs(even.mean() - 0.5) < 0.005
    assert abs(even.std() - 12**-0.5) < 0.005
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert abs(np.corrcoef(normal[1:], normal[:-1])[0, 1]) < 0.01


def test_the_sun_stands_where_almanacs_say() -> None:
    zenith, azimuth = sun_position(date(2022, 6, 21), 46.0, 12.0)
    assert zenith == pytest.approx(46 - 23.44, abs=0.1)
    assert azimuth == pytest.approx(180, abs=0.5)
    assert sun_position(date(2022, 6, 21), 46.0, 10.0)[1] < 140
    assert sun_position(date(2022, 12, 21), -30.0, 12.0)[1] % 360 == pytest.approx(180, abs=180)


def test_kernels_vanish_at_nadir_with_overhead_sun_and_are_reciprocal() -> None:
    assert kernels(0, 0, 0) == pytest.approx((0, 0), abs=1e-9)
    assert kernels(30, 50, 70)[0] == pytest.approx(kernels(50, 30, 70)[0])
    assert kernels(30, 50, 70)[1] == pytest.approx(kernels(50, 30, 70)[1])


def test_the_reference_geometry_changes_nothing_and_backscatter_is_brighter() -> None:
    vegetation = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_allclose(anisotropy(vegetation, 40, 0, 0, 40), 1, atol=1e-5)
    assert (anisotropy(vegetation, 40, 45, 20, 40) > anisotropy(vegetation, 40, 45, 160, 40)).all()
