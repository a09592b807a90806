"""From images and truth to rows of a table: every compared image on the same pixels, split into strata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.assessment.metrics import Sums, figures, sums, valid


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
        Pixels by kind, such as ``clear`` and ``clouded``.
    """

    truth: np.ndarray
    images: Mapping[str, np.ndarray]
    strata: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """The figures of one image in one stratum.

    Parameters
    ----------
    name, stratum : str
    control : bool
        One of the controls every score stands beside.
    pixels : int
        Common valid pixels, over all samples.
    coverage : float
        Share of the pixels with known truth in which this image has a value. Pixels that any one compared
        image lacks are left out for all.
    rmse, mae, bias, cc, r2, psnr, sam, ergas : float
        Means over bands, as `pipeline.assessment.metrics` defines them.
    band_rmse : tuple of float
        RMSE of each band.
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


def score(samples: Iterable[Sample], scale: float, controls: frozenset[str] = frozenset()) -> list[Row]:
    """Score every image in every stratum, pooled over the samples; only one sample is held at a time.

    Parameters
    ----------
    samples : iterable of Sample
    scale : float
        Fine pixels along the edge of a coarse cell, for ERGAS.
    controls : frozenset of str
        Names that are controls.

    Returns
    -------
    list of Row
        Stratum by stratum, the smallest RMSE first.

    Raises
    ------
    ValueError
        If a sample compares other images than the first, so that they would not stand on the same pixels.
    """
    total: dict[tuple[str, str], Sums] = {}
    known: dict[str, int] = {}
    covered: dict[tuple[str, str], int] = {}
    names: tuple[str, ...] | None = None
    for sample in samples:
        names = names or tuple(sample.images)
        if set(names) != set(sample.images):
            raise ValueError(f"a sample compares {sorted(sample.images)}, the first one {sorted(names)}")
        truth_known = valid(sample.truth)
        has_value = {name: valid(image) for name, image in sample.images.items()}
        common = np.logical_and.reduce([truth_known, *has_value.values()])
        for stratum, pixels in sample.strata.items():
            known[stratum] = known.get(stratum, 0) + int((pixels & truth_known).sum())
            for name, image in sample.images.items():
                key = stratum, name
                covered[key] = covered.get(key, 0) + int((pixels & truth_known & has_value[name]).sum())
                part = sums(image, sample.truth, common & pixels)
                total[key] = total[key] + part if key in total else part
    rows = [
        _row(name, stratum, name in controls, part, covered[stratum, name], known[stratum], scale)
        for (stratum, name), part in total.items()
    ]
    order = list(known)
    # An image without pixels (NaN) comes last.
    return sorted(rows, key=lambda row: (order.index(row.stratum), np.isnan(row.rmse), row.rmse))


def _row(name: str, stratum: str, control: bool, part: Sums, covered: int, known: int, scale: float) -> Row:
    made = figures(part, scale)
    return Row(
        name=name,
        stratum=stratum,
        control=control,
        pixels=made.pixels,
        coverage=covered / known if known else float("nan"),
        band_rmse=tuple(float(value) for value in made.rmse),
        **made.means(),
    )
