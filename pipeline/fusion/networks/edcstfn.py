"""EDCSTFN: encoder, residual encoder, decoder (Tan, Di, Zhang, Guo, Gao; Remote Sensing 11:2898, 2019).

Features of the reference image and features of what changed are added and decoded. With two references the features are averaged with
weights that are the inverse of the absolute residual features. From the paper and its public code (Apache-2.0): all layers and widths.

Our reading: the published training decodes the features of each reference on its own and weights them at prediction only; here they are
weighted in both, so that what is trained is what is used.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from pipeline.fusion.networks.parts import convolution

_WIDTHS = (32, 64, 128)

_LEAST = 1e-8
"""Added to the absolute residual feature before its inverse is a weight."""


class Edcstfn(nn.Module):
    """284 k parameters and 284 kMAC per pixel for six bands and one reference.

    Parameters
    ----------
    bands : int
    """

    most_pairs = 2
    reach = 5
    multiple = 1

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.encoder = nn.Sequential(*_encoder(bands), nn.ReLU(inplace=True))
        self.residual = _encoder(3 * bands)
        shallow, middle, deep = _WIDTHS
        self.decoder = nn.Sequential(
            convolution(deep, middle, 3),
            nn.ReLU(inplace=True),
            convolution(middle, shallow, 3),
            nn.ReLU(inplace=True),
            convolution(shallow, bands, 1),
        )

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
        pairs = fine.shape[:2]
        change = torch.cat([then, fine, now.unsqueeze(1).expand_as(then)], dim=2).flatten(0, 1)
        residual = self.residual(change).unflatten(0, pairs)
        features = self.encoder(fine.flatten(0, 1)).unflatten(0, pairs) + residual
        return self.decoder(_averaged(features, residual))


def _averaged(features: Tensor, residual: Tensor) -> Tensor:
    """Features (N, C, y, x) of all references (N, R, C, y, x), averaged with the inverse of the absolute residual features as weights."""
    if features.shape[1] == 1:
        return features.squeeze(1)
    weight = (residual.abs() + _LEAST).reciprocal()
    # One by one: sums over an axis in between are slow where channels lie last in memory.
    total, weights = (reduce(torch.add, part.unbind(dim=1)) for part in (weight * features, weight))
    return total / weights


def _encoder(inputs: int) -> nn.Sequential:
    shallow, middle, deep = _WIDTHS
    return nn.Sequential(
        convolution(inputs, shallow, 3),
        nn.ReLU(inplace=True),
        convolution(shallow, middle, 3),
        nn.ReLU(inplace=True),
        convolution(middle, deep, 3),
    )
