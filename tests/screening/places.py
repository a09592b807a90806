"""A small place with fields, its coarse series, and what can befall single images of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import area_mean
from pipeline.vocabulary import BANDS

CROP = torch.tensor([0.024, 0.058, 0.028, 0.45, 0.205, 0.090])
SOIL = torch.tensor([0.080, 0.120, 0.170, 0.240, 0.320, 0.280])
CHAR = torch.tensor([0.030, 0.036, 0.046, 0.080, 0.135, 0.145])
WATER = torch.tensor([0.068, 0.100, 0.098, 0.048, 0.018, 0.011])
SNOW = torch.tensor([0.86, 0.87, 0.85, 0.76, 0.12, 0.09])
CLOUD = torch.tensor([0.60, 0.60, 0.60, 0.62, 0.46, 0.36])
SHADE = torch.tensor([0.58, 0.47, 0.40, 0.33, 0.26, 0.22])

FIELD = (slice(16, 40), slice(24, 48))
"""Rows and columns of what changes."""


def place(
    count: int = 7, every: int = 8, size: int = 96, scale: int = 8, seed: int = 0, changes: dict[int, Tensor] | None = None
) -> FusionInput:
    """Images at days 0, `every`, …; from the day of a change on, `FIELD` shows its spectrum. The coarse series knows of it."""
    rng = torch.Generator().manual_seed(seed)
    share = torch.rand((size // 16, size // 16), generator=rng).repeat_interleave(16, 0).repeat_interleave(16, 1)
    ground = share * CROP[:, None, None] + (1 - share) * SOIL[:, None, None]
    days = range(-40, every * count + 40)
    truth = ground.repeat(len(days), 1, 1, 1)
    for first, spectrum in (changes or {}).items():
        truth[first + 40 :, :, *FIELD] = spectrum[:, None, None]
    coarse = area_mean(truth, scale)[0]
    fine_days = tuple(every * index for index in range(count))
    fine = truth[[day + 40 for day in fine_days]]
    fine = fine + 0.003 * torch.randn(fine.shape, generator=rng)
    return FusionInput(
        fine=fine,
        fine_days=fine_days,
        fine_std=torch.full((count, len(BANDS)), 0.01),
        coarse=coarse,
        coarse_std=torch.full_like(coarse, 0.005),
        coarse_days=tuple(days),
        scale=scale,
        resolution=30.0,
    )


def painted(block: FusionInput, index: int, spectrum: Tensor, opacity: float = 1.0, where: tuple[slice, slice] = FIELD) -> FusionInput:
    """The block with something over a part of one image that the coarse series does not know of."""
    fine = block.fine.clone()
    fine[index][:, *where] += opacity * (spectrum[:, None, None] - fine[index][:, *where])
    return replace(block, fine=fine)


def shaded(block: FusionInput, index: int, where: tuple[slice, slice] = FIELD) -> FusionInput:
    """The block with a shadow over a part of one image."""
    fine = block.fine.clone()
    fine[index][:, *where] *= SHADE[:, None, None]
    return replace(block, fine=fine)


def hidden(block: FusionInput, index: int, where: tuple[slice, slice]) -> FusionInput:
    """The block with a flagged cloud over a part of one image."""
    fine = block.fine.clone()
    fine[index][:, *where] = torch.nan
    return replace(block, fine=fine)


def first(block: FusionInput, count: int, until: int | None = None) -> FusionInput:
    """What was known when so many images had been taken: these, and the coarse series up to a day."""
    days = [day for day in block.coarse_days if until is None or day <= until]
    return replace(
        block,
        fine=block.fine[:count],
        fine_days=block.fine_days[:count],
        fine_std=block.fine_std[:count],
        coarse=block.coarse[: len(days)],
        coarse_std=block.coarse_std[: len(days)],
        coarse_days=tuple(days),
    )


def banded(block: FusionInput, bands: tuple[str, ...]) -> FusionInput:
    """The block with some of its bands."""
    chosen = [BANDS.index(band) for band in bands]
    parts = {name: getattr(block, name)[:, chosen] for name in ("fine", "fine_std", "coarse", "coarse_std")}
    return replace(block, **parts)
