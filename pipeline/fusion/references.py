"""What every method here asks of a block: the references of a target, and the coarse of a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import FusionInput
from pipeline.operators.resample import lift
from pipeline.vocabulary import Provenance


@dataclass(frozen=True)
class References:
    """A block on its device.

    Parameters
    ----------
    block : FusionInput
        The observations, tensors on the device of the work.
    clear : Tensor, (K, y, x) bool
        Pixels observed in every band.
    parameters : mapping
        What the method knows of the area.
    """

    block: FusionInput
    clear: Tensor
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, block: FusionInput, device: torch.device, parameters: Mapping[str, Any] | None = None) -> References:
        """Move a block to a device."""
        moved = FusionInput(
            fine=block.fine.to(device),
            fine_days=tuple(int(day) for day in block.fine_days),
            fine_std=block.fine_std.to(device),
            coarse=block.coarse.to(device),
            coarse_std=block.coarse_std.to(device),
            coarse_days=tuple(int(day) for day in block.coarse_days),
            scale=block.scale,
            resolution=block.resolution,
            origin=block.origin,
            layers={name: layer.to(device) for name, layer in block.layers.items()},
            fine_doubt=None if block.fine_doubt is None else block.fine_doubt.to(device),
            fine_surface=None if block.fine_surface is None else block.fine_surface.to(device),
            bands=block.bands,
            coarse_layers={name: layer.to(device) for name, layer in block.coarse_layers.items()},
        )
        clear = torch.empty((len(moved.fine), *moved.fine.shape[-2:]), dtype=torch.bool, device=device)
        for image, seen in zip(moved.fine, clear, strict=True):
            # Not finite if any band is not, and then total − total is NaN: several times faster than asking every band.
            total = image.sum(dim=0)
            torch.eq(total.sub_(total), 0.0, out=seen)
        return cls(moved, clear, parameters or {})

    @property
    def shape(self) -> tuple[int, int, int]:
        """(B, y, x)."""
        bands = self.block.coarse.shape[1]
        height, width = self.block.coarse.shape[-2:]
        return bands, height * self.block.scale, width * self.block.scale

    def around(self, target: int, before: int, after: int) -> list[int]:
        """Indices of the fine images from `before` days before to `after` days after a target, without its own, in order of time."""
        return [index for index, day in enumerate(self.block.fine_days) if target - before <= day <= target + after and day != target]

    def coarse_of(self, day: int) -> tuple[Tensor, Tensor]:
        """Coarse mean and std (B, Y, X) of a day; NaN when the series does not hold it."""
        first = self.block.coarse_days[0] if self.block.coarse_days else 0
        index = day - first
        if 0 <= index < len(self.block.coarse_days):
            return self.block.coarse[index], self.block.coarse_std[index]
        empty = self.block.coarse.new_full(self.block.coarse.shape[1:], torch.nan)
        return empty, empty

    def lifted(self, day: int) -> Tensor:
        """Coarse mean (B, y, x) of a day."""
        return lift(self.coarse_of(day)[0], self.block.scale)


def provenance(before: Tensor, after: Tensor, known: Tensor) -> Tensor:
    """Provenance (y, x) uint8 from where clear observations stand.

    Parameters
    ----------
    before, after : Tensor, (y, x) bool
        A clear observation was used on that side of the target.
    known : Tensor, (y, x) bool
        The pixel has a value.
    """
    one_sided = torch.where(before | after, int(Provenance.FUSED_ONE_SIDED), int(Provenance.EXTRAPOLATED))
    code = torch.where(before & after, int(Provenance.FUSED_TWO_SIDED), one_sided)
    return torch.where(known, code, int(Provenance.MISSING)).to(torch.uint8)
