"""The kernels by their properties, the c-factor by its own and by published magnitudes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.normalisation.cfactor import SUN_LIMIT, VIEW_LIMIT, c_factor
from pipeline.normalisation.kernels import li_sparse_reciprocal, ross_thick
from pipeline.vocabulary import BANDS

Kernel = Callable[..., np.ndarray]
KERNELS: list[Kernel] = [ross_thick, li_sparse_reciprocal]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_vanishes_with_sun_and_view_overhead(kernel: Kernel) -> None:
    assert float(kernel(0, 0, 0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_the_same_when_sun_and_view_change_places(kernel: Kernel) -> None:
    rng = np.random.default_rng(1)
    sun, view, azimuth = rng.uniform(0, 70, 200), rng.uniform(0, 60, 200), rng.uniform(-180, 360, 200)
    np.testing.assert_allclose(kernel(sun, view, azimuth), kernel(view, sun, azimuth), atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_neither_the_sign_of_the_relative_azimuth_nor_a_whole_turn_matters(kernel: Kernel) -> None:
    here = kernel(40, 30, 50)
    np.testing.assert_allclose([kernel(40, 30, -50), kernel(40, 30, 410), kernel(40, 30, 310)], here, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_land_is_brighter_with_the_sun_behind_the_sensor(kernel: Kernel) -> None:
    view = np.linspace(1, 60, 60)
    assert (kernel(35, view, 0) > kernel(35, view, 180)).all()


def test_in_the_hot_spot_the_shadows_lie_under_the_crowns() -> None:
    """There the phase angle is 0 and all overlaps: k_geo = sec² θ − sec θ (eqs. 39–44 with O = sec θ)."""
    secant = 1 / np.cos(np.deg2rad(40))
    assert float(li_sparse_reciprocal(40, 40, 0)) == pytest.approx(secant**2 - secant)


def test_the_same_geometry_has_the_factor_one() -> None:
    sun = np.array([[0.0, 30.0, 60.0]])
    np.testing.assert_allclose(c_factor(BANDS, sun, 0.0, 77.0, sun), 1, atol=1e-12)


def test_a_band_without_a_shape_has_the_factor_one() -> None:
    factors = c_factor(["ndvi", "nir08"], np.full((1, 2), 40.0), 50.0, 0.0, 40.0)
    assert (factors[0] == 1).all()
    assert (factors[1] < 0.9).all()


def test_backscatter_is_darkened_and_forward_scatter_brightened() -> None:
    backward, forward = (c_factor(BANDS, 40.0, 7.5, azimuth, 40.0) for azimuth in (0.0, 180.0))
    assert (backward < 1).all()
    assert (forward > 1).all()
    # From edge to edge of the swath of Landsat: about a tenth.
    contrast = forward / backward - 1
    assert ((contrast > 0.06) & (contrast < 0.14)).all()


def test_a_higher_sun_makes_land_brighter_so_that_noon_is_darkened_for_the_morning() -> None:
    assert (c_factor(BANDS, 25.0, 0.0, 0.0, 40.0) < 1).all()


def test_angles_beyond_the_domain_are_taken_for_its_edge() -> None:
    low, limit = (c_factor(BANDS, sun, 0.0, 0.0, 40.0) for sun in (88.0, SUN_LIMIT))
    np.testing.assert_array_equal(low, limit)
    oblique, edge = (c_factor(BANDS, 40.0, view, 0.0, 40.0) for view in (80.0, VIEW_LIMIT))
    np.testing.assert_array_equal(oblique, edge)
    assert np.isfinite(c_factor(BANDS, 90.0, 89.0, 0.0, 120.0)).all()


def test_an_unknown_angle_has_no_factor() -> None:
    factors = c_factor(BANDS, np.array([40.0, np.nan]), np.array([10.0, 10.0]), 0.0, 40.0)
    assert np.isfinite(factors[:, 0]).all()
    assert np.isnan(factors[:, 1]).all()
