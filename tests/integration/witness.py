"""A method of another package that predicts nothing: it publishes the extra layers that it was given, so that a test can look at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.fusion.interface import DayPrediction, FusionInput, MethodOptions, MethodSpec
from pipeline.fusion.references import References
from pipeline.vocabulary import Provenance

BANDS = ("green", "red", "nir08")
"""They show the median NDVI, the red band of 250 m and the NDVI of 250 m."""


def as_reflectance(ndvi: Any) -> Any:
    """An NDVI in the range of what may be published."""
    return 0.4 * (ndvi + 1)


class Options(MethodOptions):
    """It looks at few days."""

    def support(self) -> tuple[int, int]:
        return 16, 16


class Witness:
    """Shows what it was given."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        return {"median": round(float(samples[0].layers["ndvi_median"].nanmean()), 4), "bands": list(samples[0].bands)}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> FusionInput:
        return References.of(block, device, parameters).block

    def days(self, state: FusionInput, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for day in targets:
            at = state.coarse_days.index(day)
            cells = (state.coarse_layers[name][at] for name in ("red_250m", "ndvi_250m"))
            red, ndvi = (layer.repeat_interleave(state.scale, 0).repeat_interleave(state.scale, 1) for layer in cells)
            mean = torch.stack([as_reflectance(state.layers["ndvi_median"]), red, as_reflectance(ndvi)])
            source = torch.where(torch.isfinite(mean).all(0), int(Provenance.EXTRAPOLATED), int(Provenance.MISSING)).to(torch.uint8)
            yield DayPrediction(day, mean, torch.full_like(mean, 0.02), source)


SPEC = MethodSpec(
    name="witness",
    title="shows its layers",
    source="a test",
    target=f"{__name__}:Witness",
    options=Options,
    needs=frozenset({"references", "coarse", "ndvi_median", "coarse_layers"}),
)


def install(folder: Path) -> None:
    """Make a folder that, on the path of Python, is a package with this method."""
    about = folder / "witness-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[landfuse.methods]\nwitness = {__name__}:SPEC\n")
