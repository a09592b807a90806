"""ROBOT: the target as a sum of the images of the archive, with weights that its coarse image and its fine neighbours in time give.

Chen, Wang & Gong 2023, ROBOT: a spatiotemporal fusion model toward seamless data cube for global remote sensing applications
(RSE 294, 113616): in a window, non-negative weights w that minimise

    ½ ‖C_t − Σ w_k C_k‖² + β/2 ‖F_n − Σ w_k F_k‖² + λ Σ w_k

with coarse images C, fine images F, and the mean F_n of the fine images before and after the target. The windows of the paper overlap by a
third; here there is one around every coarse cell and the weights are interpolated, so that no edge of a window shows. As in
iROBOT (Guo et al. 2025, JAG 144, 104964) images that are hidden in half of a window have no say there. The weights are of windows, so
an observation in doubt has the weight of its neighbours; its doubt makes σ larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.fusion.archive import ArchiveMethod
from pipeline.fusion.options import RobotOptions
from pipeline.fusion.pairs import Recipe, pair_of, recipe_of
from pipeline.fusion.references import References
from pipeline.operators.least_squares import non_negative
from pipeline.operators.resample import lift
from pipeline.operators.spatial import box_sum
from pipeline.operators.window import radius_of

_HIDDEN = 0.5
"""Share of hidden pixels of a window above which an image has no say."""

_WINDOW = 900
"""Pixels of the window that the paper's penalty is meant for."""

_WHOLE = (0.98, 1.02)
"""Sum of the weights between which the coarse residual is left out."""

_AT_ONCE = 1 << 21
"""Values of an image of which products are taken at once."""


@dataclass(frozen=True)
class Archive:
    """The fine images of a support, complete, and their products on coarse cells.

    Parameters
    ----------
    images : list of Tensor, (B, y, x)
        Hidden pixels filled from other days; 0 where no image shows them.
    products : Tensor, (K, K, Y, X) float64
        Sums over the bands and fine pixels of a cell.
    hidden : Tensor, (K, Y, X)
        Share of the pixels of the window around a cell that an image does not show.
    """

    images: list[Tensor]
    products: Tensor
    hidden: Tensor


@dataclass
class Kept:
    """What was made for the last target, since the next one mostly sees the same images.

    Parameters
    ----------
    images : dict
        Complete images by the recipe of their making.
    indices : tuple of int
    archive : Archive or None
        Of these images.
    """

    images: dict[Recipe, Tensor] = field(default_factory=dict)
    indices: tuple[int, ...] = ()
    archive: Archive | None = None


class Robot(ArchiveMethod[Kept]):
    """ROBOT on all images of the support."""

    options: RobotOptions

    def analyse(self, references: References) -> Kept:
        return Kept()

    def predict(self, references: References, analysis: Kept, indices: Sequence[int], target: int) -> Tensor:
        archive = self._archive(references, analysis, tuple(indices))
        weights, residual = self._weights(references, archive, indices, target)
        scale = references.block.scale
        predicted = lift(residual, scale)
        for image, weight in zip(archive.images, weights, strict=True):
            predicted.addcmul_(image, lift(weight, scale))
        return predicted

    def _radius(self, references: References) -> int:
        return radius_of(self.options.window, references.block.scale * references.block.resolution)

    def _archive(self, references: References, kept: Kept, indices: tuple[int, ...]) -> Archive:
        if kept.archive is None or kept.indices != indices:
            kept.archive = None  # Not two at a time.
            recipes = [recipe_of(references, index, indices) for index in indices]
            kept.images = {recipe: kept.images[recipe] if recipe in kept.images else _image(references, recipe) for recipe in recipes}
            scale = references.block.scale
            hidden = (~references.clear[list(indices)]).to(references.block.fine.dtype)
            share = hidden.unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale)).mean(dim=(-3, -1))
            radius = self._radius(references)
            share = box_sum(share, radius).div_(box_sum(torch.ones_like(share[0]), radius))
            images = list(kept.images.values())
            kept.archive, kept.indices = Archive(images, _products(images, scale), share), indices
        return kept.archive

    def _weights(self, references: References, archive: Archive, indices: Sequence[int], target: int) -> tuple[Tensor, Tensor]:
        """Weights (K, Y, X) of the images, and what they leave of the coarse (B, Y, X), 0 where the weights add up to one."""
        block, options = references.block, self.options
        radius = self._radius(references)
        today = references.coarse_of(target)[0].double()
        coarse = torch.stack([references.coarse_of(block.fine_days[index])[0] for index in indices]).double()
        lost = ~torch.isfinite(coarse).all(dim=1)
        seen = archive.hidden <= _HIDDEN
        usable = seen & (box_sum(lost.to(archive.hidden.dtype), radius) == 0)
        known = torch.isfinite(today).all(dim=0) & usable.any(dim=0)
        usable = torch.where(usable.any(dim=0), usable, seen)
        usable |= ~usable.any(dim=0)
        today, coarse = torch.where(known, today, 0.0), torch.where(known & ~lost[:, None], coarse, 0.0)
        pixels = block.scale**2
        fine = box_sum(archive.products, radius).mul_(options.coherence)
        gram = box_sum(torch.einsum("kbyx,lbyx->klyx", coarse, coarse).mul_(pixels), radius).add_(fine)
        right = box_sum(torch.einsum("kbyx,byx->kyx", coarse, today).mul_(pixels), radius)
        near = _neighbours([block.fine_days[index] - target for index in indices], usable).to(gram.dtype)
        right += torch.einsum("klyx,lyx->kyx", fine, near)
        area = box_sum(torch.full_like(today[0], pixels), radius)
        right -= area.mul_(options.sparsity / _WINDOW)
        # Where the coarse says nothing, the mean of the neighbours is what is left to meet: no penalty may draw it to zero.
        weights = torch.where(known, non_negative(gram, right, usable, near), near)
        total = weights.sum(dim=0)
        off = known & ((total < _WHOLE[0]) | (total > _WHOLE[1]))
        residual = (today - torch.einsum("kyx,kbyx->byx", weights, coarse)).mul_(off)
        return weights.to(block.fine.dtype), residual.to(block.fine.dtype)


def _image(references: References, recipe: Recipe) -> Tensor:
    """A complete fine image (B, y, x)."""
    return references.block.fine[recipe.main] if bool(references.clear[recipe.main].all()) else pair_of(references, recipe).fine


def _products(images: Sequence[Tensor], scale: int) -> Tensor:
    """Sums (K, K, Y, X) over the bands and fine pixels of a cell of the products of every two images."""
    bands, height, width = images[0].shape
    rows = max(_AT_ONCE // (len(images) * bands * width * scale), 1)
    strips = []
    for top in range(0, height // scale, rows):
        strip = torch.stack([image[:, top * scale : (top + rows) * scale] for image in images]).double()
        cells = strip.unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale)).permute(2, 4, 0, 1, 3, 5).flatten(3)
        strips.append((cells @ cells.mT).permute(2, 3, 0, 1))
    return torch.cat(strips, dim=2)


def _neighbours(offsets: Sequence[int], usable: Tensor) -> Tensor:
    """Weights (K, Y, X) of the mean of the nearest usable images before and after a target; of one alone where there is no other."""
    near = torch.zeros_like(usable, dtype=torch.float32)
    for side in (-1, 1):
        left = torch.ones_like(usable[0])
        for place in sorted((place for place, days in enumerate(offsets) if days * side > 0), key=lambda place: abs(offsets[place])):
            near[place] += left & usable[place]
            left &= ~usable[place]
    return near.div_(near.sum(dim=0).clamp_(min=1.0))
