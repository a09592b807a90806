"""BiaSTF: the change the coarse sensor sees, and what the fine sensor sees differently.

Source: Li, Li, He, Chen, Plaza; Sci. China Inf. Sci. 63:140302, 2020. ``F_t = F_r + ΔF`` and ``ΔF = ΔC + b``, where b is the difference
between the change of the fine and of the coarse sensor.

From the paper: the decomposition; two networks, one for the change and one for the bias; layers 7×7, 5×5, 3×3, 3×3 with ReLU between, one
output channel, so one network for each band; forward and backward predictions are combined.

Our reading, because the paper does not say it: the widths (64, 32, 16); one set of weights for all bands, so any number of bands can be
given; the change network sees both coarse images and refines ΔC, the bias network sees the fine image and ΔC; the two are trained
together by the loss of the prediction; the weights of two pairs follow from the size of the coarse change around a pixel.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.fusion.networks.parts import by_band, change_weights, convolution

_WIDTHS = (64, 32, 16)

_AROUND = 8
"""Pixels on every side over which the coarse change is averaged: about one coarse cell."""


class BiaStf(nn.Module):
    """Change network and bias network, 62 k parameters and 62 kMAC per pixel and band each.

    Parameters
    ----------
    bands : int
        Not used for the layers: all bands share their weights.
    """

    most_pairs = 2
    reach = 8
    multiple = 1

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.change = band_network()
        self.bias = band_network()

    def forward(self, fine: Tensor, then: Tensor, now: Tensor) -> Tensor:
        """Predict the target day.

        Parameters
        ----------
        fine : Tensor, (N, R, B, y, x)
            Reference images, filled [reflectance].
        then : Tensor, (N, R, B, y, x)
            Coarse images of the days of the references, lifted.
        now : Tensor, (N, B, y, x)
            Coarse image of the target day, lifted.

        Returns
        -------
        Tensor, (N, B, y, x)
        """
        now = now.unsqueeze(1).expand_as(then)
        moved = now - then
        change = moved + by_band(self.change, then, now)
        bias = by_band(self.bias, fine, moved)
        return (change_weights(moved, _AROUND) * (fine + change + bias)).sum(dim=1)


def band_network() -> nn.Sequential:
    """Table 1 of the paper, from two channels to one."""
    first, second, third = _WIDTHS
    return nn.Sequential(
        convolution(2, first, 7),
        nn.ReLU(inplace=True),
        convolution(first, second, 5),
        nn.ReLU(inplace=True),
        convolution(second, third, 3),
        nn.ReLU(inplace=True),
        convolution(third, 1, 3),
    )
