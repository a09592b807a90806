"""The network on fine pixels: corrects a first prediction, band by band, and says how far to trust the result.

A small U-Net (Ronneberger, Fischer & Brox 2015, MICCAI, 234–241) of three levels. What it is told of the references is encoded once for
all days that share them. The last layer starts at zero: untrained, it corrects nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MOST_LOG = 2.0
"""σ is made larger or smaller by a factor of e to this at most."""


class Refiner(nn.Module):
    """Correction of a prediction.

    Parameters
    ----------
    reference_channels, day_channels : int
        What it is told of the references, and of the day.
    width : int
        Channels on fine pixels; deeper levels have one and a half times and twice as many.
    """

    reach = 48
    """Fine pixels around a pixel that its correction looks at."""

    multiple = 4
    """Height and width are multiples of this, and tiles start at multiples of it."""

    def __init__(self, reference_channels: int, day_channels: int, width: int = 16) -> None:
        super().__init__()
        self.reference_channels, self.day_channels = reference_channels, day_channels
        middle, deep = width * 3 // 2, width * 2
        self.references = nn.Sequential(_conv(reference_channels, width), nn.GELU(), _conv(width, width))
        self.stem = _conv(day_channels, width)
        self.fine = _Block(width)
        self.down = nn.Conv2d(width, middle, 2, stride=2)
        self.middle = _Block(middle)
        self.deeper = nn.Conv2d(middle, deep, 2, stride=2)
        self.deep = nn.Sequential(_Block(deep), _Block(deep))
        self.up = nn.ConvTranspose2d(deep, middle, 2, stride=2)
        self.joined = _Block(middle)
        self.upper = nn.ConvTranspose2d(middle, width, 2, stride=2)
        self.last = _Block(width)
        self.head = nn.Conv2d(width, 2, 1)
        for part in self.head.parameters():
            nn.init.zeros_(part)

    def encode(self, references: Tensor) -> Tensor:
        """Features (N, width, y, x) of the references (N, channels, y, x)."""
        return self.references(references)

    def forward(self, features: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        """Correction of the mean, in units of the contrast, and of log σ.

        Parameters
        ----------
        features : Tensor, (N, width, y, x)
            As `encode` gives them.
        day : Tensor, (N, channels, y, x)

        Returns
        -------
        correction, log_factor : Tensor, (N, y, x)
        """
        fine = self.fine(nn.functional.gelu(self.stem(day) + features))
        middle = self.middle(self.down(fine))
        deep = self.deep(self.deeper(middle))
        middle = self.joined(self.up(deep) + middle)
        correction, factor = self.head(self.last(self.upper(middle) + fine)).unbind(dim=1)
        return correction, _MOST_LOG * torch.tanh(factor / _MOST_LOG)


class Corrector(nn.Module):
    """A network with a `Refiner`, and what else it has.

    Parameters
    ----------
    reference_channels, day_channels : int
        As for `Refiner`.
    """

    def __init__(self, reference_channels: int, day_channels: int) -> None:
        super().__init__()
        self.refiner = Refiner(reference_channels, day_channels)


class _Block(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_conv(width, width), nn.GELU(), _conv(width, width))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.inner(values)


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)
