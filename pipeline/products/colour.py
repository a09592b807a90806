"""From reflectance to colours: stretches that make days comparable, a ramp for single bands, the palette of provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.products.picture import DayPicture
from pipeline.vocabulary import Provenance

PROVENANCE_COLOURS: Mapping[Provenance, tuple[int, int, int]] = {
    Provenance.OBSERVED: (38, 104, 166),
    Provenance.FUSED_TWO_SIDED: (67, 160, 129),
    Provenance.FUSED_ONE_SIDED: (222, 196, 90),
    Provenance.EXTRAPOLATED: (217, 119, 66),
    Provenance.CLIMATOLOGY: (147, 104, 160),
    Provenance.MISSING: (60, 60, 64),
}
"""Told apart by lightness too, so that they survive the common kinds of colour blindness and grey printing."""

PROVENANCE_LABELS: Mapping[Provenance, str] = {
    Provenance.OBSERVED: "observed",
    Provenance.FUSED_TWO_SIDED: "fused, two-sided",
    Provenance.FUSED_ONE_SIDED: "fused, one-sided",
    Provenance.EXTRAPOLATED: "extrapolated",
    Provenance.CLIMATOLOGY: "climatology",
    Provenance.MISSING: "missing",
}

NODATA_COLOUR = (24, 24, 27)

_RAMP = np.array([(120, 84, 60), (176, 137, 92), (222, 205, 150), (202, 214, 122), (126, 181, 81), (52, 135, 60), (9, 76, 43)], np.float64)
"""Brown over straw to dark green, evenly spaced from the low to the high end of the stretch."""

_FIXED_LIMITS: Mapping[str, tuple[float, float]] = {
    "coastal": (0.0, 0.25),
    "blue": (0.0, 0.25),
    "green": (0.0, 0.25),
    "red": (0.0, 0.25),
    "nir08": (0.0, 0.55),
    "swir16": (0.0, 0.50),
    "swir22": (0.0, 0.40),
    "ndvi": (0.0, 0.90),
}


STD_LIMIT = 0.05
"""1 σ shown in the darkest colour [reflectance]."""

_STD_RAMP = np.array([(246, 244, 238), (244, 207, 140), (226, 130, 60), (160, 40, 40), (80, 10, 50)], np.float64)
"""Paper over yellow to dark red, evenly spaced from 0 to `STD_LIMIT`."""


@dataclass(frozen=True)
class Stretch:
    """How values become brightness: linear between two limits of each band, then a power.

    Parameters
    ----------
    limits : tuple of (float, float)
        Value shown black and value shown white, one pair a band.
    gamma : float
        Brightness = (linear)^(1/gamma).
    """

    limits: tuple[tuple[float, float], ...]
    gamma: float = 1.0


def fixed_stretch(bands: Sequence[str]) -> Stretch:
    """The same stretch for every day and area.

    Visible bands 0–0.25, nir08 0–0.55, swir16 0–0.5, swir22 0–0.4, ndvi 0–0.9, anything else 0–1;
    gamma 1.5 for colour pictures, 1 for a single band.
    """
    return Stretch(tuple(_FIXED_LIMITS.get(band, (0.0, 1.0)) for band in bands), gamma=1.5 if len(bands) == 3 else 1.0)


def percentile_stretch(pictures: Iterable[DayPicture], low: float = 2.0, high: float = 98.0) -> Stretch:
    """One stretch for all pictures of a run, from the percentiles of their valid values together.

    Parameters
    ----------
    pictures : iterable of DayPicture
        All of the same bands; at least one.
    low, high : float
        Percentiles shown black and white.

    Raises
    ------
    ValueError
        If there are no pictures.
    """
    columns = [picture.values.reshape(len(picture.bands), -1) for picture in pictures]
    if not columns:
        raise ValueError("a stretch needs at least one picture")
    limits = []
    for band in np.concatenate(columns, axis=1):
        valid = band[np.isfinite(band)]
        bottom, top = np.percentile(valid, (low, high)) if valid.size else (0.0, 1.0)
        limits.append((float(bottom), float(max(top, bottom + 1e-3))))
    return Stretch(tuple(limits))


def colours(picture: DayPicture, stretch: Stretch) -> np.ndarray:
    """The picture in colours.

    Parameters
    ----------
    picture : DayPicture
        Three bands (red, green, blue of the screen) or one, which is shown with a ramp from brown to green.
    stretch : Stretch

    Returns
    -------
    ndarray, (h, w, 3) uint8
        Pixels with a band missing are almost black.

    Raises
    ------
    ValueError
        If there are neither one nor three bands.
    """
    if len(picture.bands) not in (1, 3):
        raise ValueError(f"a picture shows one band or three, not {', '.join(picture.bands)}")
    low, high = np.array(stretch.limits).T[:, :, None, None]
    bright = np.clip((picture.values - low) / (high - low), 0.0, 1.0) ** (1.0 / stretch.gamma)
    shown = np.isfinite(bright).all(axis=0)
    bright = np.where(shown, bright, 0.0)
    if len(picture.bands) == 1:
        stops = np.linspace(0.0, 1.0, len(_RAMP))
        image = np.stack([np.interp(bright[0], stops, channel) for channel in _RAMP.T], axis=-1)
    else:
        image = 255.0 * np.moveaxis(bright, 0, -1)
    return np.where(shown[..., None], np.rint(image), NODATA_COLOUR).astype(np.uint8)


def provenance_colours(provenance: np.ndarray) -> np.ndarray:
    """(h, w) provenance codes as (h, w, 3) uint8 colours."""
    palette = np.zeros((256, 3), np.uint8)
    for kind, colour in PROVENANCE_COLOURS.items():
        palette[int(kind)] = colour
    return palette[provenance]


def std_colours(std: np.ndarray) -> np.ndarray:
    """(h, w) 1 σ as (h, w, 3) uint8 colours; NaN in the colour of no data."""
    at = np.clip(np.nan_to_num(std) / STD_LIMIT, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_STD_RAMP))
    shown = np.stack([np.interp(at, stops, channel) for channel in _STD_RAMP.T], axis=-1)
    return np.where(np.isfinite(std)[..., None], shown, NODATA_COLOUR).round().astype(np.uint8)
