"""Boxes and footprints of items, on both sides of the antimeridian."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.catalog.outline import CORNERS, boxes_of, boxes_touch, footprint_of, lonlat_bounds
from pipeline.errors import CatalogError

SPLIT = {
    # As USGS writes LT05_L2SR_087017_20090621: cut at the antimeridian, and with a bbox that is too small.
    "id": "LT05_L2SR_087017_20090621_20200827_02_T2_SR",
    "bbox": [179.905, 60.439, -179.064, 62.492],
    "geometry": {
        "type": "MultiPolygon",
        "coordinates": [
            [[[180.0, 61.093], [179.905, 60.951], [180.0, 60.937], [180.0, 61.093]]],
            [[[-180.0, 60.937], [-176.702, 60.439], [-175.515, 61.955], [-179.064, 62.492], [-180.0, 61.093], [-180.0, 60.937]]],
        ],
    },
}


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"id": "x", "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]}}


def test_a_place_is_found_by_the_geometry_where_the_bbox_is_too_small() -> None:
    place = (-177.0, 61.0, -176.5, 61.5)
    assert not boxes_touch(SPLIT["bbox"], place)  # type: ignore[arg-type]
    assert any(boxes_touch(box, place) for box in boxes_of(SPLIT))
    assert not any(boxes_touch(box, (-174.0, 61.0, -173.0, 61.5)) for box in boxes_of(SPLIT))


def test_a_footprint_cut_at_the_antimeridian_is_joined() -> None:
    ring = footprint_of(SPLIT)
    longitudes = [point[0] for point in ring]
    assert 4 <= len(ring) <= CORNERS
    assert (min(longitudes), max(longitudes)) == (179.905, 184.485)
    corners = {(179.905, 60.951), (183.298, 60.439), (184.485, 61.955), (180.936, 62.492)}
    assert corners <= {(round(x, 3), round(y, 3)) for x, y in ring}


def test_bounds_without_a_bbox_are_those_of_all_polygons() -> None:
    assert lonlat_bounds({**SPLIT, "bbox": None}) == (179.905, 60.439, -175.515, 62.492)
    assert lonlat_bounds(polygon((14.5, 44.0), (15.5, 44.0), (15.5, 44.6))) == (14.5, 44.0, 15.5, 44.6)


def test_a_polygon_that_runs_across_the_antimeridian_uncut_crosses_it() -> None:
    assert lonlat_bounds(polygon((178.0, -20.0), (-178.0, -20.0), (-178.0, -18.0), (178.0, -18.0))) == (178.0, -20.0, -178.0, -18.0)
    assert boxes_of(polygon((172.4793, -19.1662), (180.1436, -19.1807), (179.9995, -9.9753))) == [(172.4793, -19.1807, 180.1436, -9.9753)]


@pytest.mark.parametrize(
    "item", [{"id": "x"}, {"id": "x", "bbox": [], "geometry": None}, {"id": "x", "geometry": {"type": "Point", "coordinates": [1, 2]}}]
)
def test_an_item_that_lies_nowhere_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match="neither bbox nor geometry"):
        lonlat_bounds(item)
    assert footprint_of(item) == []


def test_a_footprint_is_open_rounded_and_kept_as_it_is() -> None:
    item = polygon((14.5000001, 44.0), (15.5, 44.123456789), (15.4, 45.0), (14.4, 44.9))
    assert footprint_of(item) == [[14.5, 44.0], [15.5, 44.12346], [15.4, 45.0], [14.4, 44.9]]


def test_a_long_ring_is_thinned_to_the_corners_that_matter() -> None:
    corners = [(0.0, 0.0), (2.0, 0.3), (1.8, 2.2), (-0.2, 1.9)]
    ring = []
    for (x, y), (to_x, to_y) in zip(corners, corners[1:] + corners[:1], strict=True):
        ring += [(x + (to_x - x) * step / 10, y + (to_y - y) * step / 10 + 1e-4 * math.sin(step)) for step in range(10)]
    kept = footprint_of(polygon(*ring))
    assert len(kept) <= CORNERS
    for corner in corners:
        assert min(math.dist(corner, point) for point in kept) < 1e-3
