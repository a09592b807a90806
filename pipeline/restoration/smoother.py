"""The coarse series without gaps: local-linear kernel regression in time, cell by cell and band by band.

Values of a multi-day product share most of their days with their neighbours, so the
variance of a restored value never falls with the number of values used.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.restoration.spikes import doubted

SLOPE_RIDGE = 1.0
"""Prior variance of time [days²] that shrinks the slope: two values a day apart decide little, two a week apart nearly all."""

DRIFT = 0.003
"""Growth of the 1 σ error with the square root of the days to the nearest observed value [reflectance / √day]."""

_CELLS_AT_ONCE = 65536
_TARGETS_AT_ONCE = 32


def restore(
    values: Tensor, std: Tensor, days: np.ndarray | Tensor, targets: np.ndarray | Tensor, window: float, tau: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate the coarse reflectance of the target days from the values within a window of time.

    Values that stand off those around them hardly count (`pipeline.restoration.spikes`).
    Weights are ``exp(−|Δ| / tau) / std²``. A line is fitted, its slope shrunk towards zero
    where the values hardly spread in time, and read at the target day, or not farther than
    half a `tau` outside the days of the values used, so that a series does not run away at
    its ends.

    Parameters
    ----------
    values : Tensor, (N, B, Y, X) float32
        Reflectance; NaN = not observed.
    std : Tensor, (N, B, Y, X) float32
        1 σ of each value.
    days : array, (N,) float
        Centre of weight of each value [day number].
    targets : array, (T,) int
        Day numbers wanted.
    window : float
        Only values with ``|Δ| <= window`` days are used; those up to `SPIKE_REACH` days farther judge them.
    tau : float
        e-folding time of the weights [days].

    Returns
    -------
    mean : Tensor, (T, B, Y, X) float32
        NaN where no value lies within the window.
    std : Tensor, (T, B, Y, X) float32
        Weighted mean of the stds of the values used (as if fully dependent), their scatter around
        the line, and the drift since the nearest of them.
    observed : Tensor, (T, Y, X) float32
        0–1: ``exp(−days to the nearest value / tau)``, the mean of the bands; values less than half
        a day away count as of the day.
    """
    count, bands, height, width = values.shape
    device = values.device
    order = np.argsort(np.asarray(days, dtype=np.float64), kind="stable")
    when = torch.as_tensor(np.asarray(days, dtype=np.float64)[order], device=device)
    wanted = torch.as_tensor(np.asarray(targets, dtype=np.float64), device=device)
    total = len(wanted)
    mean = values.new_full((total, bands * height * width), torch.nan)
    error = torch.full_like(mean, torch.nan)
    support = torch.zeros_like(mean)
    if count and total:
        index = torch.as_tensor(order.copy(), device=device)
        flat_values, flat_std = values.reshape(count, -1), doubted(values, std, days).reshape(count, -1)
        for first in range(0, flat_values.shape[1], _CELLS_AT_ONCE):
            cells = slice(first, first + _CELLS_AT_ONCE)
            series = _Series(flat_values[:, cells][index], flat_std[:, cells][index], when)
            for start in range(0, total, _TARGETS_AT_ONCE):
                rows = slice(start, start + _TARGETS_AT_ONCE)
                mean[rows, cells], error[rows, cells], support[rows, cells] = series.at(wanted[rows], float(window), float(tau))
    shape = (total, bands, height, width)
    return mean.reshape(shape), error.reshape(shape), support.reshape(shape).mean(dim=1)


class _Series:
    """The values of some cells in order of time, prepared for any number of targets."""

    def __init__(self, values: Tensor, std: Tensor, days: Tensor) -> None:
        self.days = days
        known = torch.isfinite(values) & torch.isfinite(std)
        deviation = torch.where(known, std.double(), torch.inf).clamp(min=1e-6)
        self.precision = deviation.reciprocal().square()
        self.root_precision = deviation.reciprocal()
        value = torch.where(known, values.double(), 0.0)
        self.weighted = self.precision * value
        self.weighted_square = self.weighted * value
        when = days[:, None].expand_as(value)
        self.latest = torch.where(known, when, -torch.inf).cummax(0).values
        self.earliest = torch.where(known, when, torch.inf).flip(0).cummin(0).values.flip(0)

    def at(self, targets: Tensor, window: float, tau: float) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, std and support (T, cells) of some targets."""
        first = int(torch.searchsorted(self.days, targets.min() - window))
        last = int(torch.searchsorted(self.days, targets.max() + window, right=True))
        days, precision, weighted = self.days[first:last], self.precision[first:last], self.weighted[first:last]
        delta = days[None, :] - targets[:, None]
        weight = torch.exp(-delta.abs() / tau) * (delta.abs() <= window)
        w0 = weight @ precision
        known = w0 > 0
        scale = torch.where(known, w0, 1.0)
        time = ((weight * delta) @ precision) / scale
        spread = (((weight * delta.square()) @ precision) / scale - time.square()).clamp(min=0)
        level = (weight @ weighted) / scale
        slope = (((weight * delta) @ weighted) / scale - time * level) / (spread + SLOPE_RIDGE)

        before, after = self._nearest(targets, window)
        inside = torch.isfinite(before) & torch.isfinite(after)
        nearest = torch.minimum(before, after)
        # With values on one side only the line is read at most tau / 2 beyond the nearest of them.
        beyond = (nearest - tau / 2).clamp(min=0)
        reading = torch.where(inside, 0.0, torch.where(torch.isfinite(after), beyond, -beyond))
        mean = level + slope * (reading - time)

        scatter = ((weight @ self.weighted_square[first:last]) / scale - level.square() - slope.square() * spread).clamp(min=0)
        measured = (weight @ self.root_precision[first:last]) / scale
        gap = (nearest - 0.5).clamp(min=0)
        error = (measured.square() + scatter + DRIFT**2 * torch.where(known, gap, 0.0)).sqrt()
        support = torch.exp(-gap / tau)
        return (
            torch.where(known, mean, torch.nan).float(),
            torch.where(known, error, torch.nan).float(),
            torch.where(known, support, 0.0).float(),
        )

    def _nearest(self, targets: Tensor, window: float) -> tuple[Tensor, Tensor]:
        """Days to the nearest value at or before, and at or after, each target; infinite when there is none in the window."""
        before = torch.full((len(targets), self.latest.shape[1]), torch.inf, dtype=torch.float64, device=self.days.device)
        after = torch.full_like(before, torch.inf)
        upto = torch.searchsorted(self.days, targets, right=True)
        since = torch.searchsorted(self.days, targets, right=False)
        some = upto > 0
        before[some] = targets[some, None] - self.latest[upto[some] - 1]
        some = since < len(self.days)
        after[some] = self.earliest[since[some]] - targets[some, None]
        return before.masked_fill(before > window, torch.inf), after.masked_fill(after > window, torch.inf)
