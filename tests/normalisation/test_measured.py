"""Is what was normalised closer to what it should be? On three real days of MODIS, and on the sandbox, whose truth is known."""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.grid import Grid
from pipeline.normalisation.adjustment import Directions, coarse_adjustment, fine_adjustment
from pipeline.normalisation.pairs import Pair, residuals
from pipeline.sandbox.items import landsat_item
from pipeline.sandbox.landsat import OFFSET, SCALE, landsat_scenes
from pipeline.sandbox.landscape import Canvas
from pipeline.sandbox.orbit import passes, path_and_row, view_from
from pipeline.sandbox.sky import Sky
from pipeline.sandbox.sun import anisotropy, equation_of_time, sun_position
from pipeline.sandbox.world import TRUTH_HOUR, Scenery, World
from pipeline.sensors import Product, builtin_products
from pipeline.vocabulary import BANDS
from tests.normalisation.conftest import shared

SHAPE = (39, 57)
MODIS_BANDS = (3, 4, 1, 2, 6, 7)
LANDSAT = builtin_products()["landsat-c2-l2"].model_copy(update={"geometry": "observed"})
NBAR = builtin_products()["modis-43A4-061"].model_copy(update={"geometry": "noon"})
DAILY: Product = builtin_products()["modis-09A1-061"].model_copy(update={"geometry": "observed"})


def _modis_day(archive: Path, day: date) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectance (6, y, x), the same in the published geometry, and where it is clear with little aerosol."""

    def read(name: str) -> np.ndarray:
        with rasterio.open(f"/vsizip/{archive}/MODIS_Grid_{name}_1.tif") as source:
            values = source.read(1)
        # The kilometre layers hold half as many pixels on the same ground.
        rows, cols = (np.arange(size) * small // size for size, small in zip(SHAPE, values.shape, strict=True))
        return values[rows[:, None], cols]

    values = np.stack([read(f"500m_2D_sur_refl_b{band:02d}") * 1e-4 for band in MODIS_BANDS])
    state = read("1km_2D_state_1km")
    clear = ((state & 0b111) == 0) & ((state >> 6 & 3) != 3) & ((state >> 8 & 3) != 3) & ((state >> 10 & 1) == 0)
    angles = {name: read(f"1km_2D_{name}") * 0.01 for name in ("SolarZenith", "SensorZenith", "SolarAzimuth", "SensorAzimuth")}
    directions = Directions(angles["SolarZenith"], angles["SensorZenith"], angles["SensorAzimuth"] - angles["SolarAzimuth"])
    adjustment = coarse_adjustment(DAILY, "terra", day, np.full(SHAPE, 42.8), BANDS, directions)
    return values, values * adjustment.gain, clear


@pytest.fixture(scope="module")
def three_days() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    folder = shared("data/mod09ga-samples")
    days = []
    for number in (222, 223, 224):
        archive = folder / f"pamplona_MOD09GA_2021{number}.zip"
        assert zipfile.is_zipfile(archive)
        days.append(_modis_day(archive, date(2021, 1, 1) + timedelta(days=number - 1)))
    return days


@pytest.mark.parametrize(("first", "second", "factor"), [(0, 1, 2.0), (1, 2, 3.0)])
def test_a_day_seen_with_the_sun_behind_comes_close_to_its_neighbours(three_days: list, first: int, second: int, factor: float) -> None:
    """Day 223 looks towards backscatter at 23°, its neighbours towards forward scatter at 54° and 43°."""
    (raw_1, moved_1, clear_1), (raw_2, moved_2, clear_2) = three_days[first], three_days[second]
    clear = clear_1 & clear_2
    assert clear.sum() > 1500
    for row in residuals([Pair(raw_1, raw_2, clear)], [Pair(moved_1, moved_2, clear)], BANDS):
        assert abs(row.before.median) > 0.01, row
        assert abs(row.after.median) < abs(row.before.median) / factor, row
        assert row.after.rmse < row.before.rmse, row


def test_days_seen_alike_are_not_driven_apart(three_days: list) -> None:
    (raw_1, moved_1, clear_1), _, (raw_2, moved_2, clear_2) = three_days
    clear = clear_1 & clear_2
    for row in residuals([Pair(raw_1, raw_2, clear)], [Pair(moved_1, moved_2, clear)], BANDS):
        assert abs(row.after.median) < abs(row.before.median) + 0.002, row


def _year(longitude: float) -> list[tuple[date, datetime]]:
    """Every twelfth day of a year and the instant of 10:10 mean solar time."""
    days = [date(2022, 1, 1) + timedelta(days=offset) for offset in range(0, 360, 12)]
    return [(day, datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=TRUTH_HOUR - longitude / 15)) for day in days]


@pytest.mark.parametrize(("longitude", "latitude"), [(15.0, 44.3), (-100.0, 40.0), (147.0, -36.0)])
def test_the_anisotropy_that_the_sandbox_lays_on_landsat_is_taken_away(longitude: float, latitude: float) -> None:
    """The sandbox has formulas of its own for sun, orbit and ground, and a ground that differs from the one shape of the c-factor."""
    path, _ = path_and_row(longitude, latitude)
    vegetation = np.linspace(0, 1, 5, dtype=np.float32)[None]
    place = np.full((1, 1), longitude), np.full((1, 1), latitude)
    before, after = [], []
    for day, instant in _year(longitude):
        sun, azimuth = sun_position(day, latitude, TRUTH_HOUR + equation_of_time(day))
        reference, _ = sun_position(day, latitude, TRUTH_HOUR)
        for track in (path, path - 1):
            view, direction = view_from(track, longitude, latitude)
            seen = anisotropy(vegetation, sun, view, direction - azimuth, reference)
            gain = fine_adjustment(LANDSAT, "landsat-8", {"landsat:wrs_path": f"{track:03d}"}, instant, day, *place, BANDS).gain
            before.append(abs(seen - 1))
            after.append(abs(seen * gain - 1))
    assert np.mean(after) < np.mean(before) / 4
    assert np.max(after) < 0.03


@pytest.mark.parametrize("latitude", [44.3, -20.0])
def test_the_noon_sun_of_mcd43a4_is_taken_away(latitude: float) -> None:
    vegetation = np.linspace(0, 1, 5, dtype=np.float32)[None]
    before, after = [], []
    for day, _ in _year(0.0):
        noon, reference = (sun_position(day, latitude, hour)[0] for hour in (12.0, TRUTH_HOUR))
        seen = anisotropy(vegetation, noon, 0.0, 0.0, reference)
        gain = coarse_adjustment(NBAR, "terra-aqua", day, np.full((1, 1), latitude), BANDS).gain
        before.append(abs(seen - 1))
        after.append(abs(seen * gain - 1))
    assert np.mean(after) < np.mean(before) / 4
    assert np.max(after) < 0.035


def test_scenes_of_two_paths_of_the_sandbox_agree_with_the_truth_better_than_before() -> None:
    edge = 30 * 72
    grid = Grid.from_bounds("EPSG:32633", (500_100, 4_900_100, 500_100 + edge, 4_900_100 + edge))
    scenery = Scenery(3, Canvas.around(grid, 112), 44.0)
    sky, world = Sky(3, scenery.weather, 0.0), World(3, grid, date(2022, 1, 1), date(2022, 12, 31))
    place = np.full((1, 1), grid.longitude), np.full((1, 1), 44.27)
    before, after = [], []
    for flight in passes(grid.longitude, 44.27, date(2022, 5, 1), date(2022, 9, 30), landsat7=False)[::6]:
        for scene in landsat_scenes(scenery, sky, grid, flight, grid.longitude):
            if scene.epsg != 32633:
                continue
            _, _, west, _, _, north = scene.transform
            row, col = round((grid.north - north) / 30), round((west - grid.west) / 30)
            top, left, bottom, right = max(row, 0), max(col, 0), min(row + scene.bands.shape[1], grid.height), grid.width
            part = slice(top - row, bottom - row), slice(left - col, min(right, col + scene.bands.shape[2]) - col)
            clear = scene.qa_pixel[part] == 21824
            if clear.sum() < 500:
                continue
            seen = scene.bands[:, *part] * SCALE + OFFSET
            truth = world.truth(scene.day)[:, top:bottom, left : left + clear.shape[1]]
            properties = landsat_item(scene)["properties"]
            gain = fine_adjustment(LANDSAT, scene.platform, properties, scene.instant, scene.day, *place, BANDS).gain
            before.append([np.median((image - real)[clear]) for image, real in zip(seen, truth, strict=True)])
            after.append([np.median((image - real)[clear]) for image, real in zip(seen * gain, truth, strict=True)])
    assert len(before) >= 6
    # The infrared bands, where haze is not the larger part.
    assert (np.abs(after).mean(axis=0)[3:] < 0.75 * np.abs(before).mean(axis=0)[3:]).all()
