"""What methods see: a block, its parts, and the extra layers that were asked for."""

from __future__ import annotations

import dataclasses

import torch

from pipeline.fusion.references import References
from pipeline.grid import Window
from tests.fusion.worlds import make_world


def layered() -> tuple[torch.Tensor, torch.Tensor]:
    """A layer (y, x) and a coarse series (T, Y, X) of a small world, each value its own."""
    return torch.arange(64.0 * 64).reshape(64, 64), torch.arange(150.0 * 64).reshape(150, 8, 8)


def test_a_window_of_a_block_holds_its_part_of_everything() -> None:
    median, texture = layered()
    surface = torch.arange(64).repeat(len(make_world().block.fine), 64, 1).to(torch.uint8)
    block = dataclasses.replace(make_world().block, layers={"m": median}, coarse_layers={"t": texture}, fine_surface=surface, origin=(5, 7))
    part = block.window(Window(2, 3, 4, 5))
    assert torch.equal(part.layers["m"], median[16:48, 24:64])
    assert torch.equal(part.coarse_layers["t"], texture[:, 2:6, 3:8])
    assert torch.equal(part.fine.nan_to_num(), block.fine[..., 16:48, 24:64].nan_to_num())
    assert part.fine_surface is not None
    assert torch.equal(part.fine_surface, surface[:, 16:48, 24:64])
    assert torch.equal(part.coarse, block.coarse[..., 2:6, 3:8])
    assert (part.origin, part.coarse_days, part.fine_doubt) == ((7, 10), block.coarse_days, None)


def test_a_block_on_its_device_keeps_its_bands_and_layers() -> None:
    median, texture = layered()
    block = dataclasses.replace(make_world().block, layers={"m": median}, coarse_layers={"t": texture}, bands=("red", "nir08"))
    moved = References.of(block, torch.device("cpu")).block
    assert moved.bands == ("red", "nir08")
    assert torch.equal(moved.layers["m"], median)
    assert torch.equal(moved.coarse_layers["t"], texture)


def test_a_method_gets_the_extra_layers_that_it_needs_and_no_others() -> None:
    median, texture = layered()
    block = dataclasses.replace(make_world().block, layers={"ndvi_median": median}, coarse_layers={"ndvi_250m": texture})
    assert (block.asked({"references"}).layers, block.asked({"references"}).coarse_layers) == ({}, {})
    assert set(block.asked({"ndvi_median"}).layers) == {"ndvi_median"}
    assert set(block.asked({"coarse_layers"}).coarse_layers) == {"ndvi_250m"}
