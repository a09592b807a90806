from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.store.encoding import (
    FILL,
    PERCENT_FILL,
    STD_FILL,
    decode_reflectance,
    decode_std,
    encode_percent,
    encode_reflectance,
    encode_std,
)


def test_every_count_survives_decoding_and_encoding():
    counts = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(encode_reflectance(decode_reflectance(counts)), counts)
    std = np.arange(0, 65536).astype(np.uint16)
    assert np.array_equal(encode_std(decode_std(std)), std)


@given(arrays(np.float32, 50, elements=st.floats(-3, 3, width=32)))
def test_rounding_costs_at_most_half_a_count(values):
    assert np.abs(decode_reflectance(encode_reflectance(values)) - values).max() <= 0.5001e-4


def test_what_is_not_finite_becomes_fill_and_what_is_too_large_is_clipped():
    assert encode_reflectance(np.float32([np.nan, np.inf, -np.inf, 9, -9])).tolist() == [FILL, FILL, FILL, 32767, -32767]
    assert encode_std(np.float32([np.nan, np.inf, -0.1, 9])).tolist() == [STD_FILL, STD_FILL, STD_FILL, 65534]
    assert encode_percent(np.float32([np.nan, 0, 0.504, 2])).tolist() == [PERCENT_FILL, 0, 50, 100]


def test_a_small_uncertainty_does_not_become_certainty():
    assert encode_std(np.float32([1e-6, 0.0])).tolist() == [1, 0]
