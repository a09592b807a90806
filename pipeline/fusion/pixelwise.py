"""What methods that solve every pixel in time share: how far an observation is trusted, where a day comes from, and tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pipeline.fusion.options import PixelwiseOptions
from pipeline.fusion.references import References, provenance
from pipeline.operators.spatial import distance_to


def precision_of(references: References, index: int, noise: float, options: PixelwiseOptions) -> Tensor:
    """Precision (y, x) of the observations of an image: less beside hidden ones and where they are in doubt, 0 where not clear.

    Parameters
    ----------
    references : References
    index : int
        Of the fine image.
    noise : float
        Variance of an observation far from hidden pixels.
    options : PixelwiseOptions
    """
    clear, doubt = references.clear[index], references.block.fine_doubt
    reach = math.ceil(options.cloud_reach / references.block.resolution)
    if reach and options.cloud_noise:
        near = distance_to(~clear, reach).mul_(-3.0 / reach).exp_()
        precision = clear / near.mul_(noise * options.cloud_noise).add_(noise)
    else:
        precision = clear / noise
    return precision if doubt is None else precision.div_(doubt[index].square())


def source_of(references: References, indices: Sequence[int], target: int, mean: Tensor) -> Tensor:
    """Provenance (y, x) of a day that was predicted from some fine images.

    Parameters
    ----------
    references : References
    indices : sequence of int
        The fine images that were looked at.
    target : int
        Day number.
    mean : Tensor, (B, y, x)
        The prediction.
    """
    days = references.block.fine_days
    before = _any_clear(references, [index for index in indices if days[index] < target])
    after = _any_clear(references, [index for index in indices if days[index] > target])
    return provenance(before, after, torch.isfinite(mean).any(dim=0))


def evenly(length: int, most: int) -> list[tuple[int, int]]:
    """Cut a length into the fewest nearly equal parts of at most `most`, as (first, last)."""
    parts = -(-length // most)
    return list(pairwise(length * part // parts for part in range(parts + 1)))


def _any_clear(references: References, indices: Sequence[int]) -> Tensor:
    some = torch.zeros(references.shape[1:], dtype=torch.bool, device=references.clear.device)
    for index in indices:
        some |= references.clear[index]
    return some
