"""The sun against an almanac's example and against what Landsat's metadata say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from pipeline.normalisation import sun


def _apart(first: float, second: float) -> float:
    return abs((first - second + 180) % 360 - 180)


def test_the_declination_is_that_of_the_example_of_meeus() -> None:
    """Example 25.a: 13 October 1992, 0 h, apparent declination −7.78507°. From the pole the zenith is 90° − declination."""
    zenith, _ = sun.position(datetime(1992, 10, 13, tzinfo=UTC), 0.0, 90.0)
    assert float(zenith) == pytest.approx(90 + 7.78507, abs=0.01)


def test_the_sun_of_every_recorded_landsat_item_is_found_within_five_hundredths_of_a_degree(landsat_items: dict[str, Any]) -> None:
    assert len(landsat_items) >= 20
    for name, item in landsat_items.items():
        properties = item["properties"]
        longitude, latitude = np.array(item["geometry"]["coordinates"][0])[:-1, :2].mean(axis=0)
        zenith, azimuth = sun.position(datetime.fromisoformat(properties["datetime"]), longitude, latitude)
        assert 90 - float(zenith) == pytest.approx(properties["view:sun_elevation"], abs=0.05), name
        assert _apart(float(azimuth), properties["view:sun_azimuth"]) < 0.05, name


def test_the_sun_of_every_metadata_file_is_found_within_a_tenth_of_a_degree(landsat_metadata: dict[str, Any]) -> None:
    for name, scene in landsat_metadata.items():
        zenith, azimuth = sun.position(scene["instant"], *scene["middle"])
        assert 90 - float(zenith) == pytest.approx(scene["sun"][0], abs=0.1), name
        assert _apart(float(azimuth), scene["sun"][1]) < 0.1, name


def test_an_instant_without_zone_is_utc_and_another_zone_is_heeded() -> None:
    utc = sun.position(datetime(2024, 6, 10, 9, 50), 15.0, 44.0)
    aware = sun.position(datetime.fromisoformat("2024-06-10T11:50:00+02:00"), 15.0, 44.0)
    assert utc == aware


def test_the_sun_of_a_place_turns_with_longitude_by_the_hour() -> None:
    """Fifteen degrees further east the sun stands one hour later."""
    here = sun.position(datetime(2024, 3, 1, 10, tzinfo=UTC), 15.0, 40.0)
    there = sun.position(datetime(2024, 3, 1, 9, tzinfo=UTC), 30.0, 40.0)
    np.testing.assert_allclose(here, there, atol=0.03)


@pytest.mark.parametrize("latitude", [-35.0, 0.0, 46.0])
def test_at_noon_the_zenith_is_the_latitude_less_the_declination(latitude: float) -> None:
    assert float(sun.noon_zenith(date(2024, 6, 20), latitude)) == pytest.approx(abs(latitude - 23.44), abs=0.02)
    assert float(sun.noon_zenith(date(2024, 12, 21), latitude)) == pytest.approx(abs(latitude + 23.44), abs=0.02)


def test_at_ten_past_ten_the_sun_is_lower_than_at_noon_and_in_the_east() -> None:
    day, latitude = date(2024, 4, 1), np.array([-50.0, -20.0, 0.0, 20.0, 50.0])
    assert (sun.published_zenith(day, latitude) > sun.noon_zenith(day, latitude)).all()
    assert (sun.at_hour(day, latitude, sun.PUBLISHED_HOUR)[1] < 180).all()
    # On the equator at an equinox the zenith is the hour angle.
    assert float(sun.published_zenith(date(2024, 3, 20), 0.0)) == pytest.approx(27.5, abs=0.05)


def test_the_sun_of_hls_is_high_near_the_equator_and_the_same_on_all_days() -> None:
    assert float(sun.hls_zenith(0.0)) == pytest.approx(31.0076)
    latitude = np.array([-60.0, -30.0, 0.0, 30.0, 60.0])
    assert sun.hls_zenith(latitude).argmin() == 2
    # The mean of the morning sun over a year, within some degrees.
    year = [sun.published_zenith(date(2023, month, 15), latitude[1:4]) for month in range(1, 13)]
    np.testing.assert_allclose(sun.hls_zenith(latitude[1:4]), np.mean(year, axis=0), atol=6)
