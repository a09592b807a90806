"""What was observed, kept; its gaps, filled with a prediction that meets it without a seam."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.operators.reach import BLEND_HALO, BLEND_REACHES
from pipeline.operators.spatial import tent_mean
from pipeline.vocabulary import Provenance

__all__ = ["BLEND_HALO", "blend"]

_SATURATION = (0.2, 0.05, 0.02)
"""Share of clear weight under a tent from which its difference is believed by half."""

_OUTLIER = 4.0
"""Differences beyond so many σ (missed clouds at the edge of a mask, mostly) hardly spread."""

_COMMON = 0.5
"""Share of the error variance of a prediction that neighbours within the finest reach have in common."""


def blend(
    mean: Tensor, std: Tensor, source: Tensor, observed: Tensor, observed_std: Tensor, resolution: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the clear pixels of a day and fill the rest with the prediction, moved to meet them.

    The difference observed − predicted on the clear pixels is spread into the gaps by normalised
    tents of three reaches: beside a clear pixel the finest decides, farther in the coarser ones, each
    fading where it has little clear weight, so that the interior of a large cloud keeps the prediction.

    Parameters
    ----------
    mean, std : Tensor, (B, y, x) float32
        The prediction of the day, made without its observation.
    source : Tensor, (y, x) uint8
        Provenance of the prediction.
    observed : Tensor, (B, y, x) float32
        The observation of the day; NaN = not clear.
    observed_std : Tensor, (B, 1, 1) or (B, y, x) float32
        1 σ of the observed values.
    resolution : float
        Edge of a pixel [m].

    Returns
    -------
    mean, std : Tensor, (B, y, x) float32
        Observed values are returned bit by bit.
    source : Tensor, (y, x) uint8
        OBSERVED where any band was observed.
    """
    seen = torch.isfinite(observed)
    known = torch.isfinite(mean)
    measured = observed_std.to(mean)
    expected = torch.sqrt(std.square() + measured.square())
    usable = seen & known & torch.isfinite(expected)
    # One weight for all bands keeps the spectrum of the correction whole.
    common = usable.all(dim=0)
    difference = observed - mean
    # What is NaN here has no weight.
    strange = torch.nan_to_num(difference / expected).abs_().amax(dim=0) / _OUTLIER
    weight = common / (1.0 + strange.square().square())

    moved = torch.zeros_like(mean)
    belief = torch.zeros_like(weight)
    for reach, half in zip(BLEND_REACHES, _SATURATION, strict=True):
        spread, share = tent_mean(difference, weight, round(reach / resolution))
        believed = share / (share + half)
        moved = torch.lerp(moved, spread, believed)
        belief = believed
    filled_std = std * torch.sqrt(1.0 - _COMMON * belief)
    return (
        torch.where(seen, observed, mean + moved),
        torch.where(seen, measured.expand_as(std), filled_std),
        torch.where(seen.any(dim=0), int(Provenance.OBSERVED), source).to(torch.uint8),
    )
