"""From images and truth to rows of a table: every compared image on the same pixels, split into strata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.assessment.metrics import BAND_MEANS, FIGURES, Figures, Floats, Moment, figures, grouping, moments, valid
from pipeline.assessment.resampling import Interval, interval, pooled, weights
from pipeline.assessment.structure import Structure

FALLBACK = "nearest"
"""The control whose values a method is charged with where it has none: a method gains nothing by saying nothing where it is hard."""


@dataclass(frozen=True)
class Sample:
    """One day of one window.

    Parameters
    ----------
    truth : ndarray, (B, y, x)
        NaN where it is not known.
    images : mapping of str to ndarray, (B, y, x)
        What is compared, by name; the same names in every sample.
    strata : mapping of str to ndarray, (y, x) bool
        Pixels by kind, such as ``clear`` and ``clouded``; the same names in every sample.
    day : int
        Day number; intervals are drawn over days.
    std : mapping of str to ndarray, (B, y, x)
        1 σ of what some of the images may be off this truth; where an image is charged with the fall-back, none is stated.
    reference : ndarray, (B, y, x), optional
        The nearest clear image, for the metrics of change.
    roughness : mapping of str to ndarray, (B, y, x)
        Second difference in time of some of the images.
    tile : int
        Edge of the tiles that intervals are drawn over, in fine pixels; 0 = the window is one tile.
    """

    truth: np.ndarray
    images: Mapping[str, np.ndarray]
    strata: Mapping[str, np.ndarray]
    day: int = 0
    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    reference: np.ndarray | None = None
    roughness: Mapping[str, np.ndarray] = field(default_factory=dict)
    tile: int = 0


@dataclass(frozen=True)
class Row:
    """The figures of one image in one stratum, as `pipeline.assessment.metrics` defines them.

    Parameters
    ----------
    name, stratum : str
    control : bool
        One of the controls every score stands beside.
    pixels : int
        Common valid pixels, over all samples.
    coverage : float
        Share of the pixels with known truth in which this image has a value of its own. Where it has none it is charged with
        the fall-back; pixels that any one compared image then still lacks are left out for all.
    rmse … ergas : float
        Means over bands.
    band_rmse : tuple of float
        RMSE of each band.
    days : int
        Days with counted pixels.
    rmse_low, rmse_high : float
        95 % interval of the RMSE; NaN where none was drawn. With one day it holds for this date only.
    """

    name: str
    stratum: str
    control: bool
    pixels: int
    coverage: float
    rmse: float
    mae: float
    bias: float
    cc: float
    r2: float
    psnr: float
    sam: float
    ergas: float
    band_rmse: tuple[float, ...]
    uiqi: float = float("nan")
    ssim: float = float("nan")
    ssim_range: float = float("nan")
    edge: float = float("nan")
    lbp: float = float("nan")
    change_cc: float = float("nan")
    change_slope: float = float("nan")
    roughness: float = float("nan")
    z2: float = float("nan")
    cover68: float = float("nan")
    cover95: float = float("nan")
    crps: float = float("nan")
    days: int = 1
    rmse_low: float = float("nan")
    rmse_high: float = float("nan")


@dataclass(frozen=True)
class Difference:
    """Paired difference of two images in one stratum: the same days and tiles are drawn for both.

    Parameters
    ----------
    name, other, stratum : str
    rmse : float
        RMSE of `name` less that of `other`: negative = `name` is better.
    low, high : float
        95 % interval.
    days : int
        With one day the interval holds for this date only.
    """

    name: str
    other: str
    stratum: str
    rmse: float
    low: float
    high: float
    days: int

    @property
    def decided(self) -> bool:
        """Zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Evidence:
    """The sums of all compared images, day by day and tile by tile.

    Parameters
    ----------
    names, strata : tuple of str
    parts : mapping of int to ndarray, (S, K, tiles, B, M)
        By day: sums of each stratum and image.
    known : ndarray, (S,) int
        Pixels with known truth.
    covered : ndarray, (S, K) int
        Of these, pixels in which an image has a value of its own.
    """

    names: tuple[str, ...]
    strata: tuple[str, ...]
    parts: Mapping[int, Floats]
    known: NDArray[np.int64]
    covered: NDArray[np.int64]

    def rows(self, scale: float, controls: frozenset[str] = frozenset(), draws: int = 0, seed: int = 0) -> list[Row]:
        """A row for each image in each stratum: stratum by stratum, the smallest RMSE first.

        Parameters
        ----------
        scale : float
            Fine pixels along the edge of a coarse pixel, for ERGAS.
        controls : frozenset of str
        draws : int
            Resamplings behind the intervals; 0 = no intervals.
        seed : int
        """
        drawn = self._drawn(draws, seed)
        rows = []
        for s, stratum in enumerate(self.strata):
            of_stratum = {day: part[s] for day, part in self.parts.items()}
            made = figures(sum(part.sum(axis=1) for part in of_stratum.values()), scale)
            spread = figures(pooled(of_stratum, drawn), scale).image["rmse"] if draws else np.full((1, len(self.names)), np.nan)
            for k, name in enumerate(self.names):
                covered = float(self.covered[s, k] / self.known[s]) if self.known[s] else float("nan")
                rows.append(_row(name, stratum, name in controls, made, k, covered, self._days(s), interval(spread[:, k])))
        order = {stratum: place for place, stratum in enumerate(self.strata)}
        # An image without pixels (NaN) comes last.
        return sorted(rows, key=lambda row: (order[row.stratum], np.isnan(row.rmse), row.rmse))

    def differences(self, pairs: Iterable[tuple[str, str]], draws: int, seed: int = 0) -> list[Difference]:
        """Paired differences of RMSE in every stratum that has pixels."""
        drawn, wanted = self._drawn(draws, seed), list(pairs)
        found = []
        for s, stratum in enumerate(self.strata):
            of_stratum = {day: part[s] for day, part in self.parts.items()}
            total = sum(part.sum(axis=1) for part in of_stratum.values())
            if not total[0, 0, Moment.N]:
                continue
            exact = figures(total, 1.0).image["rmse"]
            spread = figures(pooled(of_stratum, drawn), 1.0).image["rmse"]
            for name, other in wanted:
                a, b = self.names.index(name), self.names.index(other)
                low, high = interval(spread[:, a] - spread[:, b])
                found.append(Difference(name, other, stratum, float(exact[a] - exact[b]), low, high, self._days(s)))
        return found

    def _drawn(self, draws: int, seed: int) -> dict[int, Floats]:
        return weights({day: part.shape[2] for day, part in self.parts.items()}, draws, np.random.default_rng(seed))

    def _days(self, stratum: int) -> int:
        return sum(bool(part[stratum, 0, :, 0, Moment.N].any()) for part in self.parts.values())


def gather(samples: Iterable[Sample], fallback: str | None = None, structure: bool = False) -> Evidence:
    """Sum up every image in every stratum; only one sample is held at a time.

    Parameters
    ----------
    samples : iterable of Sample
    fallback : str, optional
        The image whose values stand in where another has none.
    structure : bool
        Also the metrics of windows. A sample should then be a whole image: windows do not reach over its rim.

    Raises
    ------
    ValueError
        If a sample compares other images or strata than the first, so that they would not stand on the same pixels.
    """
    names: tuple[str, ...] | None = None
    strata: tuple[str, ...] = ()
    parts: dict[int, list[Floats]] = {}
    known: NDArray[np.int64] = np.zeros(0, np.int64)
    covered: NDArray[np.int64] = np.zeros((0, 0), np.int64)
    for sample in samples:
        if names is None:
            names, strata = tuple(sample.images), tuple(sample.strata)
            known, covered = np.zeros(len(strata), np.int64), np.zeros((len(strata), len(names)), np.int64)
        if set(names) != set(sample.images) or set(strata) != set(sample.strata):
            raise ValueError(
                f"a sample compares {sorted(sample.images)} in {sorted(sample.strata)}, the first one {sorted(names)} in {sorted(strata)}"
            )
        truth_known = valid(sample.truth)
        own = {name: valid(sample.images[name]) for name in names}
        images = {name: _charged(name, sample, own, fallback) for name in names}
        common = np.logical_and.reduce([truth_known, *(valid(image) for image in images.values())])
        for s, stratum in enumerate(strata):
            here = sample.strata[stratum] & truth_known
            known[s] += int(here.sum())
            covered[s] += [int((here & own[name]).sum()) for name in names]
        stated = {name: np.where(own[name], std, np.nan) for name, std in sample.std.items()}
        parts.setdefault(sample.day, []).append(_parts(replace(sample, images=images, std=stated), common, structure))
    return Evidence(names or (), strata, {day: np.concatenate(tiles, axis=2) for day, tiles in parts.items()}, known, covered)


def score(samples: Iterable[Sample], scale: float, controls: frozenset[str] = frozenset(), fallback: str | None = None) -> list[Row]:
    """Score every image in every stratum, pooled over the samples: `gather`, then `Evidence.rows`."""
    return gather(samples, fallback).rows(scale, controls)


def tiles(shape: tuple[int, int], edge: int) -> list[tuple[slice, slice]]:
    """Tiles of an image; what is left over at the far edges belongs to the last ones."""
    if not edge:
        return [(slice(None), slice(None))]
    rows, cols = ([*range(0, max(size - edge, 0) + 1, edge)] for size in shape)
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom in zip(rows, [*rows[1:], shape[0]], strict=True)
        for left, right in zip(cols, [*cols[1:], shape[1]], strict=True)
    ]


def _parts(sample: Sample, common: np.ndarray, structure: bool) -> Floats:
    """Sums (S, K, tiles, B, M) of one sample."""
    cut = tiles(common.shape, sample.tile)
    groups = []
    for stratum in sample.strata.values():
        for place in cut:
            group = np.zeros(common.shape, bool)
            group[place] = stratum[place]
            groups.append(group)
    matrix = grouping(*groups)
    prepared = Structure(sample.truth, common) if structure else None
    made = [
        moments(image, sample.truth, common, matrix, prepared, sample.std.get(name), sample.reference, sample.roughness.get(name))
        for name, image in sample.images.items()
    ]
    return np.stack([part.reshape(len(sample.strata), len(cut), *part.shape[1:]) for part in made], axis=1)


def _charged(name: str, sample: Sample, own: Mapping[str, np.ndarray], fallback: str | None) -> np.ndarray:
    image = sample.images[name]
    return image if fallback is None or own[name].all() else np.where(own[name], image, sample.images[fallback])


def _row(name: str, stratum: str, control: bool, made: Figures, k: int, covered: float, days: int, spread: Interval) -> Row:
    values = {figure: float(made.image[figure][k]) for figure in FIGURES}
    return Row(
        name=name,
        stratum=stratum,
        control=control,
        pixels=int(made.pixels[k]),
        coverage=covered,
        band_rmse=tuple(float(value) for value in made.bands[BAND_MEANS[0]][k]),
        days=days,
        rmse_low=spread[0],
        rmse_high=spread[1],
        **values,
    )
