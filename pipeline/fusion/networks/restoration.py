"""The restoration network: the coarse series as the fine sensor would average it, from everything coarse that is known around a day.

After the restoration network of RealFusion (Guo et al. 2025, RSE 321, 114689), whose truth is the fine image averaged over coarse cells,
with its mask. Its internals are not public. Our reading: it corrects the series that was restored in time, so that, untrained, it changes
nothing; it is told how the series moves before and after the day, its σ, and the products of 250 m with their masks; it works band by band
with one set of weights, so that it serves any bands; and it looks at few cells around, for the gaps are filled in time already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

OFFSETS = (-16, -8, -4, 4, 8, 16)
"""Days from the target whose coarse is told."""

LAYERS = ("red_250m", "nir_250m", "ndvi_250m")
"""Coarse layers that are told where an area has them."""

CHANNELS = 2 * len(OFFSETS) + 2 + 2 * len(LAYERS)

_MOST_LOG = 2.0
_WIDTH = 32


class Restoration(nn.Module):
    """Correction of the coarse of a day."""

    reach = 2
    """Cells around a cell that its correction looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(CHANNELS, _WIDTH, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
            nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
            nn.GELU(),
        )
        self.head = nn.Conv2d(_WIDTH, 2, 1)
        for part in self.head.parameters():
            nn.init.zeros_(part)

    def forward(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Correction of the mean, in units of the contrast, and of log σ.

        Parameters
        ----------
        told : Tensor, (N, CHANNELS, Y, X)
            As `told_of_cells` gives it, of any number of bands and days.

        Returns
        -------
        correction, log_factor : Tensor, (N, Y, X)
        """
        correction, factor = self.head(self.inner(told)).unbind(dim=1)
        return correction, _MOST_LOG * torch.tanh(factor / _MOST_LOG)


def told_of_cells(series: Sequence[tuple[Tensor, Tensor]], layers: Mapping[str, Tensor], bands: Sequence[str], contrast: Tensor) -> Tensor:
    """What the network is told of a day, (B, CHANNELS, Y, X).

    Parameters
    ----------
    series : sequence of (mean, std), each (B, Y, X)
        Of the day itself, then of those at `OFFSETS` from it; NaN = unknown.
    layers : mapping of str to Tensor, (Y, X)
        Of the day, by name; NaN = unknown.
    bands : sequence of str
        Common names; empty = unknown.
    contrast : Tensor, (B,)
    """
    unit = contrast[:, None, None]
    (mean, std), *others = series
    planes = []
    for other, _ in others:
        change = other - mean
        known = torch.isfinite(change)
        planes += [torch.where(known, change, 0.0) / unit, known.to(mean.dtype)]
    planes += [torch.nan_to_num(std) / unit, torch.nan_to_num(mean - _around(mean)) / unit]
    for name in LAYERS:
        layer = layers.get(name)
        off = torch.full_like(mean[0], torch.nan) if layer is None else layer - _of_series(name, mean, bands)
        known = torch.isfinite(off)
        # An index has a contrast of its own, about that of a band in full growth.
        width = 0.15 if name.startswith("ndvi") else contrast.mean()
        planes += [(torch.where(known, off, 0.0) / width).expand_as(mean), known.to(mean.dtype).expand_as(mean)]
    return torch.stack(planes, dim=1)


def _around(mean: Tensor) -> Tensor:
    """Mean of the cells around each cell, itself included, that are known."""
    known = torch.isfinite(mean)
    total, count = (nn.functional.avg_pool2d(part, 3, stride=1, padding=1) for part in (torch.nan_to_num(mean), known.to(mean.dtype)))
    return total / count.where(count > 0, torch.nan)


def _of_series(name: str, mean: Tensor, bands: Sequence[str]) -> Tensor:
    """The same quantity of the restored series; NaN where its bands are not there."""
    red, nir = ((mean[bands.index(band)] if band in bands else torch.full_like(mean[0], torch.nan)) for band in ("red", "nir08"))
    if name.startswith("ndvi"):
        return (nir - red) / (nir + red).clamp(min=1e-3)
    return red if name.startswith("red") else nir
