"""One sky for all sensors; Landsat 7; the composition of MCD43A4."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.sandbox.items import landsat_item
from pipeline.sandbox.landsat import landsat_scenes
from pipeline.sandbox.landscape import Canvas
from pipeline.sandbox.modis import FILL, Look, cell_centres, compose, lattices, looks, view_angles, views
from pipeline.sandbox.orbit import Pass, path_and_row, view_from
from pipeline.sandbox.sky import Sky
from pipeline.sandbox.sun import anisotropy, equation_of_time, kernels, sun_position
from pipeline.sandbox.weather import Weather
from pipeline.sandbox.world import TRUTH_HOUR, Scenery
from tests.sandbox.conftest import small_grid

FIRST = date(2022, 5, 1)


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    return Scenery(3, Canvas.around(small_grid(), 112), 46.0)


def test_mean_cloud_cover_is_what_was_asked_for() -> None:
    for wanted in (0.2, 0.5, 0.7):
        sky = Sky(1, Weather(1, 46.0), wanted)
        covers = [sky.cover(FIRST + timedelta(days=offset)) for offset in range(1500)]
        assert np.mean(covers) == pytest.approx(wanted, abs=0.06)


def test_cloudiness_persists_over_days() -> None:
    sky = Sky(1, Weather(1, 46.0), 0.5)
    covers = np.array([sky.cover(FIRST + timedelta(days=offset)) for offset in range(1200)])
    assert np.corrcoef(covers[1:], covers[:-1])[0, 1] > 0.35
    assert abs(np.corrcoef(covers[15:], covers[:-15])[0, 1]) < 0.2


def test_both_sensors_see_the_same_clouds() -> None:
    """Twenty minutes apart the clouds have drifted a little; another day they are elsewhere."""
    sky = Sky(3, Weather(3, 46.0), 0.5)
    x = y = np.arange(0.0, 40_000.0, 240.0)
    same, next_week = [], []
    for offset in range(0, 120, 3):
        day = FIRST + timedelta(days=offset)
        if 0.2 < sky.cover(day) < 0.8:
            landsat = sky.opacity(day, 10.17, x, y)
            same.append(np.corrcoef(landsat.ravel(), sky.opacity(day, 10.58, x, y).ravel())[0, 1])
            next_week.append(np.corrcoef(landsat.ravel(), sky.opacity(day + timedelta(days=9), 10.17, x, y).ravel())[0, 1])
    assert np.nanmean(same) > 0.45
    assert np.nanmean(next_week) < 0.25


def test_shadows_lie_beside_clouds_away_from_the_sun() -> None:
    sky = Sky(3, Weather(3, 46.0), 0.4)
    x, y = np.arange(0.0, 20_000.0, 60.0), np.arange(20_000.0, 0.0, -60.0)
    day = next(day for day in (FIRST + timedelta(days=offset) for offset in range(100)) if 0.2 < sky.cover(day) < 0.6)
    cloud, shade = sky.opacity(day, 10.17, x, y), sky.shadow(day, 10.17, x, y)
    assert abs(float(cloud.mean()) - float(shade.mean())) < 0.25
    # In the morning the sun stands in the south-east: shadows fall to the north-west, up and left on the map.
    best = max(((dr, dc) for dr in range(-60, 61, 10) for dc in range(-60, 61, 10)), key=lambda move: _match(cloud, shade, *move))
    assert best[0] < 0
    assert best[1] < 0


def _match(cloud: np.ndarray, shade: np.ndarray, rows: int, cols: int) -> float:
    moved = np.roll(cloud, (rows, cols), axis=(0, 1))[60:-60, 60:-60]
    return float(np.corrcoef(moved.ravel(), shade[60:-60, 60:-60].ravel())[0, 1])


def test_a_clear_sky_leaves_only_false_alarms(scenery: Scenery) -> None:
    flight = Pass(date(2022, 6, 10), "landsat-9", 190, (28, 29), eastern=False)
    scenes = landsat_scenes(scenery, Sky(3, scenery.weather, 0.0), small_grid(), flight, 15.0)
    for scene in scenes:
        assert scene.cloud_cover < 5


def test_landsat7_has_stripes_without_data_and_no_aerosol_band(scenery: Scenery) -> None:
    flight = Pass(date(2022, 6, 10), "landsat-7", 190, (28, 29), eastern=False)
    scene = landsat_scenes(scenery, Sky(3, scenery.weather, 0.0), small_grid(), flight, 15.0)[0]
    filled = (scene.bands[0] == 0)[: scene.bands.shape[1] // 2]
    assert 0.1 < filled.mean() < 0.5
    column = filled[:, filled.shape[1] // 2]
    assert np.sum(column[1:] != column[:-1]) >= 2
    assert not (scene.qa_pixel & 0xC004 & ~np.uint16(1)).any()


def test_landsat_looks_from_where_its_orbit_is() -> None:
    """The nearer path from less than the edge of a swath, the next one in the east from further off and from the east."""
    for longitude, latitude in ((15.0, 44.3), (-100.0, 40.0), (147.0, -36.0)):
        path, _ = path_and_row(longitude, latitude)
        (near, _), (far, direction) = (view_from(track, longitude, latitude) for track in (path, path - 1))
        assert near < 8
        assert near < far < 15
        assert 95 < direction < 110
    zenith, direction = view_from(190, 15.0, 44.3)
    assert zenith == pytest.approx(3.3, abs=0.5)
    assert direction == pytest.approx(284, abs=3)


def test_the_orbit_keeps_mean_solar_time_and_items_tell_the_sun_of_it(scenery: Scenery) -> None:
    for day, minutes in ((date(2022, 11, 3), 16.4), (date(2022, 2, 11), -14.2), (date(2022, 6, 13), 0.0)):
        assert equation_of_time(day) * 60 == pytest.approx(minutes, abs=0.5)
    flight = Pass(date(2022, 11, 3), "landsat-9", 190, (28, 29), eastern=False)
    scene = landsat_scenes(scenery, Sky(3, scenery.weather, 0.0), small_grid(), flight, 15.0)[0]
    elevation = landsat_item(scene)["properties"]["view:sun_elevation"]
    assert elevation == pytest.approx(90 - sun_position(flight.day, 46.07, TRUTH_HOUR + 16.4 / 60)[0], abs=0.05)


def test_view_geometry_repeats_after_sixteen_days_and_spans_nadir_to_edge() -> None:
    zeniths = [view_angles(FIRST + timedelta(days=offset), aqua=False)[0] for offset in range(16)]
    assert zeniths == [view_angles(FIRST + timedelta(days=16 + offset), aqua=False)[0] for offset in range(16)]
    assert min(zeniths) < 10
    assert max(zeniths) > 55


def test_an_oblique_view_is_smoother_than_a_view_from_above(scenery: Scenery) -> None:
    grid = small_grid()
    clear = Sky(3, scenery.weather, 0.0)
    texture = {}
    for offset in range(16):
        day = date(2022, 6, 1) + timedelta(days=offset)
        found = looks(views(scenery, clear, day), scenery.seed, grid, lattices(grid))[0]
        for look in found:
            texture[look.angles[1]] = float(look.reflectance[3].std())
    zeniths = sorted(texture)
    assert np.mean([texture[z] for z in zeniths[:4]]) > np.mean([texture[z] for z in zeniths[-4:]]) * 1.1


def test_cells_lie_on_the_area() -> None:
    grid = small_grid()
    place = lattices(grid)[0]
    x, y = cell_centres(place, grid.crs)
    west, south, east, north = grid.bounds
    assert x.min() < west
    assert x.max() > east
    assert y.min() < south
    assert y.max() > north
    assert np.hypot(*np.subtract((x[1, 0], y[1, 0]), (x[0, 0], y[0, 0]))) == pytest.approx(463.3, rel=0.02)


def _window_of_looks(values: dict[date, float], clear: bool = True) -> dict[date, list[Look]]:
    shape = (2, 3)
    return {
        day: [Look(np.full((6, *shape), value, np.float32), np.full(shape, clear), (40.0, 10.0 + index, 40.0))]
        for index, (day, value) in enumerate(values.items())
    }


def test_the_composite_uses_eight_days_before_to_seven_after_and_no_more() -> None:
    day = date(2022, 6, 20)

    def red(values: dict[date, float]) -> int:
        nbar = compose(_window_of_looks(values), day, 46.0)
        assert nbar is not None
        return int(nbar.values[2, 0, 0])

    base = {day + timedelta(days=offset): 0.2 for offset in range(-12, 13)}
    for offset, counts in ((-9, False), (-8, True), (0, True), (7, True), (8, False)):
        changed = red({**base, day + timedelta(days=offset): 0.4}) != red(base)
        assert changed is counts, offset


def test_the_nominal_day_weighs_most() -> None:
    day = date(2022, 6, 20)
    looks_ = {day + timedelta(days=offset): 0.2 for offset in range(-8, 8)}

    def effect(offset: int) -> float:
        nbar = compose(_window_of_looks({**looks_, day + timedelta(days=offset): 0.3}), day, 46.0)
        base = compose(_window_of_looks(looks_), day, 46.0)
        assert nbar is not None
        assert base is not None
        return abs(int(nbar.values[2, 0, 0]) - int(base.values[2, 0, 0]))

    assert effect(0) > 1.5 * effect(6)


def test_few_looks_give_magnitude_inversions_and_none_gives_fill() -> None:
    day = date(2022, 6, 20)
    few = compose(_window_of_looks({day + timedelta(days=offset): 0.2 for offset in range(3)}), day, 46.0)
    none = compose(_window_of_looks({day: 0.2}, clear=False), day, 46.0)
    assert few is not None
    assert none is not None
    assert set(np.unique(few.quality)) == {1}
    assert set(np.unique(none.quality)) == {255}
    assert set(np.unique(none.values)) == {FILL}
    assert compose({}, day, 46.0) is None


def test_the_full_inversion_recovers_nadir_reflectance_from_oblique_looks() -> None:
    day, vegetation = date(2022, 6, 20), np.full((2, 3), 0.5, np.float32)
    by_day = {}
    for offset in range(-8, 8):
        view, relative = view_angles(day + timedelta(days=offset), aqua=False)
        seen = 0.3 * anisotropy(vegetation, 33.0, view, relative, 33.0)
        by_day[day + timedelta(days=offset)] = [Look(seen, np.ones((2, 3), bool), (33.0, view, relative))]
    nbar = compose(by_day, day, 46.0)
    assert nbar is not None
    assert (nbar.quality == 0).all()
    at_noon = 0.3 * anisotropy(vegetation, 22.5, 0.0, 0.0, 33.0)
    np.testing.assert_allclose(nbar.values * 1e-4, at_noon, rtol=0.03)
    assert kernels(33.0, 0.0, 0.0) != kernels(22.5, 0.0, 0.0)
