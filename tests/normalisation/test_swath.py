"""The direction to the satellite against footprints and metadata of real scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.normalisation import swath

EARTH, HEIGHT = 6371.0, 705.0


def test_the_middle_of_every_recorded_scene_lies_under_the_track_of_its_path(landsat_items: dict[str, Any]) -> None:
    """Within a kilometre or four; Landsat 7 had drifted off by 11 km in its last years."""
    offsets = {}
    for name, item in landsat_items.items():
        ring = item["geometry"]["coordinates"][0]
        node = swath.node_of_footprint(ring)
        assert node is not None, name
        path = int(item["properties"].get("landsat:wrs_path") or name[10:13])
        offsets[name] = ((node - swath.node_of_path(path) + 180) % 360 - 180) * 111.2 * np.cos(np.deg2rad(ring[0][1]))
    drifted = [name for name in offsets if name.startswith("LE07") and int(name[17:21]) > 2017]
    assert max(abs(offset) for name, offset in offsets.items() if name not in drifted) < 5
    assert all(abs(offsets[name]) < 15 for name in drifted)


def test_at_the_corners_of_a_recorded_scene_the_view_zenith_is_that_of_the_edge_of_the_swath(landsat_items: dict[str, Any]) -> None:
    """Footprints are 185–190 km wide: 7.5° from the satellite, 8.4° on the curved Earth."""
    for name, item in landsat_items.items():
        ring = item["geometry"]["coordinates"][0]
        node = swath.node_of_footprint(ring)
        assert node is not None
        zenith, _ = swath.view_angles(node, *np.array(ring).T[:2])
        np.testing.assert_allclose(zenith, 8.45, atol=0.4, err_msg=name)


def test_an_image_taken_with_a_roll_is_seen_at_the_angle_of_the_roll(landsat_metadata: dict[str, Any]) -> None:
    """LC08 017036 looked to path 18 with a roll of 11.7°: the path alone tells the view."""
    rolled = [scene for scene in landsat_metadata.values() if abs(scene["roll"]) > 1]
    assert rolled
    for scene in rolled:
        zenith, azimuth = swath.view_angles(swath.node_of_path(scene["path"]), *scene["middle"])
        expected = np.rad2deg(np.arcsin((EARTH + HEIGHT) / EARTH * np.sin(np.deg2rad(abs(scene["roll"])))))
        assert float(zenith) == pytest.approx(expected, abs=0.3)
        assert 90 < float(azimuth) < 120
    for scene in (scene for scene in landsat_metadata.values() if abs(scene["roll"]) < 1):
        assert swath.view_angles(swath.node_of_path(scene["path"]), *scene["middle"])[0] < 1


def test_places_east_of_the_track_look_west_to_the_satellite_and_places_west_of_it_east() -> None:
    node = swath.node_of_path(190)
    zenith, azimuth = swath.view_angles(node, np.array([13.8, 15.2]), np.array([44.3, 44.3]))
    assert (zenith > 4).all()
    assert azimuth[0] == pytest.approx(104, abs=3)
    assert azimuth[1] == pytest.approx(284, abs=3)


def test_the_view_grows_with_the_distance_from_the_track_as_the_curved_earth_has_it() -> None:
    """At the equator a track runs 98.2° less the turn of the Earth: 185 km / 2 across give 8.3°."""
    east = np.array([0.25, 0.5, 0.8])
    zenith, _ = swath.view_angles(0.0, east, np.zeros(3))
    heading = np.deg2rad(98.2 - 90) + 0.0687
    angle = np.deg2rad(east) * np.cos(heading)
    expected = np.rad2deg(angle + np.arctan2(EARTH * np.sin(angle), EARTH + HEIGHT - EARTH * np.cos(angle)))
    np.testing.assert_allclose(zenith, expected, rtol=0.01)


def test_a_footprint_across_the_date_line_is_one_piece() -> None:
    node = swath.node_of_path(74)
    rings = []
    for west in (178.6, -180.0 - 1.4):
        corners = [(west + 0.3, -17.0), (west, -18.7), (west + 1.75, -19.0), (west + 2.05, -17.3)]
        rings.append([((x + 180) % 360 - 180, y) for x, y in corners])
    first, second = (swath.node_of_footprint(ring) for ring in rings)
    assert first is not None
    assert second is not None
    assert abs((first - second + 180) % 360 - 180) < 1e-6
    assert abs((first - node + 180) % 360 - 180) < 3


def test_the_middle_of_a_crop_says_nothing_of_the_track() -> None:
    assert swath.node_of_footprint([(15.0, 44.0), (15.1, 44.0), (15.1, 44.1), (15.0, 44.1), (15.0, 44.0)]) is None


def test_the_view_at_a_place_does_not_depend_on_other_places() -> None:
    longitude, latitude = np.meshgrid(np.linspace(14, 16, 5), np.linspace(45, 43, 7))
    whole = np.stack(swath.view_angles(swath.node_of_path(190), longitude, latitude))
    part = np.stack(swath.view_angles(swath.node_of_path(190), longitude[2:4, 1:3], latitude[2:4, 1:3]))
    assert np.array_equal(whole[:, 2:4, 1:3], part)
