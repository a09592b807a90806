"""The metrics, exactly: sums per band that can be added over tiles, blocks and days, and what follows from them.

With p the prediction, t the truth, d = p − t, n pixels of one band, c the nearest clear image and σ the standard
deviation that came with the prediction:

============  ===========================================================================  ==================
rmse          sqrt(Σ d² / n)                                                               unit of the values
mae           Σ |d| / n                                                                    unit of the values
bias          Σ d / n (AD of Zhu et al. 2022; positive: too bright)                        unit of the values
cc            Pearson correlation of p and t
r2            1 − Σ d² / Σ (t − mean t)² (of the line p = t; may be < 0)
psnr          20 log10(1 / rmse), data range 1                                             dB
uiqi          4 s_pt p̄ t̄ / ((s_p² + s_t²)(p̄² + t̄²)), one window: all counted pixels
sam           mean over pixels of arccos(⟨p, t⟩ / (‖p‖ ‖t‖)) over bands                    radian
ergas         100 / s · sqrt(mean over bands of (rmse / mean t)²), s = fine pixels along
              a coarse pixel (Wald 2002, h/l = 1/s)
ssim          structural similarity with data range 1 (`pipeline.assessment.structure`)
ssim_range    the same with the 1–99 percentile span of the truth as data range
edge, lbp     sharpness (`pipeline.assessment.structure`): < 0 smoothed, > 0 over-sharp
change_cc     Pearson correlation of p − c and t − c
change_slope  of the least-squares line of p − c on t − c: 1 = the change is followed
roughness     mean of |p(day−1) − 2 p(day) + p(day+1)|                                     unit per day²
z2            mean of (d / σ)²: 1 = an honest σ
cover68       share with |d| <= σ
cover95       share with |d| <= 1.9600 σ
crps          mean of σ (z (2 Φ(z) − 1) + 2 φ(z) − 1 / √π), z = d / σ: continuous ranked     unit of the values
              probability score of a normal forecast (Gneiting & Raftery 2007, §4.2, with
              its sign turned: small is good); where no σ is stated |d|, its limit for σ → 0
============  ===========================================================================  ==================

The figure of an image is the mean of its bands' figures, except `sam` and `ergas`, which are of all bands. Tiles and days are pooled
before a root or a ratio is drawn, so every pixel counts once; only the percentiles of SSIM and EDGE are those of each image by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtr

from pipeline.assessment.structure import Structure

Floats = NDArray[np.float64]

_NINETY_FIVE = 1.959963984540054
"""Quantile of the standard normal that leaves 2.5 % on either side."""


class Moment(IntEnum):
    """What is summed over the pixels of a group, band by band."""

    N = 0
    D = 1
    ABSOLUTE = 2
    SQUARED = 3
    P = 4
    T = 5
    PP = 6
    TT = 7
    PT = 8
    ANGLE = 9
    ANGLES = 10
    SSIM = 11
    SSIM_RANGE = 12
    WINDOWS = 13
    EDGE = 14
    EDGES = 15
    LBP = 16
    LBPS = 17
    CHANGES = 18
    CHANGE_P = 19
    CHANGE_T = 20
    CHANGE_PP = 21
    CHANGE_TT = 22
    CHANGE_PT = 23
    ROUGHNESS = 24
    ROUGH = 25
    Z2 = 26
    IN68 = 27
    IN95 = 28
    STATED = 29
    CRPS = 30
    FORECASTS = 31


BAND_MEANS = (
    "rmse",
    "mae",
    "bias",
    "cc",
    "r2",
    "psnr",
    "uiqi",
    "ssim",
    "ssim_range",
    "edge",
    "lbp",
    "change_cc",
    "change_slope",
    "roughness",
    "z2",
    "cover68",
    "cover95",
    "crps",
)
"""Figures that every band has."""

FIGURES = (*BAND_MEANS, "sam", "ergas")


@dataclass(frozen=True)
class Figures:
    """The metrics. NaN where a figure is not defined: no pixels, no variance, one band, no σ.

    Parameters
    ----------
    pixels : ndarray, (...)
    bands : mapping of str to ndarray, (..., B)
        The `BAND_MEANS`, band by band.
    image : mapping of str to ndarray, (...)
        All `FIGURES`.
    """

    pixels: Floats
    bands: Mapping[str, Floats]
    image: Mapping[str, Floats]


def valid(*images: np.ndarray) -> NDArray[np.bool_]:
    """Pixels where every band of every image is finite.

    Parameters
    ----------
    *images : ndarray, (B, y, x)

    Returns
    -------
    ndarray, (y, x) bool
    """
    return np.logical_and.reduce([np.isfinite(image).all(axis=0) for image in images])


def grouping(*groups: np.ndarray) -> sparse.csr_matrix:
    """The matrix that sums pixels over groups, which may overlap.

    Parameters
    ----------
    *groups : ndarray, (y, x) bool

    Returns
    -------
    csr_matrix, (groups, y · x)
    """
    return sparse.csr_matrix(np.stack([group.ravel() for group in groups]).astype(np.float64))


def moments(
    prediction: np.ndarray,
    truth: np.ndarray,
    where: np.ndarray,
    groups: sparse.csr_matrix,
    structure: Structure | None = None,
    std: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    roughness: np.ndarray | None = None,
) -> Floats:
    """The sums of one image over groups of pixels.

    Parameters
    ----------
    prediction, truth : ndarray, (B, y, x)
        Reflectance (0–1) or index.
    where : ndarray, (y, x) bool
        Pixels that count; both images must be finite there.
    groups : csr_matrix, (G, y · x)
        As `grouping` makes it; a windowed metric belongs to the pixel at the centre of its window.
    structure : Structure, optional
        Of this truth and these pixels; without it the windowed metrics are not defined.
    std : ndarray, (B, y, x), optional
        1 σ of the difference that is expected between prediction and truth; NaN where none is stated.
    reference : ndarray, (B, y, x), optional
        The nearest clear image, for the change; NaN where there is none.
    roughness : ndarray, (B, y, x), optional
        Second difference in time of the predictions of three days.

    Returns
    -------
    ndarray, (G, B, len(Moment))

    Raises
    ------
    ValueError
        If shapes differ, or a counted pixel is not finite.
    """
    if prediction.shape != truth.shape or truth.shape[-2:] != where.shape:
        raise ValueError(f"shapes differ: prediction {prediction.shape}, truth {truth.shape}, pixels {where.shape}")
    # The blur of a whole image: before its pixels are chosen.
    windows = structure.compare(prediction) if structure else None
    kept = groups[:, np.flatnonzero(where)]
    p, t = (image[:, where].astype(np.float64) for image in (prediction, truth))
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise ValueError("a counted pixel is not finite; leave it out with valid()")
    extra = [None if image is None else image[:, where].astype(np.float64) for image in (std, reference, roughness)]
    norm = np.sqrt((p * p).sum(axis=0) * (t * t).sum(axis=0))
    defined = norm > 0
    # Rounding may carry the cosine of equal spectra past 1.
    angle = np.where(defined, np.arccos(np.clip((p * t).sum(axis=0) / np.where(defined, norm, 1.0), -1.0, 1.0)), 0.0)
    made = np.zeros((groups.shape[0], len(p), len(Moment)))
    for band in range(len(p)):
        layer = np.zeros((len(Moment), p.shape[1]))
        _pixels(layer, p[band], t[band])
        layer[Moment.ANGLE], layer[Moment.ANGLES] = angle, defined
        if windows is not None:
            for name, values in windows.items():
                layer[Moment[name.upper()]] = values[band][where]
        deviation, before, rough = (None if image is None else image[band] for image in extra)
        if deviation is not None:
            _stated(layer, p[band] - t[band], deviation)
        if before is not None:
            _change(layer, p[band] - before, t[band] - before)
        if rough is not None:
            layer[Moment.ROUGH] = np.isfinite(rough)
            layer[Moment.ROUGHNESS] = np.abs(np.nan_to_num(rough))
        made[:, band] = kept @ layer.T
    return made


def figures(total: Floats, scale: float) -> Figures:
    """The metrics that follow from the sums.

    Parameters
    ----------
    total : ndarray, (..., B, len(Moment))
    scale : float
        Fine pixels along the edge of a coarse pixel, for ERGAS.
    """
    m = {moment: total[..., moment] for moment in Moment}
    n = m[Moment.N]
    with np.errstate(divide="ignore", invalid="ignore"):
        mse, mean_p, mean_t = m[Moment.SQUARED] / n, m[Moment.P] / n, m[Moment.T] / n
        rmse = np.sqrt(mse)
        variance_p, variance_t, covariance = _second(n, m[Moment.P], m[Moment.T], m[Moment.PP], m[Moment.TT], m[Moment.PT])
        change = _second(*(m[Moment(moment)] for moment in range(Moment.CHANGES, Moment.CHANGE_PT + 1)))
        stated = m[Moment.STATED]
        bands = {
            "rmse": rmse,
            "mae": m[Moment.ABSOLUTE] / n,
            "bias": m[Moment.D] / n,
            "cc": _ratio(covariance, np.sqrt(variance_p * variance_t)),
            "r2": _ratio(variance_t - mse, variance_t),
            "psnr": -20.0 * np.log10(rmse),
            "uiqi": _ratio(4 * covariance * mean_p * mean_t, (variance_p + variance_t) * (mean_p**2 + mean_t**2)),
            "ssim": m[Moment.SSIM] / m[Moment.WINDOWS],
            "ssim_range": m[Moment.SSIM_RANGE] / m[Moment.WINDOWS],
            "edge": m[Moment.EDGE] / m[Moment.EDGES],
            "lbp": m[Moment.LBP] / m[Moment.LBPS],
            "change_cc": _ratio(change[2], np.sqrt(change[0] * change[1])),
            "change_slope": _ratio(change[2], change[1]),
            "roughness": m[Moment.ROUGHNESS] / m[Moment.ROUGH],
            "z2": m[Moment.Z2] / stated,
            "cover68": m[Moment.IN68] / stated,
            "cover95": m[Moment.IN95] / stated,
            "crps": m[Moment.CRPS] / m[Moment.FORECASTS],
        }
        several = total.shape[-2] > 1
        angle = (m[Moment.ANGLE] / m[Moment.ANGLES])[..., 0] if several else np.full(n.shape[:-1], np.nan)
        ergas = 100.0 / scale * np.sqrt(np.mean((rmse / mean_t) ** 2, axis=-1))
    image = {name: np.mean(values, axis=-1) for name, values in bands.items()} | {"sam": angle, "ergas": ergas}
    return Figures(n[..., 0], bands, image)


def _pixels(layer: Floats, p: Floats, t: Floats) -> None:
    d = p - t
    layer[Moment.N] = 1.0
    layer[Moment.D], layer[Moment.ABSOLUTE], layer[Moment.SQUARED] = d, np.abs(d), d * d
    layer[Moment.P], layer[Moment.T], layer[Moment.PP], layer[Moment.TT], layer[Moment.PT] = p, t, p * p, t * t, p * t


def _change(layer: Floats, p: Floats, t: Floats) -> None:
    known = np.isfinite(p)
    p, t = np.where(known, p, 0.0), np.where(known, t, 0.0)
    for moment, values in enumerate((known, p, t, p * p, t * t, p * t), start=Moment.CHANGES):
        layer[moment] = values


def _stated(layer: Floats, d: Floats, std: Floats) -> None:
    known = np.isfinite(std) & (std > 0)
    z = np.abs(np.where(known, d, 0.0)) / np.where(known, std, 1.0)
    layer[Moment.Z2], layer[Moment.STATED] = z * z, known
    layer[Moment.IN68], layer[Moment.IN95] = known & (z <= 1.0), known & (z <= _NINETY_FIVE)
    unit = z * (2 * ndtr(z) - 1) + np.sqrt(2 / np.pi) * np.exp(-0.5 * z * z) - 1 / np.sqrt(np.pi)
    layer[Moment.CRPS], layer[Moment.FORECASTS] = np.where(known, std * unit, np.abs(d)), 1.0


def _second(n: Floats, p: Floats, t: Floats, pp: Floats, tt: Floats, pt: Floats) -> tuple[Floats, Floats, Floats]:
    """Variances and covariance; rounding may carry the variance of a constant image a little below zero."""
    return np.maximum(pp / n - (p / n) ** 2, 0.0), np.maximum(tt / n - (t / n) ** 2, 0.0), pt / n - p * t / n**2


def _ratio(over: Floats, under: Floats) -> Floats:
    """A ratio whose denominator is a variance: NaN where that is nothing but rounding."""
    return np.where(np.abs(under) > 1e-12, over / under, np.nan)
