"""Cells joined to wider ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.fusion.joined import Joined
from pipeline.fusion.pairs import pair_of, recipe_of
from pipeline.fusion.references import References
from pipeline.fusion.registry import build
from tests.fusion.worlds import FIRST, cropped, make_world

CPU = torch.device("cpu")


def test_blocks_join_the_same_cells_wherever_they_begin():
    block = make_world(size=64, cloud=0.0).block
    whole, part = References.of(block, CPU), References.of(cropped(block, 1, 3, 6, 5), CPU)
    one, other = Joined.of(whole, 480.0), Joined.of(part, 480.0)
    assert (one.join, one.scale, one.before, other.before, other.after, other.corner) == (2, 16, (0, 0), (1, 1), (1, 0), (0, 1))
    cells = one.cells(whole.coarse_of(FIRST)[0]), other.cells(part.coarse_of(FIRST)[0])
    torch.testing.assert_close(cells[1][:, 1:3, 1:], cells[0][:, 1:3, 2:4])
    pair = pair_of(part, recipe_of(part, 0, [0]))
    wide = other.pair(pair)
    assert wide.fine.shape == (2, 64, 48)
    assert wide.coarse.shape == (2, 4, 3)
    assert wide.valid.sum() == pair.valid.sum()
    assert torch.equal(other.block(wide.fine), pair.fine)


def test_cells_that_are_wide_enough_stay():
    references = References.of(make_world(size=32).block, CPU)
    joined = Joined.of(references, 240.0)
    assert joined.join == 1
    assert torch.equal(joined.cells(references.block.coarse[0]), references.block.coarse[0])


@pytest.mark.parametrize("name", ["fsdaf", "olhstfm"])
def test_coarse_images_on_the_fine_grid_give_what_their_cells_give(name):
    block = make_world(size=64, cloud=0.0).block
    fine_grid = block.coarse.repeat_interleave(8, -2).repeat_interleave(8, -1)
    given = dataclasses.replace(block, coarse=fine_grid, coarse_std=torch.full_like(fine_grid, 0.01), scale=1)
    method = build(name, {"cell": 240.0})
    days = [next(iter(method.days(method.prepare(case, {}, CPU), [FIRST + 71]))) for case in (block, given)]
    torch.testing.assert_close(days[0].mean, days[1].mean, atol=1e-5, rtol=0)
