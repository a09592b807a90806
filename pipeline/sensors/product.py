"""The form in which a product (one STAC collection of one sensor family) is described."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Strict):
    """One reflectance band (or index) and how its digital numbers become physical values."""

    asset: str = Field(description="key of the STAC asset")
    scale: float = Field(default=1e-4, description="value = DN · scale + offset")
    offset: float = 0.0
    nodata: float | None = Field(default=None, description="DN that means no data")
    valid: tuple[float, float] | None = Field(default=None, description="range of DN that may be used, both ends included")
    quality_asset: str | None = Field(default=None, description="a quality layer of this band alone")
    quality_drop: tuple[int, ...] = Field(default=(), description="values of quality_asset that hide the band")
    quality_inflate: tuple[int, ...] = Field(default=(), description="values of quality_asset that enlarge the variance")


class Layer(_Strict):
    """One QA layer. Either bits (name of a Reason → bit numbers) or whole values (name of a Reason → values)."""

    asset: str
    bits: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → bits, any of which sets it")
    values: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → values that set it")
    required: bool = Field(default=True, description="a scene without this layer is not used")


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
        description="acquisition: solar day of the instant; id: the AYYYYDDD of the id; datetime: the calendar date of datetime or start_datetime",
    )
    support: Support = Support()
    id_pattern: str | None = Field(
        default=None,
        description="regular expression with named groups of: sensor, path, row, date (YYYYMMDD), doy (YYYYDDD), tile, stamp, category",
    )
    std: float = Field(default=0.01, gt=0, description="1 σ of one value, reflectance")
    footprint: float = Field(default=0.0, ge=0, description="effective footprint after gridding [m]; 0 = the pixel")


@cache
def builtin_products() -> dict[str, Product]:
    """The products landfuse knows, by name."""
    text = resources.files("pipeline.sensors").joinpath("products.yaml").read_text(encoding="utf-8")
    return {name: Product.model_validate(entry) for name, entry in yaml.safe_load(text).items()}
