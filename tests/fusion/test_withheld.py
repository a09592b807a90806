"""The standard deviation that is learnt at withheld images: what it depends on, and that it is honest."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.fusion.frame import Frame
from pipeline.fusion.registry import build
from pipeline.fusion.withheld import Circumstances, ErrorModel, fitted
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
TARGET = FIRST + 55


def made_up(count=40_000):
    generator = torch.Generator().manual_seed(3)
    terms = torch.ones((4, 2, count), dtype=torch.float64)
    terms[1:] = torch.rand((3, 2, count), generator=generator, dtype=torch.float64) * torch.tensor([1.0, 0.01, 0.04])[:, None, None]
    truth = torch.tensor([[1e-4, 4e-4, 0.25, 0.0], [4e-4, 0.0, 0.0, 0.5]], dtype=torch.float64)
    variance = torch.einsum("bt,tbn->bn", truth, terms)
    return terms, torch.randn((2, count), generator=generator, dtype=torch.float64) * variance.sqrt(), variance


def test_the_variances_that_errors_were_drawn_with_are_found():
    terms, errors, variance = made_up()
    found = fitted(errors, terms)
    assert (found >= 0).all()
    stated = torch.einsum("bt,tbn->bn", found, terms)
    # Errors beyond 3 σ are cut off: a few per cent of the variance.
    torch.testing.assert_close(stated / variance, torch.ones_like(stated), atol=0.2, rtol=0)
    assert 0.9 < (errors.square() / stated).mean() < 1.15


def test_a_few_missed_clouds_do_not_widen_it():
    terms, errors, _ = made_up()
    clouded = errors.clone()
    clouded[:, ::100] = 0.5
    ratio = torch.einsum("bt,tbn->bn", fitted(clouded, terms), terms) / torch.einsum("bt,tbn->bn", fitted(errors, terms), terms)
    assert (ratio.sqrt().median() - 1).abs() < 0.1


def test_with_few_images_only_time_counts():
    terms, errors, _ = made_up()
    assert (fitted(errors, terms, few=True)[:, 2:] == 0).all()


def test_each_circumstance_adds_its_part_of_the_variance():
    model = ErrorModel(floor=(0.01,), change=(0.02,), follow=(0.5,), apart=(0.3,))
    ones = torch.ones((2, 4, 4))
    given = Circumstances(torch.full((32, 32), 1e9), 0.04 * ones, 0.01 * ones, torch.full((2, 32, 32), 1e-4))
    expected = (1e-4 + 4e-4 + 0.25 * 0.04 + 0.09 * 0.01 + 1e-4) ** 0.5
    torch.testing.assert_close(model.std(given), torch.full((2, 32, 32), expected))


def framed(block, two_sided=True):
    return Frame.of(block, {}, CPU, two_sided)


def test_a_cell_is_apart_where_its_nearest_image_shows_what_the_coarse_does_not():
    block = make_world(seed=4, size=64, cloud=0.0).block
    index = max(place for place, day in enumerate(block.fine_days) if day < TARGET)
    veiled = block.fine.clone()
    veiled[index, :, 8:16, 16:24] += 0.2
    indices = list(range(len(block.fine_days)))
    plain, under = (
        framed(part, two_sided=False).around(indices, TARGET).circumstances.apart
        for part in (block, dataclasses.replace(block, fine=veiled))
    )
    nearest = min(indices, key=lambda place: abs(block.fine_days[place] - TARGET))
    differs = (under - plain).abs() > 1e-6
    expected = torch.zeros_like(differs)
    expected[:, 1, 2] = nearest == index
    assert torch.equal(differs, expected)
    both = framed(dataclasses.replace(block, fine=veiled)).around(indices, TARGET).circumstances.apart
    assert (both[:, 1, 2] > 0.01).all()


def test_the_coarse_change_counts_from_the_images_that_show_a_cell():
    block = make_world(seed=4, size=32, cloud=0.0).block
    hidden = block.fine.clone()
    hidden[:5, :, :8, :8] = torch.nan
    hidden[6:, :, :8, :8] = torch.nan
    frame = framed(dataclasses.replace(block, fine=hidden))
    change = frame.around(range(len(block.fine_days)), TARGET).circumstances.change
    coarse = block.coarse[TARGET - FIRST] - block.coarse[block.fine_days[5] - FIRST]
    torch.testing.assert_close(change[:, 0, 0], coarse[:, 0, 0].square())


@pytest.mark.parametrize("name", ["efast", "robot", "vsdf", "starfm"])
def test_observations_in_doubt_widen_it_where_they_lie(name):
    block = make_world(seed=4, size=64, cloud=0.0).block
    doubt = torch.ones((len(block.fine), 64, 64))
    doubt[:, :24, :24] = 3.0
    method = build(name, {"days": 30})
    sure, unsure = (
        next(iter(method.days(method.prepare(part, {}, CPU), [TARGET]))) for part in (block, dataclasses.replace(block, fine_doubt=doubt))
    )
    more = unsure.std.square() - sure.std.square()
    expected = 8 * block.fine_std[0].square()
    torch.testing.assert_close(more[:, :24, :24], expected[:, None, None].expand(-1, 24, 24), atol=1e-6, rtol=0.05)
    torch.testing.assert_close(more[:, 24:], torch.zeros_like(more[:, 24:]))


def test_efast_trusts_an_observation_in_doubt_less():
    block = make_world(seed=4, size=32, cloud=0.0).block
    index = min(range(len(block.fine_days)), key=lambda place: abs(block.fine_days[place] - TARGET))
    strange = block.fine.clone()
    strange[index] += 0.1
    doubt = torch.ones((len(block.fine), 32, 32))
    doubt[index] = 3.0
    method = build("efast", {})
    off = [
        (
            next(iter(method.days(method.prepare(dataclasses.replace(part, fine=strange), {}, CPU), [TARGET]))).mean
            - next(iter(method.days(method.prepare(part, {}, CPU), [TARGET]))).mean
        ).mean()
        for part in (block, dataclasses.replace(block, fine_doubt=doubt))
    ]
    assert 0 < off[1] < 0.4 * off[0]
