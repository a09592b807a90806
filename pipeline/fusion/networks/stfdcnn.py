"""STFDCNN: a nonlinear mapping, a super-resolution and high-pass modulation.

Source: Song, Liu, Wang, Hang, Huang; IEEE JSTARS 11:821–829, 2018. Twice the same: a network makes a transitional image of a day, T, and
what it misses on a day with a pair is carried over, ``P_t = T_t + (T_t / T_r) (P_r − T_r)``, averaged over the pairs with weights from the
size of the coarse change. First P is fine reflectance averaged over coarse cells, and T the nonlinear mapping of the coarse image; then P
is the fine image, and T the super-resolution of the first result.

From the paper: the two networks, the modulation, the weighting. SRCNN (Dong et al., 2016) gives the layers: 9×9, 5×5, 5×5 with 64 and 32
channels.

Our reading: weights are shared by all bands; the networks learn the difference to their input; the ratio of high-pass modulation is
bounded, because reflectance of water is near zero; both networks are trained together by the loss of the prediction; the nonlinear mapping
works on cells of `scale` pixels, recovered from the lifted coarse image by averaging, which makes it `scale`² times cheaper.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pipeline.fusion.networks.parts import by_band, change_weights, convolution, lifted

_WIDTHS = (64, 32)

_RADIUS = 8
"""Of one SRCNN: 4 + 2 + 2."""

_DARK = 0.01
"""Reflectance below which a pixel is as bright as this in the ratio of high-pass modulation."""

_MOST = 3.0
"""The ratio lies between its inverse and itself."""


class Stfdcnn(nn.Module):
    """Nonlinear mapping and super-resolution, 57 k parameters each; 57 kMAC per pixel and band for the target day and for every pair.

    Parameters
    ----------
    bands : int
        Not used for the layers: all bands share their weights.
    scale : int
        Pixels along the edge of a cell on which the nonlinear mapping works.
    """

    most_pairs = 2
    reach = 83
    multiple = 8

    def __init__(self, bands: int, scale: int = 8) -> None:
        super().__init__()
        self.bands = bands
        self.scale = self.multiple = scale
        # The super-resolution, whole cells of the mapping and one of the lift, and where in its own cell a pixel lies that looks so far.
        self.reach = _RADIUS + (_RADIUS + 1) * scale + (scale - 1) // 2
        self.mapping = srcnn()
        self.resolution = srcnn()

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
        cells_fine, cells_then, cells_now = (self._cells(image) for image in (fine, then, now))
        smooth_now = _predicted(self.mapping, cells_fine, cells_then, cells_now, change_weights(cells_now.unsqueeze(1) - cells_then, 1))
        weight = change_weights(now.unsqueeze(1) - then, self.scale)
        return _predicted(self.resolution, fine, self._lifted(cells_fine), self._lifted(smooth_now), weight)

    def _cells(self, image: Tensor) -> Tensor:
        return functional.avg_pool2d(image.flatten(0, -4), self.scale).unflatten(0, image.shape[:-3])

    def _lifted(self, cells: Tensor) -> Tensor:
        return lifted(cells.flatten(0, -4), self.scale).unflatten(0, cells.shape[:-3])


def srcnn() -> nn.Sequential:
    """SRCNN 9-5-5 for one band."""
    first, second = _WIDTHS
    return nn.Sequential(
        convolution(1, first, 9), nn.ReLU(inplace=True), convolution(first, second, 5), nn.ReLU(inplace=True), convolution(second, 1, 5)
    )


def _predicted(network: nn.Module, detailed: Tensor, before: Tensor, now: Tensor, weight: Tensor) -> Tensor:
    """Transitional images of all days by a network, and high-pass modulation of what it misses.

    Parameters
    ----------
    network : nn.Module
        For one band.
    detailed, before : Tensor, (N, R, B, y, x)
        What is wanted, and what the network sees, on the days of the pairs.
    now : Tensor, (N, B, y, x)
        What the network sees on the target day.
    weight : Tensor, (N, R, 1, y, x)

    Returns
    -------
    Tensor, (N, B, y, x)
    """
    then = before + by_band(network, before)
    target = (now + by_band(network, now)).unsqueeze(1)
    ratio = (target.clamp(min=_DARK) / then.clamp(min=_DARK)).clamp(1.0 / _MOST, _MOST)
    return (weight * (target + ratio * (detailed - then))).sum(dim=1)
