"""What several networks are made of.

Everything looks a finite number of pixels around, so that a tile with its halo agrees with the whole image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_QUIET = 1e-3
"""Reflectance added to the size of a change before its inverse is a weight: below it coarse images differ by noise."""

_FLOOR = 1e-5
"""Added to a variance before it divides: (0.003)², about the noise of reflectance."""


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of an odd kernel that keeps the size of an image; outside, the image goes on like its edge."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="replicate" if kernel > 1 else "zeros")


def by_band(network: nn.Module, *images: Tensor) -> Tensor:
    """Let a network with one output see every band of every image on its own, with the same weights.

    Parameters
    ----------
    network : nn.Module
        From (M, len(images), y, x) to (M, 1, y, x).
    *images : Tensor, (..., y, x)
        All of one shape; they become the channels.

    Returns
    -------
    Tensor, (..., y, x)
    """
    size = images[0].shape
    seen = torch.stack([image.reshape(-1, *size[-2:]) for image in images], dim=1)
    return network(seen).reshape(size)


def box_mean(values: Tensor, radius: int) -> Tensor:
    """Mean over the square of ``2 radius + 1`` pixels around each pixel, of those that lie in the image.

    Parameters
    ----------
    values : Tensor, (N, C, y, x)
    radius : int

    Returns
    -------
    Tensor, (N, C, y, x)
    """
    size = 2 * radius + 1
    along = functional.avg_pool2d(values, (1, size), 1, (0, radius), count_include_pad=False)
    return functional.avg_pool2d(along, (size, 1), 1, (radius, 0), count_include_pad=False)


def change_weights(change: Tensor, radius: int) -> Tensor:
    """Weights of predictions from several pairs: the less the coarse image changed around a pixel, the more a pair counts.

    Parameters
    ----------
    change : Tensor, (N, R, B, y, x)
        Coarse image of the target day less that of each pair [reflectance].
    radius : int
        Pixels around which the absolute change is averaged, over all bands, so that the spectrum stays whole.

    Returns
    -------
    Tensor, (N, R, 1, y, x)
        They sum to 1 over the pairs.
    """
    weight = (box_mean(change.abs().mean(dim=2), radius) + _QUIET).reciprocal()
    return (weight / weight.sum(dim=1, keepdim=True)).unsqueeze(2)


def local_moments(features: Tensor, cell: int, cells: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel in a window that moves in steps of a cell: the statistics of instance normalisation, made local.

    Parameters
    ----------
    features : Tensor, (N, C, y, x)
        Height and width are whole cells.
    cell : int
        Pixels along the edge of a cell.
    cells : int
        Cells on every side that belong to the window of a cell.

    Returns
    -------
    mean, variance : Tensor, (N, C, Y, X) float32
        By cell, in full precision whatever that of the features.
    """
    features = features.float()
    mean = box_mean(functional.avg_pool2d(features, cell), cells)
    square = box_mean(functional.avg_pool2d(features.square(), cell), cells)
    return mean, (square - mean.square()).clamp(min=0.0)


def rescaled(features: Tensor, mean: Tensor, scale: Tensor, cell: int) -> Tensor:
    """Features less a mean, times a factor, both given by cell and interpolated between the centres of cells.

    Parameters
    ----------
    features : Tensor, (N, C, y, x)
    mean, scale : Tensor, (N, C, Y, X)
    cell : int
        Pixels along the edge of a cell.

    Returns
    -------
    Tensor, (N, C, y, x)
        Of the type of the features.
    """
    return ((features - lifted(mean, cell)) * lifted(scale, cell)).to(features.dtype)


def lifted(coarse: Tensor, cell: int) -> Tensor:
    """Bilinear interpolation (N, C, y, x) between the centres of cells (N, C, Y, X), outside like the outermost."""
    return coarse if cell == 1 else functional.interpolate(coarse, scale_factor=cell, mode="bilinear", align_corners=False)


def inverse_deviation(variance: Tensor) -> Tensor:
    """1 / σ, bounded where nothing varies."""
    return (variance + _FLOOR).rsqrt()
