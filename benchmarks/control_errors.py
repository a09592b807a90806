"""Errors of the six controls by the days to the nearest other clear observation, from any series of fine and coarse images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.assessment.contenders import Contender, predictions
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build, specs
from pipeline.operators.resample import area_mean
from pipeline.restoration.bias import apply_bias, estimate_bias

GAPS = ((1, 8), (9, 16), (17, 32), (33, 64))
"""Days to the nearest other clear observation, both ends included."""

CONTROLS = tuple(name for name, spec in specs().items() if spec.control)

_MIN_PIXELS = 400
"""Bins with fewer pixels are left out: they are the rim of one cloud."""


@dataclass(frozen=True)
class Series:
    """Fine images and the coarse series of one place.

    Parameters
    ----------
    name : str
    bands : tuple of str
    block : FusionInput
        The coarse series as restored, its bias not removed.
    truth : callable, optional
        Day number → true reflectance (B, y, x).
    """

    name: str
    bands: tuple[str, ...]
    block: FusionInput
    truth: Callable[[int], npt.NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class GapError:
    """Errors of the controls in one band at one gap length, on the same pixels.

    Parameters
    ----------
    series, band : str
    against : {"image", "truth"}
        The image left out, or what it would have shown without noise, haze and missed clouds.
    gap : (int, int)
    days : int
        Target days that have such pixels.
    pixels : int
        Over all these days.
    spread : float
        Spatial standard deviation of the target images on these pixels.
    rmse : mapping of str to float
        By control.
    """

    series: str
    band: str
    against: str
    gap: tuple[int, int]
    days: int
    pixels: int
    spread: float
    rmse: Mapping[str, float]


def errors_by_gap(series: Series) -> list[GapError]:
    """Leave out each fine image in turn, and for each gap length also all images nearer than it.

    Pixels count whose nearest other clear observation then lies within the gap, that are clear in
    the image left out, and that every control can predict. The bias of the coarse series is found
    without the image left out.
    """
    contenders = [Contender(name, build(name, {}), control=True) for name in CONTROLS]
    found: dict[_Key, list[_Sums]] = {}
    for target, image in zip(series.block.fine_days, series.block.fine.numpy(), strict=True):
        clear = np.isfinite(image).all(axis=0)
        expected = {"image": image} if series.truth is None else {"image": image, "truth": series.truth(target)}
        rest = _unbiased(_farther(series.block, target, 1))
        for gap in GAPS:
            block = _farther(rest, target, gap[0])
            inside = clear & (_nearest(block, target) <= gap[1])
            if inside.sum() < _MIN_PIXELS:
                continue
            ((_, made),) = predictions(block, contenders, [target])
            inside &= np.logical_and.reduce([np.isfinite(image).all(axis=0) for image in (*made.values(), *expected.values())])
            if inside.sum() < _MIN_PIXELS:
                continue
            for band, name in enumerate(series.bands):
                for against, right in expected.items():
                    squares = {control: float(np.square(image[band] - right[band])[inside].sum()) for control, image in made.items()}
                    sums = _Sums(int(inside.sum()), float(right[band][inside].var()), squares)
                    found.setdefault((against, name, gap), []).append(sums)
    return [_pooled(series.name, key, found[key]) for key in sorted(found)]


def block_correlation(series: Series) -> dict[str, float]:
    """Correlation in space of the coarse series with the fine images averaged to its cells, by band: the mean over the days.

    Cells count that are clear for three quarters and more; days that have thirty of them.
    """
    block = series.block
    means, shares = area_mean(block.fine, block.scale)
    found: dict[str, list[float]] = {band: [] for band in series.bands}
    for index, day in enumerate(block.fine_days):
        coarse = block.coarse[day - block.coarse_days[0]]
        for band, name in enumerate(series.bands):
            known = torch.isfinite(coarse[band]) & (shares[index, band] >= 0.75)
            if int(known.sum()) >= 30:
                found[name].append(float(np.corrcoef(coarse[band][known].numpy(), means[index, band][known].numpy())[0, 1]))
    return {name: float(np.mean(values)) for name, values in found.items() if values}


@dataclass(frozen=True)
class _Sums:
    """Sums over the pixels of one target day."""

    pixels: int
    variance: float
    squares: Mapping[str, float]


_Key = tuple[str, str, tuple[int, int]]
"""Against what, band, gap."""


def _pooled(series: str, key: _Key, parts: list[_Sums]) -> GapError:
    against, band, gap = key
    pixels = sum(part.pixels for part in parts)
    return GapError(
        series,
        band,
        against,
        gap,
        days=len(parts),
        pixels=pixels,
        spread=(sum(part.variance * part.pixels for part in parts) / pixels) ** 0.5,
        rmse={control: (sum(part.squares[control] for part in parts) / pixels) ** 0.5 for control in CONTROLS},
    )


def _farther(block: FusionInput, target: int, days: int) -> FusionInput:
    """The block without the fine images that are nearer to a day than so many days."""
    indices = [index for index, day in enumerate(block.fine_days) if abs(day - target) >= days]
    left = tuple(block.fine_days[index] for index in indices)
    return replace(block, fine=block.fine[indices], fine_days=left, fine_std=block.fine_std[indices])


def _unbiased(block: FusionInput) -> FusionInput:
    """The block with its coarse series brought into the radiometry of its fine images."""
    at_fine = [day - block.coarse_days[0] for day in block.fine_days]
    means, shares = area_mean(block.fine, block.scale)
    coarse, std = apply_bias(block.coarse, block.coarse_std, estimate_bias(block.coarse[at_fine], means, shares))
    return replace(block, coarse=coarse, coarse_std=std)


def _nearest(block: FusionInput, target: int) -> npt.NDArray[np.float64]:
    """Days to the nearest clear observation of each pixel; infinite where there is none."""
    distance = np.abs(np.array(block.fine_days, dtype=np.float64) - target)
    clear = torch.isfinite(block.fine).all(dim=1).numpy()
    return np.where(clear, distance[:, None, None], np.inf).min(axis=0, initial=np.inf)
