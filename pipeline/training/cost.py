"""What a network costs: parameters, and multiply-adds for a fine pixel of an image of six bands."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.fusion.learned import LearnedMethod
from pipeline.fusion.pairnet import PairNetwork
from pipeline.fusion.registry import class_of
from pipeline.vocabulary import BANDS

_EDGE = 64


@cache
def cost_of(name: str) -> dict[str, int]:
    """``parameters``, and ``multiply_adds`` per fine pixel of all bands, references encoded anew; none for a method without a network."""
    kind = class_of(name)
    if not (isinstance(kind, type) and issubclass(kind, (LearnedMethod, PairNetwork))):
        return {}
    bands = len(BANDS)
    network: Any = kind.untrained().eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        if issubclass(kind, PairNetwork):
            pairs = torch.rand(1, network.most_pairs, bands, _EDGE, _EDGE)
            network(pairs, pairs, pairs[:, 0])
        else:
            refiner = network.refiner
            references, day = (torch.rand(bands, count, _EDGE, _EDGE) for count in (refiner.reference_channels, refiner.day_channels))
            refiner(refiner.encode(references), day)
    return {
        "parameters": sum(part.numel() for part in network.parameters()),
        "multiply_adds": round(counter.get_total_flops() / 2 / _EDGE**2),
    }
