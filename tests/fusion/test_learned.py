"""Methods that correct a prediction by a network: untrained they correct nothing, and what they are told is what was observed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.errors import ConfigurationError
from pipeline.fusion.corrected import Corrected
from pipeline.fusion.evidence import contrast_of
from pipeline.fusion.learned import checked
from pipeline.fusion.networks.weights import Weights
from pipeline.fusion.options import CorrectedOptions, NetworkOptions
from pipeline.fusion.pairnet import slots
from pipeline.fusion.realfusion import RealFusion
from pipeline.fusion.registry import build
from tests.fusion.worlds import FIRST, make_world

CPU = torch.device("cpu")
TARGETS = [FIRST + 40, FIRST + 62, FIRST + 71, FIRST + 149]


@pytest.fixture(scope="module")
def world():
    return make_world()


def realfusion(**options) -> RealFusion:
    return RealFusion(NetworkOptions(**options), RealFusion.untrained().eval())


def moved_head(method):
    """The method with a network whose last layers are no longer zero."""
    torch.manual_seed(1)
    network = method.untrained().eval()
    for name, part in network.named_parameters():
        if "head" in name:
            torch.nn.init.normal_(part, std=0.05)
    method.given(network)
    return method


def test_untrained_the_corrected_smoother_is_the_smoother_bit_for_bit(world):
    options = CorrectedOptions()
    plain = build("smoother", {"days": options.days})
    parameters = plain.estimate([world.block])
    corrected = Corrected(options, Corrected.untrained().eval())
    learnt = {**parameters, "contrast": contrast_of([world.block])}
    expected = plain.days(plain.prepare(world.block, parameters, CPU), TARGETS)
    for one, other in zip(corrected.days(corrected.prepare(world.block, learnt, CPU), TARGETS), expected, strict=True):
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.std, other.std)
        assert torch.equal(one.source, other.source)


def test_untrained_realfusion_moves_both_sides_by_the_coarse_change_as_the_control_does(world):
    method, control = realfusion(), build("delta2", {})
    days = method.days(method.prepare(world.block, {}, CPU), TARGETS[:3])
    for one, other in zip(days, control.days(control.prepare(world.block, {}, CPU), TARGETS[:3]), strict=True):
        torch.testing.assert_close(one.mean, other.mean, atol=1e-5, rtol=0)


def test_many_days_between_two_images_share_one_encoding_of_the_references(world):
    method = realfusion()
    state = method.prepare(world.block, {}, CPU)
    refiner, encoded = state.network.refiner, []
    whole = refiner.encode
    refiner.encode = lambda told: encoded.append(len(told)) or whole(told)
    images = world.block.fine_days
    list(method.days(state, range(images[4] + 1, images[5])))
    once = len(encoded)
    list(method.days(state, [images[5] + 1]))
    assert once > 0
    assert len(encoded) == 2 * once


def test_a_clouded_reference_and_none_at_all_are_answered(world):
    block = world.block
    method = moved_head(realfusion())
    for fine in (torch.full_like(block.fine, torch.nan), block.fine):
        (day,) = method.days(method.prepare(dataclasses.replace(block, fine=fine), {}, CPU), [FIRST + 50])
        assert torch.isfinite(day.mean).all()
        assert (day.std > 0).all()


def test_a_network_corrects_any_number_of_bands_alike():
    """Bands are told apart by nothing: the second band as the only one gives the same."""
    world = make_world(bands=2)
    block = world.block
    alone = dataclasses.replace(
        block, fine=block.fine[:, 1:], fine_std=block.fine_std[:, 1:], coarse=block.coarse[:, 1:], coarse_std=block.coarse_std[:, 1:]
    )
    method = moved_head(realfusion())
    learnt = {"contrast": [0.1, 0.1]}
    (both,) = method.days(method.prepare(block, learnt, CPU), [FIRST + 50])
    (one,) = method.days(method.prepare(alone, {"contrast": [0.1]}, CPU), [FIRST + 50])
    torch.testing.assert_close(one.mean[0], both.mean[1], atol=1e-5, rtol=0)


def test_sigma_is_scaled_so_that_as_many_errors_lie_within_it_as_should(world):
    method = moved_head(realfusion())
    learnt = method.estimate([world.block])
    state = method.prepare(world.block, learnt, CPU)
    inside = []
    for index, day in enumerate(method.days(state, world.block.fine_days)):
        error = (day.mean - world.block.fine[index]).abs()
        seen = torch.isfinite(error)
        inside.append((error <= day.std)[seen].float())
    assert float(torch.cat(inside).mean()) == pytest.approx(0.683, abs=0.05)


def test_parameters_learnt_with_other_weights_are_refused():
    weights = Weights({}, {}, "b" * 64)
    checked(weights, {"weights": "b" * 64})
    checked(weights, {})
    with pytest.raises(ConfigurationError, match="aaaaaaaaaaaaaaaa"):
        checked(weights, {"weights": "a" * 64})


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("blue", "green", "red", "nir08", "swir16", "swir22"), [0, 1, 2, 3, 4, 5]),
        (("green", "red", "nir08"), [0, 0, 1, 2, 2, 2]),
        (("ndvi",), [0] * 6),
        ((), [0, 1, 0, 1, 0, 1]),
    ],
)
def test_bands_take_the_places_of_their_own_or_of_the_nearest(bands, expected):
    assert slots(bands, len(bands) or 2) == expected
