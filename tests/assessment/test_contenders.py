"""The method and every control predict the same days from the same observations, the day's own image left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.assessment.contenders import line_up, predictions
from pipeline.errors import ConfigurationError
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import specs

DAYS = tuple(range(100, 141))
SIX = {"nearest", "linear", "harmonic", "coarse", "delta", "delta2"}


@pytest.fixture
def block() -> FusionInput:
    """One band that rises by 0.002 a day everywhere, seen every eighth day, with fixed detail inside coarse cells."""
    rng = np.random.default_rng(1)
    detail = torch.from_numpy(rng.normal(0, 0.02, (1, 32, 32)).astype(np.float32))
    detail -= detail.reshape(1, 4, 8, 4, 8).mean((2, 4), keepdim=True).repeat_interleave(8, 2).repeat_interleave(8, 4).reshape(1, 32, 32)
    fine_days = DAYS[::8]
    level = {day: 0.2 + 0.002 * (day - 100) for day in DAYS}
    return FusionInput(
        fine=torch.stack([level[day] + detail for day in fine_days]),
        fine_days=fine_days,
        fine_std=torch.full((len(fine_days), 1), 0.005),
        coarse=torch.stack([torch.full((1, 4, 4), level[day]) for day in DAYS]),
        coarse_std=torch.full((len(DAYS), 1, 4, 4), 0.005),
        coarse_days=DAYS,
        scale=8,
        resolution=30.0,
    )


def test_controls_look_at_least_as_far_as_the_method() -> None:
    method, *controls = line_up("residual", {"days": 100}, {})
    assert method.support == (100, 100)
    assert all(min(control.support) >= 100 for control in controls)
    assert min(control.support[0] for control in line_up("residual", {"days": 10}, {})[1:]) == 64


def test_a_line_up_is_the_method_and_every_control() -> None:
    names = [contender.name for contender in line_up("residual", {}, {})]
    assert names[0] == "residual"
    assert set(names[1:]) == SIX == {name for name, spec in specs().items() if spec.control}


def test_a_control_is_not_its_own_rival() -> None:
    names = [contender.name for contender in line_up("linear", {}, {})]
    assert sorted(names) == sorted(SIX)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="allowed keys"):
        line_up("residual", {"dayz": 3}, {})


def test_every_contender_predicts_every_day(block: FusionInput) -> None:
    contenders = line_up("residual", {}, {})
    made = list(predictions(block, contenders, [110, 116]))
    assert [day for day, _ in made] == [110, 116]
    for _, images in made:
        assert list(images) == [contender.name for contender in contenders]
        assert all(image.shape == (1, 32, 32) and np.isfinite(image).all() for image in images.values())


def test_the_image_of_the_day_itself_is_left_out(block: FusionInput) -> None:
    fine = block.fine.clone()
    fine[2] = 0.9
    poisoned = FusionInput(**{**block.__dict__, "fine": fine})
    contenders = line_up("residual", {}, {})
    (_, clean), (_, spoilt) = (next(iter(predictions(one, contenders, [116]))) for one in (block, poisoned))
    for name, image in clean.items():
        np.testing.assert_array_equal(image, spoilt[name])


def test_where_the_coarse_tells_the_change_delta_beats_nearest(block: FusionInput) -> None:
    _, images = next(iter(predictions(block, line_up("residual", {}, {}), [112])))
    truth = (block.fine[0] + 0.002 * 12).numpy()
    error = {name: float(np.sqrt(np.mean((image - truth) ** 2))) for name, image in images.items()}
    assert error["delta"] < 1e-4
    assert error["nearest"] == pytest.approx(0.008, abs=1e-4)
