"""Options of the built-in methods. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

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


class PixelwiseOptions(MethodOptions):
    """Options of methods that solve every pixel in time from all its observations."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target whose fine images are used")
    cloud_reach: float = Field(default=300.0, ge=0, description="metres around hidden pixels in which an observation is trusted less")
    cloud_noise: float = Field(default=2.0, ge=0, description="added noise variance beside a hidden pixel, in noise variances")

    def support(self) -> tuple[int, int]:
        return self.days, self.days

    def halo(self) -> float:
        return self.cloud_reach


class ResidualOptions(PixelwiseOptions):
    """Options of the method of residuals."""


SMOOTHER_PART = 16
"""Days of the parts of the calendar that the smoother solves at once."""


class SmootherOptions(PixelwiseOptions):
    """Options of the smoother."""

    days: int = Field(default=144, ge=SMOOTHER_PART, le=400, description="days before and after a target whose fine images are used")


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


class FsdafOptions(PairOptions):
    """Options of FSDAF."""

    window: float = Field(default=1230.0, gt=0, description="edge of the window in which similar neighbours are sought [m]")
    similar: int = Field(default=20, ge=1, description="similar neighbours that are averaged")
    classes: int = Field(default=4, ge=1, le=12, description="classes of the fine image")
    unmixing: float = Field(default=2400.0, gt=0, description="edge of the window of coarse cells from which class changes are unmixed [m]")
    cell: float = Field(default=480.0, ge=0, description="coarse cells narrower than this are joined [m]")
    interpolation: Literal["thin-plate", "inverse-distance"] = Field(default="thin-plate", description="rule that smooths the coarse image")
    gate: float = Field(
        default=0.0, ge=0, description="cells left over by more σ of the window are changed cover (FSDAF 2.0); 0 = none are"
    )

    def halo(self) -> float:
        # With a gate: what is usual in the window of a cell of the window.
        return self.window / 2 + self.unmixing / 2 * (3 if self.gate else 1) + self.cell


class StackOptions(MethodOptions):
    """Options of the stack of methods."""

    methods: dict[str, dict[str, Any]] = Field(
        default={"efast": {}, "residual": {}, "robot": {}},
        min_length=1,
        validate_default=True,
        description="the methods that are averaged, by name, each with its options",
    )
    days: int | None = Field(
        default=None, ge=1, le=400, description="days before and after a target that are looked at by methods whose options do not say it"
    )

    @model_validator(mode="after")
    def _whole(self) -> StackOptions:
        """Write out the options of the members, so that what is recorded of a stack says all."""
        if "stack" in self.methods:
            raise ValueError("a stack holds no stack: name its members")
        # Sorted, so that the order in a file decides nothing.
        whole = {name: self._member(name, self.methods[name]).model_dump() for name in sorted(self.methods)}
        self.methods.clear()
        self.methods.update(whole)
        return self

    def members(self) -> dict[str, MethodOptions]:
        """Checked options of the members by name."""
        return {name: self._member(name, options) for name, options in self.methods.items()}

    def support(self) -> tuple[int, int]:
        before, after = zip(*(options.support() for options in self.members().values()), strict=True)
        return max(before), max(after)

    def halo(self) -> float:
        return max(options.halo() for options in self.members().values())

    def _member(self, name: str, options: dict[str, Any]) -> MethodOptions:
        # The registry imports this module.
        from pipeline.fusion.registry import options_of, spec_of

        takes_days = self.days is not None and "days" in spec_of(name).options.model_fields
        checked: MethodOptions = options_of(name, {"days": self.days} | options if takes_days else options)
        return checked


class RobotOptions(MethodOptions):
    """Options of ROBOT."""

    days: int = Field(default=64, ge=1, le=400, description="days before and after a target whose fine images are used")
    window: float = Field(default=900.0, gt=0, description="edge of the window in which the target is written as a sum of images [m]")
    coherence: float = Field(
        default=1.0, ge=0, description="weight of the fine images before and after the target, against its coarse image"
    )
    sparsity: float = Field(default=2.0, ge=0, description="penalty of the sum of weights, for a window of 30 × 30 pixels")

    def support(self) -> tuple[int, int]:
        return self.days, self.days

    def halo(self) -> float:
        return self.window / 2


class ObjectOptions(PairOptions):
    """Options of the object-level methods."""

    tile: float = Field(default=1920.0, gt=0, description="edge of the tiles that are segmented alone; whole coarse cells of it count [m]")
    detail: float = Field(default=300.0, gt=0, description="scale of the segmentation: the larger, the larger the segments")
    smallest: float = Field(default=2.0, ge=0, description="area of the smallest segment [ha]")
    box: float = Field(default=3600.0, gt=0, description="edge of the window of coarse cells for segments too small for a line [m]")
    cell: float = Field(default=480.0, ge=0, description="coarse cells narrower than this are joined [m]")

    def halo(self) -> float:
        return self.tile + self.box / 2 + self.cell


class VsdfOptions(PairOptions):
    """Options of VSDF."""

    window: float = Field(default=3840.0, gt=0, description="edge of the overlapping windows that are classified and unmixed alone [m]")
    classes: int = Field(default=20, ge=1, le=60, description="classes of reflectance and its variation in a window")
    regression: float = Field(default=1200.0, gt=0, description="edge of the window of coarse cells on which the variation is fitted [m]")

    def halo(self) -> float:
        return self.window + self.regression


COARSE_LOOK = 16
"""Days around a day whose coarse the restoration network looks at."""


class NetworkOptions(MethodOptions):
    """Options of methods that correct a prediction by a network."""

    days: int = Field(default=80, ge=COARSE_LOOK + 1, le=400, description="days before and after a target that are looked at")
    weights: str = Field(default="", description="file of weights (safetensors, its card beside it); those shipped by default")

    def support(self) -> tuple[int, int]:
        return self.days, self.days

    def halo(self) -> float:
        # The network 48 pixels of 30 m, what it is told of cells 32, their restoration 24.
        return 3120.0


class CorrectedOptions(NetworkOptions):
    """Options of the smoother corrected by a network."""

    days: int = Field(default=144, ge=SMOOTHER_PART, le=400, description="days before and after a target that are looked at")

    def halo(self) -> float:
        # The network 48 pixels of 30 m, what it is told of cells 32, the smoother 10.
        return 2880.0


class PairNetworkOptions(PairOptions):
    """Options of networks on pairs."""

    weights: str = Field(default="", description="file of weights (safetensors, its card beside it); those shipped by default")

    def halo(self) -> float:
        # As far as the one that looks farthest does, 153 pixels of 30 m, and what it is told of cells.
        return 5040.0
