"""The smoother against the plain solution of its Gaussian process, and the parameters it finds."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.fusion.breaks import Breaks
from pipeline.fusion.likelihood import Series, _left_out
from pipeline.fusion.nodes import Nodes
from pipeline.fusion.options import SMOOTHER_PART, SmootherOptions
from pipeline.fusion.posterior import Posterior, Prior, inverse_of, trusted
from pipeline.fusion.smoother import Parameters, Smoother, condition
from pipeline.vocabulary import Surface
from tests.fusion.worlds import FIRST, make_world

DAYS = (0, 3, 8, 9, 20, 33, 40, 57, 90)
PROCESS = (0.02, 0.03, 0.05)
CPU = torch.device("cpu")


def observations(pixels: int = 6, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Precision (K, P), residual and anomaly (K, B, P) with a third of the observations missing."""
    generator = torch.Generator().manual_seed(3)
    precision = 30 * torch.rand(len(DAYS), pixels, generator=generator, dtype=torch.float64)
    precision[torch.rand(precision.shape, generator=generator) < 0.3] = 0
    residual, anomaly = 0.05 * torch.randn(2, len(DAYS), len(PROCESS), pixels, generator=generator, dtype=torch.float64)
    return precision.to(dtype), residual.to(dtype), anomaly.to(dtype)


def make_prior(season: float = 0.7, gain_std: float = 0.1, freedom: float = 1e12, dtype: torch.dtype = torch.float64) -> Prior:
    return Prior(30.0, 2.0, season, torch.tensor(PROCESS, dtype=dtype)[:, None], gain_std, freedom)


def covariance(prior: Prior, band: int, days: np.ndarray, others: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of two sets of days with their coarse anomalies, in units of the process variance."""
    apart = days[:, None] - others[None]
    found = np.exp(-np.abs(apart) / prior.tau) + prior.level + prior.season * np.cos(2 * math.pi * apart / 365.25)
    return np.asarray(found + (prior.gain_std / PROCESS[band]) ** 2 * one[:, None] * other[None])


@pytest.mark.parametrize("season", [0.0, 0.7])
@pytest.mark.parametrize("target", [-12, 4, 9, 25, 100])
def test_mean_and_variance_are_those_of_the_dense_gaussian_process(season, target):
    prior = make_prior(season)
    precision, residual, anomaly = observations()
    now = 0.05 * torch.randn(len(PROCESS), precision.shape[1], generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    mean, variance = Posterior.of(Nodes(precision, DAYS, prior.tau), prior, residual, anomaly).at(target, now)
    for pixel in range(precision.shape[1]):
        seen = (precision[:, pixel] > 0).numpy()
        days, there = np.array(DAYS, float)[seen], np.array([float(target)])
        for band in range(len(PROCESS)):
            coarse, today = anomaly[:, band, pixel].numpy()[seen], now[band, pixel : pixel + 1].numpy()
            inner = covariance(prior, band, days, days, coarse, coarse) + np.diag(1 / precision[seen, pixel].numpy())
            cross = covariance(prior, band, days, there, coarse, today)[:, 0]
            gain = np.linalg.solve(inner, cross)
            left = covariance(prior, band, there, there, today, today)[0, 0] - cross @ gain
            assert float(mean[band, pixel]) == pytest.approx(gain @ residual[:, band, pixel].numpy()[seen], abs=1e-9)
            assert float(variance[band, pixel]) == pytest.approx(left, rel=1e-6)


def test_single_precision_is_enough_for_neighbouring_days():
    days = tuple(range(21))
    generator = torch.Generator().manual_seed(5)
    precision, residual = (
        torch.full((21, 4), 100.0, dtype=torch.float64),
        0.05 * torch.randn(21, 3, 4, generator=generator, dtype=torch.float64),
    )

    def answer(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        prior = dataclasses.replace(make_prior(dtype=dtype), tau=120.0)
        posterior = Posterior.of(Nodes(precision.to(dtype), days, prior.tau), prior, residual.to(dtype), residual.to(dtype).flip(0))
        return posterior.at(10, residual[3].to(dtype))

    for single, exact in zip(answer(torch.float32), answer(torch.float64), strict=True):
        torch.testing.assert_close(single.double(), exact, atol=2e-5, rtol=2e-4)


def test_an_inverse_written_out_is_the_inverse():
    root = torch.randn(3, 3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrix = torch.einsum("ikp,jkp->ijp", root, root)
    product = torch.einsum("ikp,kjp->ijp", matrix, inverse_of(matrix))
    torch.testing.assert_close(product, torch.eye(3, dtype=torch.float64)[:, :, None].expand_as(product))


def test_one_observation_against_all_others_loses_its_weight_and_no_other_does():
    prior = make_prior(season=0.0)
    precision = torch.full((len(DAYS), 1), 30.0, dtype=torch.float64)
    tell = torch.zeros_like(precision)
    tell[4] = 4.0
    weights = (trusted(Nodes(precision, DAYS, prior.tau), prior, tell, 3.0) / precision)[:, 0]
    assert weights[4] < 0.1
    assert (weights[torch.arange(len(DAYS)) != 4] > 0.7).all()


def test_a_step_that_the_next_observation_confirms_is_no_outlier_and_a_last_one_half_of_one():
    prior = make_prior(season=0.0, gain_std=0.0)
    precision = torch.full((len(DAYS), 3), 30.0, dtype=torch.float64)
    tell = torch.zeros_like(precision)
    tell[4:, 0] = 8.0  # a step
    tell[4, 1] = 8.0  # a missed cloud
    tell[-1, 2] = 8.0  # nobody knows yet
    kept = trusted(Nodes(precision, DAYS, prior.tau), prior, tell, 3.0) / precision
    assert float(kept[:, 0].min()) > 0.95
    assert float(kept[4, 1]) < 0.05
    assert float(kept[-1, 2]) > 2 * float(kept[4, 1])
    assert float(kept[-1, 2]) < 0.7


def test_leaving_out_in_closed_form_is_solving_without():
    known = dataclasses.replace(Parameters(), tau=30.0, process=PROCESS, coarse_gain=(0.8,) * 3, season=0.5, freedom=1e12)
    precision, fine, anomaly = observations(dtype=torch.float32)
    # All alike, so that no observation is an outlier and the weights are the same with and without.
    series = Series(DAYS, precision.gt(0).float(), 0.2 * fine, anomaly, torch.full((3,), 0.01))
    left = _left_out(known, [series])
    place, start = 4, int((series.trust[:4] > 0).sum())
    pixels = (series.trust[place] > 0).nonzero()[:, 0]
    prior, trust = known.prior(fine), series.trust / known.noise
    residual = series.fine - 0.8 * anomaly
    trust[place] = 0
    mean, variance = condition(prior, DAYS, trust, residual, anomaly).at(DAYS[place], anomaly[place])
    columns = slice(start, start + len(pixels))
    torch.testing.assert_close(left.error[:, columns], (mean - residual[place])[:, pixels], atol=2e-3, rtol=0.05)
    torch.testing.assert_close(left.variance[:, columns], variance[:, pixels], atol=0.05, rtol=0.05)


def test_parameters_follow_the_size_of_what_is_left_and_make_sigma_true():
    world = make_world(seed=4, every=6)
    method = Smoother(SmootherOptions(cloud_reach=0.0))
    parameters = method.estimate([world.block])
    state = method.prepare(world.block, parameters, CPU)
    targets = [day for day in range(FIRST + 20, FIRST + 130, 7) if day not in world.block.fine_days]
    inside = []
    for day in method.days(state, targets):
        inside.append(((day.mean - world.truth_of(day.day)).abs() <= day.std).float().mean())
    assert set(parameters) == {field.name for field in dataclasses.fields(Parameters)}
    # The coarse of this world is twice as good as it says.
    assert 0.55 < float(torch.stack(inside).mean()) < 0.9


def test_too_little_to_learn_from_leaves_the_defaults():
    block = make_world(every=80).block
    assert Smoother(SmootherOptions()).estimate([block]) == {}


def test_days_of_one_part_of_the_calendar_go_over_into_the_next_without_a_jump():
    world = make_world(seed=1, days=400, every=10, cloud=0.3)
    method = Smoother(SmootherOptions(days=48))
    middle = (FIRST // SMOOTHER_PART + 12) * SMOOTHER_PART
    targets = [day for day in range(middle - 8, middle + 8) if day not in world.block.fine_days]
    series = torch.stack([day.mean for day in method.days(method.prepare(world.block, {}, CPU), targets)])
    steps = (series[1:] - series[:-1]).abs().mean(dim=(1, 2, 3)) / torch.tensor(np.diff(targets))
    across = next(place for place, (one, two) in enumerate(pairwise(targets)) if one // SMOOTHER_PART != two // SMOOTHER_PART)
    others = torch.cat([steps[:across], steps[across + 1 :]])
    assert steps[across] < 1.5 * others.max()


def test_between_two_images_that_differ_too_much_the_coarse_says_when_it_broke():
    days, broken = (0, 10, 40, 50), 31
    prior = Prior(60.0, 2.0, 0.0, torch.tensor([[0.02]], dtype=torch.float64), 0.0, 10.0)
    precision = torch.full((4, 1), 30.0, dtype=torch.float64)
    residual = torch.tensor([0.0, 0.0, 0.3, 0.3], dtype=torch.float64)[:, None, None]
    # A cell of which the pixel is a small part goes the same way on the same day, but less far.
    anomaly = torch.tensor([-0.03, -0.03, 0.03, 0.03], dtype=torch.float64)[:, None, None]
    posterior = Posterior.of(Nodes(precision, days, prior.tau), prior, residual, anomaly)
    breaks = Breaks.between(posterior, anomaly, 2)
    assert breaks is not None
    assert float(breaks.weight) > 0.8
    for day in (12, 30, 32, 38):
        now = torch.full((1, 1), 0.03 if day >= broken else -0.03, dtype=torch.float64)
        gradual, variance = posterior.at(day, now)
        mean, wider = gradual.clone(), variance.clone()
        breaks.mix(posterior, day, now, mean, wider)
        truth = 0.3 if day >= broken else 0.0
        assert abs(float(mean) - truth) < max(0.6 * abs(float(gradual) - truth), 0.04)
        assert float(wider) >= float(variance)
    assert Breaks.between(Posterior.of(Nodes(precision, days, prior.tau), prior, 0.01 * residual, anomaly), anomaly, 2) is None


def test_snow_on_one_image_neither_enters_the_ground_nor_outlasts_what_the_coarse_says():
    world = make_world(seed=6, every=12, cloud=0.0)
    block, index, melted = world.block, 5, 4
    day = block.fine_days[index]
    fine, coarse, surface = block.fine.clone(), block.coarse.clone(), torch.zeros(block.fine[:, 0].shape, dtype=torch.uint8)
    fine[index] += 0.5
    surface[index] = int(Surface.SNOW)
    coarse[day - 2 - FIRST : day + melted - FIRST] += 0.5
    snowy = dataclasses.replace(block, fine=fine, coarse=coarse, fine_surface=surface)
    method = Smoother(SmootherOptions(cloud_reach=0.0))
    lying, gone = method.days(method.prepare(snowy, {}, CPU), [day + 2, day + melted + 3])
    assert float((lying.mean - world.truth_of(day + 2) - 0.5).abs().mean()) < 0.1
    assert float((gone.mean - world.truth_of(day + melted + 3)).abs().mean()) < 0.05
    assert (torch.isfinite(lying.mean) & torch.isfinite(lying.std)).all()


@pytest.mark.parametrize("melts", [False, True])
def test_snow_with_no_image_on_the_other_side_lies_on_while_the_coarse_stays_what_it_was(melts):
    world = make_world(seed=6, every=12, cloud=0.0)
    block, index = world.block, 8
    day, later = block.fine_days[index], block.fine_days[index] + 6
    fine, coarse = block.fine[: index + 1].clone(), block.coarse.clone()
    surface = torch.zeros(fine[:, 0].shape, dtype=torch.uint8)
    fine[index] += 0.5
    surface[index] = int(Surface.SNOW)
    coarse[day - 2 - FIRST : (day + 3 if melts else day + 9) - FIRST] += 0.5
    images = {"fine": fine, "fine_days": block.fine_days[: index + 1], "fine_std": block.fine_std[: index + 1]}
    snowy = dataclasses.replace(block, **images, coarse=coarse, fine_surface=surface)
    method = Smoother(SmootherOptions(cloud_reach=0.0))
    (found,) = method.days(method.prepare(snowy, {}, CPU), [later])
    off = float((found.mean - world.truth_of(later)).mean())
    assert abs(off - (0.0 if melts else 0.5)) < 0.12


def test_the_gain_of_a_pixel_is_not_carried_beyond_the_anomalies_it_was_learnt_from():
    world = make_world(seed=6, every=12, cloud=0.0)
    method, target = Smoother(SmootherOptions(cloud_reach=0.0)), world.block.fine_days[5] + 5
    bright = world.block.coarse.clone()
    bright[target - FIRST] += 0.5
    parameters = {"gain_std": 0.5, "coarse_gain": [1.0], "process": [0.02]}
    plain, lifted = (
        next(iter(method.days(method.prepare(dataclasses.replace(world.block, coarse=coarse), parameters, CPU), [target]))).mean
        for coarse in (world.block.coarse, bright)
    )
    assert float((lifted - plain - 0.5).abs().max()) < 0.15


def test_water_does_not_follow_the_coarse_of_its_shore():
    world = make_world(seed=6, every=12, cloud=0.0)
    block, target = world.block, world.block.fine_days[5] + 5
    surface = torch.zeros(block.fine[:, 0].shape, dtype=torch.uint8)
    surface[:, :, :16] = int(Surface.WATER)
    surface[:5, :, 16:24] = int(Surface.WATER)  # a flood: less than half of the images
    bright = block.coarse.clone()
    bright[target - FIRST] += 0.1
    method, parameters = Smoother(SmootherOptions(cloud_reach=0.0)), {"gain_std": 0.0, "coarse_gain": [1.0]}
    worlds = [dataclasses.replace(block, coarse=coarse, fine_surface=surface) for coarse in (block.coarse, bright)]
    plain, lifted = (next(iter(method.days(method.prepare(seen, parameters, CPU), [target]))).mean for seen in worlds)
    moved = lifted - plain
    assert float(moved[:, :, :16].abs().max()) < 0.02
    torch.testing.assert_close(moved[:, :, 24:], torch.full_like(moved[:, :, 24:], 0.1), atol=0.02, rtol=0.0)
