from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sensors import BitField, Layer, Product, builtin_products
from pipeline.sensors.qa import band_quality, reasons
from pipeline.vocabulary import HIDING, Reason

LANDSAT = builtin_products()["landsat-c2-l2"]
CLEAR_LAND = 21824
CLEAR_WATER = 21952


def landsat(qa_pixel: int, qa_radsat: int = 0, platform: str = "landsat-8", **more: np.ndarray) -> Reason:
    layers = {"qa_pixel": np.array([[qa_pixel]], np.uint16), "qa_radsat": np.array([[qa_radsat]], np.uint16), **more}
    return Reason(int(reasons(LANDSAT, layers, platform)[0, 0]))


@pytest.mark.parametrize(
    ("qa_pixel", "expected"),
    [
        (1, Reason.FILL),
        (CLEAR_LAND, Reason(0)),
        (CLEAR_WATER, Reason.WATER),
        (22280, Reason.CLOUD),  # cloud of high confidence
        (23888, Reason.SHADOW),  # shadow of high confidence, clear of cloud
        (30048, Reason.SNOW),  # snow of high confidence
        (21826, Reason.DILATED),
        (54596, Reason.CIRRUS),
    ],
)
def test_values_of_qa_pixel_as_usgs_lists_them_give_their_reasons(qa_pixel: int, expected: Reason) -> None:
    assert landsat(qa_pixel) == expected


def test_saturation_is_read_from_the_bits_of_the_platform() -> None:
    assert landsat(CLEAR_LAND, 1 << 6) == Reason.SATURATED  # OLI band 7
    assert landsat(CLEAR_LAND, 1 << 0) == Reason(0)  # OLI coastal band, not used
    assert landsat(CLEAR_LAND, 1 << 0, "landsat-7") == Reason.SATURATED  # ETM+ band 1 is blue
    assert landsat(CLEAR_LAND, 1 << 5, "landsat-7") == Reason(0)  # thermal
    assert landsat(CLEAR_LAND, 1 << 9, "landsat-5") == Reason.FILL  # dropped pixel


def test_high_aerosol_is_a_state_and_low_aerosol_is_not() -> None:
    high = landsat(CLEAR_LAND, qa_aerosol=np.array([[0b11000010]], np.uint8))
    low = landsat(CLEAR_LAND, qa_aerosol=np.array([[0b01000010]], np.uint8))
    assert high == Reason.AEROSOL
    assert not high & HIDING
    assert low == Reason(0)


def test_a_pixel_behind_a_mountain_was_not_seen() -> None:
    assert landsat(CLEAR_LAND, 1 << 11) == Reason.FILL
    assert landsat(CLEAR_LAND, 1 << 11, "landsat-7") == Reason(0)  # has no such bit


def test_a_gap_of_landsat_7_is_fill() -> None:
    assert landsat(1, 0, "landsat-7") == Reason.FILL


@pytest.mark.parametrize(
    ("opacity", "expected"), [(-9999, Reason(0)), (120, Reason(0)), (300, Reason(0)), (301, Reason.AEROSOL), (900, Reason.AEROSOL)]
)
def test_a_hazy_opacity_of_tm_and_etm_is_high_aerosol(opacity: int, expected: Reason) -> None:
    assert landsat(CLEAR_LAND, 0, "landsat-5", atmos_opacity=np.array([[opacity]], np.int16)) == expected


@pytest.mark.parametrize("number", range(16))
def test_the_quality_of_mod09_drops_what_is_no_measurement_and_doubts_what_is_a_poor_one(number: int) -> None:
    dropped = number in (9, 10, 11, 13, 14, 15)
    doubted = number in (7, 8, 12)
    for band in builtin_products()["modis-09GA-061"].bands.values():
        assert band.quality_bits is not None
        others = 0xFFFFFFFF & ~(0b1111 << band.quality_bits[0])
        for background in (0, others):
            quality = np.array([background | number << band.quality_bits[0]], np.uint32)
            drop, inflate = band_quality(band, quality)
            assert (drop[0], inflate[0]) == (dropped, doubted)


def test_the_quality_flags_of_viirs_are_read_from_three_layers() -> None:
    product = builtin_products()["viirs-09GA-002"]

    def viirs(qf1: int = 0, qf2: int = 0, qf7: int = 0) -> Reason:
        layers = {f"SurfReflect_QF{number}_1": np.array([value], np.uint8) for number, value in ((1, qf1), (2, qf2), (7, qf7))}
        return Reason(int(reasons(product, layers, "snpp")[0]))

    assert viirs() == Reason(0)
    assert [viirs(qf1=confidence << 2) for confidence in range(4)] == [Reason(0), Reason(0), Reason.CLOUD, Reason.CLOUD]
    assert viirs(qf2=1 << 3) == Reason.SHADOW
    assert viirs(qf2=1 << 4) == Reason.AEROSOL
    assert viirs(qf2=1 << 5) == Reason.SNOW
    assert viirs(qf2=1 << 6) == viirs(qf2=1 << 7) == viirs(qf7=1 << 4) == Reason.CIRRUS
    assert viirs(qf7=1 << 1) == Reason.DILATED
    assert viirs(qf7=3 << 2) == Reason.AEROSOL
    assert viirs(qf1=255) & Reason.FILL


def test_a_missing_required_layer_is_named() -> None:
    with pytest.raises(ValueError, match="qa_radsat"):
        reasons(LANDSAT, {"qa_pixel": np.zeros((2, 2), np.uint16)}, "landsat-9")


def test_a_layer_read_as_float_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        reasons(LANDSAT, {"qa_pixel": np.zeros((2, 2), np.float32)})


def test_a_scene_without_optional_layers_has_no_reason_anywhere() -> None:
    product = LANDSAT.model_copy(update={"layers": (Layer(asset="fmask", values={"cloud": (4,)}, required=False),)})
    found = reasons(product, {})
    assert found.dtype == np.uint16
    assert (np.broadcast_to(found, (3, 4)) == 0).all()


def test_the_state_layer_of_mod09_is_read_by_its_fields() -> None:
    product = builtin_products()["modis-09A1-061"]
    clear_land = 1 << 3
    states = [
        clear_land,
        clear_land | 0b01,
        clear_land | 0b10,
        clear_land | 0b11,
        clear_land | 0b100,
        0b000,
        clear_land | (3 << 8),
        1 << 15 | clear_land,
    ]
    found = reasons(product, {"sur_refl_state_500m": np.array(states, np.uint16)}, "terra")
    expected = [0, Reason.CLOUD, Reason.CLOUD, 0, Reason.SHADOW, Reason.WATER, Reason.CIRRUS, Reason.SNOW]
    assert found.tolist() == [int(reason) for reason in expected]


def test_negative_values_of_signed_layers_are_matched() -> None:
    product = builtin_products()["modis-13Q1-061"]
    found = reasons(product, {"250m_16_days_pixel_reliability": np.array([-1, 0, 1, 2, 3], np.int8)})
    assert found.tolist() == [Reason.FILL, 0, 0, Reason.SNOW, Reason.CLOUD]


@settings(deadline=None)
@given(st.integers(0, 2**16 - 1), st.integers(0, 15), st.integers(1, 16))
def test_bit_fields_equal_plain_arithmetic(value: int, first: int, width: int) -> None:
    number = (value >> first) % 2**width
    layer = Layer(asset="qa", fields={"cloud": (BitField(first=first, width=width, values=(number,)),)}, bits={"snow": (first,)})
    product = Product(role="fine", bands={"red": {"asset": "red"}}, layers=(layer,))
    for dtype in (np.uint16, np.uint32):
        found = int(reasons(product, {"qa": np.array([value], dtype)})[0])
        assert found & Reason.CLOUD
        assert bool(found & Reason.SNOW) == bool(value >> first & 1)


def test_mandatory_quality_drops_fill_and_inflates_magnitude_inversions() -> None:
    band = builtin_products()["modis-43A4-061"].bands["red"]
    drop, inflate = band_quality(band, np.array([0, 1, 255], np.uint8))
    assert drop.tolist() == [False, False, True]
    assert inflate.tolist() == [False, True, False]
