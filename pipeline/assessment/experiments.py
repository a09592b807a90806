"""An experiment: what is withheld, what is done to the rest, and what is compared. One small file each."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline.assessment.roles import Role
from pipeline.errors import ConfigurationError

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = {"extra": "forbid", "frozen": True}


class Sandbox(_Part):
    """A simulated place."""

    seed: int = Field(ge=0)
    cloudiness: Share = Field(default=0.5, description="mean share of the sky that is covered")
    first: date = Field(default=date(2023, 3, 20), description="first day of the scenes")
    last: date = Field(default=date(2023, 10, 20), description="last day of the scenes")
    size: int = Field(default=192, ge=64, multiple_of=8, description="edge of the area, fine pixels")
    latitude: float = Field(default=44.26, ge=-60, le=70, description="degrees north of the south-western corner: sun, climate, seasons")
    composites: bool = Field(default=False, description="with the composites of 250 m, for methods that look at them")


class Every(_Part):
    """Every n-th image is withheld, all of them together."""

    every: int = Field(ge=2, description="of so many images one is withheld")
    start: int = Field(default=1, ge=0, description="images before the first withheld one")
    clear: Share = Field(default=0.0, description="only images with at least this clear share count")


class Masks(_Part):
    """Real masks pasted on every image that is left."""

    source: Literal["clouds", "stripes"] = Field(description="clouds of ifsdaf-ndvi-2015, or SLC gaps of landsat-line-series")
    share: Share = Field(description="share of each image that is hidden")


class Veil(_Part):
    """Haze, or a cloud that the mask missed, on the image that is nearest to the first target."""

    opacity: Share
    share: Share = Field(description="share of the image under it; shaped as real clouds")


class Coarse(_Part):
    """What is done to the coarse images."""

    source: Literal["real", "simulated"] = Field(default="real", description="simulated: means of the fine images, that of the target too")
    shift: tuple[int, int] = Field(default=(0, 0), description="fine pixels down and right that the coarse images are moved by")
    bias: Literal["learnt", "none"] = Field(default="learnt", description="brought into fine radiometry, as a run does, or as delivered")
    scale: int | None = Field(default=None, ge=1, description="fine pixels along a cell; that of the set when left out")


class Nowcast(_Part):
    """Days from the acquisition to the publication of an image."""

    fine_delay: int = Field(default=16, ge=1, description="Landsat 8 in Collection 2, from real time to a tier")
    coarse_delay: int = Field(default=9, ge=0, description="MCD43A4, from its nominal day; of a composite, from its centre")


class Variant(_Part):
    """A method with options of its own, in a row of its own."""

    method: str
    options: dict[str, Any] = Field(default_factory=dict)


class Experiment(_Part):
    """An experiment as its file declares it.

    `name` is the name of the file. `references`: ``archive`` = all images that are left; ``pairs`` = the nearest before and the nearest
    after each target; ``pair`` = the nearest one; or the days of those to be used. `apart`: days at least between a target and its pairs.
    """

    name: str
    title: str
    place: str | None = Field(default=None, alias="set", description="a set of files")
    sandbox: Sandbox | None = None
    role: Role = Field(default=Role.TEST, description="what the withheld images must be for")
    withhold: tuple[date, ...] | Every
    references: Literal["archive", "pairs", "pair"] | tuple[date, ...] = "archive"
    apart: int = Field(default=1, ge=1, description="days at least between a target and its references, where those are pairs")
    nowcast: Nowcast | None = Field(default=None, description="each target from what had been published by its day")
    masks: Masks | None = None
    haze: Veil | None = None
    missed_cloud: Veil | None = None
    coarse: Coarse = Coarse()
    screening: bool = Field(default=True, description="refuse contaminated pixels of the images that are left, in front of every method")
    variants: dict[str, Variant] = Field(default_factory=dict)
    seed: int = Field(default=0, description="of what is drawn by lot: masks and intervals")
    roughness: bool = Field(default=False, description="predict the days beside each target too, and say how rough the series is")
    note: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> Experiment:
        if (self.place is None) == (self.sandbox is None):
            raise ValueError("name either a set or a sandbox")
        if self.withhold == ():
            raise ValueError("withhold names no day")
        if self.apart > 1 and self.references not in ("pair", "pairs"):
            raise ValueError(f"apart is {self.apart} days, but references are no pairs")
        return self


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or says something that is not known.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"experiment {path} cannot be read: {error}", "see benchmarks/experiments") from error
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"experiment {path} is a {type(document).__name__}, expected keys and values", "see benchmarks/experiments"
        )
    try:
        return Experiment.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'experiment'}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise ConfigurationError(f"experiment {path}: {problems}", "docs/assessment.md names the keys") from None
