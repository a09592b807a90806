"""What goes into a fusion method and what comes out. Importing this module imports no torch.

A method never sees the fine observation of the day it predicts: `days` must leave it
out. The caller keeps what was observed and blends the prediction into the gaps, and
gets an honest error of every method from every clear pixel for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from pipeline.grid import Window

if TYPE_CHECKING:
    import torch

NDVI_MEDIAN, COARSE_LAYERS = "ndvi_median", "coarse_layers"
"""Extra layers that a method may need."""


@dataclass(frozen=True)
class FusionInput:
    """The observations of one block with its halo, cut off at the edge of the area.

    Parameters
    ----------
    fine : Tensor, (K, B, y, x) float32
        Clear fine reflectance (0–1), one image per day, NaN = not observed.
    fine_days : tuple of int, (K,)
        Day numbers, increasing.
    fine_std : Tensor, (K, B) float32
        1 σ of one fine value.
    coarse : Tensor, (T, B, Y, X) float32
        Restored coarse reflectance of consecutive days, in fine radiometry; NaN = nothing known.
    coarse_std : Tensor, (T, B, Y, X) float32
        1 σ of the restored values.
    coarse_days : tuple of int, (T,)
        Day numbers, consecutive.
    scale : int
        Fine pixels along the edge of a coarse cell: ``y = Y · scale``.
    resolution : float
        Edge of a fine pixel [m].
    origin : tuple of int
        (row, column) of the first coarse cell on the lattice of the CRS.
    layers : mapping
        Optional extra layers (y, x) float32 by name, NaN = unknown: ``ndvi_median``, the annual median of clear snow-free fine NDVI.
    fine_doubt : Tensor, (K, y, x) float32, or None
        Factor of `fine_std` of each pixel: high aerosol, values below zero; None when it is 1 everywhere.
    fine_surface : Tensor, (K, y, x) uint8, or None
        `Surface` codes of what each pixel showed; None when nothing is known but land.
    bands : tuple of str, (B,)
        STAC common names; empty when they are not known.
    coarse_layers : mapping
        Optional extra coarse series (T, Y, X) float32 by name, of `coarse_days`, NaN = unknown: ``red_250m``, ``nir_250m`` [reflectance]
        and ``ndvi_250m`` [1].
    """

    fine: torch.Tensor
    fine_days: tuple[int, ...]
    fine_std: torch.Tensor
    coarse: torch.Tensor
    coarse_std: torch.Tensor
    coarse_days: tuple[int, ...]
    scale: int
    resolution: float
    origin: tuple[int, int] = (0, 0)
    layers: Mapping[str, torch.Tensor] = field(default_factory=dict)
    fine_doubt: torch.Tensor | None = None
    fine_surface: torch.Tensor | None = None
    bands: tuple[str, ...] = ()
    coarse_layers: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def window(self, cells: Window) -> FusionInput:
        """The part of the block on some of its coarse cells; shares memory."""
        fine, coarse = (..., *cells.fine(self.scale).slices), (..., *cells.slices)
        return replace(
            self,
            fine=self.fine[fine],
            fine_doubt=None if self.fine_doubt is None else self.fine_doubt[fine],
            fine_surface=None if self.fine_surface is None else self.fine_surface[fine],
            coarse=self.coarse[coarse],
            coarse_std=self.coarse_std[coarse],
            origin=(self.origin[0] + cells.row, self.origin[1] + cells.col),
            layers={name: layer[fine] for name, layer in self.layers.items()},
            coarse_layers={name: layer[coarse] for name, layer in self.coarse_layers.items()},
        )

    def only(self, images: Sequence[int]) -> FusionInput:
        """The block with those of its fine images only that the indices name; copies them."""
        kept = list(images)
        return replace(
            self,
            fine=self.fine[kept],
            fine_days=tuple(self.fine_days[index] for index in kept),
            fine_std=self.fine_std[kept],
            fine_doubt=None if self.fine_doubt is None else self.fine_doubt[kept],
            fine_surface=None if self.fine_surface is None else self.fine_surface[kept],
        )

    def asked(self, needs: Collection[str]) -> FusionInput:
        """The block with those of the extra layers only that a method needs, as `MethodSpec.needs` names them."""
        layers = {name: layer for name, layer in self.layers.items() if name in needs}
        return replace(self, layers=layers, coarse_layers=self.coarse_layers if COARSE_LAYERS in needs else {})

    def measured(self, index: int) -> torch.Tensor:
        """1 σ of the values of a fine image, (B, 1, 1) or (B, y, x)."""
        std = self.fine_std[index][:, None, None]
        return std if self.fine_doubt is None else std * self.fine_doubt[index]


@dataclass(frozen=True)
class DayPrediction:
    """One predicted day.

    Parameters
    ----------
    day : int
        Day number.
    mean : Tensor, (B, y, x) float32
        Reflectance; NaN where nothing can be said.
    std : Tensor, (B, y, x) float32
        1 σ of the error against the true surface reflectance.
    source : Tensor, (y, x) uint8
        `Provenance` codes: FUSED_TWO_SIDED, FUSED_ONE_SIDED, EXTRAPOLATED, CLIMATOLOGY or MISSING.
    """

    day: int
    mean: torch.Tensor
    std: torch.Tensor
    source: torch.Tensor


class Method(Protocol):
    """A fusion method. Instances are built as ``Class(options)`` and hold no state of their own."""

    def __init__(self, options: Any) -> None: ...

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Learn what the method needs to know of an area: a JSON-ready mapping, ``{}`` when nothing."""

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> Any:
        """All work on the references of a block, once for all targets."""

    def days(self, state: Any, targets: Sequence[int]) -> Iterator[DayPrediction]:
        """Predict the target days one after the other.

        A day depends on `parameters` and on observations inside the method's support of
        that day only, never on which other targets are asked for nor on what else is in `block`.
        """


@dataclass(frozen=True)
class MethodSpec:
    """What can be known of a method without importing torch.

    Parameters
    ----------
    name, title, source : str
        Registry name, one line, and the paper or equation it implements.
    target : str
        ``"module:Class"``, imported when the method is used.
    options : type of BaseModel
        Its options; unknown keys are refused. It offers ``halo()`` [m] and
        ``support()`` (days before, days after).
    needs : frozenset of str
        Out of ``references``, ``coarse``, ``training``, and of the extra layers ``ndvi_median`` and ``coarse_layers``: what is not named
        here is not made and not read.
    control : bool
        One of the six controls every score stands beside.
    """

    name: str
    title: str
    source: str
    target: str
    options: type[MethodOptions]
    needs: frozenset[str] = frozenset({"references", "coarse"})
    control: bool = False


class MethodOptions(BaseModel):
    """Base of every method's options."""

    model_config = {"extra": "forbid", "frozen": True}

    def halo(self) -> float:
        """Metres around a pixel that its prediction looks at."""
        return 0.0

    def support(self) -> tuple[int, int]:
        """Days before and after a target that its prediction looks at."""
        return 64, 64
