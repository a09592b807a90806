"""Classes of pixels by their values: k-means that gives the same classes every time."""

from __future__ import annotations

import torch
from torch import Tensor

_MOST = 20000
"""Pixels that centres are learnt from."""

_ROUNDS = 50
"""Rounds after which centres that still move are taken as they are."""


def cluster_centres(values: Tensor, count: int) -> Tensor:
    """Centres of k-means (Lloyd 1982), begun with parts of equal size along the first principal axis.

    Parameters
    ----------
    values : Tensor, (N, B)
        Finite; at least one. Of many, every n-th is used.
    count : int

    Returns
    -------
    Tensor, (count, B)
        Centres that lost all their values stay where they were.
    """
    sample = values[:: -(-len(values) // _MOST)].double()
    centred = sample - sample.mean(dim=0)
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    order = sample[(centred @ axis).argsort(stable=True)]
    parts = [
        order[len(order) * part // count : max(len(order) * (part + 1) // count, len(order) * part // count + 1)] for part in range(count)
    ]
    centres = torch.stack([part.mean(dim=0) for part in parts])
    label: Tensor | None = None
    for _ in range(_ROUNDS):
        previous, label = label, torch.cdist(sample, centres).argmin(dim=1)
        if previous is not None and torch.equal(previous, label):
            break
        members = torch.nn.functional.one_hot(label, count).to(sample.dtype)
        size = members.sum(dim=0)[:, None]
        centres = torch.where(size > 0, members.T @ sample / size.clamp(min=1), centres)
    return centres.to(values.dtype)


def nearest_centre(values: Tensor, centres: Tensor) -> Tensor:
    """The class of every pixel.

    Parameters
    ----------
    values : Tensor, (B, y, x)
        Finite.
    centres : Tensor, (C, B)

    Returns
    -------
    Tensor, (y, x) long
        The nearest centre; of two equally near the first.
    """
    best = values.new_full(values.shape[1:], torch.inf)
    label = torch.zeros(values.shape[1:], dtype=torch.long, device=values.device)
    for place, centre in enumerate(centres):
        apart = torch.zeros_like(best)
        for plane, value in zip(values, centre.tolist(), strict=True):
            apart.add_((plane - value).square_())
        label.masked_fill_(apart < best, place)
        torch.minimum(best, apart, out=best)
    return label
