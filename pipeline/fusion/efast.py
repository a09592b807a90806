"""EFAST: every fine image moved by the coarse change, weighted by time and by the distance to clouds.

Senty, Guzinski, Grogan, Buitenwerf, Ardö, Eklundh, Koukos, Tagesson & Munk 2024, Fast fusion of Sentinel-2 and Sentinel-3 time
series over rangelands (Remote Sensing 16, 1833).

An observation in doubt weighs as much less as its variance is larger, which the paper does not know of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.fusion.archive import ArchiveMethod
from pipeline.fusion.options import EfastOptions
from pipeline.fusion.pairs import coarse_change
from pipeline.fusion.references import References
from pipeline.operators.resample import lift
from pipeline.operators.spatial import distance_to

_LEAST = 1e-3
"""Weight of a clear pixel beside clouds, which the paper leaves out: it speaks where nothing better was seen."""

_LEAST_IN_TIME = 1e-9
"""Weight of an image many σ away, so that it is not lost to rounding where it is the only one."""


class Efast(ArchiveMethod[Tensor]):
    """EFAST; its analysis is the weight (K, Y, X) of the cells of every image by their distance to clouds."""

    options: EfastOptions

    def analyse(self, references: References) -> Tensor:
        block = references.block
        cell = block.scale * block.resolution
        reach = max(int(self.options.cloud_reach / cell), 1)
        height, width = block.coarse.shape[-2:]
        clouded = ~references.clear.view(-1, height, block.scale, width, block.scale).all(dim=4).all(dim=2)
        # Zero in the cells beside a cloud, one `reach` cells away.
        return distance_to(clouded, reach).sub_(1.0).div_(max(reach - 1, 1)).clamp_(0.0, 1.0)

    def predict(self, references: References, analysis: Tensor, indices: Sequence[int], target: int) -> Tensor:
        block = references.block
        today = references.coarse_of(target)[0]
        total, weights = today.new_zeros(references.shape), today.new_zeros(references.shape[1:])
        for index in indices:
            day = block.fine_days[index]
            in_time = max(math.exp(-0.5 * ((day - target) / self.options.sigma) ** 2), _LEAST_IN_TIME)
            weight = lift(analysis[index], block.scale).clamp_(min=_LEAST).mul_(references.clear[index]).mul_(in_time)
            if block.fine_doubt is not None:
                weight /= block.fine_doubt[index].square()
            moved = lift(coarse_change(references.coarse_of(day)[0], today), block.scale).add_(block.fine[index])
            total.addcmul_(torch.nan_to_num_(moved), weight)
            weights += weight
        return total.div_(weights)
