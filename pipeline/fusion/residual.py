"""The method of residuals: every reference moved to the target day by the lifted coarse change, and smoothed in time per pixel.

What is left between the moved references and the coarse of the day is modelled as a level
plus an Ornstein–Uhlenbeck process, seen with noise (`Bridge`), and a gain of its own by
which a pixel follows the coarse change. References that contradict the others (missed
clouds and shadows) lose their weight, those beside hidden pixels some of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.bridge import Bridge
from pipeline.fusion.interface import DayPrediction, FusionInput
from pipeline.fusion.options import ResidualOptions
from pipeline.fusion.pixelwise import evenly, precision_of, source_of
from pipeline.fusion.references import References
from pipeline.operators.resample import Lifting, lift

_PIXELS_AT_ONCE = 16384
"""Pixels of a tile on the CPU: what is worked on stays in the cache, and few tiles hold a clear pixel of every reference."""

_OUTLIER = 5.0
"""An observation so many σ from what the others say keeps half of its precision."""

_FADE_DAYS = 8
"""References fade out over the last days of the support, so that no day jumps when one leaves it."""

_UNKNOWN_CHANGE = 4.0
"""Variance, in process variances, of a reference whose coarse change to the target is unknown."""

_GAIN_LIMIT = 0.7
"""Largest deviation of the gain of a pixel."""


@dataclass(frozen=True)
class Parameters:
    """What the method knows of an area.

    Parameters
    ----------
    tau : float
        e-folding time of the process [days].
    noise, level : float
        Variance of the noise of an observation and of the level, in units of the process variance.
    gain_std : float
        Prior 1 σ of the deviation of the gain of a pixel; 0 = all pixels follow alike.
    process, coarse_gain, std_scale : tuple of float, one per band
        1 σ of the process [reflectance], share of the coarse change that pixels follow, and the
        factor that makes the std of left-out observations right.
    """

    tau: float = 45.0
    noise: float = 0.15
    level: float = 2.0
    gain_std: float = 0.2
    process: tuple[float, ...] = (0.02,)
    coarse_gain: tuple[float, ...] = (0.9,)
    std_scale: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, mapping: Mapping[str, Any], bands: int) -> Parameters:
        """Read the mapping of `Residual.estimate`; what is missing takes its default, single values serve all bands."""
        given = {**asdict(cls()), **mapping}
        spread = {name: tuple(given[name]) * (bands if len(given[name]) == 1 else 1) for name in _PER_BAND}
        scalars = {name: float(given[name]) for name in _SCALARS}
        return cls(**scalars, **spread)  # type: ignore[arg-type]


_PER_BAND = ("process", "coarse_gain", "std_scale")
_SCALARS = ("tau", "noise", "level", "gain_std")


@dataclass(frozen=True)
class Tile:
    """A part of a block that is worked on at once.

    Parameters
    ----------
    scale : int
        Fine pixels along the edge of a coarse cell.
    rows, cols : tuple of int
        Its first and last cell (not included) along each axis.
    images : tuple of int, k of them
        The fine images with a clear pixel here.
    precision : Tensor, (k, h, w)
        Of each observation, in units of the process variance; 0 where not clear.
    tell : Tensor, (k, h, w)
        Mean of the bands, each in units of its process; 0 where not clear.
    """

    scale: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    images: tuple[int, ...]
    precision: Tensor
    tell: Tensor

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Its fine pixels."""
        rows, cols = (slice(first * self.scale, last * self.scale) for first, last in (self.rows, self.cols))
        return rows, cols

    def lifting(self, coarse: Tensor, chosen: Sequence[int]) -> Lifting:
        """Some of the finite coarse planes (N, ..., Y, X), to be lifted onto this tile."""
        return Lifting(coarse, self.scale, self.rows, self.cols, chosen)


@dataclass(frozen=True)
class State:
    """A block ready for any number of targets.

    Parameters
    ----------
    references : References
        Images and coarse series.
    parameters : Parameters
    process, gain, std_scale : Tensor, (B, 1, 1)
        Its values for each band.
    tell : Tensor, (B,)
        `tell_weights` of the process.
    tiles : tuple of Tile
        They cover the block.
    """

    references: References
    parameters: Parameters
    process: Tensor
    gain: Tensor
    std_scale: Tensor
    tell: Tensor
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Moves:
    """The coarse changes from the references of a target to the target.

    Parameters
    ----------
    indices, offsets : sequence of int, (k,)
        The fine images, and their days from the target, increasing.
    fade : tuple of float, (k,)
        Factor of the precision of each near the end of the support.
    change : Tensor, (k, B, Y, X)
        0 where it is unknown.
    tell : Tensor, (k, Y, X)
        Its share that pixels follow, as the mean of the bands in units of their process.
    unknown : Tensor, (k, Y, X), or None
        1 where a band is unknown; None when all are known.
    """

    indices: Sequence[int]
    offsets: Sequence[int]
    fade: Sequence[float]
    change: Tensor
    tell: Tensor
    unknown: Tensor | None


@dataclass(frozen=True)
class Smoothed:
    """A target on some pixels, before the coarse uncertainty of the day is added.

    Parameters
    ----------
    mean : Tensor, (B, ...)
        Relative to the prior.
    variance : Tensor, (B, ...) or (...)
        In units of the process variance.
    share : Tensor, (...)
        Sum of the weights of the observations, 0–1.
    """

    mean: Tensor
    variance: Tensor
    share: Tensor


def tell_weights(process: Tensor) -> Tensor:
    """Weights of the bands in the mean that gives missed clouds and shadows away, which lift and lower all bands together.

    Parameters
    ----------
    process : Tensor, (B, ...)
        1 σ of the process [reflectance].
    """
    return 1.0 / (len(process) * process)


def smooth(
    tell: Tensor,
    precision: Tensor,
    values: Callable[[int], Tensor],
    offsets: Sequence[int],
    tau: float,
    level: float | Tensor,
    stiffness: Tensor | None,
) -> Smoothed:
    """Predict the residual of a target from those of the references around it.

    Parameters
    ----------
    tell : Tensor, (K, ...)
        Mean of the bands of the moved references minus the prior of the target, finite.
    precision : Tensor, (K, ...)
        0 where not clear.
    values : callable
        Gives, for a place in 0 … K − 1, the lifted coarse change from the reference to the target and the moved reference
        minus the prior, (2, B, ...), finite; only the latter, (1, B, ...), without `stiffness`.
    offsets : sequence of int, (K,)
        Days from the target, increasing.
    tau, level
        As for `Bridge`.
    stiffness : Tensor, (B, 1, ...), or None
        Prior precision of the deviation of the gain of a pixel, over that of the process [1 / reflectance²]; None = infinite.
    """
    bridge = Bridge(precision, offsets, tau, level)
    strange = bridge.whiten(tell).square_().div_(bridge.information().clamp_(min=1e-12))
    trusted = precision / strange.div_(_OUTLIER**2).square_().add_(1.0)
    bridge = Bridge(trusted, offsets, tau, level)
    reading = bridge.read(values)
    if stiffness is None:
        return Smoothed(reading.target[0], bridge.variance, bridge.share)
    lever, mean = reading.target
    certainty, evidence = reading.products
    certainty += stiffness
    # A pixel of gain g leaves −g · change in its residuals.
    gain = evidence.div_(certainty).neg_().clamp_(-_GAIN_LIMIT, _GAIN_LIMIT)
    mean = mean.addcmul_(gain, lever)
    return Smoothed(mean, lever.square_().div_(certainty).add_(bridge.variance), bridge.share)


class Residual:
    """The method of residuals."""

    def __init__(self, options: ResidualOptions) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Find the parameters that predict left-out references best; see `pipeline.fusion.calibration`."""
        from pipeline.fusion.calibration import calibrate

        return calibrate(self, samples)

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State:
        references = References.of(block, device)
        bands, height, width = references.shape
        known = Parameters.of(parameters, bands)
        fine, scale, clear = references.block.fine, block.scale, references.clear
        cells = max(math.isqrt(_PIXELS_AT_ONCE) // scale, 1) if device.type == "cpu" else max(height, width)
        tiles = []
        for rows in evenly(height // scale, cells):
            for cols in evenly(width // scale, cells):
                inside = clear[:, rows[0] * scale : rows[1] * scale, cols[0] * scale : cols[1] * scale]
                seen = inside.flatten(1).any(dim=1).tolist()
                images = tuple(index for index, some in enumerate(seen) if some)
                tiles.append(Tile(scale, rows, cols, images, *fine.new_empty((2, len(images), *inside.shape[1:]))))
        process, gain, std_scale = (fine.new_tensor(getattr(known, name)).reshape(-1, 1, 1) for name in _PER_BAND)
        weights = tell_weights(process).flatten()
        for index, image in enumerate(fine):
            holders = [tile for tile in tiles if index in tile.images]
            if not holders:
                continue
            precision = precision_of(references, index, known.noise, self.options)
            tell = (weights @ image.flatten(1)).nan_to_num_().view(height, width)
            for tile in holders:
                slot = tile.images.index(index)
                tile.precision[slot] = precision[tile.pixels]
                tile.tell[slot] = tell[tile.pixels]
        return State(references, known, process, gain, std_scale, weights, tuple(tiles))

    def days(self, state: State, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for target in targets:
            yield self._day(state, target)

    def _day(self, state: State, target: int) -> DayPrediction:
        references = state.references
        moves = self._moves(state, target)
        coarse, coarse_std = references.coarse_of(target)
        mean, std = (lift(values, references.block.scale) for values in (coarse, coarse_std))
        for tile in state.tiles:
            self._tile(state, tile, moves, mean[:, *tile.pixels], std[:, *tile.pixels])
        return DayPrediction(target, mean, std, source_of(references, moves.indices, target, mean))

    def _moves(self, state: State, target: int) -> Moves:
        """The references of a target, and how the coarse changed since or until then."""
        references, block = state.references, state.references.block
        indices = references.around(target, *self.options.support())
        offsets = [block.fine_days[index] - target for index in indices]
        now = references.coarse_of(target)[0]
        change = now.new_empty((len(indices), *now.shape))
        for place, index in enumerate(indices):
            torch.sub(now, references.coarse_of(block.fine_days[index])[0], out=change[place])
        lost = torch.isnan(change)
        unknown = lost.any(dim=1).to(change.dtype) if bool(lost.any()) else None
        change.nan_to_num_()
        return Moves(
            indices=indices,
            offsets=offsets,
            fade=[min((self.options.days + 1 - abs(offset)) / _FADE_DAYS, 1.0) ** 3 for offset in offsets],
            change=change,
            tell=torch.einsum("b,kbyx->kyx", state.tell * state.gain.flatten(), change),
            unknown=unknown,
        )

    def _tile(self, state: State, tile: Tile, moves: Moves, mean: Tensor, std: Tensor) -> None:
        """Turn the lifted coarse (B, h, w) of the target and its std into the prediction, in place."""
        dark = torch.isnan(mean)
        base = torch.nan_to_num(mean)
        places = [place for place, index in enumerate(moves.indices) if index in tile.images]
        if places:
            smoothed = self._smoothed(state, tile, moves, places, base)
            variance = smoothed.variance
            torch.add(base, smoothed.mean, out=mean)
            if bool(dark.any()):
                # Without coarse the prior says nothing: what was observed must add up to one.
                alone = torch.where(smoothed.share > 1e-3, smoothed.mean / smoothed.share.clamp(min=1e-3), torch.nan)
                mean.copy_(torch.where(dark, alone, mean))
        else:
            variance = torch.full_like(base[0], 1.0 + state.parameters.level)
        spread = (torch.nan_to_num(std) * state.gain).square_().addcmul_(state.process.square(), variance)
        torch.mul(spread.sqrt_(), state.std_scale, out=std)
        # What is unknown has no std: 0 · NaN.
        std.add_(mean, alpha=0)

    def _smoothed(self, state: State, tile: Tile, moves: Moves, places: Sequence[int], base: Tensor) -> Smoothed:
        """The residual of the target on a tile, where `base` (B, h, w) is the prior with 0 for NaN."""
        known, block = state.parameters, state.references.block
        slots = [tile.images.index(moves.indices[place]) for place in places]
        used: slice | list[int] = slice(slots[0], slots[-1] + 1) if slots[-1] - slots[0] + 1 == len(slots) else slots
        tell = tile.tell[used] - torch.tensordot(state.tell, base, 1)
        tell += tile.lifting(moves.tell[None, places], [0]).plane(0)

        precision = tile.precision[used]
        fade = [moves.fade[place] for place in places]
        if min(fade) < 1:
            precision = precision * precision.new_tensor(fade)[:, None, None]
        if moves.unknown is not None:
            doubt = tile.lifting(moves.unknown[None, places], [0]).plane(0)
            precision = precision / (1.0 + _UNKNOWN_CHANGE * precision * doubt)

        changes = tile.lifting(moves.change, places)
        images = [block.fine[moves.indices[place]][:, *tile.pixels] for place in places]
        values = base.new_empty((2, *base.shape))

        def at(place: int) -> Tensor:
            change, residual = values
            changes.plane(place, change)
            torch.sub(images[place], base, out=residual).nan_to_num_().addcmul_(change, state.gain)
            return values if stiffness is not None else values[1:]

        offsets = [moves.offsets[place] for place in places]
        stiffness = (state.process / known.gain_std).square() if known.gain_std > 0 else None
        return smooth(tell, precision, at, offsets, known.tau, known.level, stiffness)
