"""Masks, veils and displacements: exact shares, real shapes, and nothing hidden that should not be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from pipeline.assessment.damage import clouds, displaced, stripes, veiled
from pipeline.assessment.filesets import fmask_clouds, line_series
from tests.assessment.sets import DATA, needs_data


def blob() -> np.ndarray:
    y, x = np.mgrid[:80, :100]
    return (np.hypot(y - 30, x - 40) < 15) | (np.hypot(y - 60, x - 85) < 6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 1.0])
def test_pasted_clouds_hide_exactly_their_share(share: float) -> None:
    mask = clouds(blob(), (64, 64), share, np.random.default_rng(1))
    assert mask.mean() == pytest.approx(share, abs=1 / 64**2)


def test_growing_clouds_keeps_what_they_hid_before() -> None:
    small, large = (clouds(blob(), (64, 64), share, np.random.default_rng(4)) for share in (0.1, 0.5))
    assert (small <= large).all()
    assert label(small)[1] <= 3


def test_a_mask_smaller_than_the_image_is_mirrored_on() -> None:
    assert clouds(blob(), (150, 170), 0.3, np.random.default_rng(0)).shape == (150, 170)


@pytest.mark.parametrize("share", [0.0, 0.22, 1.0])
def test_stripes_run_along_the_scan_and_hide_their_share(share: float) -> None:
    row = (np.arange(300) % 190) < 36
    mask = stripes(row, (200, 240), share, np.random.default_rng(0))
    assert mask.mean() == pytest.approx(share, abs=1e-3)
    if 0 < share < 1:
        lengths = [int(run.sum()) for run in np.split(mask[:, 0], np.flatnonzero(np.diff(mask[:, 0].astype(int))) + 1) if run[0]]
        assert max(lengths) <= 12, "a gap is a few rows high"
        assert mask.any(axis=0).all(), "and crosses the whole image"


@needs_data
def test_real_masks_are_found() -> None:
    assert all(0.02 < mask.mean() < 1 for mask in fmask_clouds(DATA))
    days, codes = line_series(DATA)
    assert codes.shape == (len(days), 300) == (423, 300)


def test_a_veil_brightens_and_an_index_loses_contrast() -> None:
    image = np.full((2, 2, 2), 0.1, np.float32)
    where = np.array([[True, False], [False, False]])
    np.testing.assert_allclose(veiled(image, where, 0.2, index=False)[:, 0, 0], 0.8 * 0.1 + 0.2 * 0.6, rtol=1e-6)
    np.testing.assert_allclose(veiled(image, where, 0.2, index=True)[:, 0, 0], 0.08, rtol=1e-6)
    np.testing.assert_array_equal(veiled(image, where, 0.2, index=False)[:, 1], image[:, 1])


def test_coarse_images_move_down_and_right_by_fine_pixels() -> None:
    coarse = np.random.default_rng(0).random((1, 1, 10, 12)).astype(np.float32)
    moved = displaced(coarse, 1, 3, -2)
    np.testing.assert_array_equal(moved[..., 3:, :-2], coarse[..., :-3, 2:])
    np.testing.assert_array_equal(moved[..., 0, :-2], coarse[..., 0, 2:])


def test_coarse_cells_are_lifted_before_they_move() -> None:
    ramp = np.arange(10, dtype=np.float32)[None, None, :, None].repeat(10, 3)
    moved = displaced(ramp, 8, 4, 0)  # half a cell
    inside = moved[0, 0, 16:64, 0].reshape(-1, 8).mean(axis=1)
    np.testing.assert_allclose(inside, np.arange(2, 8) - 0.5, atol=1e-5)
