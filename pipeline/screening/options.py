"""Options of screening. Imports no torch."""

from __future__ import annotations

import math

from pydantic import BaseModel, Field


class ScreeningOptions(BaseModel):
    """Options of `screen`. Reflectances are those of visible bands."""

    model_config = {"extra": "forbid", "frozen": True}

    days: int = Field(default=48, ge=8, le=180, description="days before and after an image that its neighbours in time lie within")
    sigmas: float = Field(default=4.0, gt=0, description="noise of an image, in σ, beyond which a deviation counts as cloud or haze")
    least: float = Field(default=0.012, gt=0, description="smallest deviation that counts as cloud or haze [reflectance]")
    shade: float = Field(default=0.15, gt=0, lt=1, description="smallest share of the infrared that a shadow takes")
    growth: float = Field(default=0.006, ge=0, description="1 σ of what the coarse series misses of a change within 16 days [reflectance]")
    offset: float = Field(default=0.02, ge=0, description="largest smooth offset of an image that only inflates variance [reflectance]")
    reach: float = Field(default=1200.0, gt=0, description="metres within which a shadow has its cloud, and an offset is the same")

    def support(self) -> tuple[int, int]:
        """Days before and after an image that its verdicts depend on: those of its neighbours, and those that screen the neighbours."""
        return 2 * self.days, 2 * self.days

    def scaled(self, unit: float) -> ScreeningOptions:
        """The same for values that vary so many times as much as the visible bands."""
        return self.model_copy(update={name: getattr(self, name) * unit for name in ("least", "growth", "offset")})

    def cells(self, scale: int, resolution: float) -> int:
        """`reach` in coarse cells of `scale` pixels of `resolution` metres."""
        return math.ceil(self.reach / (scale * resolution))

    def halo(self, scale: int, resolution: float) -> float:
        """Metres around a pixel that its verdict looks at: `reach`, and a cell each for the lift of the coarse and of the offset."""
        return (self.cells(scale, resolution) + 2) * scale * resolution
