"""GAN-STFM: reference-free fusion. The generator.

Source: Tan, Gao, Li, Jiang; IEEE TGRS 60, 2022, doi:10.1109/TGRS.2021.3050551. It sees the coarse image of the target day and a fine image
of any other day, and no coarse image of that day. Four pairs of blocks: the lateral one takes features of the coarse image; the trunk
normalises features of the fine one, which takes their radiometry away, and adds the lateral features. Five stages decode both. From the
paper and its public code: the layout and all widths.

Our reading: switchable normalisation (Luo et al., 2019) is local, so that a tile with its halo agrees with the whole image: the statistics
of a channel and of all channels come from a window of 28 pixels that moves in steps of 4, and the statistics over a batch are left out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.fusion.networks.parts import convolution, inverse_deviation, local_moments, rescaled

_WIDTHS = (16, 32, 64, 128)

_CELL = 4
"""Pixels by which the window of a normalisation moves."""

_CELLS = 3
"""Cells on every side that belong to the window: 28 pixels. There are eight windows, one behind the other, and `reach` adds them up."""


class GanStfm(nn.Module):
    """578 k parameters and 576 kMAC per pixel for six bands.

    Its `reach` is large, because normalisations follow each other: tiles should be large too.

    Parameters
    ----------
    bands : int
    """

    most_pairs = 1
    reach = 133
    multiple = _CELL

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        widths = (bands, *_WIDTHS)
        self.lateral = nn.ModuleList(_LateralBlock(*step) for step in pairwise(widths))
        self.trunk = nn.ModuleList(_TrunkBlock(*step) for step in pairwise(widths))
        first, second, third, last = _WIDTHS
        self.decoder = nn.Sequential(
            _ResidualBlock(2 * last, last),
            _ResidualBlock(last, third),
            _ResidualBlock(third, second),
            _ResidualBlock(second, first),
            convolution(first, bands, 1),
        )

    def forward(self, fine: Tensor, then: Tensor, now: Tensor) -> Tensor:
        """Predict the target day.

        Parameters
        ----------
        fine : Tensor, (N, 1, B, y, x)
            Reference image, filled [reflectance].
        then : Tensor, (N, 1, B, y, x)
            Not looked at.
        now : Tensor, (N, B, y, x)
            Coarse image of the target day, lifted.

        Returns
        -------
        Tensor, (N, B, y, x)

        Raises
        ------
        ValueError
            With more than one reference.
        """
        (detail,) = fine.unbind(dim=1)
        level = now
        for lateral, trunk in zip(self.lateral, self.trunk, strict=True):
            level = lateral(level)
            detail = trunk(detail) + level
        return self.decoder(torch.cat([level, detail], dim=1))


class _LateralBlock(nn.Sequential):
    """Features of the coarse image."""

    def __init__(self, inputs: int, outputs: int) -> None:
        narrow = min(inputs, outputs)
        super().__init__(convolution(inputs, narrow, 3), convolution(narrow, outputs, 1), nn.LeakyReLU(inplace=True))


class _TrunkBlock(nn.Sequential):
    """Features of the fine image, without its radiometry."""

    def __init__(self, inputs: int, outputs: int) -> None:
        narrow = min(inputs, outputs)
        super().__init__(
            LocalSwitchableNorm(inputs),
            nn.LeakyReLU(inplace=True),
            convolution(inputs, narrow, 3),
            LocalSwitchableNorm(narrow),
            nn.LeakyReLU(inplace=True),
            convolution(narrow, outputs, 1),
        )


class _ResidualBlock(nn.Module):
    """A stage of the decoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        narrow = min(inputs, outputs)
        self.residual = nn.Sequential(convolution(inputs, narrow, 3), nn.LeakyReLU(inplace=True), convolution(narrow, outputs, 1))
        self.direct = convolution(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.residual(features) + self.direct(features)


class LocalSwitchableNorm(nn.Module):
    """Switchable normalisation (Luo et al., 2019, eq. 3–5) with statistics of a window, of each channel and of all channels.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.mean_choice = nn.Parameter(torch.zeros(2))
        self.variance_choice = nn.Parameter(torch.zeros(2))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, y, x)."""
        mean, variance = local_moments(features, _CELL, _CELLS)
        common = mean.mean(dim=1, keepdim=True)
        spread = (variance + mean.square()).mean(dim=1, keepdim=True) - common.square()
        own, all_channels = self.mean_choice.softmax(dim=0)
        mean = own * mean + all_channels * common
        own, all_channels = self.variance_choice.softmax(dim=0)
        variance = own * variance + all_channels * spread
        return rescaled(features, mean, self.weight * inverse_deviation(variance), _CELL) + self.bias
