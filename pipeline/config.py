"""The area file: what is made, from what, how (`science`), and where and with what means (`runtime`).

Unknown keys are refused. A change in `science` changes the digest and with it the days
that must be made again; a change in `runtime` never changes a pixel.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import ConfigurationError
from pipeline.grid import Grid
from pipeline.screening.options import ScreeningOptions
from pipeline.sensors import Product, builtin_products
from pipeline.vocabulary import BANDS

_LARGEST_SIDE = 100_000
"""Fine pixels along the side of an area: 3000 km at 30 m."""

_Number = TypeVar("_Number", int, float)


def _within(name: str, value: _Number, low: float, high: float, unit: str) -> _Number:
    if not low <= value <= high:
        raise ValueError(f"{name} {value:g}: expected {low:g} to {high:g} {unit}")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridPart(_Part):
    """The grid of the area."""

    crs: str = Field(description="projected CRS in metres: EPSG:n or WKT")
    bounds: tuple[float, float, float, float] = Field(description="west, south, east, north [m]; grown to whole coarse cells")
    resolution: float = Field(default=30.0, description="edge of a fine pixel [m], 1 to 10000")
    scale: int = Field(default=8, ge=2, le=64, description="fine pixels along the edge of a coarse cell")
    anchor: tuple[float, float] | None = Field(
        default=None,
        description=(
            "a corner of the lattice of coarse cells [m]; left out, that of Landsat pixels: 15 m off the origin of the northern UTM "
            "CRS. HLS and Sentinel-2 pixels lie at [0, 0]"
        ),
    )

    @field_validator("resolution")
    @classmethod
    def _in_metres(cls, value: float) -> float:
        return _within("resolution", value, 1, 10_000, "m: the unit is metres, not degrees or kilometres")

    @model_validator(mode="after")
    def _is_a_grid(self) -> GridPart:
        grid = self.build()
        west, south, east, north = self.bounds
        cell = self.resolution * self.scale
        # Degrees, taken for metres, would make an area of one cell.
        if min(east - west, north - south) < cell:
            raise ValueError(f"bounds {self.bounds} are smaller than one coarse cell of {cell:g} m; expected metres of the CRS")
        if max(grid.shape) > _LARGEST_SIDE:
            raise ValueError(
                f"bounds {self.bounds} hold {grid.height} × {grid.width} pixels; expected at most {_LARGEST_SIDE} along a side"
            )
        return self

    def build(self) -> Grid:
        return Grid.from_bounds(self.crs, self.bounds, self.resolution, self.scale, self.anchor)


class SourcePart(_Part):
    """One collection of one catalog."""

    collection: str = Field(description="STAC collection id")
    catalog: str = Field(default="default", description="name of a catalog in runtime.catalogs")
    product: str | None = Field(default=None, description="name of the product; found from the collection when left out")


class MaskPart(_Part):
    """From QA to mask."""

    dilate: float = Field(default=90.0, description="cloud and shadow are grown by this [m], 0 to 5000")
    reflectance: tuple[float, float] = Field(default=(-0.05, 1.6), description="values outside are not observations; reflectance, not DN")
    rescue: bool = Field(default=True, description="pixels flagged as cloud on nearly all days while their reflectance is stable are used")

    @field_validator("dilate")
    @classmethod
    def _in_metres(cls, value: float) -> float:
        return _within("dilate", value, 0, 5000, "m: the unit is metres")

    @field_validator("reflectance")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -2 <= value[0] < value[1] <= 2:
            raise ValueError(f"reflectance {list(value)}: expected lowest < highest within -2 and 2, in reflectance, not in DN")
        return value


class NormalisePart(_Part):
    """From what the sensors saw to the published geometry and radiometry."""

    geometry: bool = Field(default=True, description="move reflectance to nadir view and the sun at 10:10 solar time (c-factor)")
    bandpass: bool = Field(default=True, description="move TM and ETM+ to the bandpass of OLI")
    coregistration: bool = Field(default=True, description="shift coarse products where a significant, consistent displacement is found")


class RestorationPart(_Part):
    """How the coarse series is filled and smoothed."""

    window: int = Field(default=32, ge=1, description="days before and after that may be used")
    tau: float = Field(default=4.0, gt=0, description="e-folding time of the weights [days]")


class ScreeningPart(ScreeningOptions):
    """Fine pixels that passed the mask and are contaminated after all are refused, in front of every method."""

    enabled: bool = Field(default=True, description="screen; false takes every clear pixel as it is")


class MethodPart(_Part):
    """The fusion method and its options, which the method's own model checks."""

    name: str = "smoother"
    options: dict[str, Any] = Field(default_factory=dict)


class SciencePart(_Part):
    """Everything that changes a pixel."""

    grid: GridPart
    start: date = Field(description="first day of the cube; index 0 of its time axis")
    end: date | None = Field(default=None, description="last day that is made; left out, the day before the run")
    bands: tuple[str, ...] = Field(default=BANDS, min_length=1, description="STAC common names")
    fine: tuple[SourcePart, ...] = Field(min_length=1, description="fine sources")
    coarse: tuple[SourcePart, ...] = Field(
        description=(
            "coarse sources; [] where there is none, for methods that need none. Those of 250 m that lack bands of the area (MOD09Q1, "
            "MOD13Q1) make no part of the coarse series beside others: they are read for methods that look at coarse_layers only"
        )
    )
    products: dict[str, Product] = Field(default_factory=dict, description="products of your own, or in place of built-in ones")
    mask: MaskPart = MaskPart()
    normalise: NormalisePart = NormalisePart()
    restoration: RestorationPart = RestorationPart()
    screening: ScreeningPart = ScreeningPart()
    method: MethodPart = MethodPart()
    withhold: tuple[date, ...] = Field(default=(), description="days whose fine scenes are withheld from everything")
    block: int = Field(default=512, description="edge of a block = chunk of the store, 64 to 4096 fine pixels")

    @field_validator("block")
    @classmethod
    def _in_pixels(cls, value: int) -> int:
        return _within("block", value, 64, 4096, "fine pixels: the unit is pixels, not metres")

    @model_validator(mode="after")
    def _block_holds_whole_cells(self) -> SciencePart:
        if self.block % self.grid.scale:
            raise ValueError(f"block {self.block} is not a multiple of grid.scale {self.grid.scale}")
        return self

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> SciencePart:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self


class CatalogPart(_Part):
    """Where a catalog is."""

    url: str = Field(description="STAC API, or path or URL of a static catalog.json")
    sign: Literal["none", "planetary-computer", "earthdata", "requester-pays"] = Field(
        default="none",
        description=(
            "how hrefs are signed when they are opened: earthdata takes a token from EARTHDATA_TOKEN, "
            "requester-pays the AWS credentials of the environment"
        ),
    )
    alternate: str | None = Field(default=None, description="take the alternate href of this name where an asset has one (USGS: s3)")
    allow: tuple[str, ...] = Field(
        default=(),
        description=(
            "hosts, folders (with a /) and s3://buckets of assets that may be read; "
            "the catalog's own host or folder and the sign provider's hosts always may"
        ),
    )


class ComputePart(_Part):
    """The Dask cluster."""

    scheduler: str | None = Field(default=None, description="address of a running scheduler; a local cluster otherwise")
    workers: int = Field(default=2, ge=1, description="worker processes of the local cluster")
    torch_threads: int = Field(default=1, ge=1, description="torch threads of a worker; fixed, so that results are equal")
    memory_limit: str = Field(default="4GiB", description="memory of a worker")
    gpu: Literal["auto", "never", "require"] = Field(default="auto", description="use GPU workers (resource GPU)")
    days_per_task: int = Field(default=32, ge=1, description="days of one block made in one task")


class PrefectPart(_Part):
    """Prefect."""

    api_url: str | None = Field(default=None, description="PREFECT_API_URL; an embedded server otherwise")
    retries: int = Field(default=3, ge=0, description="retries of network steps")


class RuntimePart(_Part):
    """Everything that changes no pixel."""

    root: Path = Field(default=Path("."), description="folder of stores and products; relative to the area file")
    catalogs: dict[str, CatalogPart] = Field(default_factory=dict)
    compute: ComputePart = ComputePart()
    prefect: PrefectPart = PrefectPart()
    read_threads: int = Field(default=4, ge=1, description="scenes read at the same time")
    attempts: int = Field(default=3, ge=1, description="a scene that cannot be read is tried in so many runs")
    quicklooks: bool = True


class Area(_Part):
    """One published cube."""

    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="lower-case letters, digits, - and _")
    title: str = ""
    science: SciencePart
    runtime: RuntimePart = RuntimePart()

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        if value != 1:
            raise ValueError(f"version {value!r}: this landfuse reads version 1")
        return value

    @property
    def grid(self) -> Grid:
        return self.science.grid.build()

    @property
    def products(self) -> dict[str, Product]:
        """Built-in products and those the area declares."""
        return {**builtin_products(), **self.science.products}

    @property
    def cube_path(self) -> Path:
        """The published cube."""
        return self.runtime.root / "fused.zarr"

    @property
    def science_digest(self) -> str:
        """SHA-256 of the science part, as hexadecimal digits: what a citation names."""
        text = json.dumps(self.science.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_area(path: Path | str) -> Area:
    """Read and check an area file.

    Parameters
    ----------
    path : Path or str
        A YAML file. ``runtime.root`` and the paths of catalogs are taken relative to its folder.

    Raises
    ------
    ConfigurationError
        If the file is missing, is not YAML, or a key or value is wrong; every problem is named. If ``runtime.root`` is a file.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigurationError(f"no area file at {path}", "make one with: landfuse init " + str(path))
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} holds {type(document).__name__}, expected a mapping with version, name, science, runtime")
    try:
        area = Area.model_validate(document)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(problem)}" for problem in error.errors(include_url=False))
        raise ConfigurationError(f"{path} is not a valid area file:\n{problems}", "every key is described in docs/area-file.md") from None
    area = anchored(area, path.resolve().parent)
    if area.runtime.root.exists() and not area.runtime.root.is_dir():
        raise ConfigurationError(f"runtime.root {area.runtime.root} is a file; expected a folder", "give another runtime.root")
    return area


def _problem(problem: Any) -> str:
    """One line of what pydantic found wrong: where, what, and the value unless the message names it."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such key"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']} (found {problem['input']!r})"


def anchored(area: Area, folder: Path) -> Area:
    """The area with ``runtime.root``, the paths of static catalogs and allowed folders made absolute, relative to `folder`."""

    def absolute(text: str, is_path: bool) -> str:
        return str((folder / text).resolve()) if is_path else text

    catalogs = {
        name: part.model_copy(
            update={
                "url": absolute(part.url, "://" not in part.url),
                "allow": tuple(absolute(entry, "/" in entry and "://" not in entry) for entry in part.allow),
            }
        )
        for name, part in area.runtime.catalogs.items()
    }
    runtime = area.runtime.model_copy(update={"root": (folder / area.runtime.root).resolve(), "catalogs": catalogs})
    return area.model_copy(update={"runtime": runtime})
