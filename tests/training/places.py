"""A tiny place to learn from."""

from __future__ import annotations

import torch

from pipeline.fusion.evidence import contrast_of
from pipeline.fusion.registry import build
from pipeline.operators.resample import area_mean
from pipeline.training.places import Place
from tests.fusion.worlds import FIRST, make_world


def tiny_place(seed: int = 0, ideal: bool = True) -> Place:
    """Two bands on 64 × 64 pixels over 150 days."""
    world = make_world(seed)
    block = world.block
    parameters = {**build("smoother", {}).estimate([block]), "contrast": contrast_of([block])}
    cells = area_mean(world.truth, block.scale)[0] if ideal else None
    return Place(f"tiny {seed}", block, tuple(range(FIRST + 20, FIRST + 130)), world.truth_of, cells, parameters)


def same(one: object, other: object) -> bool:
    """Whether two tensors hold the same bits, NaN where NaN is."""
    assert isinstance(one, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    return torch.equal(torch.nan_to_num(one, nan=-9), torch.nan_to_num(other, nan=-9))
