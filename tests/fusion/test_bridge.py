"""The closed-form smoother against the plain solution of the Gaussian process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.fusion.bridge import Bridge, Reading

TAU, LEVEL = 20.0, 1.5


@pytest.mark.parametrize("offsets", [(-30, -12, -5, 3, 9, 40), (-30, -12, -5, -2, -1), (1, 3, 9, 40), (7,), (-64,)])
def test_it_equals_the_dense_gaussian_process(offsets):
    generator = torch.Generator().manual_seed(4)
    count, pixels = len(offsets), 8
    precision = 5 * torch.rand(count, pixels, generator=generator, dtype=torch.float64)
    precision[torch.rand(count, pixels, generator=generator) < 0.3] = 0
    values = torch.randn(count, 2, pixels, generator=generator, dtype=torch.float64)
    bridge = Bridge(precision, offsets, TAU, LEVEL)
    whitened, information = [bridge.whiten(quantity) for quantity in values.unbind(1)], bridge.information()
    reading = bridge.read(lambda place: values[place])
    for pixel in range(pixels):
        seen = [index for index in range(count) if precision[index, pixel] > 0]
        at = np.array([offsets[index] for index in seen], dtype=float)
        covariance = LEVEL + np.exp(-np.abs(at[:, None] - at) / TAU) + np.diag(1 / precision[seen, pixel].numpy())
        target = LEVEL + np.exp(-np.abs(at) / TAU)
        weights = np.linalg.solve(covariance, target) if seen else np.empty(0)
        assert float(bridge.share[pixel]) == pytest.approx(weights.sum(), abs=1e-12)
        assert float(bridge.variance[pixel]) == pytest.approx(LEVEL + 1 - target @ weights, abs=1e-12)
        inverse = np.linalg.inv(covariance) if seen else np.empty((0, 0))
        known = values[seen, :, pixel].numpy()
        np.testing.assert_allclose(torch.stack(whitened, dim=1)[seen, :, pixel], inverse @ known, atol=1e-11)
        np.testing.assert_allclose(information[seen, pixel], np.diag(inverse), atol=1e-11)
        np.testing.assert_allclose(reading.target[:, pixel], weights @ known, atol=1e-11)
        np.testing.assert_allclose(reading.products[:, pixel], known.T @ inverse @ known[:, 0], atol=1e-10)


def test_hidden_observations_weigh_nothing():
    bridge = Bridge(torch.tensor([[5.0, 0.0], [5.0, 0.0]]), (-4, 6), TAU, LEVEL)
    assert float(bridge.share[1]) == 0
    assert (bridge.read(lambda place: torch.ones(1, 2)).target[:, 1] == 0).all()
    assert float(bridge.variance[1]) == pytest.approx(LEVEL + 1, rel=1e-5)


def test_single_precision_is_enough_for_neighbouring_days():
    offsets = tuple(day for day in range(-10, 11) if day)
    values = 0.1 * torch.randn(len(offsets), 2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def reading(dtype: torch.dtype) -> Reading:
        bridge = Bridge(torch.full((len(offsets), 4), 8.0, dtype=dtype), offsets, 120.0, 2.0)
        return bridge.read(lambda place: values[place].to(dtype))

    exact, single = reading(torch.float64), reading(torch.float32)
    torch.testing.assert_close(single.target.double(), exact.target, atol=2e-6, rtol=0)
    torch.testing.assert_close(single.products.double(), exact.products, atol=2e-5, rtol=0)
