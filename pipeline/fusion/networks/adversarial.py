"""Discriminators of the two adversarial rivals, and the least-squares losses of both (Mao et al., 2017). Used in training only.

A discriminator sees a fine image beside the coarse image of its day and scores how real it is: ``d(image, now)`` is a list of maps
of scores, around 1 for real and 0 for predicted.

Our reading of both: normalisation over all channels of one image replaces batch normalisation, so an image is scored alike in every batch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

Discriminator = Callable[[Tensor, Tensor], list[Tensor]]


class PatchDiscriminator(nn.Module):
    """PatchGAN of 70 pixels (Isola et al., 2017), as MLFF-GAN uses it: three strides of 2, 64 to 512 channels.

    Parameters
    ----------
    bands : int
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(2 * bands, 64, 4, 2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for inputs, outputs, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride, padding=1), nn.GroupNorm(1, outputs), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, padding=1))

    def forward(self, image: Tensor, now: Tensor) -> list[Tensor]:
        """Scores of patches of an image.

        Parameters
        ----------
        image, now : Tensor, (N, B, y, x)
            Fine image and lifted coarse image of one day, at least 32 pixels along an edge.

        Returns
        -------
        list of Tensor, (N, 1, v, u)
        """
        return [self.layers(torch.cat([image, now], dim=1))]


class ScalesDiscriminator(nn.Module):
    """Residual blocks with spectral normalisation (Miyato et al., 2018) at full, half and quarter size, as GAN-STFM uses them.

    Parameters
    ----------
    bands : int
    """

    _WIDTHS = (
        (32, 32, 64, 64, 128, 128, 256, 256),
        (32, 64, 64, 128, 128, 256, 256),
        (32, 64, 128, 128, 256, 256),
    )

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(*(_SpectralBlock(*step) for step in pairwise((2 * bands, *widths))), spectral_norm(nn.Conv2d(widths[-1], 1, 1)))
            for widths in self._WIDTHS
        )

    def forward(self, image: Tensor, now: Tensor) -> list[Tensor]:
        """Scores of an image at three sizes.

        Parameters
        ----------
        image, now : Tensor, (N, B, y, x)
            Fine image and lifted coarse image of one day; edges are multiples of 4.

        Returns
        -------
        list of Tensor, (N, 1, v, u)
        """
        seen = torch.cat([image, now], dim=1)
        return [scale(functional.avg_pool2d(seen, 2**step)) for step, scale in enumerate(self.scales)]


class _SpectralBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.GroupNorm(1, inputs),
            nn.LeakyReLU(inplace=True),
            spectral_norm(nn.Conv2d(inputs, inputs, 3, 2, padding=1)),
            nn.GroupNorm(1, inputs),
            nn.LeakyReLU(inplace=True),
            spectral_norm(nn.Conv2d(inputs, outputs, 1)),
        )
        self.direct = spectral_norm(nn.Conv2d(inputs, outputs, 1, 2))

    def forward(self, features: Tensor) -> Tensor:
        return self.residual(features) + self.direct(features)


def generator_term(d: Discriminator, fake: Tensor, now: Tensor) -> Tensor:
    """How far a prediction is from being taken for real: mean (d − 1)².

    Parameters
    ----------
    d : callable
        A discriminator. Its parameters get gradients as well, which its own step has to clear.
    fake, now : Tensor, (N, B, y, x)
        Prediction and lifted coarse image of its day.

    Returns
    -------
    Tensor, ()
    """
    return _distance(d(fake, now), 1.0)


def discriminator_loss(d: Discriminator, real: Tensor, fake: Tensor, now: Tensor) -> Tensor:
    """How badly a discriminator tells truth from prediction: ½ mean (d(real) − 1)² + ½ mean d(fake)².

    Parameters
    ----------
    d : callable
    real : Tensor, (N, B, y, x)
        Truth; NaN = hidden. There it is replaced by the prediction, so that no mask gives the truth away.
    fake : Tensor, (N, B, y, x)
        Prediction; it gets no gradient.
    now : Tensor, (N, B, y, x)
        Lifted coarse image of the day.

    Returns
    -------
    Tensor, ()
    """
    fake = fake.detach()
    return 0.5 * (_distance(d(torch.where(real.isfinite(), real, fake), now), 1.0) + _distance(d(fake, now), 0.0))


def _distance(scores: list[Tensor], wanted: float) -> Tensor:
    """Mean over all maps of the mean squared distance of their scores."""
    return torch.stack([(score.float() - wanted).square().mean() for score in scores]).mean()
