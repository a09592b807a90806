"""The closed-form smoother against the plain solution of the Gaussian process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.fusion.bridge import Bridge

TAU, LEVEL = 20.0, 1.5


@pytest.mark.parametrize("offsets", [(-30, -12, -5, 3, 9, 40), (-30, -12, -5, -2, -1), (1, 3, 9, 40), (7,), (-64,)])
def test_it_equals_the_dense_gaussian_process(offsets):
    generator = torch.Generator().manual_seed(4)
    count, pixels = len(offsets), 8
    precision = 5 * torch.rand(count, pixels, generator=generator, dtype=torch.float64)
    precision[torch.rand(count, pixels, generator=generator) < 0.3] = 0
    values = torch.randn(count, 2, pixels, generator=generator, dtype=torch.float64)
    bridge = Bridge(list(precision), offsets, TAU, LEVEL)
    whitened, information = bridge.whiten(list(values)), bridge.information()
    for pixel in range(pixels):
        seen = [index for index in range(count) if precision[index, pixel] > 0]
        at = np.array([offsets[index] for index in seen], dtype=float)
        covariance = LEVEL + np.exp(-np.abs(at[:, None] - at) / TAU) + np.diag(1 / precision[seen, pixel].numpy())
        target = LEVEL + np.exp(-np.abs(at) / TAU)
        weights = np.linalg.solve(covariance, target) if seen else np.empty(0)
        np.testing.assert_allclose(torch.stack(bridge.weights)[seen, pixel], weights, atol=1e-12)
        assert float(bridge.variance[pixel]) == pytest.approx(LEVEL + 1 - target @ weights, abs=1e-12)
        inverse = np.linalg.inv(covariance) if seen else np.empty((0, 0))
        np.testing.assert_allclose(torch.stack(whitened)[seen, :, pixel], inverse @ values[seen, :, pixel].numpy(), atol=1e-11)
        np.testing.assert_allclose(torch.stack(information)[seen, pixel], np.diag(inverse), atol=1e-11)


def test_hidden_observations_weigh_nothing():
    precision = [torch.tensor([5.0, 0.0]), torch.tensor([5.0, 0.0])]
    bridge = Bridge(precision, (-4, 6), TAU, LEVEL)
    assert float(sum(bridge.weights)[1]) == 0
    assert float(bridge.variance[1]) == pytest.approx(LEVEL + 1, rel=1e-5)


def test_single_precision_is_enough_for_neighbouring_days():
    offsets = tuple(day for day in range(-10, 11) if day)
    exact, single = (
        Bridge([torch.full((4,), 8.0, dtype=dtype) for _ in offsets], offsets, 120.0, 2.0) for dtype in (torch.float64, torch.float32)
    )
    torch.testing.assert_close(torch.stack(single.weights).double(), torch.stack(exact.weights), atol=2e-5, rtol=0)
