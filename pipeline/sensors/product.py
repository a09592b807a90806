"""The form in which a product (one STAC collection of one sensor family) is described."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.vocabulary import Reason


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BitField(_Strict):
    """Adjacent bits of a QA layer read as one number."""

    first: int = Field(ge=0, le=31, description="lowest bit")
    width: int = Field(ge=1, le=16, description="number of bits")
    values: tuple[int, ...] = Field(min_length=1, description="numbers that set the reason")


class Band(_Strict):
    """One reflectance band (or index) and how its digital numbers become physical values."""

    asset: str = Field(description="key of the STAC asset")
    aliases: tuple[str, ...] = Field(default=(), description="keys under which other providers hold the same asset")
    scale: float = Field(default=1e-4, description="value = DN · scale + offset")
    offset: float = 0.0
    nodata: float | None = Field(default=None, description="DN that means no data")
    dtype: Literal["uint8", "int16", "uint16", "int32", "float32"] | None = Field(
        default=None, description="type of the DN as read; left out, or without nodata, float32 with NaN as nodata"
    )
    valid: tuple[float, float] | None = Field(default=None, description="range of DN that may be used, both ends included")
    quality_asset: str | None = Field(default=None, description="a quality layer of this band alone")
    quality_bits: tuple[int, int] | None = Field(
        default=None, description="lowest bit and number of bits of quality_asset that speak of this band; left out, the whole value does"
    )
    quality_drop: tuple[int, ...] = Field(default=(), description="numbers of quality_asset that hide the band")
    quality_inflate: tuple[int, ...] = Field(default=(), description="numbers of quality_asset that enlarge the variance")


class Layer(_Strict):
    """One QA layer: single bits, bit fields or whole values that set a Reason. Any of them is enough."""

    asset: str = Field(description="key of the STAC asset")
    aliases: tuple[str, ...] = Field(default=(), description="keys under which other providers hold the same asset")
    bits: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → bits, any of which sets it")
    fields: dict[str, tuple[BitField, ...]] = Field(default_factory=dict, description="Reason → numbers in adjacent bits that set it")
    values: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="Reason → values that set it")
    ranges: dict[str, tuple[tuple[int, int], ...]] = Field(
        default_factory=dict, description="Reason → ranges of values that set it, both ends included"
    )
    required: bool = Field(default=True, description="a scene without this layer is not used")
    platforms: tuple[str, ...] = Field(default=(), description="platforms whose scenes have this layer; all when empty")

    @field_validator("bits", "fields", "values", "ranges", mode="before")
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
    time_std: float = Field(default=0.0, ge=0, description="1 σ of the unknown instant of a value around the centre [days]")


class DayLayer(_Strict):
    """A layer that holds the day of the year on which each pixel was observed."""

    asset: str = Field(description="key of the STAC asset")
    nodata: int = Field(description="DN that means no day")


class AngleLayers(_Strict):
    """Layers of the directions of view and sun. Either the two azimuths or their difference."""

    view_zenith: str
    sun_zenith: str
    view_azimuth: str | None = None
    sun_azimuth: str | None = None
    relative_azimuth: str | None = None
    scale: float = Field(default=0.01, description="degrees of one DN")
    nodata: int | None = Field(default=None, description="DN that means no data")

    @model_validator(mode="after")
    def _azimuths(self) -> AngleLayers:
        if self.relative_azimuth is None and (self.view_azimuth is None or self.sun_azimuth is None):
            raise ValueError("angles need relative_azimuth, or both view_azimuth and sun_azimuth")
        return self

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of the layers there are."""
        names = (self.view_zenith, self.sun_zenith, self.view_azimuth, self.sun_azimuth, self.relative_azimuth)
        return tuple(name for name in names if name is not None)


class Bandpass(_Strict):
    """From the bandpass of a sensor to that of OLI: reflectance = offset + gain · reflectance, for each band."""

    offset: dict[str, float] = Field(description="STAC common name → offset [reflectance]")
    gain: dict[str, float] = Field(description="STAC common name → gain")


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
        description=(
            "regular expression with named groups of: sensor, path, row, date (YYYYMMDD), doy (YYYYDDD), time, tile, version, stamp, "
            "category"
        ),
    )
    platforms: dict[str, str] = Field(
        default_factory=dict, description="the id's sensor → platform; goes before what the item says, which some archives left empty"
    )
    local_hour: dict[str, float] = Field(
        default_factory=dict,
        description=(
            "platform → solar-local hour of its overpass. It turns a UTC date without an hour into a solar day: that of the id of a "
            "product of one day (a composite keeps the day of its id), or that of an item that says the date of its acquisition only"
        ),
    )
    foreign: dict[str, str] = Field(
        default_factory=dict, description="regular expression of ids that its collections hold as well → why they are not this product"
    )
    hdf5: dict[str, str] = Field(
        default_factory=dict, description="asset → path in the HDF5 file that holds all of them, for items that have nothing else"
    )
    day_layer: DayLayer | None = Field(default=None, description="day of each pixel of a composite; without it all are of the centre")
    geometry: Literal["observed", "noon", "hls", "published"] = Field(
        default="published",
        description=(
            "directions the reflectance is for: observed = sun and view of the acquisition; noon = nadir, sun at solar noon; "
            "hls = nadir, sun as HLS takes it; published = nothing is to be done"
        ),
    )
    angles: AngleLayers | None = Field(default=None, description="per-pixel angles; without them a coarse product's σ is enlarged")
    bandpass: dict[str, Bandpass] = Field(default_factory=dict, description="platform → line to the bandpass of OLI")
    tiling: Literal["sinusoidal", "hls"] | None = Field(
        default=None, description="grid that the id's tile names, for items that do not say where their pixels lie"
    )
    pixel: float = Field(default=0.0, ge=0, description="edge of a native pixel [m], of products with a tiling")
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
