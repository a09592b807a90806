"""NDVI, and its median over clear days without snow."""

from __future__ import annotations

import torch

from pipeline.operators import ndvi as room
from pipeline.operators.ndvi import ndvi, ndvi_median
from pipeline.vocabulary import Surface

BANDS = ("green", "red", "nir08")


def image(value: float, size: int = 4) -> torch.Tensor:
    """One image (1, B, y, x) with an NDVI."""
    red = torch.full((size, size), 0.1)
    return torch.stack([red, red, red * (1 + value) / (1 - value)])[None]


def test_ndvi_is_unknown_where_a_band_is_and_where_both_are_dark() -> None:
    pixels = torch.tensor([[[0.1, 0.1, torch.nan, -0.02, -0.01]], [[0.3, torch.nan, 0.3, 0.01, 0.05]]])
    found = ndvi(pixels, ("red", "nir08"))
    torch.testing.assert_close(found, torch.tensor([[0.5, torch.nan, torch.nan, torch.nan, 1.0]]), equal_nan=True)


def test_the_median_leaves_out_what_was_not_seen_and_what_lay_under_snow() -> None:
    images = torch.cat([image(value) for value in (-0.1, -0.1, -0.1, 0.2, 0.4, 0.6)])
    surface = torch.zeros((6, 4, 4), dtype=torch.uint8)
    surface[:3] = Surface.SNOW
    surface[3] = Surface.WATER
    images[4, 1, 0, 0] = torch.nan
    images[3:, :, 1, 1] = torch.nan
    median = ndvi_median([(images, surface)], BANDS, (4, 4))
    assert median.dtype == torch.float32
    torch.testing.assert_close(median[2:], torch.full((2, 4), 0.4))
    torch.testing.assert_close(median[0, 0], torch.tensor(0.2))
    assert median[1, 1].isnan()
    assert ndvi_median([], BANDS, (4, 4)).isnan().all()


def test_the_median_is_the_same_however_the_images_come(monkeypatch) -> None:
    images = torch.rand((9, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    images[images > 0.95] = torch.nan
    whole = ndvi_median([(images, None)], BANDS, (8, 8))
    monkeypatch.setattr(room, "_AT_ONCE", 9 * 8 * 3)
    parts = ndvi_median([(images[5:], None), (images[:5], None)], BANDS, (8, 8))
    assert torch.equal(whole.nan_to_num(-9), parts.nan_to_num(-9))
    assert torch.equal(ndvi_median([(images[..., 2:6], None)], BANDS, (8, 4)).nan_to_num(-9), whole[:, 2:6].nan_to_num(-9))
