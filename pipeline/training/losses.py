"""Losses on what is clear. Each is a mean over clear pixels, or windows, so that clouds make it neither smaller nor larger.

Prediction `p` and truth `t` are (N, B, y, x), of reflectance or what it was scaled to; `mask` is (N, 1, y, x), 1 where the truth
counts, 0 where not (it may then be anything, NaN included), or a share between. Where nothing is clear a loss is 0. All arithmetic is that
of the type of the truth, so a prediction in bfloat16 loses no more than it has lost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

_WINDOW = 7
"""Edge of the windows of SSIM: boxes rather than Gaussian windows of 11, since pooling is faster than convolution and stays in full
precision under autocast."""

_FLAT = 1e-5
"""Keeps the relative difference of two gradients finite, as in the metric."""


def charbonnier(p: Tensor, t: Tensor, mask: Tensor, eps: float = 1e-3, weights: Tensor | None = None) -> Tensor:
    """The mean of √((p − t)² + ε²): absolute differences, rounded off below ε.

    Charbonnier et al. 1994, Proc. ICIP 2, 168–172, doi 10.1109/ICIP.1994.413553.

    Parameters
    ----------
    p, t : Tensor, (N, B, y, x)
    mask : Tensor, (N, 1, y, x)
    eps : float
        In the units of `t`.
    weights : Tensor, (B,), optional
        Of the bands; only their ratios matter.
    """
    difference = _where(mask, p - t)
    return _mean((difference.square() + eps**2).sqrt(), mask, weights)


def structural(p: Tensor, t: Tensor, mask: Tensor, data_range: float) -> Tensor:
    """1 − the mean SSIM of the windows of 7 × 7 pixels that are wholly clear.

    SSIM = (2 μp μt + C1)(2 σpt + C2) / ((μp² + μt² + C1)(σp² + σt² + C2)) with C1 = (0.01 L)² and C2 = (0.03 L)², Wang et al. 2004,
    IEEE Trans. Image Process. 13, 600–612, doi 10.1109/TIP.2003.819861; here with box windows. A window counts as much as its
    least clear pixel.

    Parameters
    ----------
    p, t : Tensor, (N, B, y, x)
        At least 7 × 7 pixels.
    mask : Tensor, (N, 1, y, x)
    data_range : float
        L, in the units of `t`: with 1, dark images look alike whatever is in them.
    """
    p, t = _where(mask, p.to(t.dtype)), _where(mask, t)
    mean_p, mean_t = _box(p), _box(t)
    variances = _box(p * p) - mean_p**2 + _box(t * t) - mean_t**2
    covariance = _box(p * t) - mean_p * mean_t
    light, contrast = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similar = (2 * mean_p * mean_t + light) / (mean_p**2 + mean_t**2 + light) * (2 * covariance + contrast) / (variances + contrast)
    return _mean(1 - similar, -max_pool2d(-mask, _WINDOW, stride=1))


def edges(p: Tensor, t: Tensor, mask: Tensor, steepest: float = 0.1) -> Tensor:
    """How much less or more steep edges are than those of the truth: the mean of |eₚ − eₜ| / (eₚ + eₜ) over its steepest.

    e is the Roberts gradient |I(i,j) − I(i+1,j+1)| + |I(i+1,j) − I(i,j+1)|; the edges are those of each image and band where that
    of the truth is steepest: the absolute form of the metric EDGE (Zhu et al. 2022, doi 10.1016/j.rse.2022.113002). The code of IOS-Net
    (Guo et al., github LMSfusion) has such a loss.

    Parameters
    ----------
    p, t : Tensor, (N, B, y, x)
    mask : Tensor, (N, 1, y, x)
    steepest : float
        Share of the clear pixels that are edges.
    """
    clear = -max_pool2d(-mask, 2, stride=1)
    slope_p, slope_t = _roberts(_where(mask, p.to(t.dtype))), _roberts(_where(mask, t))
    among = torch.where(clear > 0, slope_t, torch.nan).flatten(2)
    threshold = torch.nanquantile(among, 1 - steepest, dim=2)[:, :, None, None]
    # False where nothing is clear: the threshold is then NaN.
    counted = clear * ((slope_t >= threshold) & (slope_t > 0))
    return _mean((slope_p - slope_t).abs() / (slope_p + slope_t + _FLAT), counted)


def laplace_likelihood(p: Tensor, t: Tensor, log_std: Tensor, mask: Tensor, beta: float = 0.5) -> Tensor:
    """Negative log-likelihood of errors that are Laplace-distributed with a σ of their own, each weighted by its σ^2β.

    √2 |p − t| / σ + log(√2 σ). Unweighted, a network learns where it is good already and leaves the rest to a large σ; β-NLL (Seitzer
    et al. 2022, ICLR, arXiv 2203.09168, there for normal errors) multiplies by σ^2β, through which no gradient goes. With β = 0.5 the
    gradient of the mean is then that of the absolute error, whatever the σ; with 0 this is the likelihood.

    Parameters
    ----------
    p, t : Tensor, (N, B, y, x)
    log_std : Tensor, (N, B, y, x)
        Natural logarithm of σ, in the units of `t`.
    mask : Tensor, (N, 1, y, x)
    beta : float
        0 to 1.
    """
    log_std = log_std.to(t.dtype)
    surprise = math.sqrt(2) * _where(mask, p - t).abs() * (-log_std).exp() + log_std + 0.5 * math.log(2)
    return _mean(surprise * (2 * beta * log_std.detach()).exp(), mask)


def _where(mask: Tensor, values: Tensor) -> Tensor:
    """Values where they count, and 0 elsewhere: NaN times 0 would be NaN, in gradients too."""
    return torch.where(mask > 0, values, 0.0)


def _mean(values: Tensor, weight: Tensor, bands: Tensor | None = None) -> Tensor:
    if bands is not None:
        weight = weight * bands[:, None, None].to(values)
    weight = weight.expand_as(values)
    return (weight * values).sum() / weight.sum().clamp(min=torch.finfo(values.dtype).tiny)


def _box(values: Tensor) -> Tensor:
    return avg_pool2d(values, _WINDOW, stride=1)


def _roberts(image: Tensor) -> Tensor:
    falling = image[..., :-1, :-1] - image[..., 1:, 1:]
    rising = image[..., 1:, :-1] - image[..., :-1, 1:]
    return falling.abs() + rising.abs()
