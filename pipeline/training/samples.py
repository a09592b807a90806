"""Samples: a window of a place, a day of it as the target, and a random part of what was observed around it.

A sample follows from the seed and its number alone, so that all networks learn from the same ones, and a training that was
interrupted goes on with the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.assessment.damage import clouds, stripes
from pipeline.fusion.interface import FusionInput
from pipeline.grid import Window
from pipeline.training.places import Place

_LONGEST = 64
"""Days between a target and the farthest reference."""

_COARSE = 96
"""Days around a target whose coarse goes with a sample."""

_GAIN, _NOISE = 0.05, 0.004
"""1 σ of the gain of simulated coarse values, and of their noise [reflectance]."""

_GAP = 0.1
"""Share of the samples with a hole in the coarse of the day."""


@dataclass(frozen=True)
class Sample:
    """One window of one day.

    Parameters
    ----------
    block : FusionInput
        Without the image of the target.
    target : int
    truth : Tensor, (B, y, x)
        NaN = unknown.
    ideal : bool
        The coarse series is the mean of the true surface over the cells, with noise and gain jitter: there is nothing to restore.
    place : Place
    """

    block: FusionInput
    target: int
    truth: Tensor
    ideal: bool
    place: Place


@dataclass(frozen=True)
class Sampler:
    """Draws samples.

    Parameters
    ----------
    places : sequence of Place
    seed : int
    size : int
        Edge of the windows [fine pixels], whole coarse cells.
    ideal : float
        Share of the samples of simulated places whose coarse is the mean of the true surface.
    """

    places: Sequence[Place]
    seed: int
    size: int = 96
    ideal: float = 0.5

    def draw(self, number: int) -> Sample:
        """The sample of a number."""
        rng = np.random.default_rng([self.seed, number])
        place = self.places[int(rng.integers(len(self.places)))]
        target = place.targets[int(rng.integers(len(place.targets)))]
        block, scale = place.block, place.block.scale
        rows, cols = block.coarse.shape[-2:]
        edge = self.size // scale
        cells = Window(int(rng.integers(rows - edge + 1)), int(rng.integers(cols - edge + 1)), edge, edge)
        ideal = place.ideal is not None and bool(rng.random() < self.ideal)
        cut = _cut(block, self._kept(rng, block.fine_days, target), target, cells)
        if ideal:
            assert place.ideal is not None
            start = cut.coarse_days[0] - block.coarse_days[0]
            cut = _simulated(rng, cut, place.ideal[start : start + len(cut.coarse_days)][(..., *cells.slices)])
        self._hide(rng, cut)
        turn, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        return Sample(
            _turned(cut, turn, mirrored),
            target,
            turned(place.truth(target)[(..., *cells.fine(scale).slices)], turn, mirrored),
            ideal,
            place,
        )

    def _kept(self, rng: np.random.Generator, days: Sequence[int], target: int) -> list[int]:
        """References: near images are dropped at random, so that gaps of every length occur, on one side or on both."""
        share = rng.choice([0.15, 0.4, 0.7, 1.0])
        side = rng.random()
        near = [index for index, day in enumerate(days) if day != target and abs(day - target) <= _LONGEST]
        return [
            index
            for index in near
            if rng.random() < share and not (side < 0.15 and days[index] > target) and not (side > 0.95 and days[index] < target)
        ]

    def _hide(self, rng: np.random.Generator, cut: FusionInput) -> None:
        """Paste clouds of other images and gaps of scan lines on references, and holes in the coarse of the day, in place."""
        pasted = rng.choice([0.0, 0.0, 0.3, 0.6])
        for image in cut.fine:
            if pasted and rng.random() < 0.8:
                image[:, torch.from_numpy(self._mask(rng, float(pasted)))] = torch.nan
        if rng.random() < _GAP:
            height = cut.coarse.shape[-2]
            first, count = int(rng.integers(height)), int(rng.integers(1, height // 2 + 1))
            cut.coarse[:, :, first : first + count] = torch.nan
            cut.coarse_std[:, :, first : first + count] = torch.nan

    def _mask(self, rng: np.random.Generator, share: float) -> np.ndarray:
        shape = (self.size, self.size)
        if rng.random() < 0.15:
            return stripes(_SCAN_GAPS, shape, min(share, 0.25), rng)
        place = self.places[int(rng.integers(len(self.places)))]
        hidden = torch.isnan(place.block.fine[int(rng.integers(len(place.block.fine)))]).any(dim=0).numpy()
        if hidden.all() or not hidden.any():
            return np.zeros(shape, bool)
        return clouds(hidden, shape, share, rng)


_SCAN_GAPS = np.arange(200) % 200 < 36
"""Columns of an image row that lie in the gap of a scan line of Landsat 7 without its line corrector, idealised; see `stripes`."""


def _cut(block: FusionInput, kept: list[int], target: int, cells: Window) -> FusionInput:
    """A window of a block around a target with some of its images; images and series are copied."""
    first, last = target - _COARSE - block.coarse_days[0], target + _COARSE + 1 - block.coarse_days[0]
    series, part = slice(max(first, 0), last), block.window(cells).only(kept)
    return replace(
        part,
        coarse=part.coarse[series].clone(),
        coarse_std=part.coarse_std[series].clone(),
        coarse_days=block.coarse_days[series],
        coarse_layers={name: layer[series] for name, layer in part.coarse_layers.items()},
    )


def _simulated(rng: np.random.Generator, cut: FusionInput, ideal: Tensor) -> FusionInput:
    """The coarse series as the mean of the surface, off by a gain of the window and by noise; unknown days stay as they were."""
    gain = torch.from_numpy(1 + _GAIN * rng.standard_normal((1, ideal.shape[1], 1, 1))).float()
    noise = torch.from_numpy(_NOISE * rng.standard_normal(ideal.shape)).float()
    values = ideal * gain + noise
    known = torch.isfinite(values)
    std = torch.where(known, torch.hypot(_GAIN * ideal, torch.full_like(ideal, _NOISE)), cut.coarse_std)
    return replace(cut, coarse=torch.where(known, values, cut.coarse), coarse_std=std)


def turned(planes: Tensor, turn: int, mirrored: bool) -> Tensor:
    """One of the eight ways to lay a square."""
    planes = torch.rot90(planes, turn, (-2, -1))
    return planes.flip(-1) if mirrored else planes


def _turned(cut: FusionInput, turn: int, mirrored: bool) -> FusionInput:
    def lay(planes: Tensor) -> Tensor:
        return turned(planes, turn, mirrored)

    return replace(
        cut,
        fine=lay(cut.fine),
        fine_doubt=None if cut.fine_doubt is None else lay(cut.fine_doubt),
        fine_surface=None if cut.fine_surface is None else lay(cut.fine_surface),
        coarse=lay(cut.coarse),
        coarse_std=lay(cut.coarse_std),
        layers={name: lay(layer) for name, layer in cut.layers.items()},
        coarse_layers={name: lay(layer) for name, layer in cut.coarse_layers.items()},
    )
