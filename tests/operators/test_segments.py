"""Segments by tiles, and what cells say of them."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.operators.segments import Overlaps, segment


def fields(seed: int = 0, size: int = 48) -> torch.Tensor:
    """Two bands of square fields with some texture."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand((2, size // 12, size // 12), generator=generator).repeat_interleave(12, 1).repeat_interleave(12, 2)
    return values + 0.01 * torch.randn((2, size, size), generator=generator)


def same_partition(one: torch.Tensor, other: torch.Tensor) -> bool:
    pairs = torch.stack([one.flatten(), other.flatten()], dim=1).unique(dim=0)
    return len(pairs) == len(one.unique()) == len(other.unique())


def test_fields_become_segments_and_no_segment_leaves_its_tile():
    labels = segment(fields(), torch.ones((48, 48), dtype=torch.bool), 24, (0, 0), 300.0, 40)
    inside = torch.cat([torch.arange(2, 10) + 12 * place for place in range(4)])
    expected = torch.arange(16).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert same_partition(labels[inside][:, inside], expected)
    tile = torch.arange(4).view(2, 2).repeat_interleave(24, 0).repeat_interleave(24, 1)
    assert len(torch.stack([labels.flatten(), tile.flatten()], dim=1).unique(dim=0)) == len(labels.unique()) == int(labels.max()) + 1
    one = segment(torch.full((1, 48, 48), 0.3), torch.ones((48, 48), dtype=torch.bool), 24, (0, 0), 300.0, 20)
    assert len(one.unique()) == 4


def test_tiles_keep_to_the_lattice_wherever_an_image_begins():
    image, valid = fields(3), torch.ones((48, 48), dtype=torch.bool)
    whole = segment(image, valid, 16, (0, 0), 300.0, 10)
    part = segment(image[:, 5:, 8:], valid[5:, 8:], 16, (5, 8), 300.0, 10)
    assert same_partition(part[11:, 8:], whole[16:, 16:])


def test_masked_pixels_do_not_change_what_is_usual_in_a_tile():
    image, valid = fields(), torch.ones((48, 48), dtype=torch.bool)
    valid[:12, :12] = False
    image[:, :12, :12] = 0.0
    labels = segment(image, valid, 24, (0, 0), 300.0, 20)
    assert same_partition(labels[24:, 24:], segment(fields(), torch.ones_like(valid), 24, (0, 0), 300.0, 20)[24:, 24:])
    assert torch.isfinite(labels.float()).all()
    assert len(segment(image, torch.zeros_like(valid), 24, (0, 0), 300.0, 20).unique()) == 4


def test_sums_over_parts_are_sums_over_pixels():
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(7, (16, 24), generator=generator)
    valid = torch.rand((16, 24), generator=generator) > 0.2
    cells = torch.rand((2, 2, 3), generator=generator)
    overlaps = Overlaps.of(labels, valid, 8)
    fine = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    sums = overlaps.by_segment(overlaps.of_cells(cells) * overlaps.pixels)
    medians = overlaps.median(overlaps.of_cells(cells)[0], overlaps.pixels)
    for place in range(7):
        inside = fine[:, (labels == place) & valid]
        torch.testing.assert_close(sums[:, place], inside.sum(dim=1))
        assert medians[place].item() == np.float32(np.median(inside[0].numpy()))
    torch.testing.assert_close(overlaps.by_cell(overlaps.pixels)[1, 2], valid[8:, 16:].sum())
    assert (overlaps.median(overlaps.of_cells(cells)[0], torch.zeros_like(overlaps.pixels)) == 0).all()
