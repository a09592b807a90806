"""Every target pixel takes the source pixel under its exact centre, however the target is cut."""

from __future__ import annotations

import numpy as np
from pyproj import Transformer

from pipeline.grid import Window
from pipeline.observations.warp import Lattice, gather, native_cells

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


def test_a_window_takes_the_same_pixels_as_the_whole() -> None:
    source = np.arange(2400 * 2400).reshape(2400, 2400)

    def taken(window: Window) -> np.ndarray:
        take = gather(TARGET, window, MODIS, source.shape)
        return take.take(source[take.source.slices], window.shape, np.int64(-1))

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
