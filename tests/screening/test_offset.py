"""The smooth offset of an image: found, taken off, and not made of clouds or of changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import lift
from pipeline.screening.offset import levelled, smooth_offset

SCALE, CELLS, REACH, LIMIT = 4, 16, 4, 0.02
DAYS = (100, 108, 116, 124, 132, 140)


@pytest.fixture
def steady() -> FusionInput:
    """Images of a ground that stays as it is, 0.02 brighter than the coarse series says."""
    generator = torch.Generator().manual_seed(1)
    ground = torch.rand((2, CELLS * SCALE, CELLS * SCALE), generator=generator).mul_(0.3)
    cells = torch.nn.functional.avg_pool2d(ground[None], SCALE)[0]
    days = range(DAYS[0] - 10, DAYS[-1] + 10)
    coarse = (cells - 0.02).expand(len(days), -1, -1, -1).clone()
    return FusionInput(
        fine=ground.expand(len(DAYS), -1, -1, -1).clone(),
        fine_days=DAYS,
        fine_std=torch.full((len(DAYS), 2), 0.01),
        coarse=coarse,
        coarse_std=torch.full_like(coarse, 0.01),
        coarse_days=tuple(days),
        scale=SCALE,
        resolution=30.0,
    )


def found(block: FusionInput, spoilt: torch.Tensor | None = None) -> torch.Tensor:
    hidden = torch.zeros((len(block.fine), *block.fine.shape[-2:]), dtype=torch.bool) if spoilt is None else spoilt
    return smooth_offset(block, hidden, LIMIT, REACH, 96)


def test_what_the_coarse_series_lacks_on_every_image_is_no_offset(steady: FusionInput) -> None:
    assert float(found(steady).abs().max()) < 1e-6


def test_haze_over_a_whole_image_is_found_and_most_of_it_taken_off(steady: FusionInput) -> None:
    fine = steady.fine.clone()
    fine[2, 0] += 0.01
    offset = found(replace(steady, fine=fine))
    assert 0.006 < float(offset[2, 0].mean()) < 0.0101
    assert float(offset[2, 1].abs().max()) < 1e-6, "the other band"
    assert float(offset[[0, 5], 0].abs().max()) < 0.003
    left = levelled(fine, offset, SCALE)[2, 0] - steady.fine[2, 0]
    assert float(left.abs().mean()) < 0.004


def test_a_bright_change_of_a_few_cells_moves_the_offset_by_little(steady: FusionInput) -> None:
    fine = steady.fine.clone()
    fine[3:, :, : 2 * SCALE, : 2 * SCALE] += 0.4
    assert float(found(replace(steady, fine=fine)).abs().max()) < 0.006


def test_spoilt_pixels_take_no_part(steady: FusionInput) -> None:
    fine = steady.fine.clone()
    spoilt = torch.zeros((len(DAYS), *fine.shape[-2:]), dtype=torch.bool)
    spoilt[2, :, : 6 * SCALE] = True
    fine[2] = torch.where(spoilt[2], 0.7, fine[2])
    assert float(found(replace(steady, fine=fine), spoilt).abs().max()) < 1e-6


def test_an_image_alone_has_no_offset_and_neither_has_one_without_coarse(steady: FusionInput) -> None:
    alone = replace(steady, fine=steady.fine[:1] + 0.01, fine_days=DAYS[:1], fine_std=steady.fine_std[:1])
    assert not found(alone).any()
    blind = replace(steady, coarse=torch.full_like(steady.coarse, torch.nan))
    assert not found(blind).any()


def test_images_are_levelled_by_the_lifted_offset(steady: FusionInput) -> None:
    offset = torch.linspace(0, 0.01, CELLS).expand(len(DAYS), 2, CELLS, CELLS)
    torch.testing.assert_close(levelled(steady.fine, offset, SCALE)[1], steady.fine[1] - lift(offset[1], SCALE))
