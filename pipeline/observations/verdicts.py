"""Verdicts of screening in the working store: one image for each day with fine observations, apart from what was observed.

::

    screened/verdict  (day, y, x)  uint8   `Verdict` in the lowest two bits, `Cause` above them
    screened/doubt    (day, y, x)  uint8   100 · ln of the factor of σ: steps of 1 %, up to 12.8
    screened/offset   (day, band, Y, X)  int16   smooth offset of the image on coarse cells [10⁻⁴]
    screened/digest   (day, block row, block column)  uint64   what the verdicts of a block follow from; 0 where nothing was screened

They say something of the merged images that `WorkingStore.read_fine` makes, and are written again when a scene that speaks for or
against one of them arrives. A chunk is a block of one day; a block that is clear throughout has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.grid import Window
from pipeline.observations.working import FineStack, WorkingStore
from pipeline.vocabulary import Verdict

_VERDICT_BITS = 2
_DOUBT_STEPS = 100.0
_OFFSET_STEP = 1e-4
_FACTORS = np.exp(np.arange(256) / _DOUBT_STEPS).astype(np.float32)


def write_verdicts(
    store: WorkingStore, window: Window, day: int, verdict: np.ndarray, cause: np.ndarray, doubt: np.ndarray, offset: np.ndarray
) -> None:
    """Write what was found of an image, in place of what was found before.

    May be called at the same time for windows that are made of different blocks, or for different days.

    Parameters
    ----------
    window : Window
        Fine pixels, made of whole blocks.
    day : int
        Day number.
    verdict, cause : ndarray, (y, x) uint8
        `Verdict` and `Cause` codes.
    doubt : ndarray, (y, x) float32
        Factor of σ, 1 or more.
    offset : ndarray, (B, Y, X) float32
        Of the image, on coarse cells [reflectance].
    """
    where = (day, *window.slices)
    store.array("screened/verdict")[where] = verdict | (cause << _VERDICT_BITS)
    store.array("screened/doubt")[where] = np.rint(_DOUBT_STEPS * np.log(doubt)).clip(0, 255).astype(np.uint8)
    cells = window.coarse(store.grid.scale)
    store.array("screened/offset")[(day, slice(None), *cells.slices)] = np.rint(offset / _OFFSET_STEP).astype(np.int16)


def read_offsets(store: WorkingStore, window: Window, days: Sequence[int]) -> np.ndarray:
    """Smooth offsets of the images of these days on the cells of a window, (K, B, Y, X) float32; 0 where nothing was screened."""
    cells = window.coarse(store.grid.scale)
    stored = store.array("screened/offset")
    result = np.zeros((len(days), len(store.bands), *cells.shape), np.float32)
    for day, out in zip(days, result, strict=True):
        np.multiply(np.asarray(stored[(int(day), slice(None), *cells.slices)]), np.float32(_OFFSET_STEP), out=out)
    return result


def read_verdicts(store: WorkingStore, window: Window, day: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `write_verdicts` wrote of an image: verdict, cause and doubt; CLEAR, NONE and 1 where nothing was screened."""
    where = (day, *window.slices)
    packed = np.asarray(store.array("screened/verdict")[where])
    doubt = _FACTORS[np.asarray(store.array("screened/doubt")[where])]
    return packed & (2**_VERDICT_BITS - 1), packed >> _VERDICT_BITS, doubt


def judge(store: WorkingStore, window: Window, fine: FineStack) -> tuple[np.ndarray, np.ndarray]:
    """Hide what was refused in a stack, in place.

    Parameters
    ----------
    window : Window
        The fine pixels that the stack was read of.
    fine : FineStack
        Refused values become NaN.

    Returns
    -------
    doubt : ndarray, (K, y, x) float32
        Factor of the 1 σ of each pixel.
    suspect : ndarray, (K, y, x) bool
        Where an observation is kept but in doubt.
    """
    doubt, suspect = np.ones(fine.reasons.shape, np.float32), np.zeros(fine.reasons.shape, bool)
    for k, day in enumerate(fine.days):
        verdict, _, doubt[k] = read_verdicts(store, window, int(day))
        fine.values[k][:, verdict == Verdict.REFUSED] = np.nan
        suspect[k] = verdict == Verdict.SUSPECT
    return doubt, suspect


def read_digests(store: WorkingStore, days: Sequence[int] | np.ndarray) -> np.ndarray:
    """What the verdicts of these days were made from, (T, block rows, block columns) uint64; 0 where nothing was screened."""
    numbers = np.asarray(days)
    first = int(numbers.min())
    return np.asarray(store.array("screened/digest")[first : int(numbers.max()) + 1])[numbers - first]


def write_digests(store: WorkingStore, days: Sequence[int] | np.ndarray, digests: np.ndarray) -> None:
    """Say what the verdicts of these days were made from; written after the verdicts, by one process."""
    numbers = np.asarray(days)
    first = int(numbers.min())
    span = slice(first, int(numbers.max()) + 1)
    every = np.asarray(store.array("screened/digest")[span])
    every[numbers - first] = digests
    store.array("screened/digest")[span] = every
