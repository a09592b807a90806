"""What a scene is multiplied by: where the angles come from, what is switched off, and that cells stand alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from pipeline.normalisation.adjustment import UNKNOWN_VIEW, Adjustment, Directions, coarse_adjustment, coarse_inflation, fine_adjustment
from pipeline.normalisation.bandpass import bandpass_lines
from pipeline.normalisation.cfactor import c_factor
from pipeline.normalisation.sun import hls_zenith, noon_zenith, position, published_zenith
from pipeline.sensors import Product, builtin_products
from pipeline.sensors.product import Bandpass
from pipeline.vocabulary import BANDS

DAY, INSTANT = date(2024, 6, 10), datetime(2024, 6, 10, 9, 10, 12, tzinfo=UTC)
LONGITUDE, LATITUDE = np.meshgrid(np.linspace(14.9, 15.1, 4), np.linspace(44.4, 44.2, 3))
ETM = Bandpass(offset=dict.fromkeys(BANDS, -0.002), gain=dict(zip(BANDS, (0.9785, 0.9542, 0.9825, 1.0073, 1.0171, 0.9949), strict=True)))


def product(name: str, geometry: str, **changes: Any) -> Product:
    return builtin_products()[name].model_copy(update={"geometry": geometry, **changes})


LANDSAT = product("landsat-c2-l2", "observed", bandpass={"landsat-7": ETM})
DAILY = product("modis-09A1-061", "observed")


def landsat(platform: str = "landsat-8", path: str | None = "190", instant: datetime = INSTANT, **options: Any) -> Adjustment:
    properties = options.pop("properties", {}) | ({"landsat:wrs_path": path} if path else {})
    return fine_adjustment(LANDSAT, platform, properties, instant, DAY, LONGITUDE, LATITUDE, BANDS, **options)


def test_the_western_path_is_brightened_and_the_eastern_one_darkened() -> None:
    """In the morning the satellite of the eastern path has the sun behind it, that of the western one looks towards it."""
    assert (landsat(path="190").gain > 1).all()
    assert (landsat(path="189").gain < 1).all()


def test_a_gain_varies_smoothly_over_the_scene_and_is_that_of_its_cell_alone() -> None:
    whole = landsat().gain
    assert whole.shape == (6, 3, 4)
    assert (np.diff(whole, axis=2) != 0).all()
    part = fine_adjustment(LANDSAT, "landsat-8", {"landsat:wrs_path": "190"}, INSTANT, DAY, LONGITUDE[1:, 2:], LATITUDE[1:, 2:], BANDS).gain
    assert np.array_equal(part, whole[:, 1:, 2:])


def test_every_step_can_be_switched_off() -> None:
    both, neither = landsat("landsat-7"), landsat("landsat-7", geometry=False, bandpass=False)
    assert (neither.gain == 1).all()
    assert (neither.offset == 0).all()
    assert neither.applied == ()
    turned = landsat("landsat-7", bandpass=False)
    lines = landsat("landsat-7", geometry=False)
    np.testing.assert_allclose(both.gain, turned.gain * lines.gain, rtol=1e-6)
    np.testing.assert_array_equal(both.offset, lines.offset)
    assert both.applied == turned.applied + lines.applied
    assert len(both.applied) == 2


def test_only_platforms_with_a_line_change_their_bandpass() -> None:
    assert (landsat("landsat-9").offset == 0).all()
    gain, offset = bandpass_lines(LANDSAT, "landsat-7", ["swir22", "ndvi", "blue"])
    np.testing.assert_array_equal(gain, [0.9949, 1.0, 0.9785])
    np.testing.assert_array_equal(offset, [-0.002, 0.0, -0.002])


def test_a_scene_without_path_takes_the_view_from_its_footprint_and_a_crop_is_taken_as_nadir() -> None:
    ring = [(13.9, 45.15), (13.3, 43.45), (15.55, 43.1), (16.25, 44.8), (13.9, 45.15)]
    seen = landsat(path=None, properties={"footprint": ring})
    assert "footprint" in seen.applied[0]
    np.testing.assert_allclose(seen.gain, landsat().gain, atol=0.02)
    crop = landsat(path=None, properties={"footprint": [(15.0, 44.2), (15.1, 44.2), (15.1, 44.3), (15.0, 44.3), (15.0, 44.2)]})
    assert "nadir" in crop.applied[0]
    np.testing.assert_allclose(crop.gain, 1, atol=0.02)


def test_an_item_made_of_a_date_alone_takes_the_sun_from_the_item_or_else_that_of_ten_past_ten() -> None:
    midnight = datetime(2024, 6, 10, tzinfo=UTC)
    zenith, azimuth = position(INSTANT, 15.0, 44.3)
    recorded = landsat(instant=midnight, properties={"view:sun_elevation": 90 - float(zenith), "view:sun_azimuth": float(azimuth)})
    assert "sun of the item" in recorded.applied[0]
    np.testing.assert_allclose(recorded.gain, landsat().gain, atol=0.002)
    assert "10:10" in landsat(instant=midnight).applied[0]
    np.testing.assert_allclose(landsat(instant=midnight).gain, landsat().gain, atol=0.02)


@pytest.mark.parametrize(("geometry", "zenith"), [("noon", noon_zenith(DAY, LATITUDE)), ("hls", hls_zenith(LATITUDE))])
def test_a_nadir_product_moves_from_its_own_sun(geometry: str, zenith: np.ndarray) -> None:
    expected = c_factor(BANDS, zenith, 0.0, 0.0, published_zenith(DAY, LATITUDE))
    fine = fine_adjustment(product("hls2-l30", geometry), "landsat-8", {}, INSTANT, DAY, LONGITUDE, LATITUDE, BANDS)
    coarse = coarse_adjustment(product("modis-43A4-061", geometry), "terra-aqua", DAY, LATITUDE, BANDS)
    np.testing.assert_allclose(fine.gain, expected, rtol=1e-6)
    np.testing.assert_allclose(coarse.gain, expected, rtol=1e-6)
    assert (coarse.inflation == 1).all()


def test_what_is_published_already_and_what_has_no_shape_stay_as_they_are() -> None:
    index = builtin_products()["modis-13Q1-061"].model_copy(update={"geometry": "noon"})
    for found in (
        coarse_adjustment(product("modis-43A4-061", "published"), "terra-aqua", DAY, LATITUDE, BANDS),
        coarse_adjustment(index, "terra", DAY, LATITUDE, ["ndvi"]),
    ):
        assert (found.gain == 1).all()
        assert found.applied == ()


def test_angles_of_each_pixel_give_gain_and_inflation_and_unknown_ones_the_nominal_geometry() -> None:
    view = np.array([[0.0, 15.0, 30.0, np.nan]])
    known = Directions(np.full(view.shape, 30.0), view, np.full(view.shape, 20.0))
    latitude = np.full(view.shape, 44.0)
    seen, blind = (coarse_adjustment(DAILY, "terra", DAY, latitude, BANDS, angles) for angles in (known, None))
    assert np.isfinite(seen.gain).all()
    assert (np.diff(seen.gain[:, 0, :3]) < 0).all()
    np.testing.assert_array_equal(seen.gain[:, :, 3], blind.gain[:, :, 3])
    assert seen.inflation[0, 3] == blind.inflation[0, 0] == UNKNOWN_VIEW
    assert (np.diff(seen.inflation[0, :3]) > 0).all()
    assert seen.applied != blind.applied


def test_sigma_grows_as_the_root_of_the_footprint_of_a_whiskbroom() -> None:
    """At the edge of the swath of MODIS a footprint is 2.0 × 4.8 times that at nadir (Wolfe et al. 1998)."""
    growth = coarse_inflation(np.array([0.0, 20.0, 45.0, 65.5]))
    assert growth[0] == pytest.approx(1)
    assert growth[3] ** 2 == pytest.approx(2.0 * 4.8, rel=0.08)
    assert (np.diff(growth) > 0).all()


def test_sigma_of_an_oblique_view_is_enlarged_when_the_geometry_is_left_alone_too() -> None:
    view = np.full((1, 1), 50.0)
    left = coarse_adjustment(DAILY, "terra", DAY, np.full((1, 1), 44.0), BANDS, Directions(view, view, view), geometry=False)
    assert left.inflation[0, 0] > 1.5
    assert (left.gain == 1).all()
