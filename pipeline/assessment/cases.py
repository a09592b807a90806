"""From an archive and an experiment to what methods see.

Withholding comes first: whatever is estimated, is estimated without the withheld images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from pipeline.assessment.archives import Archive, Days, Image, Mask
from pipeline.assessment.damage import clouds, displaced, stripes, veiled
from pipeline.assessment.experiments import Every, Experiment, Masks, Veil
from pipeline.assessment.filesets import fmask_clouds, line_series
from pipeline.assessment.roles import Role, roles
from pipeline.errors import ConfigurationError
from pipeline.fusion.interface import NDVI_MEDIAN, FusionInput
from pipeline.grid import day_from_number, day_number
from pipeline.operators.ndvi import has_ndvi, ndvi_median
from pipeline.operators.resample import area_mean
from pipeline.restoration.bias import apply_bias, learn_bias
from pipeline.restoration.smoother import restore
from pipeline.restoration.textures import daily_layers
from pipeline.screening.screen import applied, screen

BEYOND = 190
"""Days before the first and after the last target that a restored series covers: as far as the longest view of a control."""


@dataclass(frozen=True)
class Case:
    """What methods see of an experiment, and what their predictions are held against.

    Parameters
    ----------
    block : FusionInput
        Without the withheld images.
    targets : tuple of int
        Day numbers of the withheld images, increasing.
    archive : Archive
        What is left, damaged as the experiment says: for references and strata.
    whole : Archive
        As read, with the withheld images: what predictions are held against.
    """

    block: FusionInput
    targets: tuple[int, ...]
    archive: Archive
    whole: Archive

    def expected(self, target: int) -> Image:
        """The truth of a day (B, y, x), NaN = unknown."""
        return self.whole.expected(target)

    def error_std(self, target: int, std: Image) -> Image:
        """1 σ (B, y, x) of a prediction less `expected`, from that of its error against the ground."""
        return self.whole.error_std(target, std)

    @cached_property
    def clear(self) -> Mask:
        """Where each image that is left shows every band, (K, y, x)."""
        return np.asarray(np.isfinite(self.archive.fine).all(axis=1))

    def nearest(self, target: int) -> tuple[Image, np.ndarray]:
        """The nearest clear image (B, y, x) of each pixel, and the days to it (y, x), infinite where there is none."""
        image = np.full(self.archive.fine.shape[1:], np.nan, np.float32)
        age = np.full(image.shape[1:], np.inf)
        days = self.archive.fine_days
        for index in sorted(range(len(days)), key=lambda index: (abs(days[index] - target), days[index])):
            take = self.clear[index] & np.isinf(age)
            image[:, take] = self.archive.fine[index][:, take]
            age[take] = abs(days[index] - target)
        return image, age

    def sides(self, target: int) -> tuple[Days, Days, Mask, Mask]:
        """The last clear day of each pixel before a day and its first one after, and where there are such; where not, the day itself."""
        last, first = np.full((2, *self.clear.shape[1:]), target, np.int64)
        days = self.archive.fine_days
        for index in range(len(days)):
            if days[index] < target:
                last[self.clear[index]] = days[index]
        for index in reversed(range(len(days))):
            if days[index] > target:
                first[self.clear[index]] = days[index]
        return last, first, last < target, first > target

    def strata(self, target: int, linear: Image) -> Mapping[str, Mask]:
        """Pixels by kind.

        Parameters
        ----------
        linear : ndarray, (B, y, x)
            What a straight line in time says: where the truth lies off it by more than 3 robust σ of that band and day, the place changed.
            Of a simulated place the events are known: it changed if there was one in the gap between its neighbouring clear observations.
        """
        truth = self.expected(target)
        age = self.nearest(target)[1]
        everywhere = np.ones(age.shape, bool)
        days = self.archive.fine_days
        newest = min(range(len(days)), key=lambda index: (abs(days[index] - target), days[index])) if days else None
        seen = self.clear[newest] if newest is not None else ~everywhere
        start, end, before, after = self.sides(target)
        one, two = before ^ after, before & after
        changed = self.archive.changed(start, end) if self.archive.changed else departed(truth, linear)
        bins = {f"{low}–{high} days": (age >= low) & (age <= high) for low, high in ((1, 8), (9, 16), (17, 32), (33, 64))}
        return {
            "all": everywhere,
            "clear reference": seen,
            "clouded reference": ~seen,
            "changed": changed,
            "changed, one-sided": changed & one,
            "changed, two-sided": changed & two,
            "unchanged": ~changed,
            "one-sided": one,
            "two-sided": two,
            **bins,
            "over 64 days": age > 64,
            **self.archive.day_layers(target),
            **self.archive.layers,
        }


def departed(truth: Image, linear: Image) -> Mask:
    """Where any band of the truth lies off `linear` by more than 3 robust σ (1.4826 × the median deviation) of that band."""
    off = truth - linear
    middle = np.nanmedian(off, axis=(1, 2), keepdims=True)
    sigma = 1.4826 * np.nanmedian(np.abs(off - middle), axis=(1, 2), keepdims=True)
    return np.asarray((np.abs(off) > 3 * sigma).any(axis=0))


def withheld_days(experiment: Experiment, archive: Archive) -> tuple[int, ...]:
    """Day numbers of the images that an experiment withholds.

    Raises
    ------
    ConfigurationError
        If there is no such image, or its role forbids it.
    """
    rule = experiment.withhold
    if isinstance(rule, Every):
        share = np.isfinite(archive.fine).all(axis=1).mean(axis=(1, 2))
        counted = [day for day, clear in zip(archive.fine_days, share, strict=True) if clear >= rule.clear]
        days = tuple(counted[rule.start :: rule.every])
    else:
        days = tuple(sorted(day_number(day) for day in rule))
    missing = [day_from_number(day).isoformat() for day in days if day not in archive.fine_days]
    if missing or not days:
        known = ", ".join(day_from_number(day).isoformat() for day in archive.fine_days)
        raise ConfigurationError(f"{archive.name} has no image of {', '.join(missing) or 'any day to withhold'}", f"its days: {known}")
    if experiment.place:
        roles().allow(experiment.role, experiment.place, [day_from_number(day) for day in days])
    else:
        assert experiment.sandbox
        roles().allow_seed(experiment.role, experiment.sandbox.seed)
    return days


def cases_of(experiment: Experiment, archive: Archive, data: Path | None = None) -> list[Case]:
    """What methods see: one case for all targets, or one each where references, or what was published, belong to a target.

    Parameters
    ----------
    data : Path, optional
        Folder of the sets that masks come from.

    Raises
    ------
    ConfigurationError
        If a nowcast has no image published by a target.
    """
    targets = withheld_days(experiment, archive)
    # First of all: nothing below this line sees a withheld image, but for the coarse that is simulated from it.
    left = archive.without({*targets, *_hidden(experiment, archive)})
    left = _with_coarse(experiment, left, archive if experiment.coarse.source == "simulated" else None)
    left = _damaged(experiment, left, targets[0], data)
    together = experiment.references == "archive" and not experiment.nowcast
    made = []
    for group in [targets] if together else [(target,) for target in targets]:
        known = _published(experiment, left, group[0])
        chosen = known.only(_references(experiment, known, group[0]))
        block = block_of(chosen, group, experiment.screening, experiment.coarse.bias == "learnt")
        made.append(Case(block, group, chosen, archive))
    return made


def _published(experiment: Experiment, left: Archive, target: int) -> Archive:
    if not experiment.nowcast:
        return left
    known = left.published(target, experiment.nowcast.fine_delay, experiment.nowcast.coarse_delay)
    if not known.fine_days:
        raise ConfigurationError(
            f"{left.name} has no image that was published by {day_from_number(target)}",
            f"withhold later images: images come {experiment.nowcast.fine_delay} days late",
        )
    return known


def _hidden(experiment: Experiment, archive: Archive) -> list[int]:
    """Images that the purpose of the experiment must not even have as references."""
    if not experiment.place:
        return []
    return [day for day in archive.fine_days if roles().hides(experiment.role, experiment.place, day_from_number(day))]


def _references(experiment: Experiment, left: Archive, target: int) -> Sequence[int]:
    wanted = experiment.references
    if not isinstance(wanted, str):
        days = [day_number(day) for day in wanted]
        missing = [day.isoformat() for day in wanted if day_number(day) not in left.fine_days]
        if missing:
            raise ConfigurationError(f"{left.name} has no reference on {', '.join(missing)}", "name days with images that are not withheld")
        return days
    if wanted == "archive":
        return left.fine_days
    before = [day for day in left.fine_days if day <= target - experiment.apart]
    after = [day for day in left.fine_days if day >= target + experiment.apart]
    if wanted == "pairs":
        return [*before[-1:], *after[:1]]
    return sorted([*before, *after], key=lambda day: (abs(day - target), day))[:1]


def _with_coarse(experiment: Experiment, left: Archive, whole: Archive | None) -> Archive:
    """The archive with its coarse images on cells: moved, or simulated from all fine images of `whole`."""
    scale = experiment.coarse.scale or left.scale
    down, right = experiment.coarse.shift
    if any(size % scale for size in left.fine.shape[-2:]):
        raise ConfigurationError(f"images of {left.name} are no whole number of cells of {scale} pixels", "choose another coarse.scale")
    if whole is not None:
        days, factor = np.array(whole.fine_days, np.float64), 1
        coarse = np.stack([whole.expected(day) for day in whole.fine_days])
        left = replace(left, footprint=0.0)
    else:
        days, factor = left.coarse_days, left.fine.shape[-1] // left.coarse.shape[-1]
        coarse = left.coarse
    if (down, right) != (0, 0) or factor != scale:
        coarse = area_mean(torch.from_numpy(np.ascontiguousarray(displaced(coarse, factor, down, right))), scale)[0].numpy()
    # Textures are known on the cells of the archive only.
    return replace(left, scale=scale, coarse=coarse, coarse_days=days, textures=left.textures if scale == left.scale else ())


def _damaged(experiment: Experiment, left: Archive, target: int, data: Path | None) -> Archive:
    """The archive under pasted masks and unflagged veils."""
    rng = np.random.default_rng(experiment.seed)
    fine = left.fine.copy()
    for veil in (experiment.haze, experiment.missed_cloud):
        if veil and len(fine):
            nearest = min(range(len(fine)), key=lambda index: (abs(left.fine_days[index] - target), left.fine_days[index]))
            fine[nearest] = veiled(fine[nearest], _under(veil, fine.shape[-2:], data, rng), veil.opacity, left.bands == ("ndvi",))
    if experiment.masks:
        for image, mask in zip(fine, _pasted(experiment.masks, experiment.role, len(fine), fine.shape[-2:], data, rng), strict=True):
            image[:, mask] = np.nan
    return replace(left, fine=fine)


def _under(veil: Veil, shape: tuple[int, int], data: Path | None, rng: np.random.Generator) -> Mask:
    real = fmask_clouds(_given(data))
    return clouds(real[int(rng.integers(len(real)))], shape, veil.share, rng)


def _pasted(masks: Masks, role: Role, count: int, shape: tuple[int, int], data: Path | None, rng: np.random.Generator) -> list[Mask]:
    if masks.source == "clouds":
        real = fmask_clouds(_given(data))
        return [clouds(real[int(rng.integers(len(real)))], shape, masks.share, rng) for _ in range(count)]
    days, codes = line_series(_given(data))
    rows = [
        codes[index] == 255
        for index, day in enumerate(days)
        if _striped(day, codes[index]) and roles().of_day("landsat-line-series", day) is role
    ]
    if not rows:
        raise ConfigurationError(f"landsat-line-series holds no stripes for {role}", "see roles.yaml")
    return [stripes(rows[int(rng.integers(len(rows)))], shape, masks.share, rng) for _ in range(count)]


def _striped(day: date, codes: np.ndarray) -> bool:
    """An image row with SLC gaps: since June 2003, and not a swath edge."""
    return day >= date(2003, 6, 1) and 0.05 < float((codes == 255).mean()) < 0.4


def _given(data: Path | None) -> Path:
    if data is None:
        raise ConfigurationError(
            "masks are pasted from sets of files, and none are given", "name the folder that holds the sets: --data FOLDER"
        )
    return data


def block_of(left: Archive, targets: Sequence[int], screened: bool = True, learnt: bool = True) -> FusionInput:
    """What methods see of an archive: its images, screened, and the coarse series by day in their radiometry, with the extra layers.

    Parameters
    ----------
    left : Archive
        Without what is withheld.
    targets : sequence of int
        Day numbers, increasing: the series covers all that a method may look at around the first and the last.
    screened : bool
        Refuse contaminated pixels.
    learnt : bool
        Learn the bias of the coarse series from the images, and take it off.
    """
    coarse, std, days = _daily(left, targets)
    block = FusionInput(
        fine=torch.from_numpy(left.fine),
        fine_days=left.fine_days,
        fine_std=torch.from_numpy(left.fine_std),
        coarse=coarse,
        coarse_std=std,
        coarse_days=tuple(days),
        scale=left.scale,
        resolution=left.resolution,
        fine_surface=None if left.fine_surface is None else torch.from_numpy(left.fine_surface),
        bands=left.bands,
        layers=_layers(left),
        coarse_layers=daily_layers(left.textures, days, *left.restoration) if left.restoration else {},
    )
    if screened:
        # As in a run: what is screened with a first bias makes the second.
        block = applied(block, screen(_unbiased(block, left.footprint) if learnt else block, left.bands, block.fine_surface))
    return _unbiased(block, left.footprint) if learnt else block


def _layers(left: Archive) -> dict[str, torch.Tensor]:
    """The annual median NDVI of the images that methods get, and of no other, as a run learns it: before anything is screened."""
    if not has_ndvi(left.bands):
        return {}
    surface = None if left.fine_surface is None else torch.from_numpy(left.fine_surface)
    return {NDVI_MEDIAN: ndvi_median([(torch.from_numpy(left.fine), surface)], left.bands, left.fine.shape[-2:])}


def _unbiased(block: FusionInput, footprint: float) -> FusionInput:
    """The block with its coarse series in the radiometry of its fine images."""
    coarse, std = apply_bias(block.coarse, block.coarse_std, learn_bias([block], footprint))
    return replace(block, coarse=coarse, coarse_std=std)


def _daily(left: Archive, targets: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, range]:
    """Coarse mean and std of consecutive days (T, B, Y, X)."""
    values = torch.from_numpy(left.coarse)
    if left.restoration:
        days = range(targets[0] - BEYOND, targets[-1] + BEYOND + 1)
        mean, std, _ = restore(values, torch.full_like(values, left.coarse_std), left.coarse_days, np.array(days), *left.restoration)
        return mean, std, days
    numbers = [round(day) for day in left.coarse_days]
    wanted = [*numbers, *targets, *left.fine_days]
    days = range(min(wanted), max(wanted) + 1)
    every = values.new_full((len(days), *values.shape[1:]), torch.nan)
    every[[number - days[0] for number in numbers]] = values
    return every, torch.where(torch.isfinite(every), left.coarse_std, torch.nan), days
