"""The smoother: every day of a pixel from all its observations at once, in closed form.

The prior mean of a pixel is the coarse series about its mean, followed with a gain; what the fine observations leave of it is a
level, a season and an Ornstein–Uhlenbeck process (`Posterior`). Observations that contradict all others lose their weight,
those beside hidden pixels some of it.

One solution serves a part of the calendar, so the work does not grow with the number of days that are asked for. The parts are
fixed days of the calendar and look at the support around themselves: a day never depends on which other days are made.
A day with an observation of its own is solved without it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.breaks import Breaks
from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.nodes import Nodes
from pipeline.fusion.options import SMOOTHER_PART, SmootherOptions
from pipeline.fusion.pixelwise import evenly, precision_of, source_of
from pipeline.fusion.posterior import Posterior, Prior, trusted
from pipeline.fusion.references import References
from pipeline.fusion.snow import Snow
from pipeline.operators.resample import Lifting, lift
from pipeline.vocabulary import Surface

_PIXELS_AT_ONCE = 4096
"""Pixels of a tile on the CPU: what is worked on stays in the cache."""

OUTLIER = 3.0
"""An observation so many σ from what the others say keeps half of its precision."""

_FADE_DAYS = 16
"""Observations fade out over the last days of the support, so that no day jumps when one leaves it."""

_UNKNOWN = 4.0
"""Variance, in process variances, of a day or an observation whose coarse anomaly is unknown."""


@dataclass(frozen=True)
class Parameters:
    """What the method knows of an area.

    Parameters
    ----------
    tau : float
        e-folding time of the process [days].
    noise, level, season : float
        Variance of the noise of an observation, of the level and of the season, in units of the process variance.
    gain_std : float
        1 σ of the deviation of the gain of a pixel.
    freedom : float
        As for `Prior`.
    process, coarse_gain, std_scale : tuple of float, one per band or one for all
        1 σ of the process [reflectance], share of the coarse anomaly that pixels follow, factor of the std.
    std_power : float
        The std grows with the predicted variance to half of 1 + this power.
    """

    tau: float = 45.0
    noise: float = 0.03
    level: float = 2.0
    season: float = 0.0
    gain_std: float = 0.2
    freedom: float = 10.0
    process: tuple[float, ...] = (0.03,)
    coarse_gain: tuple[float, ...] = (0.9,)
    std_scale: tuple[float, ...] = (1.0,)
    std_power: float = 0.0

    @classmethod
    def of(cls, mapping: Mapping[str, Any], bands: int) -> Parameters:
        """Read the mapping of `Smoother.estimate`; what is missing takes its default, single values serve all bands."""
        given: dict[str, Any] = {**asdict(cls()), **mapping}
        spread = {name: tuple(given[name]) * (bands if len(given[name]) == 1 else 1) for name in _PER_BAND}
        return cls(**(given | spread))

    def prior(self, like: Tensor) -> Prior:
        """The prior of some pixels."""
        return Prior(self.tau, self.level, self.season, like.new_tensor(self.process)[:, None], self.gain_std, self.freedom)


_PER_BAND = ("process", "coarse_gain", "std_scale")


@dataclass(frozen=True)
class State:
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
    parameters : Parameters
    precision : Tensor, (K, y, x)
        Of each observation, in units of the process variance; 0 where not clear.
    """

    references: References
    parameters: Parameters
    precision: Tensor


@dataclass(frozen=True)
class View:
    """What a part of the calendar looks at.

    Parameters
    ----------
    indices, days : sequence of int, (K,)
        The fine images and their days.
    fade : tuple of float, (K,)
        Factor of their precision.
    centre : Tensor, (B, Y, X)
        Mean of the coarse at these days, or in the part itself; NaN where it is never known.
    anomaly : Tensor, (K, B, Y, X)
        The coarse of their days about it, 0 where unknown.
    unknown : Tensor, (K, Y, X), or None
        1 where a band is unknown; None when all are known.
    land : Tensor, (y, x), or None
        0 on water: what moves in its cell is the shore, not the water. 1 elsewhere; None when there is nothing but land.
    """

    indices: Sequence[int]
    days: Sequence[int]
    fade: Sequence[float]
    centre: Tensor
    anomaly: Tensor
    unknown: Tensor | None
    land: Tensor | None


class Smoother:
    """The smoother."""

    at_once = SMOOTHER_PART
    """Targets that are predicted together."""

    def __init__(self, options: SmootherOptions) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Find the parameters under which left-out observations are most likely; see `pipeline.fusion.likelihood`."""
        from pipeline.fusion.likelihood import fitted

        return fitted(self, samples)

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State:
        references = References.of(block, device)
        known = Parameters.of(parameters, references.shape[0])
        precision = torch.empty(references.clear.shape, dtype=torch.float32, device=device)
        for index, out in enumerate(precision):
            out.copy_(bare_precision(references, index, known.noise, self.options))
        return State(references, known, precision)

    def days(self, state: State, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for part, days in groupby(targets, lambda day: day // SMOOTHER_PART):
            yield from self._part(state, part, list(days))

    def _part(self, state: State, part: int, targets: Sequence[int]) -> Iterator[DayPrediction]:
        """The days of one part of the calendar."""
        own = set(state.references.block.fine_days)
        made: dict[int, DayPrediction] = {}
        without = [day for day in targets if day not in own]
        if without:
            made |= self._solved(state, self._view(state.references, part, None), without)
        for day in targets:
            if day in own:
                made |= self._solved(state, self._view(state.references, part, day), [day])
            yield made.pop(day)

    def _view(self, references: References, part: int, left_out: int | None) -> View:
        block, reach = references.block, self.options.days - SMOOTHER_PART + 1
        first, last = part * SMOOTHER_PART, (part + 1) * SMOOTHER_PART - 1
        away = {index: max(first - day, day - last, 0) for index, day in enumerate(block.fine_days) if day != left_out}
        indices = [index for index, distance in away.items() if distance <= reach]
        coarse = _coarse_of(references, [block.fine_days[index] for index in indices])
        centre = coarse.nanmean(dim=0)
        if bool(torch.isnan(centre).any()):
            centre = torch.where(torch.isnan(centre), _coarse_of(references, range(first, last + 1)).nanmean(dim=0), centre)
        anomaly = coarse.sub_(centre)
        lost = torch.isnan(anomaly)
        return View(
            indices=indices,
            days=[block.fine_days[index] for index in indices],
            fade=[min((reach + 1 - away[index]) / _FADE_DAYS, 1.0) ** 3 for index in indices],
            centre=centre,
            anomaly=anomaly.nan_to_num_(),
            unknown=lost.any(dim=1).to(coarse.dtype) if bool(lost.any()) else None,
            land=land_of(references, indices),
        )

    def _solved(self, state: State, view: View, targets: Sequence[int]) -> dict[int, DayPrediction]:
        """Days that share a view, tile by tile."""
        references = state.references
        scale, shape = references.block.scale, references.shape
        gain = references.block.fine.new_tensor(state.parameters.coarse_gain)[:, None, None]
        means, stds = references.block.fine.new_empty((2, len(targets), *shape)).unbind()
        centre = lift(view.centre, scale)
        for day, mean, std in zip(targets, means, stds, strict=True):
            coarse, coarse_std = references.coarse_of(day)
            # As it comes in: the anomaly of the day, and the variance that the coarse brings with it.
            torch.sub(lift(coarse, scale), centre, out=mean)
            torch.mul(lift(coarse_std, scale), gain, out=std).square_()
        cells = max(math.isqrt(_PIXELS_AT_ONCE) // scale, 1) if means.device.type == "cpu" else max(shape)
        for rows in evenly(shape[1] // scale, cells):
            for cols in evenly(shape[2] // scale, cells):
                pixels = tuple(slice(first * scale, last * scale) for first, last in (rows, cols))
                self._tile(state, view, (rows, cols), targets, centre[:, *pixels], means[:, :, *pixels], stds[:, :, *pixels])
        made = {}
        # Between two images the same observations are the nearest.
        gaps = [bisect_left(view.days, day) for day in targets]
        snow = {gap: Snow.between(references, view.indices, day) for gap, day in zip(gaps, targets, strict=True)}
        for day, gap, mean, std in zip(targets, gaps, means, stds, strict=True):
            if (lying := snow[gap]) is not None:
                lying.blend(day, lift(references.coarse_of(day)[0], scale), mean, std)
            made[day] = DayPrediction(day, mean, std, source_of(references, view.indices, day, mean))
        return made

    def _tile(
        self,
        state: State,
        view: View,
        cells: tuple[tuple[int, int], tuple[int, int]],
        targets: Sequence[int],
        centre: Tensor,
        means: Tensor,
        stds: Tensor,
    ) -> None:
        """Turn the coarse anomalies (n, B, h, w) of the targets and their variances into predictions, in place."""
        known, scale = state.parameters, state.references.block.scale
        bands, height, width = centre.shape
        pixels = tuple(slice(first * scale, last * scale) for first, last in cells)
        process = centre.new_tensor(known.process)[:, None]
        gain, std_scale = (centre.new_tensor(values)[:, None] for values in (known.coarse_gain, known.std_scale))
        seen = [bool(state.references.clear[index][pixels].any()) for index in view.indices]
        places = [place for place, some in enumerate(seen) if some]
        posterior, breaks, seen_days, least, most = None, {}, [], centre, centre
        if places:
            anomaly = centre.new_empty((len(places), bands, height, width))
            lifting = Lifting(view.anomaly, scale, *cells, places)
            for slot in range(len(places)):
                lifting.plane(slot, anomaly[slot])
            anomaly = anomaly.flatten(2)
            precision = torch.stack([state.precision[view.indices[place]][pixels].flatten() for place in places])
            precision *= precision.new_tensor([view.fade[place] for place in places])[:, None]
            if view.unknown is not None:
                doubt = Lifting(view.unknown[:, None], scale, *cells, places)
                lost = torch.stack([doubt.plane(slot)[0].flatten() for slot in range(len(places))])
                precision /= 1.0 + _UNKNOWN * precision * lost
            values = torch.stack([state.references.block.fine[view.indices[place]][:, *pixels].flatten(1) for place in places])
            base = _where_unknown(centre.flatten(1), values, precision)
            # Where nothing was seen the coarse speaks for itself.
            follow = torch.where((precision > 0).any(dim=0), gain, 1.0)
            if view.land is not None:
                land = view.land[pixels].flatten()
                follow = follow * land
                anomaly *= land
            residual = values.sub_(base).nan_to_num_().addcmul_(anomaly, gain, value=-1)
            seen_days = [view.days[place] for place in places]
            posterior = condition(known.prior(centre), seen_days, precision, residual, anomaly)
            breaks = {gap: Breaks.between(posterior, anomaly, gap) for gap in {bisect_left(seen_days, day) for day in targets}}
            known_anomaly = torch.where((precision > 0)[:, None], anomaly, 0.0)
            least, most = known_anomaly.amin(dim=0), known_anomaly.amax(dim=0)
        else:
            base, follow = centre.flatten(1), torch.ones_like(gain)
        for day, mean, std in zip(targets, means, stds, strict=True):
            now = mean.flatten(1)
            dark = torch.isnan(now)
            now = now.nan_to_num()
            if posterior is not None:
                moved, variance = posterior.at(day, now)
                # A gain of a pixel's own holds for anomalies as it was learnt from, and no further: snow and floods lie far beyond.
                moved.addcmul_(posterior.gain, torch.minimum(torch.maximum(now, least), most) - now)
                if (broken := breaks[bisect_left(seen_days, day)]) is not None:
                    broken.mix(posterior, day, now, moved, variance)
                now = moved.addcmul_(now, follow).add_(base)
            else:
                now = now.add_(base)
                variance = torch.full_like(now, 1.0 + known.level + 2 * known.season)
            variance = variance + _UNKNOWN * dark
            spread = std.flatten(1).nan_to_num().addcmul_(process.square(), calibrated(variance, known.std_power))
            mean.copy_(now.view_as(mean))
            # What is unknown has no std: 0 · NaN.
            std.copy_(spread.sqrt_().mul_(std_scale).add_(now, alpha=0).view_as(std))


def bare_precision(references: References, index: int, noise: float, options: SmootherOptions) -> Tensor:
    """As `precision_of`, and 0 where an image shows snow."""
    precision, surface = precision_of(references, index, noise, options), references.block.fine_surface
    return precision if surface is None else precision.masked_fill_(surface[index] == int(Surface.SNOW), 0.0)


def land_of(references: References, indices: Sequence[int]) -> Tensor | None:
    """1 (y, x) on land, 0 where most clear images of those chosen show water; None when there is nothing but land."""
    surface = references.block.fine_surface
    if surface is None or not indices:
        return None
    clear = references.clear[list(indices)]
    water = 2 * ((surface[list(indices)] == int(Surface.WATER)) & clear).sum(dim=0) > clear.sum(dim=0)
    return (~water).to(references.block.fine.dtype) if bool(water.any()) else None


def condition(prior: Prior, days: Sequence[int], precision: Tensor, residual: Tensor, anomaly: Tensor) -> Posterior:
    """The posterior of some pixels, once without and once with the weights that contradictory observations deserve.

    Parameters
    ----------
    precision : Tensor, (K, P)
    residual, anomaly : Tensor, (K, B, P)
        As for `Posterior.of`.
    """
    tell = residual.div(prior.process).mean(dim=1)
    precision = trusted(Nodes(precision, days, prior.tau), prior, tell, OUTLIER)
    return Posterior.of(Nodes(precision, days, prior.tau), prior, residual, anomaly)


def calibrated(variance: Tensor, power: float) -> Tensor:
    """A variance in units of the process variance, as errors at left-out observations bear it out."""
    return variance if not power else variance.clamp(min=1e-6).pow(1.0 + power)


def _coarse_of(references: References, days: Sequence[int]) -> Tensor:
    """Coarse (n, B, Y, X) of some days; NaN where it is unknown."""
    planes = [references.coarse_of(day)[0] for day in days]
    return torch.stack(planes) if planes else references.block.coarse.new_empty((0, *references.block.coarse.shape[1:]))


def _where_unknown(centre: Tensor, values: Tensor, precision: Tensor) -> Tensor:
    """The mean coarse (B, P), and where it is never known the mean of what was observed (K, B, P)."""
    dark = torch.isnan(centre)
    if not bool(dark.any()):
        return centre
    weights = precision[:, None].expand_as(values)
    mean = (values.nan_to_num() * weights).sum(dim=0) / weights.sum(dim=0)
    return torch.where(dark, mean, centre)
