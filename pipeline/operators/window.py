"""Windows around every pixel, for methods that look for similar neighbours: local spread, kernels on the CPU, the most similar pixels.

On the CPU the loops over a window are compiled (numba): they work on rows of a few hundred pixels that stay in the cache, and
release the interpreter lock. On other devices the same sums are taken offset by offset over whole images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.operators.spatial import box_sum

FAR = 1e9
"""Value of masked pixels in padded planes: similar to nothing, and without the care that NaN asks of a comparison."""

CHUNK = 192
"""Pixels of a row that a kernel works on at once."""

Floats = npt.NDArray[np.float32]


def compiled(function: Callable[..., Any]) -> Any:
    """A loop over pixels as machine code. Products and sums may be fused; nothing else of the arithmetic may change."""
    return numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")(function)


def over_rows(work: Callable[[int, int], None], rows: int) -> None:
    """Let `work(first, last)` do all rows, in as many threads as torch may use."""
    threads = min(torch.get_num_threads(), rows)
    if threads <= 1:
        work(0, rows)
        return
    parts = list(pairwise(rows * part // threads for part in range(threads + 1)))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: work(*part), parts))


def radius_of(window: float, resolution: float) -> int:
    """Pixels on either side of the middle one in a square window.

    Parameters
    ----------
    window, resolution : float
        Edge of the window and of a pixel [m].
    """
    return int(window / resolution) // 2


def padded(planes: Tensor, radius: int, value: float = 0.0) -> Tensor:
    """Planes (..., y, x) with `radius` more pixels of a constant on every side."""
    return torch.nn.functional.pad(planes, (radius,) * 4, value=value)


def shifted(planes: Tensor, radius: int, row: int, col: int) -> Tensor:
    """The neighbours (..., y, x), `row` down and `col` right of every pixel, as a view of `padded` planes."""
    height, width = (size - 2 * radius for size in planes.shape[-2:])
    return planes[..., radius + row : radius + row + height, radius + col : radius + col + width]


def offsets(radius: int) -> Iterator[tuple[int, int]]:
    """All (row, column) steps of a window, row by row."""
    steps = range(-radius, radius + 1)
    return ((row, col) for row in steps for col in steps)


def distances(radius: int, unit: float) -> Tensor:
    """1 + distance to the middle of a window over `unit` [pixels], (2 radius + 1, 2 radius + 1)."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.hypot(steps[:, None], steps[None, :]).div_(unit).add_(1.0)


def window_std(values: Tensor, valid: Tensor, radius: int) -> Tensor:
    """Standard deviation of the valid pixels of the window around every pixel.

    Parameters
    ----------
    values : Tensor, (B, y, x)
        Finite.
    valid : Tensor, (y, x) bool
    radius : int

    Returns
    -------
    Tensor, (B, y, x)
        0 where no pixel is valid.
    """
    weight = valid.to(values.dtype)
    per_count = box_sum(weight, radius).clamp_(min=1.0).reciprocal_()
    std = torch.empty_like(values)
    for plane, out in zip(values, std, strict=True):
        seen = plane * weight
        mean = box_sum(seen, radius).mul_(per_count)
        variance = box_sum(seen.mul_(plane), radius).mul_(per_count).addcmul_(mean, mean, value=-1.0)
        torch.sqrt(variance.clamp_(min=0.0), out=out)
    return std


def most_similar(values: Tensor, valid: Tensor, radius: int, count: int) -> tuple[Tensor, Tensor]:
    """The most similar valid pixels in the window around every pixel, itself among them.

    Parameters
    ----------
    values : Tensor, (B, y, x)
        Finite; pixels are the more similar the smaller the sum of the squared differences of their bands. Of two alike the
        nearer one in space is taken.
    valid : Tensor, (y, x) bool
        Others are never chosen.
    radius, count : int

    Returns
    -------
    index : Tensor, (y, x, count) int32
        ``row · width + column`` of each; the pixel itself where the window holds too few, and wherever it is not valid.
    steps : Tensor, (y, x, count)
        Distance to each [pixels]; infinite where the window holds too few. Rows are in no order.
    """
    height, width = valid.shape
    planes = padded(torch.where(valid, values, FAR), radius, FAR)
    steps = sorted(offsets(radius), key=lambda step: (step[0] ** 2 + step[1] ** 2, step))
    if values.device.type == "cpu":
        index = torch.empty((height, width, count), dtype=torch.int32)
        table = np.array(steps, dtype=np.int64)

        def work(first: int, last: int) -> None:
            _most_similar(planes.numpy(), table, radius, first, last, index.numpy())

        over_rows(work, height)
    else:
        index = _most_similar_by_offset(planes, steps, radius, count)
    # Masked pixels are alike in being far from all others.
    index.masked_fill_(~valid[..., None], -1)
    apart = torch.empty(index.shape, dtype=torch.float32, device=index.device)
    cols = torch.arange(width, dtype=torch.int32, device=index.device)
    for row, (places, out) in enumerate(zip(index, apart, strict=True)):
        none = places < 0
        torch.hypot((places // width - row).float(), (places % width - cols[:, None]).float(), out=out)
        out.masked_fill_(none, math.inf)
        torch.where(none, (row * width + cols)[:, None], places, out=places)
    return index, apart


def weighted_sum(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of chosen pixels.

    Parameters
    ----------
    values : Tensor, (B, y, x)
        Finite.
    index : Tensor, (y, x, n) int32
        ``row · width + column``, as from `most_similar`.
    weight : Tensor, (y, x, n)

    Returns
    -------
    Tensor, (B, y, x)
    """
    count = index.shape[-1]
    table = values.flatten(1).t().contiguous()
    total = torch.nn.functional.embedding_bag(index.view(-1, count), table, per_sample_weights=weight.view(-1, count), mode="sum")
    return total.t().reshape(values.shape)


@compiled
def _most_similar(planes: Floats, steps: Any, radius: int, first: int, last: int, index: Any) -> None:
    bands = planes.shape[0]
    width, count = index.shape[1], index.shape[2]
    best = np.empty((CHUNK, count), np.float32)
    worst = np.empty(CHUNK, np.float32)
    slot = np.empty(CHUNK, np.int64)
    apart = np.empty(CHUNK, np.float32)
    closer = np.empty(CHUNK, np.int64)
    for y in range(first, last):
        for left in range(0, width, CHUNK):
            size = min(CHUNK, width - left)
            best[:] = np.float32(FAR)
            worst[:] = np.float32(FAR)
            slot[:] = 0
            index[y, left : left + size] = -1
            for step in range(steps.shape[0]):
                row, col = y + radius + steps[step, 0], left + radius + steps[step, 1]
                apart[:] = np.float32(0)
                for band in range(bands):
                    there = planes[band, row, col : col + size]
                    here = planes[band, y + radius, left + radius : left + radius + size]
                    for x in range(size):
                        difference = there[x] - here[x]
                        apart[x] += difference * difference
                found = 0
                for x in range(size):
                    closer[found] = x
                    found += apart[x] < worst[x]
                for at in range(found):
                    x = closer[at]
                    place = slot[x]
                    best[x, place] = apart[x]
                    index[y, left + x, place] = (row - radius) * width + col - radius + x
                    # The next to go is the worst of those that are left.
                    top = best[x, 0]
                    place = 0
                    for other in range(1, count):
                        if best[x, other] > top:
                            top = best[x, other]
                            place = other
                    worst[x] = top
                    slot[x] = place


def _most_similar_by_offset(planes: Tensor, steps: list[tuple[int, int]], radius: int, count: int, at_once: int = 64) -> Tensor:
    here = shifted(planes, radius, 0, 0)
    height, width = here.shape[-2:]
    itself = torch.arange(height * width, device=planes.device, dtype=torch.int32).view(height, width)
    best = here.new_full((count, height, width), FAR)
    index = torch.full((count, height, width), -1, dtype=torch.int32, device=planes.device)
    for start in range(0, len(steps), at_once):
        part = steps[start : start + at_once]
        apart = torch.stack([(shifted(planes, radius, *step) - here).square_().sum(dim=0) for step in part])
        place = torch.stack([itself + (row * width + col) for row, col in part])
        best, order = torch.cat([best, apart]).topk(count, dim=0, largest=False, sorted=False)
        index = torch.cat([index, place]).gather(0, order)
    return index.masked_fill_(best >= FAR, -1).permute(1, 2, 0).contiguous()
