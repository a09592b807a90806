"""Blending of an observation with the prediction of its day."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from pipeline.operators.blend import BLEND_HALO, blend
from pipeline.operators.spatial import distance_to
from pipeline.vocabulary import Provenance

RESOLUTION = 30.0
STD = torch.tensor([0.005, 0.01])[:, None, None]


@pytest.fixture
def scene():
    """Texture with an offset between prediction and observation, and a round cloud in the middle."""
    generator = torch.Generator().manual_seed(3)
    size = 192
    texture = 0.2 + 0.02 * torch.randn(2, size, size, generator=generator)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    cloud = (y - 96) ** 2 + (x - 96) ** 2 < 60**2
    observed = torch.where(cloud, torch.nan, texture + 0.05)
    std = torch.full_like(texture, 0.03)
    source = torch.full((size, size), int(Provenance.FUSED_TWO_SIDED), dtype=torch.uint8)
    return texture, std, source, observed, cloud


def test_observed_pixels_are_kept_bit_by_bit(scene):
    mean, std, source, observed, cloud = scene
    blended, blended_std, blended_source = blend(mean, std, source, observed, STD, RESOLUTION)
    assert torch.equal(blended[:, ~cloud], observed[:, ~cloud])
    assert (blended_source[~cloud] == int(Provenance.OBSERVED)).all()
    assert (blended_source[cloud] == int(Provenance.FUSED_TWO_SIDED)).all()
    torch.testing.assert_close(blended_std[1][~cloud], torch.full_like(blended_std[1][~cloud], 0.01))
    assert torch.isfinite(blended).all()
    assert blended.dtype == blended_std.dtype == torch.float32


def test_no_seam_stands_at_the_edge_of_a_cloud(scene):
    mean, std, source, observed, cloud = scene
    blended = blend(mean, std, source, observed, STD, RESOLUTION)[0]
    step = (blended[:, :, 1:] - blended[:, :, :-1]).abs()
    crossing = cloud[:, 1:] ^ cloud[:, :-1]
    texture = step[:, ~crossing].mean()
    assert step[:, crossing].mean() < 1.15 * texture
    # The systematic part of the step, from outside to inside, is gone too.
    signed = torch.where(cloud[:, 1:], 1.0, -1.0) * (blended[:, :, 1:] - blended[:, :, :-1])
    assert signed[:, crossing].mean().abs() < 0.01


def test_the_correction_fades_into_the_cloud_and_never_grows(scene):
    mean, std, source, observed, cloud = scene
    moved = (blend(mean, std, source, observed, STD, RESOLUTION)[0] - mean)[0]
    depth = distance_to(~cloud, 60)
    rings = [moved[(depth > near) & (depth <= near + 4)].mean() for near in (0, 4, 10, 20, 32, 50)]
    assert rings[0] > 0.04
    assert all(inner <= outer + 1e-3 for outer, inner in pairwise(rings))
    assert abs(rings[-1]) < 1e-6  # beyond BLEND_HALO


def test_the_std_shrinks_beside_observations_only(scene):
    mean, std, source, observed, cloud = scene
    filled = blend(mean, std, source, observed, STD, RESOLUTION)[1][0]
    depth = distance_to(~cloud, 60)
    assert filled[cloud & (depth <= 1)].mean() < 0.9 * 0.03
    torch.testing.assert_close(filled[depth > 40], torch.full_like(filled[depth > 40], 0.03))


def test_a_bright_rim_of_missed_cloud_hardly_spreads(scene):
    mean, std, source, observed, cloud = scene
    rim = (distance_to(cloud, 3) <= 1.0) & ~cloud
    bright = torch.where(rim, observed + 0.5, observed)
    clean, dirty = (blend(mean, std, source, image, STD, RESOLUTION)[0] for image in (observed, bright))
    assert (dirty - clean)[:, cloud].abs().max() < 0.02


def test_nothing_observed_and_everything_observed(scene):
    mean, std, source, observed, _ = scene
    nothing = blend(mean, std, source, torch.full_like(mean, torch.nan), STD, RESOLUTION)
    assert torch.equal(nothing[0], mean)
    assert torch.equal(nothing[2], source)
    full = torch.nan_to_num(observed, nan=0.3)
    assert torch.equal(blend(mean, std, source, full, STD, RESOLUTION)[0], full)


def test_gaps_without_a_prediction_stay_missing_and_poison_nothing(scene):
    mean, std, source, observed, cloud = scene
    mean, std = mean.clone(), std.clone()
    mean[:, 90:100, 30:100] = torch.nan
    std[:, 90:100, 30:100] = torch.nan
    blended = blend(mean, std, source, observed, STD, RESOLUTION)[0]
    assert torch.equal(torch.isnan(blended), torch.isnan(mean) & cloud)


def test_a_block_with_halo_equals_the_whole_image(scene):
    mean, std, source, observed, _ = scene
    whole = blend(mean, std, source, observed, STD, RESOLUTION)
    halo = math.ceil(BLEND_HALO / RESOLUTION)
    rows = slice(48, 160)
    block = blend(mean[:, rows], std[:, rows], source[rows], observed[:, rows], STD, RESOLUTION)
    inner, keep = slice(halo, -halo), slice(48 + halo, 160 - halo)
    for part, full in zip(block[:2], whole[:2], strict=True):
        assert torch.equal(part[:, inner], full[:, keep])
    assert torch.equal(block[2][inner], whole[2][keep])
