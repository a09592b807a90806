"""Big arrays through a network in tiles: the stitched result is that of the whole array, and memory that of a few tiles.

A tile is a core with a halo around it that is wide enough for every pixel of the core. At the border of the array it is moved inwards
rather than padded, so all tiles have one shape, and the network meets the border as it would in the whole array: with its own padding.
Pixels of halos are computed anew for every tile, so tiles are few: an array is cut into equal parts, into one where that is allowed.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.errors import LandfuseError


class Window(NamedTuple):
    """A tile along one axis.

    Parameters
    ----------
    start, stop : int
        What the network sees.
    first, last : int
        The core, which is kept: `last` is the first pixel after it.
    """

    start: int
    stop: int
    first: int
    last: int


def apply(
    call: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    *,
    reach: int,
    multiple: int,
    tile: int,
    batch: int,
    scale_factors: Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Run a function over tiles, in inference mode.

    Where memory of the device runs out, half as many tiles are tried at once, for the rest of the call.

    Parameters
    ----------
    call : callable
        From tiles of the inputs, (n, …, y, x) each and channels-last where that is defined, to one tensor or several, (n, …, y, x) on fine
        pixels. Must treat the entries of the first axis apart, and look no further than `reach`: no mean over the image.
    inputs : sequence of Tensor, (N, …, y, x)
        Images of the same ground; N and ground in common.
    reach : int
        Fine pixels around a pixel that its result looks at.
    multiple : int
        Height, width and corners of tiles are multiples of it, in fine pixels.
    tile : int
        Edge of a core [fine pixels], at most.
    batch : int
        Tiles of one of the N images at once.
    scale_factors : sequence of int, optional
        Fine pixels along the edge of a pixel of each input; 1 for all if absent.

    Returns
    -------
    tuple of Tensor, (N, …, y, x)
        One for each result of the call, where the first input is.

    Raises
    ------
    LandfuseError
        If the inputs do not show the same ground, or height, width or `tile` are no multiples of `multiple` and of the scale factors, or a
        single tile does not fit into memory.
    """
    factors = tuple(scale_factors or [1] * len(inputs))
    step = math.lcm(multiple, *factors)
    count, height, width = _extent(inputs, factors)
    for what, size in (("height", height), ("width", width), ("edge of a tile", tile)):
        if size <= 0 or size % step:
            raise LandfuseError(f"{what} {size} is no multiple of {step} fine pixels", f"choose blocks and tiles of multiples of {step}")
    halo = math.ceil(reach / step) * step
    places = [*product(range(count), _windows(height, tile, halo, step), _windows(width, tile, halo, step))]
    stitched: tuple[Tensor, ...] | None = None
    while places:
        chosen = places[:batch]
        made = _called(call, [_cut(value, factor, chosen) for value, factor in zip(inputs, factors, strict=True)])
        if made is None:
            if len(chosen) == 1:
                _, rows, columns = chosen[0]
                seen = f"{rows.stop - rows.start} × {columns.stop - columns.start}"
                raise LandfuseError(
                    f"a single tile of {seen} pixels does not fit into the memory of the device",
                    f"choose tiles of less than {tile} pixels, or free memory there, or run on the CPU",
                )
            batch = len(chosen) // 2
            continue
        if stitched is None:
            stitched = tuple(inputs[0].new_empty((count, *part.shape[1:-2], height, width), dtype=part.dtype) for part in made)
        for whole, part in zip(stitched, made, strict=True):
            for (image, rows, columns), values in zip(chosen, part, strict=True):
                whole[image, ..., rows.first : rows.last, columns.first : columns.last] = values[..., _core(rows), _core(columns)]
        places = places[len(chosen) :]
    assert stitched is not None
    return stitched


def apply_to_any(
    call: Callable[..., Tensor | tuple[Tensor, ...]], inputs: Sequence[Tensor], *, reach: int, multiple: int, tile: int, batch: int
) -> tuple[Tensor, ...]:
    """As `apply`, for images of any height and width: the last row and column are repeated up to whole multiples, and cut off again.

    Blocks of a run are whole coarse cells and need none of it.
    """
    height, width = inputs[0].shape[-2:]
    rows, cols = (torch.arange(-(-size // multiple) * multiple).clamp(max=size - 1) for size in (height, width))
    if len(rows) != height or len(cols) != width:
        inputs = [part.index_select(-2, rows.to(part.device)).index_select(-1, cols.to(part.device)) for part in inputs]
    made = apply(call, inputs, reach=reach, multiple=multiple, tile=tile, batch=batch)
    return tuple(part[..., :height, :width] for part in made)


def _extent(inputs: Sequence[Tensor], factors: Sequence[int]) -> tuple[int, int, int]:
    extents = [(len(value), value.shape[-2] * factor, value.shape[-1] * factor) for value, factor in zip(inputs, factors, strict=True)]
    if len(set(extents)) > 1:
        said = ", ".join(f"{count} of {height} × {width}" for count, height, width in extents)
        raise LandfuseError(f"inputs do not show the same ground: images of fine pixels are {said}", "cut them to one extent")
    return extents[0]


def _windows(size: int, tile: int, halo: int, step: int) -> Iterator[Window]:
    count = math.ceil(size / tile)
    core = math.ceil(size / count / step) * step
    # Of two tiles each has a halo on one side only.
    extent = min(core + halo * min(count - 1, 2), size)
    for first in range(0, size, core):
        start = min(max(first - halo, 0), size - extent)
        yield Window(start, start + extent, first, min(first + core, size))


def _core(window: Window) -> slice:
    return slice(window.first - window.start, window.last - window.start)


def _cut(value: Tensor, factor: int, places: Sequence[tuple[int, Window, Window]]) -> Tensor:
    tiles = torch.stack(
        [
            value[image, ..., rows.start // factor : rows.stop // factor, columns.start // factor : columns.stop // factor]
            for image, rows, columns in places
        ]
    )
    return tiles.contiguous(memory_format=torch.channels_last) if tiles.ndim == 4 else tiles


def _called(call: Callable[..., Tensor | tuple[Tensor, ...]], tiles: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
    """What a call makes; None where memory ran out."""
    try:
        with torch.inference_mode():
            made = call(*tiles)
    except torch.OutOfMemoryError:
        made = None
    if made is None:
        # Not while the error is at hand: its traceback keeps what the call had made so far.
        gc.collect()
        torch.cuda.empty_cache()
        return None
    return (made,) if isinstance(made, Tensor) else made
