"""MLFF-GAN: multilevel feature fusion. The generator.

Source: Song, Liu, Li, Wang, Zhang, He, Chen, Liu; IEEE TGRS 60:4410816, 2022. Two pyramids, one for coarse and one for fine images, have
five levels of 16 to 256 channels. On each level the features of the fine image get the statistics of those of the coarse image of the
target day (adaptive instance normalisation, Huang & Belongie, 2017); a mask from the difference between the coarse images of both days then
chooses between them and the coarse features: where much has changed, the coarse image is believed. Up-convolutions decode. From the paper
and its public code: the layout and all widths.

Our reading, for seamless production:

- the statistics are those of a window of 72 pixels on the ground on every level instead of the whole image;
- batch normalisation in the mask and dropout are left out (a third of a permille of the parameters);
- the deepest level is not coarser than the fourth, 8 pixels: published it is 16, and then only tiles that start on multiples of 16 pixels
  agree with the whole image. The parameters are the same, the multiply-adds 224 k instead of 158 k per pixel. ``published=True`` gives the
  published form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.fusion.networks.parts import convolution, inverse_deviation, local_moments, rescaled

_WIDTHS = (16, 32, 64, 128, 256)

_CELL = 8
"""Pixels of the image by which the window of the statistics moves."""

_CELLS = 4
"""Cells on every side that belong to the window: 72 pixels."""


class MlffGan(nn.Module):
    """5.92 M parameters and 224 kMAC per pixel (158 k in the published form) for six bands.

    Its `reach` is large, so tiles should be large too.

    Parameters
    ----------
    bands : int
    published : bool
        Let the deepest level be coarser than the fourth, as published: `multiple` is then 16.
    """

    most_pairs = 1
    reach = 153
    multiple = 8

    def __init__(self, bands: int, published: bool = False) -> None:
        super().__init__()
        self.bands = bands
        last = 1
        if published:
            last, self.multiple, self.reach = 2, 16, 176
        self.steps = (1, 2, 4, 8, 8 * last)
        self.coarse = _Pyramid(bands, last)
        self.fine = _Pyramid(bands, last)
        self.choice = nn.ModuleList(_Choice(width) for width in _WIDTHS)
        downward = zip(_WIDTHS[:0:-1], _WIDTHS[-2::-1], (last, 2, 2, 2), strict=True)
        self.decoder = nn.ModuleList(_upward(2 * inputs, outputs, step) for inputs, outputs, step in downward)
        shallow = _WIDTHS[0]
        self.head = nn.Sequential(
            _ResidualBlock(2 * shallow), convolution(2 * shallow, shallow, 1), _ResidualBlock(shallow), convolution(shallow, bands, 1)
        )

    def forward(self, fine: Tensor, then: Tensor, now: Tensor) -> Tensor:
        """Predict the target day.

        Parameters
        ----------
        fine : Tensor, (N, 1, B, y, x)
            Reference image, filled [reflectance].
        then : Tensor, (N, 1, B, y, x)
            Coarse image of the day of the reference, lifted.
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
        (reference,), (before,) = fine.unbind(dim=1), then.unbind(dim=1)
        targets, befores = self.coarse(now), self.coarse(before)
        levels = zip(self.choice, targets, befores, self.fine(reference), self.steps, strict=True)
        fused = [choice(target, old, _restyled(detail, target, step)) for choice, target, old, detail, step in levels]
        below = targets[-1]
        for decoder, level in zip(self.decoder, reversed(fused[1:]), strict=True):
            below = decoder(torch.cat([level, below], dim=1))
        return self.head(torch.cat([fused[0], below], dim=1))


def _restyled(content: Tensor, style: Tensor, step: int) -> Tensor:
    """Features of the fine image with the local mean and deviation of those of the coarse image."""
    cell = max(_CELL // step, 1)
    cells = _CELLS * _CELL // (cell * step)
    mean, variance = local_moments(content, cell, cells)
    new_mean, new_variance = local_moments(style, cell, cells)
    scale = inverse_deviation(variance) * inverse_deviation(new_variance).reciprocal()
    # (c − m) s + m' = (c − (m − m' / s)) s; σ has a floor, so s is never zero.
    return rescaled(content, mean - new_mean / scale, scale, cell)


class _Pyramid(nn.ModuleList):
    """Features of an image on five levels."""

    def __init__(self, bands: int, last: int) -> None:
        inputs, strides, kernels = (bands, *_WIDTHS[:-1]), (1, 2, 2, 2, last), (7, 3, 3, 3, 3)
        super().__init__(
            nn.Sequential(convolution(before, width, kernel, stride), _ResidualBlock(width))
            for before, width, kernel, stride in zip(inputs, _WIDTHS, kernels, strides, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        for level in self:
            image = level(image)
            features.append(image)
        return features


class _ResidualBlock(nn.Module):
    """Two convolutions around which the features pass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(convolution(channels, channels, 3), nn.LeakyReLU(inplace=True), convolution(channels, channels, 3))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.residual(features)


class _Choice(nn.Module):
    """A mask from the coarse change, between coarse features (1) and fine ones (0)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.target = convolution(channels, channels, 1)
        self.before = convolution(channels, channels, 1)
        self.mask = convolution(channels, 1, 1)

    def forward(self, target: Tensor, before: Tensor, detail: Tensor) -> Tensor:
        mask = self.mask(self.target(target) - self.before(before)).sigmoid()
        return torch.lerp(detail, target, mask)


def _upward(inputs: int, outputs: int, step: int) -> nn.Sequential:
    """From a level to the one above: a 4×4 up-convolution, or a 4×4 convolution that keeps the size."""
    if step > 1:
        up: tuple[nn.Module, ...] = (nn.ConvTranspose2d(inputs, outputs, 4, step, padding=1),)
    else:
        up = (nn.ReplicationPad2d((1, 2, 1, 2)), nn.Conv2d(inputs, outputs, 4))
    return nn.Sequential(*up, nn.LeakyReLU(inplace=True), _ResidualBlock(outputs))
