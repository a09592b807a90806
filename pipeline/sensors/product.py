"""The form in which a product (one STAC collection of one sensor family) is described."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.vocabulary import Reason


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Strict):
    """One reflectance band (or index) and how its digital numbers become physical values."""

    asset: str = Field(description="key of the STAC asset")
    scale: float = Field(default=1e-4, description="value = DN · scale + offset")
    offset: float = 0.0
    nodata: float | None = Field(default=None, description="DN that means no data")
    dtype: Literal["uint8", "int16", "uint16", "int32", "float32"] | None = Field(
        default=None, description="type of the DN as read; left out, or without nodata, float32 with NaN as nodata"
    )
    valid: tuple[float, float] | None = Field(default=None, description="range of DN that may be used, both ends included")
    quality_asset: str | None = Field(default=None, description="a quality layer of this band alone")
    quality_drop: tuple[int, ...] = Field(default=(), description="values of quality_asset that hide the band")
    quality_inflate: tuple[int, ...] = Field(default=(), description="values of quality_asset that enlarge the variance")


class BitField(_Strict):
    """Adjacent bits of a QA layer read as one number."""

    first: int = Field(ge=0, le=31, description="lowest bit")
    width: int = Field(ge=1, le=16, description="number of bits")
    values: tuple[int, ...] = Field(min_length=1, description="numbers that set the reason")


class Layer(_Strict):
    """One QA layer: single bits, bit fields or whole values that set a Reason. Any of them is enough."""

    asset: str
    bits: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → bits, any of which sets it")
    fields: dict[str, tuple[BitField, ...]] = Field(default_factory=dict, description="Reason → numbers in adjacent bits that set it")
    values: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → values that set it")
    required: bool = Field(default=True, description="a scene without this layer is not used")
    platforms: tuple[str, ...] = Field(default=(), description="platforms whose scenes have this layer; all when empty")

    @field_validator("bits", "fields", "values", mode="before")
    @classmethod
    def _known_reasons(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        unknown = [name for name in value if str(name).upper() not in Reason.__members__]
        if unknown:
            raise ValueError(f"unknown reasons {unknown}; expected some of {', '.join(name.lower() for name in Reason.__members__)}")
        return {str(name).upper(): entry for name, entry in value.items()}


class Support(_Strict):
    """Days that went into a value, relative to its nominal day."""

    before: int = Field(default=0, ge=0, description="days before the nominal day")
    after: int = Field(default=0, ge=0, description="days after the nominal day")
    centre: float = Field(default=0.0, description="centre of weight, days after the nominal day")


class Product(_Strict):
    """What landfuse must know to use a STAC collection."""

    role: Literal["fine", "coarse"]
    title: str = ""
    collections: tuple[str, ...] = Field(default=(), description="collection ids that hold this product; the key itself always does")
    bands: dict[str, Band] = Field(description="STAC common name → band")
    layers: tuple[Layer, ...] = ()
    day: Literal["acquisition", "id", "datetime"] = Field(
        default="acquisition",
        description=(
            "acquisition: solar day of the instant; id: the AYYYYDDD of the id; datetime: the calendar date of datetime or start_datetime"
        ),
    )
    support: Support = Support()
    id_pattern: str | None = Field(
        default=None,
        description="regular expression with named groups of: sensor, path, row, date (YYYYMMDD), doy (YYYYDDD), tile, stamp, category",
    )
    platforms: dict[str, str] = Field(
        default_factory=dict, description="the id's sensor → platform; goes before what the item says, which some archives left empty"
    )
    std: float = Field(default=0.01, gt=0, description="1 σ of one value, reflectance")
    footprint: float = Field(default=0.0, ge=0, description="effective footprint after gridding [m]; 0 = the pixel")

    def layers_of(self, platform: str) -> tuple[Layer, ...]:
        """The QA layers that scenes of `platform` have."""
        return tuple(layer for layer in self.layers if not layer.platforms or platform in layer.platforms)


@cache
def builtin_products() -> dict[str, Product]:
    """The products landfuse knows, by name."""
    text = resources.files("pipeline.sensors").joinpath("products.yaml").read_text(encoding="utf-8")
    return {name: Product.model_validate(entry) for name, entry in yaml.safe_load(text).items()}
