"""Many small least squares problems without negative weights, all at once."""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 30
"""Of coordinate descent, after which few weights are still wrongly zero or not."""


def non_negative(gram: Tensor, right: Tensor, usable: Tensor, start: Tensor) -> Tensor:
    """Weights w ≥ 0 that minimise ½ w'Gw − r'w (Lawson & Hanson 1974, ch. 23, begun where coordinate descent ends).

    Parameters
    ----------
    gram : Tensor, (K, K, ...) float64
    right : Tensor, (K, ...)
    usable : Tensor, (K, ...) bool
        The others are zero.
    start : Tensor, (K, ...)
        Where to begin.

    Returns
    -------
    Tensor, (K, ...)
    """
    count = len(right)
    weights, free = (part.flatten(1).T.contiguous() for part in _descended(gram, right, usable, start))
    matrix, goal, allowed = gram.flatten(2).permute(2, 0, 1), right.flatten(1).T, usable.flatten(1).T
    ridge = matrix.diagonal(dim1=1, dim2=2).clamp(min=1e-6).mul(1e-9)
    least = goal.abs().amax(dim=1).mul_(1e-9)
    left = torch.arange(len(weights), device=weights.device)
    for _ in range(3 * count):
        now, inside, system = weights[left], free[left], matrix[left]
        masked = system * inside[:, :, None] * inside[:, None, :] + torch.diag_embed(torch.where(inside, ridge[left], 1.0))
        solved = torch.linalg.solve(masked, goal[left] * inside)
        # As far as the first weight that becomes zero, which is then no longer free.
        length = torch.where(inside & (solved <= 0), now / (now - solved).clamp(min=1e-300), 1.0).amin(dim=1, keepdim=True)
        now = now.lerp(solved, length).clamp_(min=0.0).mul_(inside)
        whole = length[:, 0] >= 1
        inside &= whole[:, None] | (now > 1e-12)
        # Where none became zero, the zero weight that would gain most is set free.
        slope = (goal[left] - (system @ now[..., None])[..., 0]).masked_fill_(inside | ~allowed[left], -torch.inf)
        best, place = slope.max(dim=1)
        gains = whole & (best > least[left])
        inside |= torch.nn.functional.one_hot(place, count).bool() & gains[:, None]
        weights[left], free[left] = now, inside
        left = left[~whole | gains]
        if not len(left):
            break
    return weights.T.reshape(right.shape)


def _descended(gram: Tensor, right: Tensor, usable: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Nearly the weights, and which are not zero."""
    weights = start.clone()
    step = torch.where(usable, gram.diagonal().movedim(-1, 0).clamp(min=1e-12).reciprocal(), 0.0)
    slope = right - torch.einsum("kl...,l...->k...", gram, weights)
    for _ in range(_SWEEPS):
        for place in range(len(weights)):
            moved = torch.addcmul(weights[place], slope[place], step[place]).clamp_(min=0.0)
            slope.addcmul_(gram[place], moved - weights[place], value=-1.0)
            weights[place] = moved
    return weights, weights > 0
