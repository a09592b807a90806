"""Discriminators and their losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.fusion.networks.adversarial import PatchDiscriminator, ScalesDiscriminator, discriminator_loss, generator_term

DISCRIMINATORS = [PatchDiscriminator, ScalesDiscriminator]


def image(seed: int, count: int = 1) -> Tensor:
    return torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(seed))


def mean_of_image(picture: Tensor, now: Tensor) -> list[Tensor]:
    """A discriminator that takes bright images for real."""
    return [picture.mean(dim=(1, 2, 3)), picture.mean(dim=(1, 2, 3))[:, None]]


def made(network: type[nn.Module], bands: int = 3) -> nn.Module:
    torch.manual_seed(5)
    return network(bands)


@pytest.mark.parametrize(("network", "parameters"), [(PatchDiscriminator, 2.78e6), (ScalesDiscriminator, 3.66e6)])
def test_discriminators_have_the_published_size(network: type[nn.Module], parameters: float) -> None:
    assert sum(value.numel() for value in network(6).parameters()) == pytest.approx(parameters, rel=0.01)


def test_losses_are_least_squares() -> None:
    one, zero = torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    assert float(generator_term(mean_of_image, zero, zero)) == 1.0
    assert float(generator_term(mean_of_image, one, zero)) == 0.0
    assert float(discriminator_loss(mean_of_image, one, zero, zero)) == 0.0
    assert float(discriminator_loss(mean_of_image, zero, one, zero)) == 1.0
    assert float(discriminator_loss(mean_of_image, 0.5 * one, 0.5 * one, zero)) == 0.25


def test_hidden_truth_looks_like_the_prediction() -> None:
    seen: list[Tensor] = []

    def watching(picture: Tensor, now: Tensor) -> list[Tensor]:
        seen.append(picture)
        return mean_of_image(picture, now)

    real, fake = image(1), image(2)
    hidden = torch.where(image(3)[:, :1] > 0.5, torch.nan, real)
    assert bool(discriminator_loss(watching, hidden, fake, image(4)).isfinite())
    torch.testing.assert_close(seen[0], torch.where(hidden.isnan(), fake, real), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_each_side_learns_from_its_own_loss(network: type[nn.Module]) -> None:
    d = made(network)
    real, fake, now = image(1), image(2).requires_grad_(), image(3)
    discriminator_loss(d, real, fake, now).backward()
    assert fake.grad is None
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in d.parameters())
    generator_term(d, fake, now).backward()
    assert fake.grad is not None
    assert bool((fake.grad.abs().sum(dim=1) > 0).all())


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_an_image_is_scored_alike_in_every_batch(network: type[nn.Module]) -> None:
    d = made(network).eval()
    with torch.no_grad():
        both, alone = d(image(1, 2), image(2, 2)), d(image(1, 2)[1:], image(2, 2)[1:])
    for together, single in zip(both, alone, strict=True):
        torch.testing.assert_close(single, together[1:], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_a_step_down_its_gradient_lowers_the_loss_of_a_discriminator(network: type[nn.Module]) -> None:
    # Spectral norms stand still in evaluation.
    d = made(network).eval()
    samples = image(1), image(2), image(3)
    optimiser = torch.optim.Adam(d.parameters(), lr=1e-5)
    before = discriminator_loss(d, *samples)
    before.backward()
    optimiser.step()
    assert float(discriminator_loss(d, *samples)) < float(before)
