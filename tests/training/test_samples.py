"""Samples follow from a number, and hold nothing of the day they ask for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.training.samples import Sampler
from tests.training.places import same, tiny_place


@pytest.fixture(scope="module")
def place():
    return tiny_place()


def test_a_sample_follows_from_the_seed_and_its_number_alone(place):
    one, other = Sampler([place], 3, 32), Sampler([place], 3, 32)
    for number in (7, 2, 7):
        first, second = one.draw(number), other.draw(number)
        assert first.target == second.target
        assert same(first.block.fine, second.block.fine)
        assert same(first.block.coarse, second.block.coarse)
        assert same(first.truth, second.truth)
    assert any(one.draw(number).target != Sampler([place], 4, 32).draw(number).target for number in range(5))


def test_the_image_of_the_target_is_in_no_sample_and_noise_in_its_place_changes_no_bit(place):
    for index, day in enumerate(place.block.fine_days):
        targets = dataclasses.replace(place, targets=(day,))
        # Clouds of any image may be pasted on a reference: they stay.
        spoilt = place.block.fine.clone()
        spoilt[index] = torch.where(torch.isnan(spoilt[index]), torch.nan, torch.rand_like(spoilt[index]))
        other = dataclasses.replace(targets, block=dataclasses.replace(place.block, fine=spoilt))
        for number in range(2):
            one = Sampler([targets], 1, 32).draw(number)
            assert day not in one.block.fine_days
            assert same(one.block.fine, Sampler([other], 1, 32).draw(number).block.fine)


def test_a_window_is_turned_as_one(place):
    """Where nothing is pasted, a reference and the truth of its day show the same ground in the same place."""
    seen = 0
    for number in range(40):
        sample = Sampler([place], 5, 32).draw(number)
        for image, day in zip(sample.block.fine, sample.block.fine_days, strict=True):
            if abs(day - sample.target) <= 5:
                clear = torch.isfinite(image).all(dim=0)
                if int(clear.sum()) > 200:
                    seen += 1
                    both = torch.stack([image[0][clear], sample.truth[0][clear]])
                    assert torch.corrcoef(both)[0, 1] > 0.8
    assert seen > 5


def test_half_of_the_samples_have_the_mean_of_the_surface_as_coarse_and_references_are_hidden_in_part(place):
    samples = [Sampler([place], 0, 32).draw(number) for number in range(40)]
    assert 10 < sum(sample.ideal for sample in samples) < 30
    hidden = [float(torch.isnan(sample.block.fine).float().mean()) for sample in samples if len(sample.block.fine)]
    assert min(hidden) < 0.4 < 0.6 < max(hidden)
    assert any(torch.isnan(sample.block.coarse[:, :, 0]).all() or torch.isnan(sample.block.coarse).any() for sample in samples)


def test_a_place_of_images_alone_never_simulates_its_coarse():
    place = tiny_place(ideal=False)
    assert not any(Sampler([place], 0, 32).draw(number).ideal for number in range(20))
