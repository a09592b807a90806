"""The networks on pairs: their size, and what a production in tiles asks of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.fusion.networks.biastf import BiaStf, band_network
from pipeline.fusion.networks.edcstfn import Edcstfn
from pipeline.fusion.networks.ganstfm import GanStfm
from pipeline.fusion.networks.mlffgan import MlffGan
from pipeline.fusion.networks.stfdcnn import Stfdcnn, srcnn
from pipeline.fusion.networks.tiles import apply

NETWORKS = [BiaStf, Stfdcnn, Edcstfn, GanStfm, MlffGan]
SEVERAL = [network for network in NETWORKS if network.most_pairs > 1]


def published_mlffgan(bands: int) -> MlffGan:
    return MlffGan(bands, published=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(make: Callable[[int], nn.Module], bands: int) -> nn.Module:
    torch.manual_seed(7)
    return make(bands)


def images(bands: int, height: int, width: int, pairs: int = 1, count: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    pair = (2, count, pairs, bands, height, width)
    fine, then = (0.5 * torch.rand(pair, generator=generator)).unbind(0)
    return fine, then, 0.5 * torch.rand((count, bands, height, width), generator=generator)


def cut(samples: tuple[Tensor, ...], rows: slice, cols: slice) -> tuple[Tensor, ...]:
    return tuple(image[..., rows, cols] for image in samples)


def cost(network: nn.Module, *samples: Tensor) -> tuple[int, float]:
    """Parameters, and multiply-adds per pixel."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*samples)
    pixels = samples[-1].shape[-1] * samples[-1].shape[-2]
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() / 2 / pixels


@pytest.mark.parametrize(
    ("make", "parameters", "multiplications"),
    [(Edcstfn, 284e3, 284e3), (GanStfm, 578e3, 576e3), (published_mlffgan, 5.92e6, 158e3), (MlffGan, 5.92e6, 224e3)],
)
def test_size_and_multiply_adds_for_six_bands_are_the_published_ones(
    make: Callable[[int], nn.Module], parameters: float, multiplications: float
) -> None:
    assert cost(made(make, 6), *images(6, 32, 32)) == (pytest.approx(parameters, rel=0.01), pytest.approx(multiplications, rel=0.01))


def test_the_networks_of_one_band_have_the_size_of_their_tables() -> None:
    assert cost(band_network(), torch.rand(1, 2, 16, 16)) == (pytest.approx(62e3, rel=0.01), pytest.approx(62e3, rel=0.01))
    assert cost(srcnn(), torch.rand(1, 1, 16, 16)) == (pytest.approx(57e3, rel=0.01), pytest.approx(57e3, rel=0.01))


@pytest.mark.parametrize("network", [BiaStf, Stfdcnn])
def test_band_wise_networks_are_the_same_for_any_number_of_bands(network: type[nn.Module]) -> None:
    assert {name: value.shape for name, value in network(1).state_dict().items()} == {
        name: value.shape for name, value in network(6).state_dict().items()
    }


@pytest.mark.parametrize("bands", [1, 3, 6])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_number_of_bands_and_pairs_gives_one_finite_image(network: type[nn.Module], bands: int) -> None:
    model = made(network, bands)
    for pairs in range(1, network.most_pairs + 1):
        with torch.no_grad():
            predicted = model(*images(bands, 16, 24, pairs, count=2))
        assert predicted.shape == (2, bands, 16, 24)
        assert bool(predicted.isfinite().all())


@pytest.mark.parametrize("make", [*NETWORKS, published_mlffgan])
def test_a_pixel_looks_as_far_as_the_reach_and_no_farther(make: Callable[[int], nn.Module]) -> None:
    model = made(make, 1)
    step = model.multiple
    half = -(-(model.reach + 1) // step) * step
    farthest = 0
    for at in range(half, half + step):
        samples = images(1, 16, 2 * half + step)
        for image in samples:
            image[..., at] = torch.nan
        with torch.no_grad():
            touched = model(*samples).isnan().any(dim=-2).flatten().nonzero().flatten()
        farthest = max(farthest, at - int(touched.min()), int(touched.max()) - at)
    assert farthest == model.reach


@pytest.mark.parametrize("make", NETWORKS)
def test_a_tile_with_its_halo_equals_the_whole_image(make: Callable[[int], nn.Module]) -> None:
    model = made(make, 2)
    step = model.multiple
    halo = -(-model.reach // step) * step
    # Neither centred nor as long as a power of two; thin, because only one axis is cut.
    start, size = halo + 3 * step, 2 * step + 16
    samples = images(2, 16, start + size + halo + 5 * step, model.most_pairs)
    inner, wide = slice(start, start + size), slice(start - halo, start + size + halo)
    everything = slice(None)
    with torch.no_grad():
        whole = model(*samples)[..., inner]
        tile = model(*cut(samples, everything, wide))[..., halo : halo + size]
        turned = tuple(image.mT.contiguous() for image in samples)
        upright = model(*turned)[..., inner, :]
        upright_tile = model(*cut(turned, wide, everything))[..., halo : halo + size, :]
    torch.testing.assert_close(tile, whole, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(upright_tile, upright, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_multiples_are_whole_coarse_cells_at_most(network: type[nn.Module]) -> None:
    assert network(6).multiple <= 8


@pytest.mark.parametrize("make", [*NETWORKS, published_mlffgan])
def test_the_loss_of_the_prediction_reaches_every_parameter(make: Callable[[int], nn.Module]) -> None:
    model = made(make, 3)
    fine, then, now = images(3, 32, 32, model.most_pairs, count=2)
    (model(fine, then, now) - fine[:, 0]).square().mean().backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not bool(value.grad.abs().sum() > 0)]
    assert silent == []


@pytest.mark.parametrize("network", NETWORKS)
def test_dark_and_flat_ground_has_finite_gradients(network: type[nn.Module]) -> None:
    model = made(network, 3)
    flat = torch.zeros(1, model.most_pairs, 3, 16, 16)
    model(flat, flat, flat[:, 0]).square().mean().backward()
    assert all(bool(value.grad.isfinite().all()) for value in model.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_an_image_is_predicted_alike_every_time_and_in_every_batch(network: type[nn.Module]) -> None:
    model = made(network, 3)
    samples = images(3, 16, 16, count=2)
    with torch.no_grad():
        both, again, alone = model(*samples), model(*samples), model(*(image[1:] for image in samples))
    assert torch.equal(both, again)
    torch.testing.assert_close(alone, both[1:], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_autocast_to_half_precision_stays_near_full_precision(network: type[nn.Module]) -> None:
    model = made(network, 3)
    samples = images(3, 16, 16)
    with torch.no_grad():
        full = model(*samples)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(*samples)
    assert float((half.float() - full).abs().mean()) < 0.02


@pytest.mark.parametrize("network", SEVERAL)
def test_the_order_of_the_references_does_not_matter(network: type[nn.Module]) -> None:
    model = made(network, 3)
    fine, then, now = images(3, 16, 16, pairs=2)
    with torch.no_grad():
        torch.testing.assert_close(model(fine.flip(1), then.flip(1), now), model(fine, then, now), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("network", [BiaStf, Stfdcnn])
def test_a_pair_without_coarse_change_outweighs_one_with(network: type[nn.Module]) -> None:
    model = made(network, 2)
    fine, then, now = images(2, 16, 16, pairs=2)
    then[:, 0] = now
    with torch.no_grad():
        both = model(fine, then, now)
        near, far = (model(fine[:, place : place + 1], then[:, place : place + 1], now) for place in (0, 1))
    assert float((both - near).abs().mean()) < 0.1 * float((both - far).abs().mean())


def test_reference_free_fusion_does_not_look_at_the_coarse_image_of_the_reference() -> None:
    model = made(GanStfm, 3)
    fine, then, now = images(3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(fine, torch.full_like(then, torch.nan), now), model(fine, then, now))


@pytest.mark.parametrize("network", [network for network in NETWORKS if network.most_pairs == 1])
def test_networks_for_one_pair_refuse_two(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="too many values"):
        made(network, 3)(*images(3, 16, 16, pairs=2))


@pytest.mark.slow
@pytest.mark.parametrize("make", NETWORKS)
def test_tiles_stitched_in_both_directions_are_the_whole_image(make: Callable[[int], nn.Module]) -> None:
    model = made(make, 2).to(memory_format=torch.channels_last)
    step = model.multiple
    # Three tiles: one at either end, one with a halo on both sides.
    tile = 2 * step + 16
    samples = images(2, 3 * tile, 3 * tile + 2 * step * math.ceil(model.reach / step), model.most_pairs)
    with torch.no_grad():
        whole = model(*samples)
    (stitched,) = apply(model, samples, reach=model.reach, multiple=step, tile=tile, batch=2)
    torch.testing.assert_close(stitched, whole, rtol=0.0, atol=1e-5)
