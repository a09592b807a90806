"""Tiles: stitched equals whole, memory that runs out, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.errors import LandfuseError
from pipeline.fusion.networks.tiles import apply, apply_to_any


class Plain(nn.Module):
    """Three convolutions; two of them dilated or wide."""

    reach, multiple = 1 + 4 + 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1), nn.GELU(), nn.Conv2d(5, 5, 5, padding=4, dilation=2), nn.GELU(), nn.Conv2d(5, 3, 7, padding=3)
        )

    def forward(self, image):
        return self.layers(image)


class UNet(nn.Module):
    """Two levels below the first: pooling that starts at another pixel gives another result."""

    reach, multiple = 32, 4

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 6, 2, stride=2)
        self.joined = nn.Conv2d(12, 4, 3, padding=1)
        self.upper = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.last = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, image):
        one = self.first(image).relu()
        two = self.second(nn.functional.max_pool2d(one, 2)).relu()
        three = self.third(nn.functional.avg_pool2d(two, 2)).relu()
        two = self.joined(torch.cat([self.up(three), two], dim=1)).relu()
        return self.last(torch.cat([self.upper(two), one], dim=1))


class Lifting(nn.Module):
    """Coarse beside fine, lifted in the network; the mean and a layer without channels."""

    reach, multiple = 8, 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, fine, coarse):
        lifted = nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
        made = self.layer(torch.cat([fine.mean(dim=1), lifted], dim=1))
        return made, made[:, 0].exp()


def of_seed(network, *shapes):
    torch.manual_seed(1)
    return network().eval(), [torch.rand(shape) for shape in shapes]


@pytest.mark.parametrize("network", [Plain, UNet])
@pytest.mark.parametrize(("shape", "tile"), [((96, 136), 24), ((32, 200), 64), ((40, 40), 64)], ids=["many", "row", "one"])
def test_tiles_stitched_are_the_whole(network, shape, tile):
    network, (image,) = of_seed(network, (2, 2, *shape))
    with torch.inference_mode():
        whole = network(image)
    (stitched,) = apply(network, [image], reach=network.reach, multiple=network.multiple, tile=tile, batch=3)
    torch.testing.assert_close(stitched, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", [Plain, UNet])
def test_a_reach_too_short_does_not_stitch(network):
    network, (image,) = of_seed(network, (1, 2, 96, 136))
    (stitched,) = apply(network, [image], reach=0, multiple=network.multiple, tile=24, batch=3)
    assert float((stitched - network(image)).abs().max()) > 1e-3


def test_coarse_inputs_and_several_results_stitch():
    network, inputs = of_seed(Lifting, (2, 3, 2, 64, 96), (2, 1, 16, 24))
    with torch.inference_mode():
        whole = network(*inputs)
    stitched = apply(network, inputs, reach=8, multiple=1, tile=16, batch=4, scale_factors=[1, 4])
    assert stitched[1].shape == (2, 64, 96)
    for one, other in zip(stitched, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_results_can_be_written_into_and_lie_in_memory_as_usual():
    (made,) = apply(lambda image: image * 2, [torch.ones(1, 2, 8, 8)], reach=1, multiple=1, tile=4, batch=2)
    made += 1
    assert made.is_contiguous()
    assert not made.is_inference()


def test_networks_get_tiles_of_one_shape_with_channels_last():
    seen = []

    def look(image):
        seen.append((tuple(image.shape), image.is_contiguous(memory_format=torch.channels_last), torch.is_inference_mode_enabled()))
        return image

    apply(look, [torch.rand(1, 3, 40, 72)], reach=3, multiple=4, tile=16, batch=5)
    assert seen == [((5, 3, 24, 24), True, True)] * 3


@pytest.mark.parametrize(
    ("height", "tile", "heights"),
    [(40, 40, [40]), (44, 40, [24 + 4] * 2), (84, 40, [28 + 2 * 4] * 3)],
    ids=["whole", "two of one halo each", "three"],
)
def test_an_array_is_cut_into_equal_parts_with_no_halo_beyond_its_border(height, tile, heights):
    seen = []

    def look(image):
        seen.append(image.shape[-2])
        return image

    apply(look, [torch.rand(1, 1, height, 40)], reach=3, multiple=4, tile=tile, batch=1)
    assert seen == heights


def test_the_batch_halves_where_memory_runs_out_and_the_run_goes_on():
    network, (image,) = of_seed(UNet, (1, 2, 96, 136))
    tried = []

    def narrow(tiles):
        tried.append(len(tiles))
        if len(tiles) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return network(tiles)

    (stitched,) = apply(narrow, [image], reach=network.reach, multiple=network.multiple, tile=24, batch=12)
    assert tried == [12, 6, 3] + [1] * 24
    torch.testing.assert_close(stitched, network(image), rtol=0, atol=1e-5)


def test_a_batch_larger_than_what_there_is_halves_what_there_is():
    tried = []

    def narrow(tiles):
        tried.append(len(tiles))
        if len(tiles) > 2:
            raise torch.OutOfMemoryError
        return tiles

    apply(narrow, [torch.rand(1, 1, 16, 16)], reach=0, multiple=1, tile=8, batch=64)
    assert tried == [4, 2, 2]


def test_a_tile_that_does_not_fit_is_said_with_its_size():
    def full(tiles):
        raise torch.OutOfMemoryError

    with pytest.raises(LandfuseError, match=r"single tile of 20 × 16 pixels(.|\n)*less than 16 pixels"):
        apply(full, [torch.rand(1, 1, 32, 16)], reach=3, multiple=4, tile=16, batch=4)


def test_other_errors_of_a_network_are_its_own():
    with pytest.raises(RuntimeError, match="expected input"):
        apply(Plain(), [torch.rand(1, 3, 16, 16)], reach=8, multiple=1, tile=16, batch=1)


@pytest.mark.parametrize(("height", "tile"), [(30, 16), (32, 18), (32, 0)])
def test_sizes_that_no_pooling_divides_are_refused(height, tile):
    with pytest.raises(LandfuseError, match="no multiple of 4 fine pixels"):
        apply(UNet(), [torch.rand(1, 2, height, 32)], reach=32, multiple=4, tile=tile, batch=1)


def test_inputs_of_other_ground_are_refused():
    with pytest.raises(LandfuseError, match="2 of 32 × 32, 2 of 28 × 32"):
        apply(Lifting(), [torch.rand(2, 3, 2, 32, 32), torch.rand(2, 1, 7, 8)], reach=8, multiple=1, tile=16, batch=1, scale_factors=[1, 4])


def test_an_image_of_any_size_is_answered_as_if_its_last_rows_went_on():
    network = UNet()
    image = torch.rand(2, 2, 30, 37)
    (found,) = apply_to_any(network, [image], reach=network.reach, multiple=network.multiple, tile=32, batch=2)
    wide = torch.nn.functional.pad(image, (0, 3, 0, 2), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(found, network(wide)[..., :30, :37], atol=1e-5, rtol=0)
