"""What holds for every registered method."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.registry import build, spec_of, specs
from pipeline.grid import halo_cells
from pipeline.operators.resample import lift
from pipeline.vocabulary import Provenance
from tests.fusion.worlds import FIRST, cropped, make_world
from tests.methods import ALL_METHODS

CPU = torch.device("cpu")
TARGETS = [FIRST + 40, FIRST + 62, FIRST + 71, FIRST + 149]

every_method = pytest.mark.parametrize("name", list(specs()))
every_method_in_the_full_suite = pytest.mark.parametrize("name", ALL_METHODS)


@pytest.fixture(scope="module")
def world():
    return make_world()


def predicted(name: str, block: FusionInput, targets: list[int], options=None, device=CPU) -> list[DayPrediction]:
    method = build(name, options or {})
    return list(method.days(method.prepare(block, {}, device), targets))


def assert_same(one: DayPrediction, other: DayPrediction) -> None:
    assert one.day == other.day
    assert torch.equal(torch.nan_to_num(one.mean, nan=-9), torch.nan_to_num(other.mean, nan=-9))
    assert torch.equal(torch.nan_to_num(one.std, nan=-9), torch.nan_to_num(other.std, nan=-9))
    assert torch.equal(one.source, other.source)


@every_method
def test_a_day_is_float32_complete_and_of_the_right_shape(name, world):
    for day in predicted(name, world.block, TARGETS):
        assert day.mean.dtype == day.std.dtype == torch.float32
        assert day.source.dtype == torch.uint8
        assert day.mean.shape == day.std.shape == (2, 64, 64)
        assert torch.isfinite(day.mean).all()
        assert (day.std > 0).all()
        assert not (day.source == int(Provenance.MISSING)).any()
        assert not (day.source == int(Provenance.OBSERVED)).any()


@every_method_in_the_full_suite
def test_another_batching_of_days_changes_no_bit(name, world):
    together = predicted(name, world.block, TARGETS)
    alone = [predicted(name, world.block, [day])[0] for day in reversed(TARGETS)]
    for one, other in zip(together, reversed(alone), strict=True):
        assert_same(one, other)


@every_method_in_the_full_suite
def test_a_block_with_its_halo_equals_the_whole_image(name):
    world = make_world(seed=3, size=192)
    halo = halo_cells(spec_of(name).options().halo(), 30.0, 8)
    inner = (slice(4, 20), slice(6, 14))
    margin = (max(inner[0].start - halo, 0), max(inner[1].start - halo, 0), min(inner[0].stop + halo, 24), min(inner[1].stop + halo, 24))
    block = cropped(world.block, margin[0], margin[1], margin[2] - margin[0], margin[3] - margin[1])
    for one, whole in zip(predicted(name, block, TARGETS[:2]), predicted(name, world.block, TARGETS[:2]), strict=True):
        rows = slice((inner[0].start - margin[0]) * 8, (inner[0].stop - margin[0]) * 8)
        cols = slice((inner[1].start - margin[1]) * 8, (inner[1].stop - margin[1]) * 8)
        keep = (..., slice(inner[0].start * 8, inner[0].stop * 8), slice(inner[1].start * 8, inner[1].stop * 8))
        for part, full in ((one.mean, whole.mean), (one.std, whole.std)):
            far = (part[..., rows, cols] - full[keep]).abs() > 1e-4
            assert far.float().mean() <= 1e-4
        assert torch.equal(one.source[rows, cols], whole.source[keep])


@every_method
def test_the_fine_image_of_the_target_day_is_never_used(name, world):
    index = 5
    noisy = world.block.fine.clone()
    noisy[index] = torch.rand(noisy[index].shape)
    target = world.block.fine_days[index]
    assert_same(predicted(name, dataclasses.replace(world.block, fine=noisy), [target])[0], predicted(name, world.block, [target])[0])


@every_method_in_the_full_suite
def test_nothing_outside_the_support_is_used(name, world):
    target = FIRST + 75
    options = {"days": 30}
    block = world.block
    outside_fine = [index for index, day in enumerate(block.fine_days) if abs(day - target) > 30]
    outside_coarse = [index for index, day in enumerate(block.coarse_days) if abs(day - target) > 30]
    assert outside_fine
    fine, coarse, std = block.fine.clone(), block.coarse.clone(), block.coarse_std.clone()
    fine[outside_fine] = torch.rand_like(fine[outside_fine])
    coarse[outside_coarse] = torch.rand_like(coarse[outside_coarse])
    std[outside_coarse] = 1.0
    noisy = dataclasses.replace(block, fine=fine, coarse=coarse, coarse_std=std)
    assert_same(predicted(name, noisy, [target], options)[0], predicted(name, block, [target], options)[0])
    inside = [index for index, day in enumerate(block.fine_days) if abs(day - target) <= 30]
    short = dataclasses.replace(
        block, fine=block.fine[inside], fine_std=block.fine_std[inside], fine_days=tuple(block.fine_days[index] for index in inside)
    )
    assert_same(predicted(name, short, [target], options)[0], predicted(name, block, [target], options)[0])


@every_method_in_the_full_suite
def test_one_band_is_enough(name):
    world = make_world(bands=1)
    day = predicted(name, world.block, TARGETS[:1])[0]
    assert day.mean.shape == (1, 64, 64)
    assert torch.isfinite(day.mean).all()


@every_method_in_the_full_suite
def test_without_a_reference_the_coarse_speaks(name, world):
    block = world.block
    none = dataclasses.replace(block, fine=block.fine[:0], fine_days=(), fine_std=block.fine_std[:0])
    clouded = dataclasses.replace(block, fine=torch.full_like(block.fine, torch.nan))
    for case in (none, clouded):
        day = predicted(name, case, TARGETS[:1])[0]
        assert torch.isfinite(day.mean).all()
        assert torch.isfinite(day.std).all()
        assert (day.source == int(Provenance.EXTRAPOLATED)).all()
        # A network may correct what it says, by little.
        near = {"atol": 0.05, "rtol": 0.0} if "training" in spec_of(name).needs else {}
        torch.testing.assert_close(day.mean, lift(block.coarse[TARGETS[0] - FIRST], block.scale), **near)


@every_method_in_the_full_suite
def test_without_coarse_what_was_observed_speaks(name, world):
    block = world.block
    blind = dataclasses.replace(block, coarse=torch.full_like(block.coarse, torch.nan), coarse_std=torch.full_like(block.coarse, torch.nan))
    day = predicted(name, blind, TARGETS[:1])[0]
    missing = day.source == int(Provenance.MISSING)
    assert torch.equal(missing, torch.isnan(day.mean).all(dim=0))
    if "references" in spec_of(name).needs:
        seen = (
            torch.isfinite(block.fine[[index for index, at in enumerate(block.fine_days) if abs(at - TARGETS[0]) <= 50]])
            .all(dim=1)
            .any(dim=0)
        )
        assert not missing[seen].any()
        assert torch.isfinite(day.std[:, seen]).all()
    else:
        assert missing.all()


@every_method_in_the_full_suite
def test_holes_in_the_coarse_leave_no_hole_where_something_is_known(name, world):
    block = world.block
    coarse = block.coarse.clone()
    coarse[:, :, 2:5, 3:6] = torch.nan
    coarse[50:90] = torch.nan
    days = predicted(name, dataclasses.replace(block, coarse=coarse), [FIRST + 40, FIRST + 71])
    observed = torch.isfinite(block.fine[2:8]).all(dim=1).any(dim=0)
    for day in days:
        if "references" in spec_of(name).needs:
            assert torch.isfinite(day.mean[:, observed]).all()
        assert torch.equal(torch.isnan(day.std), torch.isnan(day.mean))


@every_method_in_the_full_suite
def test_a_single_image_is_enough(name, world):
    block = world.block
    single = dataclasses.replace(block, fine=block.fine[3:4], fine_days=block.fine_days[3:4], fine_std=block.fine_std[3:4])
    for target in (block.fine_days[3] - 9, block.fine_days[3], block.fine_days[3] + 60, block.fine_days[3] + 90):
        day = predicted(name, single, [target])[0]
        assert torch.isfinite(day.mean).all()
        assert not (day.source == int(Provenance.FUSED_TWO_SIDED)).any()


@every_method_in_the_full_suite
def test_a_target_outside_the_coarse_series_does_not_fail(name, world):
    day = predicted(name, world.block, [FIRST - 3])[0]
    assert torch.equal(torch.isnan(day.mean), torch.isnan(day.std))


@every_method
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cpu_and_gpu_agree(name, world):
    for one, other in zip(
        predicted(name, world.block, TARGETS), predicted(name, world.block, TARGETS, device=torch.device("cuda")), strict=True
    ):
        torch.testing.assert_close(one.mean, other.mean.cpu(), atol=1e-4, rtol=0, equal_nan=True)
        assert torch.equal(one.source, other.source.cpu())
