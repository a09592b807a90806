"""The metrics of windows: SSIM, EDGE and LBP, each on windows that are wholly clear.

SSIM (Wang et al. 2004): Gaussian window of 11 × 11 pixels, σ 1.5, C1 = (0.01 L)², C2 = (0.03 L)². With a data range L of 1 it
flatters dark images, so it is also given with L = the span from the 1st to the 99th percentile of the truth.

EDGE and LBP (Zhu et al. 2022, doi 10.1016/j.rse.2022.113002): the mean of (f_p − f_t) / (|f_p + f_t| + 1e-5) of a feature f. EDGE takes the
Roberts gradient |I(i,j) − I(i+1,j+1)| + |I(i+1,j) − I(i,j+1)| where that of the truth is not below its 90th percentile. LBP takes
the code of the eight neighbours divided by 255: a bit is set where the neighbour exceeds the centre by more than 0.005, the lowest one
upper left and on clockwise. Below zero: smoothed; above: over-sharp.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, minimum_filter

Floats = NDArray[np.float64]

SIGMA, RADIUS = 1.5, 5
"""Of the Gaussian window of SSIM."""

TOLERANCE = 0.005
"""By how much a neighbour must exceed the centre; the metric depends strongly on it."""

_STEEPEST = 0.9
_FLAT = 1e-5
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


class Structure:
    """The truth of an image, prepared once for all predictions that are compared with it.

    Parameters
    ----------
    truth : ndarray, (B, y, x)
    where : ndarray, (y, x) bool
        Pixels that count. The windows are those in which every pixel does.
    """

    def __init__(self, truth: np.ndarray, where: np.ndarray) -> None:
        self._where = where
        self._truth = np.where(where, truth, 0.0).astype(np.float64)
        self._inside = minimum_filter(where, size=2 * RADIUS + 1, mode="constant", cval=0)
        self._mean = np.stack([_blur(band) for band in self._truth])
        self._square = np.stack([_blur(band * band) for band in self._truth]) - self._mean**2
        counted = self._truth[:, where] if where.any() else np.zeros((len(truth), 1))
        low, high = np.percentile(counted, (1, 99), axis=1)
        self._span = high - low
        self._gradient = np.stack([roberts(band) for band in self._truth])
        square = np.zeros_like(where)
        square[:-1, :-1] = where[:-1, :-1] & where[1:, 1:] & where[1:, :-1] & where[:-1, 1:]
        self._steep = np.stack([square & (slope >= _threshold(slope[square])) for slope in self._gradient])
        self._ringed = minimum_filter(where, size=3, mode="constant", cval=0)
        self._code = np.stack([binary_pattern(band) for band in self._truth])

    def compare(self, prediction: np.ndarray) -> Mapping[str, Floats]:
        """Each window's share in the sums, at the pixel of its centre (EDGE: its upper left one).

        Parameters
        ----------
        prediction : ndarray, (B, y, x)
            Finite where the pixels count.

        Returns
        -------
        mapping
            Name of a moment → (B, y, x): the values and, beside them, how many there are; 0 where a window is not clear.
        """
        p = np.where(self._where, prediction, 0.0).astype(np.float64)
        made: dict[str, list[Floats]] = {}
        for band, image in enumerate(p):
            ssim, in_range = self._similarity(band, image)
            edge = _contrast(roberts(image), self._gradient[band])
            lbp = _contrast(binary_pattern(image), self._code[band])
            for name, values, there in (
                ("ssim", ssim, self._inside),
                ("ssim_range", in_range, self._inside),
                ("windows", np.ones_like(image), self._inside),
                ("edge", edge, self._steep[band]),
                ("edges", np.ones_like(image), self._steep[band]),
                ("lbp", lbp, self._ringed),
                ("lbps", np.ones_like(image), self._ringed),
            ):
                made.setdefault(name, []).append(np.where(there, values, 0.0))
        return {name: np.stack(layers) for name, layers in made.items()}

    def _similarity(self, band: int, image: Floats) -> tuple[Floats, Floats]:
        mean, square = _blur(image), _blur(image * image)
        cross = _blur(image * self._truth[band]) - mean * self._mean[band]
        variance = square - mean**2

        def similarity(span: float) -> Floats:
            c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
            alike = (2 * mean * self._mean[band] + c1) * (2 * cross + c2)
            size = (mean**2 + self._mean[band] ** 2 + c1) * (variance + self._square[band] + c2)
            # Two constant images of a truth without span: nothing differs.
            return np.asarray(np.divide(alike, size, out=np.ones_like(alike), where=size > 0))

        return similarity(1.0), similarity(float(self._span[band]))


def roberts(image: Floats) -> Floats:
    """Roberts gradient (y, x) of the 2 × 2 window whose upper left pixel is this one; 0 in the last row and column."""
    slope = np.zeros_like(image)
    slope[:-1, :-1] = np.abs(image[:-1, :-1] - image[1:, 1:]) + np.abs(image[1:, :-1] - image[:-1, 1:])
    return slope


def binary_pattern(image: Floats) -> Floats:
    """Local binary pattern (y, x) of the eight neighbours, 0–1; 0 at the rim."""
    height, width = image.shape
    code = np.zeros_like(image)
    inner = image[1:-1, 1:-1] + TOLERANCE
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        code[1:-1, 1:-1] += (image[1 + down : height - 1 + down, 1 + right : width - 1 + right] > inner) * 2.0**bit
    return code / 255.0


def _blur(image: Floats) -> Floats:
    return np.asarray(gaussian_filter(image, SIGMA, radius=RADIUS))


def _contrast(p: Floats, t: Floats) -> Floats:
    return (p - t) / (np.abs(p + t) + _FLAT)


def _threshold(slopes: Floats) -> float:
    return float(np.quantile(slopes, _STEEPEST)) if slopes.size else np.inf
