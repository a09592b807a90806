"""Every target pixel takes the source pixel under its exact centre, however the target is cut."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import CRS, Transformer

from pipeline.config import GridPart
from pipeline.grid import Window
from pipeline.observations.warp import Lattice, _source_pixels, gather, native_cells, shift

from .scenes import H19V04, MODIS_PIXEL, SINUSOIDAL, UTM33, small_grid

TARGET = Lattice(UTM33, 500175.0, 5091135.0, 60.0, 60.0)
MODIS = Lattice(SINUSOIDAL, H19V04[0], H19V04[1], MODIS_PIXEL, MODIS_PIXEL)


def test_a_modis_pixel_is_the_one_under_the_exact_centre() -> None:
    take = gather(TARGET, Window(0, 0, 50, 40), MODIS, (2400, 2400))
    assert take.flat is not None
    to_sinusoidal = Transformer.from_crs(UTM33, SINUSOIDAL, always_xy=True)
    for row, col in ((0, 0), (49, 39), (13, 27)):
        easting, northing = to_sinusoidal.transform(500175.0 + (col + 0.5) * 60, 5091135.0 - (row + 0.5) * 60)
        expected = int((H19V04[1] - northing) // MODIS_PIXEL), int((easting - H19V04[0]) // MODIS_PIXEL)
        index = int(take.flat[row, col])
        assert (take.source.row + index // take.source.width, take.source.col + index % take.source.width) == expected


@pytest.mark.parametrize(
    ("target", "window", "source"),
    [
        (TARGET, Window(-8, -8, 700, 517), MODIS),
        (TARGET, Window(3, 3, 1, 40), MODIS),
        # The neighbouring zone.
        (Lattice(UTM33, 262000.0, 5091135.0, 30.0, 30.0), Window(0, 0, 300, 301), Lattice("EPSG:32632", 700015.0, 5191135.0, 30.0, 30.0)),
        # Over the antimeridian, where the sinusoidal plane is cut.
        (Lattice("EPSG:32660", 800000.0, 4500000.0, 60.0, 60.0), Window(0, 0, 300, 900), Lattice(SINUSOIDAL, -2e7, 4.5e6, 463.3, 463.3)),
        # Around the pole, and over the edge of the world.
        (Lattice("EPSG:3031", 0.0, 0.0, 30.0, 30.0), Window(-100, -100, 200, 200), MODIS),
        (Lattice(SINUSOIDAL, 1.98e7, 2e6, 463.3, 463.3), Window(0, 0, 500, 500), Lattice("EPSG:32660", 7e5, 2e6, 60.0, 60.0)),
    ],
)
def test_pixels_are_those_of_exact_coordinates_everywhere(target: Lattice, window: Window, source: Lattice) -> None:
    columns, rows = _source_pixels(target, window, source)
    x, y = np.meshgrid(target.eastings(window.col, window.width), target.northings(window.row, window.height))
    eastings, northings = Transformer.from_crs(target.crs, source.crs, always_xy=True).transform(x, y)
    assert np.array_equal(columns, source.columns(eastings))
    assert np.array_equal(rows, source.rows(northings))


def test_a_window_takes_the_same_pixels_as_the_whole() -> None:
    source = np.arange(2400 * 2400).reshape(2400, 2400)

    def taken(window: Window) -> np.ndarray:
        take = gather(TARGET, window, MODIS, source.shape)
        out = np.empty(window.shape, np.int64)
        take.scatter(source[take.source.slices], out, np.int64(-1))
        return out

    whole = taken(Window(-8, -8, 120, 100))
    for row in range(0, 120, 40):
        for col in range(0, 100, 25):
            part = taken(Window(row - 8, col - 8, 40, 25))
            assert np.array_equal(part, whole[row : row + 40, col : col + 25])


def test_a_raster_on_the_same_lattice_is_cut_out_not_resampled() -> None:
    grid = small_grid()
    target = Lattice(grid.crs, grid.west, grid.north, 30.0, 30.0)
    source = Lattice(grid.crs, grid.west + 90, grid.north + 60, 30.0, 30.0)
    take = gather(target, Window(0, 0, 32, 32), source, (20, 100))
    assert take.flat is None
    assert take.source == Window(2, 0, 18, 29)
    assert take.inside == Window(0, 3, 18, 29)


def test_a_southern_area_takes_landsat_of_its_zone_unresampled() -> None:
    # Landsat 9 of path 90, row 91, as it is catalogued: the northern CRS and negative northings.
    transform, shape = (30.0, 0.0, 353685.0, 0.0, -30.0, -4821585.0), (7911, 7791)
    landsat = Lattice.of("EPSG:32655", transform)
    bounds = (400_000.0, 5_100_000.0, 407_000.0, 5_107_000.0)
    for crs in ("EPSG:32755", CRS.from_epsg(32755).to_wkt()):
        grid = GridPart(crs=crs, bounds=bounds).build()
        assert (grid.west % 30, grid.north % 30) == (15, 25)
        take = gather(Lattice.of(crs, grid.transform), grid.window, landsat, shape)
        assert take.flat is None
        assert take.outside is None
        assert take.source == Window(
            round((-4821585 + 10_000_000 - grid.north) / 30), round((grid.west - 353685) / 30), grid.height, grid.width
        )
    # The cells are those of the same area in the northern CRS.
    northern = GridPart(crs="EPSG:32655", bounds=(bounds[0], bounds[1] - 1e7, bounds[2], bounds[3] - 1e7)).build()
    assert (northern.west, northern.north, northern.shape) == (grid.west, grid.north - 1e7, grid.shape)


def test_only_a_false_origin_may_differ_between_two_names_of_one_place() -> None:
    assert shift("EPSG:32633", "EPSG:32733") == (0.0, 1e7)
    assert shift("EPSG:32733", CRS.from_epsg(32633).to_wkt()) == (0.0, -1e7)
    assert shift("EPSG:32633", CRS.from_epsg(32633).to_wkt("WKT1_ESRI")) == (0.0, 0.0)
    assert shift("EPSG:32633", "EPSG:32734") is None
    assert shift("EPSG:32633", "EPSG:25833") is None
    assert shift("EPSG:32633", SINUSOIDAL) is None


def test_nothing_is_taken_from_a_raster_beside_the_window() -> None:
    source = Lattice(UTM33, 900015.0, 5091135.0, 60.0, 60.0)
    assert gather(TARGET, Window(0, 0, 10, 10), source, (10, 10)).source.width == 0
    other_zone = Lattice("EPSG:32634", 300015.0, 1000005.0, 30.0, 30.0)
    assert gather(TARGET, Window(0, 0, 10, 10), other_zone, (10, 10)).source.width == 0


def test_centres_on_a_pixel_edge_are_not_decided_by_rounding_noise() -> None:
    # Pixels of 30 m against a lattice moved by half a pixel: every centre lies on an edge.
    target = Lattice(UTM33, 400000.1, 5000000.1, 30.0, 30.0)
    source = Lattice(UTM33, 400000.1 - 15.0, 5000000.1 + 15.0, 30.0, 30.0)
    take = gather(target, Window(0, 0, 2000, 2000), source, (4000, 4000))
    assert take.flat is None
    assert take.source == Window(1, 1, 2000, 2000)


def test_tiles_of_one_product_number_their_native_cells_together() -> None:
    east = Lattice(SINUSOIDAL, H19V04[0] + 2400 * MODIS_PIXEL, H19V04[1], MODIS_PIXEL, MODIS_PIXEL)
    window = Window(0, 0, 20, 20)
    numbers = native_cells(TARGET, window, MODIS)
    assert np.array_equal(numbers, native_cells(TARGET, window, east))
    assert np.all(numbers >= 0)
    # 1.2 km are between 2 and 4 native pixels of 463 m along each axis.
    assert 4 <= len(np.unique(numbers)) <= 24
    assert np.all(np.diff(np.unique(numbers // 2**32)) == 1)
