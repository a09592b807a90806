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


class PairOptions(MethodOptions):
    """Options of methods on pairs of fine and coarse images."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target that are looked at")

    def support(self) -> tuple[int, int]:
        return self.days, self.days


class StarfmOptions(PairOptions):
    """Options of STARFM."""

    window: float = Field(default=1530.0, gt=0, description="edge of the window in which similar neighbours are sought [m]")
    classes: int = Field(default=40, ge=1, description="neighbours differ by less than 2 σ of the window over this")
    uncertainty: float = Field(default=0.005, ge=0, description="1 σ of fine and of coarse reflectance")

    def halo(self) -> float:
        return self.window / 2


class EstarfmOptions(PairOptions):
    """Options of ESTARFM."""

    window: float = Field(default=1530.0, gt=0, description="edge of the window in which similar neighbours are sought [m]")
    classes: int = Field(default=4, ge=1, description="neighbours differ by less than 2 σ of the window over this, in every band")
    uncertainty: float = Field(default=0.002, ge=0, description="coarse change below which no conversion coefficient is fitted")

    def halo(self) -> float:
        return self.window / 2


class FitFcOptions(PairOptions):
    """Options of Fit-FC."""

    window: float = Field(default=1230.0, gt=0, description="edge of the window in which similar neighbours are sought [m]")
    similar: int = Field(default=20, ge=1, description="similar neighbours that are averaged")
    regression: float = Field(default=2400.0, gt=0, description="edge of the window of coarse cells on which the change is fitted [m]")

    def halo(self) -> float:
        return self.window / 2 + self.regression / 2


class EfastOptions(MethodOptions):
    """Options of EFAST."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target whose fine images are used")
    sigma: float = Field(default=20.0, gt=0, description="1 σ of the weight in time [days]")
    cloud_reach: float = Field(default=3600.0, ge=0, description="distance to clouds from which a pixel weighs in full [m]")

    def support(self) -> tuple[int, int]:
        return self.days, self.days

    def halo(self) -> float:
        return self.cloud_reach
