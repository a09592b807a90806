"""Composites of 250 m by day."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.restoration.textures import Texture, daily_layers

FIRST = 20000


def composites(count: int = 6, every: int = 8, bands: tuple[str, ...] = ("red", "nir08")) -> Texture:
    """Composites of eight days on 2 × 3 cells, by two platforms; values rise by 0.001 a day, each band from its own start."""
    days = np.repeat(FIRST + 3.5 + every * np.arange(count), 2)
    rise = 0.001 * (days - FIRST)[:, None, None, None]
    values = np.broadcast_to(rise + 0.1 * np.arange(1, len(bands) + 1)[:, None, None], (len(days), len(bands), 2, 3)).astype(np.float32)
    return Texture(bands, days, values.copy(), np.full(values.shape, 0.02, np.float32), (days + 3.5).astype(np.int64))


def test_each_band_becomes_a_layer_of_every_day_between_the_composites() -> None:
    layers = daily_layers([composites(), composites(bands=("ndvi",))], range(FIRST + 8, FIRST + 40), 32, 4.0)
    assert {name: tuple(layer.shape) for name, layer in layers.items()} == dict.fromkeys(("red_250m", "nir_250m", "ndvi_250m"), (32, 2, 3))
    expected = 0.2 + 0.001 * torch.arange(8, 40, dtype=torch.float32)
    torch.testing.assert_close(layers["nir_250m"][:, 1, 2], expected, atol=2e-3, rtol=0)
    assert layers["red_250m"].dtype == torch.float32


def test_a_day_with_nothing_within_the_window_is_unknown_and_one_with_a_gap_is_not() -> None:
    texture = composites()
    texture.values[4:8, :, 0, 0] = np.nan
    texture.values[:, :, 1, 1] = np.nan
    red = daily_layers([texture], range(FIRST - 20, FIRST + 60), 12, 4.0)["red_250m"]
    assert red[:11].isnan().all()
    assert torch.isfinite(red[30:60, 0, 0]).all(), "a gap is filled from both sides"
    assert red[:, 1, 1].isnan().all()


def test_a_day_does_not_depend_on_which_others_are_asked_for() -> None:
    whole = daily_layers([composites()], range(FIRST, FIRST + 50), 32, 4.0)["red_250m"]
    part = daily_layers([composites()], range(FIRST + 20, FIRST + 23), 32, 4.0)["red_250m"]
    assert torch.equal(whole[20:23], part)


@pytest.mark.parametrize(("delay", "known"), [(0, 3), (3, 2), (60, 0)])
def test_a_composite_is_known_when_its_last_day_has_passed(delay: int, known: int) -> None:
    left = composites().published(FIRST + 23, delay)
    assert len(left.days) == len(left.values) == len(left.std) == len(left.last) == 2 * known
    assert (left.last + delay <= FIRST + 23).all()
