"""VSDF against plain loops, its tiles, and what it gains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.fusion import vsdf
from pipeline.fusion.registry import build
from pipeline.operators.resample import area_mean, lift
from tests.fusion.worlds import FIRST, cropped, make_world

CPU = torch.device("cpu")
TARGET = FIRST + 55
SMALL = {"window": 960.0, "classes": 6, "regression": 720.0}


def predicted(block, options=SMALL):
    method = build("vsdf", options)
    return next(iter(method.days(method.prepare(block, {}, CPU), [TARGET])))


def test_the_change_of_a_class_is_the_least_squares_one_drawn_to_its_variation():
    rng = np.random.default_rng(3)
    features = torch.tensor(rng.random((4, 32, 32)), dtype=torch.float32)
    valid = torch.tensor(rng.random((32, 32)) > 0.2)
    change, weight = torch.tensor(rng.normal(size=(2, 4, 4)), dtype=torch.float32), torch.tensor(rng.random((4, 4)), dtype=torch.float32)
    method = build("vsdf", {"classes": 5})
    found = method.unmixed(features, valid, change, weight)
    centres = vsdf.classes_of(features[:, valid].double(), 5).numpy()
    values = features.double().permute(1, 2, 0).numpy()
    label = np.linalg.norm(values[:, :, None] - centres, axis=-1).argmin(axis=-1)
    usual = np.array([[values[..., band][(label == place) & valid.numpy()].mean() for place in range(5)] for band in range(2)])
    fractions, root = np.zeros((16, 5)), np.sqrt(weight.numpy().ravel())
    for cell in range(16):
        rows, cols = slice(cell // 4 * 8, cell // 4 * 8 + 8), slice(cell % 4 * 8, cell % 4 * 8 + 8)
        fractions[cell] = np.bincount(label[rows, cols][valid[rows, cols].numpy()], minlength=5)
    fractions /= fractions.sum(axis=1, keepdims=True)
    # Three pure cells say for every class that it changes like the variation of its pixels.
    design = np.concatenate([fractions * root[:, None], np.sqrt(3) * np.eye(5)])
    for band in range(2):
        right = np.concatenate([change[band].numpy().ravel() * root, np.sqrt(3) * usual[band]])
        expected = np.linalg.lstsq(design, right, rcond=None)[0]
        np.testing.assert_allclose(found[band].numpy(), expected[label], atol=1e-5)


def test_classes_are_those_of_k_means():
    rng = np.random.default_rng(1)
    middles = rng.random((4, 3)) * 10
    values = np.concatenate([middle + 0.1 * rng.normal(size=(50, 3)) for middle in middles])
    centres = vsdf.classes_of(torch.tensor(values.T), 4).numpy()
    for middle in middles:
        assert np.linalg.norm(centres - middle, axis=1).min() < 0.1


def test_a_line_between_reflectance_and_change_is_found_at_every_pixel():
    block = make_world(seed=1, size=64, cloud=0.0, coarse_noise=0.0).block
    fine = block.fine[4]
    coarse = area_mean(fine, 8)[0]
    pair = vsdf.Pair(block.fine_days[4], fine, torch.ones((64, 64), dtype=torch.bool), coarse, lift(coarse, 8))
    found = vsdf.guided(pair, 0.4 * coarse - 0.02, torch.ones((8, 8)), 1, 8)
    assert (found - (0.4 * fine - 0.02)).abs().mean() < 0.1 * (0.4 * fine - 0.02).abs().mean()


@pytest.mark.parametrize("origin", [(0, 0), (3, 6)])
def test_tiles_blend_to_one_and_keep_to_the_lattice(origin):
    total = torch.zeros((72, 56))
    for tile in vsdf.tiles((9, 7), origin, 4, 8, total):
        assert total[tile.pixels].shape == tile.weight.shape
        assert all(cells.start == 0 or (cells.start + first) % 4 == 0 for cells, first in zip(tile.cells, origin, strict=True))
        total[tile.pixels] += tile.weight
    torch.testing.assert_close(total, torch.ones_like(total))


def test_a_block_with_its_halo_equals_the_whole_image_with_windows_smaller_than_both():
    world = make_world(seed=3, size=160, every=24)
    halo = 8
    block = cropped(world.block, 9 - halo, 9 - halo, 2 + 2 * halo, 3 + 2 * halo)
    part, whole = predicted(block), predicted(world.block)
    rows, cols = slice(halo * 8, (halo + 2) * 8), slice(halo * 8, (halo + 3) * 8)
    far = (part.mean[:, rows, cols] - whole.mean[:, 9 * 8 : 11 * 8, 9 * 8 : 12 * 8]).abs() > 1e-4
    assert far.float().mean() <= 1e-3


def test_coarse_that_contradicts_the_fine_image_is_trusted_less():
    generator = torch.Generator().manual_seed(0)
    rest, weight = 0.01 * torch.randn((1, 12, 12), generator=generator), torch.ones((12, 12))
    noise = 0.03 * torch.randn((1, 12, 12), generator=generator)
    assert (vsdf.trust(rest, torch.zeros_like(rest), weight, 2) > 0.999).all()
    assert vsdf.trust(rest, noise, weight, 2).mean() < 0.3
    # A difference that is the same everywhere is no contradiction.
    assert (vsdf.trust(rest, torch.full_like(rest, 0.05), weight, 2) > 0.99).all()


def test_pixels_that_vary_alike_are_told_better_than_by_the_lifted_change():
    worlds = [make_world(seed=seed, size=96, cloud=0.0, coarse_noise=0.002) for seed in (1, 2)]
    errors = {}
    for name in ("delta", "vsdf"):
        days = []
        for world in worlds:
            one = dataclasses.replace(world.block, fine=world.block.fine[3:4], fine_days=world.block.fine_days[3:4])
            one = dataclasses.replace(one, fine_std=world.block.fine_std[3:4])
            method = build(name, {})
            day = next(iter(method.days(method.prepare(one, {}, CPU), [FIRST + 58])))
            days.append((day.mean - world.truth_of(FIRST + 58)).square().mean())
        errors[name] = torch.stack(days).mean().sqrt()
    assert errors["vsdf"] < 0.95 * errors["delta"]


def test_the_error_is_learnt_at_withheld_images():
    world = make_world(seed=5, size=32, cloud=0.2)
    method = build("vsdf", SMALL)
    state = method.prepare(world.block, method.estimate([world.block]), CPU)
    scaled = [
        ((day.mean - world.truth_of(day.day)) / day.std).square().mean().item()
        for day in method.days(state, [world.block.fine_days[index] for index in (4, 7, 9)])
    ]
    assert 0.3 < np.mean(scaled) < 3.0
