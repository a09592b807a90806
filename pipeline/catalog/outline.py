"""Where on the globe an item lies: boxes to search by, and the outline of what a sensor saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import CatalogError

Box = tuple[float, float, float, float]
"""(west, south, east, north) [degrees]; west > east, or east > 180, crosses the antimeridian."""

CORNERS = 12
"""Most points of a footprint that is kept."""

_Point = tuple[float, float]


def boxes_of(item: Mapping[str, Any]) -> list[Box]:
    """All boxes an item gives: its bbox, and one of each polygon of its geometry. Any of them may be too small or wrong.

    Raises
    ------
    CatalogError
        If it has neither.
    """
    boxes = []
    bbox = item.get("bbox")
    if isinstance(bbox, list | tuple) and len(bbox) in (4, 6):
        half = len(bbox) // 2
        boxes.append((float(bbox[0]), float(bbox[1]), float(bbox[half]), float(bbox[half + 1])))
    boxes += [_box(ring) for ring in _rings(item)]
    if not boxes:
        raise CatalogError(f"item {item.get('id')!r} has neither bbox nor geometry")
    return boxes


def lonlat_bounds(item: Mapping[str, Any]) -> Box:
    """The bbox of an item, or else a box around its geometry.

    Raises
    ------
    CatalogError
        If it has neither.
    """
    first, *others = boxes_of(item)
    if item.get("bbox") or not others:
        return first
    boxes = [first, *others]
    # A geometry that ends at 180° and begins again at −180° is one that crosses.
    crosses = min(box[0] for box in boxes) <= -180 and max(box[2] for box in boxes) >= 180
    return (
        min(box[0] for box in boxes if box[2] > 0 or not crosses),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes if box[0] < 0 or not crosses),
        max(box[3] for box in boxes),
    )


def boxes_touch(one: Box, other: Box) -> bool:
    """Whether two boxes touch, on whichever side of the antimeridian they are written."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    return (other[0] - one[0]) % 360 <= _width(one) or (one[0] - other[0]) % 360 <= _width(other)


def footprint_of(item: Mapping[str, Any]) -> list[list[float]]:
    """The outer ring of the geometry as [longitude, latitude], open, of at most `CORNERS` points; empty if there is none.

    A geometry cut at the antimeridian is joined: its longitudes go on beyond 180.
    """
    rings = [ring[:-1] if ring[0] == ring[-1] else ring for ring in _rings(item)]
    if not rings:
        return []
    start = rings[0][0][0]
    ring = [(start + (x - start + 180) % 360 - 180, y) for part in rings for x, y in part]
    if len(rings) > 1 or len(ring) > CORNERS:
        ring = _thinned(_hull(ring))
    return [[round(x, 5), round(y, 5)] for x, y in ring]


def _rings(item: Mapping[str, Any]) -> list[list[_Point]]:
    """Outer rings of all polygons."""
    geometry = item.get("geometry") or {}
    coordinates = geometry.get("coordinates") or []
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(geometry.get("type")), [])
    return [[(float(point[0]), float(point[1])) for point in polygon[0]] for polygon in polygons if polygon and polygon[0]]


def _box(ring: Sequence[_Point]) -> Box:
    longitudes, latitudes = [x for x, _ in ring], [y for _, y in ring]
    west, east = min(longitudes), max(longitudes)
    if east - west > 180:
        # Not cut at the antimeridian though it lies across it.
        west, east = min(x for x in longitudes if x > 0), max(x for x in longitudes if x <= 0)
    return west, min(latitudes), east, max(latitudes)


def _width(box: Box) -> float:
    width = box[2] - box[0]
    return width if width >= 0 else width + 360


def _hull(points: Sequence[_Point]) -> list[_Point]:
    """The convex hull, counter-clockwise (Andrew's monotone chain): a swath is convex, its outline is not always."""
    ordered = sorted(set(points))
    hull: list[_Point] = []
    for chain in (ordered, ordered[::-1]):
        side: list[_Point] = []
        for point in chain:
            while len(side) > 1 and _area(side[-2], side[-1], point) <= 0:
                side.pop()
            side.append(point)
        hull += side[:-1]
    return hull


def _thinned(ring: list[_Point]) -> list[_Point]:
    """The ring without the corners that enclose least."""
    ring = list(ring)
    while len(ring) > CORNERS:
        areas = [abs(_area(ring[at - 1], ring[at], ring[(at + 1) % len(ring)])) for at in range(len(ring))]
        ring.pop(areas.index(min(areas)))
    return ring


def _area(one: _Point, two: _Point, three: _Point) -> float:
    """Twice the signed area of a triangle."""
    return (two[0] - one[0]) * (three[1] - one[1]) - (two[1] - one[1]) * (three[0] - one[0])
