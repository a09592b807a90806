"""The metrics, exactly: one set of sums per band that can be added over blocks and days, and what follows from them.

Every figure is over *common valid pixels*: pixels where every band of the truth and of every compared
image is finite. With p the prediction, t the truth, d = p − t, and n pixels of one band:

========  ==============================================================  =================
RMSE      sqrt(Σ d² / n)                                                  unit of the values
MAE       Σ |d| / n                                                       unit of the values
bias      Σ d / n (positive: too bright)                                  unit of the values
CC        Pearson correlation of p and t
R²        1 − Σ d² / Σ (t − mean t)²  (of the line p = t; may be < 0)
PSNR      20 log10(1 / RMSE), data range 1                                dB
SAM       mean over pixels of arccos(⟨p, t⟩ / (‖p‖ ‖t‖)) over bands       radian
ERGAS     100 / s · sqrt(mean over bands of (RMSE / mean t)²),
          s = fine pixels along a coarse cell (Wald 2002, eq. with h/l = 1/s)
========  ==============================================================  =================

The figure of an image is the mean of its bands' figures. Pixels of several blocks or days are pooled
before the root is drawn, so every pixel counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Sums over common valid pixels; `a + b` are the sums over the pixels of both.

    Parameters
    ----------
    pixels : int
        Number of pixels n.
    error, absolute, squared : ndarray, (B,)
        Σ d, Σ |d|, Σ d².
    p, t, pp, tt, pt : ndarray, (B,)
        Σ p, Σ t, Σ p², Σ t², Σ p·t.
    angle : float
        Σ of spectral angles [radian].
    angles : int
        Pixels whose angle is defined (neither spectrum is zero).
    """

    pixels: int
    error: Floats
    absolute: Floats
    squared: Floats
    p: Floats
    t: Floats
    pp: Floats
    tt: Floats
    pt: Floats
    angle: float
    angles: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            pixels=self.pixels + other.pixels,
            error=self.error + other.error,
            absolute=self.absolute + other.absolute,
            squared=self.squared + other.squared,
            p=self.p + other.p,
            t=self.t + other.t,
            pp=self.pp + other.pp,
            tt=self.tt + other.tt,
            pt=self.pt + other.pt,
            angle=self.angle + other.angle,
            angles=self.angles + other.angles,
        )


@dataclass(frozen=True)
class Figures:
    """The metrics per band, and of the image. NaN where a figure is not defined (no pixels, no variance, one band).

    Parameters
    ----------
    pixels : int
    rmse, mae, bias, cc, r2, psnr : ndarray, (B,)
    sam : float
        Radians; NaN for a single band.
    ergas : float
    """

    pixels: int
    rmse: Floats
    mae: Floats
    bias: Floats
    cc: Floats
    r2: Floats
    psnr: Floats
    sam: float
    ergas: float

    def means(self) -> dict[str, float]:
        """Mean over bands of each figure, by name."""
        per_band = {"rmse": self.rmse, "mae": self.mae, "bias": self.bias, "cc": self.cc, "r2": self.r2, "psnr": self.psnr}
        return {**{name: float(np.mean(values)) for name, values in per_band.items()}, "sam": self.sam, "ergas": self.ergas}


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


def sums(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray) -> Sums:
    """The sums of one image.

    Parameters
    ----------
    prediction, truth : ndarray, (B, y, x)
        Reflectance (0–1) or index.
    where : ndarray, (y, x) bool
        Pixels that count; both images must be finite there.

    Raises
    ------
    ValueError
        If shapes differ, or a counted pixel is not finite.
    """
    if prediction.shape != truth.shape or truth.shape[-2:] != where.shape:
        raise ValueError(f"shapes differ: prediction {prediction.shape}, truth {truth.shape}, pixels {where.shape}")
    p = prediction[:, where].astype(np.float64)
    t = truth[:, where].astype(np.float64)
    if not (np.isfinite(p).all() and np.isfinite(t).all()):
        raise ValueError("a counted pixel is not finite; leave it out with valid()")
    d = p - t
    dot, norm = (p * t).sum(axis=0), np.sqrt((p * p).sum(axis=0) * (t * t).sum(axis=0))
    defined = norm > 0
    # Rounding may carry the cosine of equal spectra past 1.
    angle = np.arccos(np.clip(dot[defined] / norm[defined], -1.0, 1.0))
    return Sums(
        pixels=int(where.sum()),
        error=d.sum(axis=1),
        absolute=np.abs(d).sum(axis=1),
        squared=(d * d).sum(axis=1),
        p=p.sum(axis=1),
        t=t.sum(axis=1),
        pp=(p * p).sum(axis=1),
        tt=(t * t).sum(axis=1),
        pt=(p * t).sum(axis=1),
        angle=float(angle.sum()),
        angles=int(defined.sum()),
    )


def figures(total: Sums, scale: float) -> Figures:
    """The metrics that follow from the sums.

    Parameters
    ----------
    total : Sums
    scale : float
        Fine pixels along the edge of a coarse cell, for ERGAS.
    """
    bands = total.error.shape[0]
    if total.pixels == 0:
        nothing = np.full(bands, np.nan)
        return Figures(0, nothing, nothing, nothing, nothing, nothing, nothing, np.nan, np.nan)
    n = total.pixels
    mean_p, mean_t = total.p / n, total.t / n
    # Rounding may carry the variance of a constant image a little below zero.
    variance_p = np.maximum(total.pp / n - mean_p**2, 0.0)
    variance_t = np.maximum(total.tt / n - mean_t**2, 0.0)
    covariance = total.pt / n - mean_p * mean_t
    mse = total.squared / n
    rmse = np.sqrt(mse)
    spread = np.sqrt(variance_p * variance_t)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Figures(
            pixels=n,
            rmse=rmse,
            mae=total.absolute / n,
            bias=total.error / n,
            cc=np.where(spread > 1e-12, covariance / spread, np.nan),
            r2=np.where(variance_t > 1e-12, 1.0 - mse / variance_t, np.nan),
            psnr=-20.0 * np.log10(rmse),
            sam=total.angle / total.angles if bands > 1 and total.angles else float("nan"),
            ergas=float(100.0 / scale * np.sqrt(np.mean((rmse / mean_t) ** 2))),
        )
