"""A moving average of the parameters of a network, which is what is kept of a training.

Late steps swing around a good place; their average lies nearer to it than the last of them does (Polyak & Juditsky 1992, SIAM J. Control
Optim. 30, 838–855).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim.swa_utils import AveragedModel


def averaged(model: Module, decay: float = 0.999) -> AveragedModel:
    """The exponential moving average of a network's parameters; `update_parameters(model)` after every step, `.module` is the network.

    Buffers are those of the last step. The decay grows to its value as min(decay, (1 + n) / (10 + n)) with the steps n, or a short
    training would still be dominated by where it began.

    Parameters
    ----------
    model : Module
    decay : float
        0 to below 1; 0.999 averages about the last 1000 steps.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # As tensors, since asking for the number of steps would wait for the device.
        weight = 1 - torch.clamp((1 + count) / (10 + count), max=decay)
        for average, value in zip(averages, current, strict=True):
            average.lerp_(value, weight.to(average.dtype))

    return AveragedModel(model, multi_avg_fn=update)  # type: ignore[arg-type]
