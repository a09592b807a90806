"""Masks are bits beside the values: values stay wherever there is a number."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.observations.masking import encode_band, flags, grow, mask_scene, physical, raw_type
from pipeline.sensors.product import Band
from pipeline.store.encoding import FILL, encode_reflectance
from pipeline.vocabulary import BANDS, Reason

from .scenes import LANDSAT, MCD43

LIMITS = (-0.05, 1.6)


def scene(shape: tuple[int, int] = (20, 30), dn: int = 10000) -> tuple[dict, dict]:
    bands = {name: np.full(shape, dn, np.uint16) for name in BANDS}
    layers = {"qa_pixel": np.full(shape, 1 << 6, np.int32), "qa_radsat": np.zeros(shape, np.int32)}
    return bands, layers


def masked(bands: dict, layers: dict, radius: float = 0.0, order: tuple[str, ...] = BANDS) -> tuple[np.ndarray, np.ndarray]:
    return mask_scene(LANDSAT, bands, layers, "landsat-8", order, LIMITS, radius)


def test_the_table_of_numbers_is_the_arithmetic_per_pixel() -> None:
    for band, dtype in ((LANDSAT.bands["red"], np.uint16), (MCD43.bands["red"], np.int16)):
        numbers = np.arange(65536, dtype=np.uint16).view(dtype).reshape(256, 256)
        values, bits = encode_band(numbers, band, LIMITS)
        assert np.array_equal(values, encode_reflectance(physical(numbers, band)))
        assert np.array_equal(bits, flags(numbers, band, LIMITS))
    assert encode_band(np.array([0, 7273, 43636], np.uint16), LANDSAT.bands["red"], LIMITS)[0].tolist() == [FILL, 0, 10000]


def test_float_reflectance_is_read_without_a_declared_type() -> None:
    band = Band(asset="ndvi", scale=1.0)
    dtype, fill = raw_type(band)
    assert dtype == np.float32
    assert np.isnan(fill)
    values, bits = encode_band(np.array([0.25, np.nan, 9.0], np.float32), band, LIMITS)
    assert values.tolist() == [2500, FILL, 32767]
    assert bits.tolist() == [0, Reason.FILL, Reason.RANGE]


def test_a_pixel_is_fill_where_every_band_is_and_out_of_range_where_any_band_is() -> None:
    bands, layers = scene()
    bands["red"][0, 0] = 0
    for name in BANDS:
        bands[name][1, 1] = 0
    bands["blue"][2, 2] = 1
    values, reasons = masked(bands, layers)
    assert reasons[0, 0] == 0
    assert values[:, 0, 0].tolist() == [750, 750, FILL, 750, 750, 750]
    assert reasons[1, 1] == Reason.FILL
    assert reasons[2, 2] == Reason.RANGE
    assert values[0, 2, 2] == -2000
    assert np.count_nonzero(reasons) == 2


def test_values_stay_under_cloud() -> None:
    bands, layers = scene()
    layers["qa_pixel"][5, 5] |= 1 << 3
    values, reasons = masked(bands, layers)
    assert reasons[5, 5] == Reason.CLOUD
    assert np.all(values == 750)


def test_cloud_and_shadow_grow_and_fill_does_not() -> None:
    bands, layers = scene()
    layers["qa_pixel"][:, :5] = 1
    layers["qa_pixel"][10, 15] |= 1 << 3
    layers["qa_pixel"][3, 25] |= 1 << 4
    _, reasons = masked(bands, layers, radius=3.0)
    rows, cols = np.mgrid[0:20, 0:30]
    near = np.minimum(np.hypot(rows - 10, cols - 15), np.hypot(rows - 3, cols - 25))
    assert np.array_equal(reasons & Reason.DILATED > 0, (near > 0) & (near <= 3))
    assert np.all(reasons[:, :5] == Reason.FILL)
    assert reasons[10, 15] == Reason.CLOUD


def test_cloud_bits_of_fill_pixels_do_not_grow() -> None:
    bands, layers = scene()
    layers["qa_pixel"][:, :5] = 1 | 1 << 3
    _, reasons = masked(bands, layers, radius=3.0)
    assert not np.any(reasons & Reason.DILATED)


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5, 3.0, 4.7, 40.0])
def test_growing_is_a_disc(radius: float) -> None:
    mask = np.random.default_rng(3).random((33, 21)) < 0.02
    rows, cols = np.mgrid[0:33, 0:21]
    expected = mask.copy()
    if radius >= 1:
        for row, col in np.argwhere(mask):
            expected |= (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    assert np.array_equal(grow(mask, radius), expected)


def test_a_band_the_product_lacks_is_left_empty() -> None:
    bands, layers = scene()
    del bands["swir22"]
    values, reasons = masked(bands, layers)
    assert np.all(values[5] == FILL)
    assert not reasons.any()
