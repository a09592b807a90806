"""A small made-up place, so that tests of experiments need no set."""

from __future__ import annotations

import numpy as np

from pipeline.assessment.archives import Archive

FIRST = 20000


def small_archive(size: int = 48, scale: int = 8, every: int = 16, count: int = 5, seed: int = 0, clouds: float = 0.0) -> Archive:
    """Two bands whose fields green up at their own speed; the coarse is daily and exact."""
    rng = np.random.default_rng(seed)
    field = rng.integers(0, 12, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
    speed, floor = rng.uniform(0, 0.004, 12), rng.uniform(0.05, 0.3, 12)
    texture = 0.02 * rng.standard_normal((size, size))

    def truth(day: int) -> np.ndarray:
        red = floor[field] + speed[field] * (day - FIRST) + texture
        return np.stack([red, 0.5 - 0.6 * red]).astype(np.float32)

    days = tuple(FIRST + every * step for step in range(count))
    fine = np.stack([truth(day) for day in days]) + rng.normal(0, 0.004, (count, 2, size, size)).astype(np.float32)
    fine[np.broadcast_to(rng.random((count, 1, size, size)) < clouds, fine.shape)] = np.nan
    daily = np.arange(FIRST, days[-1] + 1)
    cells = size // scale
    coarse = np.stack([truth(day).reshape(2, cells, scale, cells, scale).mean((2, 4)) for day in daily])
    return Archive(
        name="small",
        bands=("red", "nir08"),
        resolution=30.0,
        scale=scale,
        coarse_pixel=500.0,
        fine_days=days,
        fine=fine.astype(np.float32),
        fine_std=np.full((count, 2), 0.004, np.float32),
        coarse_days=daily.astype(float),
        coarse=coarse.astype(np.float32),
        coarse_std=0.01,
        layers={"upper half": np.arange(size)[:, None].repeat(size, 1) < size // 2},
    )
