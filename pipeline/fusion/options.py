"""Options of the built-in methods. Imports no torch."""

from __future__ import annotations

from pydantic import Field

from pipeline.fusion.interface import MethodOptions


class ControlOptions(MethodOptions):
    """Options of a control."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target that are looked at")

    def support(self) -> tuple[int, int]:
        return self.days, self.days


class HarmonicOptions(ControlOptions):
    """Options of the harmonic control."""

    days: int = Field(default=183, ge=1, le=800, description="days before and after a target that are looked at")
    terms: int = Field(default=1, ge=1, le=3, description="harmonics of the year")
    ridge: float = Field(default=0.5, gt=0, description="weight that draws the harmonics to zero, in observations")


class ResidualOptions(MethodOptions):
    """Options of the method of residuals."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target whose fine images are used")
    cloud_reach: float = Field(default=300.0, ge=0, description="metres around hidden pixels in which an observation is trusted less")
    cloud_noise: float = Field(default=2.0, ge=0, description="added noise variance beside a hidden pixel, in noise variances")

    def support(self) -> tuple[int, int]:
        return self.days, self.days

    def halo(self) -> float:
        return self.cloud_reach
