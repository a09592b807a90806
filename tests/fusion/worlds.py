"""Tiny worlds for the tests of methods: fields with their own courses, clouds, and the coarse means of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.grid import Window
from pipeline.operators.resample import area_mean

FIRST = 20000


@dataclass(frozen=True)
class World:
    """Observations and the daily truth (T, B, y, x) they were taken from."""

    block: FusionInput
    truth: torch.Tensor

    def truth_of(self, day: int) -> torch.Tensor:
        return self.truth[day - FIRST]


def make_world(
    seed: int = 0,
    size: int = 64,
    bands: int = 2,
    days: int = 150,
    every: int = 12,
    scale: int = 8,
    cloud: float = 0.35,
    coarse_noise: float = 0.004,
) -> World:
    """A world whose fields green up at their own times."""
    rng = np.random.default_rng(seed)
    field = rng.integers(0, 40, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
    field = np.roll(field, (3, 5), (0, 1))
    peak, height, floor = rng.uniform(20, days - 20, 40), rng.uniform(0.0, 0.25, 40), rng.uniform(0.05, 0.25, 40)
    time = np.arange(days)[:, None, None]
    course = floor[field] + height[field] * np.exp(-0.5 * ((time - peak[field]) / 25.0) ** 2)
    texture = 0.01 * rng.normal(size=(size, size))
    truth = torch.tensor(np.stack([course * (1 + 0.5 * band) + texture for band in range(bands)], axis=1), dtype=torch.float32)
    fine_days = tuple(range(FIRST + 2, FIRST + days, every))
    fine = truth[[day - FIRST for day in fine_days]] + 0.004 * torch.tensor(
        rng.normal(size=(len(fine_days), bands, size, size)), dtype=torch.float32
    )
    hidden = rng.random((len(fine_days), size // 16, size // 16)) < cloud
    fine[torch.tensor(hidden.repeat(16, 1).repeat(16, 2))[:, None].expand_as(fine)] = torch.nan
    coarse = area_mean(truth, scale)[0]
    coarse = coarse + coarse_noise * torch.tensor(rng.normal(size=coarse.shape), dtype=torch.float32)
    block = FusionInput(
        fine=fine,
        fine_days=fine_days,
        fine_std=torch.full((len(fine_days), bands), 0.004),
        coarse=coarse,
        coarse_std=torch.full_like(coarse, 0.008),
        coarse_days=tuple(range(FIRST, FIRST + days)),
        scale=scale,
        resolution=30.0,
    )
    return World(block, truth)


def cropped(block: FusionInput, row: int, col: int, height: int, width: int) -> FusionInput:
    """The window of some coarse cells, with its place on the lattice."""
    return block.window(Window(row, col, height, width))
