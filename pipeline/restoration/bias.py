"""The bias between the coarse sensor and the aggregated fine one, band by band: found robustly, and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.operators.resample import area_mean
from pipeline.operators.spatial import tent_mean
from pipeline.vocabulary import Surface

GAIN_RANGE = (0.7, 1.4)
"""Bandpass and BRDF differences of the optical sensors stay well inside."""

MIN_SHARE = 0.75
MIN_CELLS = 30
_ROUNDS = 5
_HUBER = 1.5


class Sample(Protocol):
    """The part of a `FusionInput` that a bias is learnt from."""

    @property
    def fine(self) -> Tensor: ...
    @property
    def fine_days(self) -> tuple[int, ...]: ...
    @property
    def fine_surface(self) -> Tensor | None: ...
    @property
    def coarse(self) -> Tensor: ...
    @property
    def coarse_days(self) -> tuple[int, ...]: ...
    @property
    def scale(self) -> int: ...
    @property
    def resolution(self) -> float: ...


def learn_bias(samples: Sequence[Sample], footprint: float) -> dict[str, Any]:
    """Find one bias from the fine images of some windows and the coarse series on their days.

    The fine images are first blurred as the coarse sensor does: the gain would take what its footprint
    levels out for a difference of the sensors, and make changes in time too large by as much. What lies
    under snow is left out: its brightness would decide alone.

    Parameters
    ----------
    samples : sequence of Sample
        Cells are pooled per band, for windows see different days.
    footprint : float
        Radius of the tent that a coarse cell sees [m], the effective footprint of the product; 0 when it sees its own ground only.

    Returns
    -------
    dict
        See `estimate_bias`.
    """
    coarse, fine, shares = zip(*(_pairs(sample, footprint) for sample in samples), strict=True)

    def pooled(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.flatten(2).transpose(0, 1).flatten(1) for part in parts], dim=1)[None, :, None, :]

    return estimate_bias(pooled(coarse), pooled(fine), pooled(shares))


def _pairs(sample: Sample, footprint: float) -> tuple[Tensor, Tensor, Tensor]:
    """The coarse series on the days of the fine images, these as it sees them, and the clear share of what it sees, (K, B | 1, Y, X)."""
    known = [index for index, day in enumerate(sample.fine_days) if day in sample.coarse_days]
    fine = sample.fine[known]
    clear = torch.isfinite(fine).all(1)
    if sample.fine_surface is not None:
        clear &= sample.fine_surface[known] != Surface.SNOW
    radius = round(footprint / sample.resolution)
    mean, share = torch.empty_like(fine), clear.to(fine.dtype)
    for image, seen, out in zip(fine, share, mean, strict=True):
        out[:], seen[:] = tent_mean(image, seen, radius) if radius > 1 else (image.where(seen > 0, 0.0), seen)
    shares = area_mean(share, sample.scale)[0][:, None]
    coarse = sample.coarse[[sample.coarse_days.index(sample.fine_days[index]) for index in known]]
    return coarse, area_mean(mean * share[:, None], sample.scale)[0] / shares, shares.expand_as(coarse)


def estimate_bias(restored: Tensor, fine_mean: Tensor, share: Tensor) -> dict[str, Any]:
    """Find gain and offset with ``fine ≈ gain · coarse + offset``.

    The reduced-major-axis slope (both sides carry errors) of the cells mostly clear, with Huber weights
    on the residuals, shrunk towards 1 by the share of the variance that the two have in common.

    Parameters
    ----------
    restored : Tensor, (K, B, Y, X)
        Restored coarse reflectance of the days of the fine images; NaN = unknown.
    fine_mean : Tensor, (K, B, Y, X)
        Fine reflectance averaged over the cells.
    share : Tensor, (K, B, Y, X) or (K, Y, X)
        Share of clear pixels in each cell; cells under 0.75 are left out.

    Returns
    -------
    dict
        JSON-ready: ``gain`` and ``offset`` (one per band; 1 and 0 where fewer than 30 cells are known),
        ``correlation``, ``rmse`` (after correction; None when unknown) and ``cells`` used.
    """
    if share.dim() == 3:
        share = share[:, None].expand_as(fine_mean)
    result: dict[str, Any] = {"gain": [], "offset": [], "correlation": [], "rmse": [], "cells": []}
    for band in range(restored.shape[1]):
        x, y, clear = restored[:, band].double(), fine_mean[:, band].double(), share[:, band]
        use = torch.isfinite(x) & torch.isfinite(y) & (clear >= MIN_SHARE)
        gain, offset, correlation, rmse = _fit(x[use], y[use])
        for key, value in zip(result, (gain, offset, correlation, rmse, int(use.sum())), strict=True):
            result[key].append(value)
    return result


def apply_bias(coarse: Tensor, std: Tensor, bias: Mapping[str, Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Bring coarse values (..., B, Y, X) and their std into fine radiometry."""
    gain = torch.as_tensor(bias["gain"], dtype=coarse.dtype, device=coarse.device)[:, None, None]
    offset = torch.as_tensor(bias["offset"], dtype=coarse.dtype, device=coarse.device)[:, None, None]
    return coarse * gain + offset, std * gain


def _fit(x: Tensor, y: Tensor) -> tuple[float, float, float | None, float | None]:
    """Gain, offset, correlation and RMSE of one band."""
    if len(x) < MIN_CELLS:
        return 1.0, 0.0, None, None
    weight = torch.ones_like(x)
    gain, offset, correlation = 1.0, 0.0, 0.0
    for _ in range(_ROUNDS):
        total = weight.sum()
        x0, y0 = (weight * x).sum() / total, (weight * y).sum() / total
        dx, dy = x - x0, y - y0
        sxx, syy, sxy = ((weight * a * b).sum() / total for a, b in ((dx, dx), (dy, dy), (dx, dy)))
        if float(sxx) < 1e-10 or float(syy) < 1e-10:
            gain, correlation = 1.0, 0.0
        else:
            correlation = float(sxy / (sxx * syy).sqrt())
            slope = float((syy / sxx).sqrt())
            gain = 1.0 + max(correlation, 0.0) ** 2 * (slope - 1.0)
        gain = min(max(gain, GAIN_RANGE[0]), GAIN_RANGE[1])
        offset = float(y0 - gain * x0)
        residual = (y - gain * x - offset).abs()
        limit = _HUBER * 1.4826 * residual.median().clamp(min=1e-6)
        weight = (limit / residual.clamp(min=1e-12)).clamp(max=1.0)
    rmse = float(((weight * residual.square()).sum() / weight.sum()).sqrt())
    return gain, offset, correlation, rmse
