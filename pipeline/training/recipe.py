"""What a training learns from and for how long, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import ConfigurationError
from pipeline.training.places import World

SHIPPED_RECIPE = Path(__file__).with_name("recipe.yaml")
"""What the shipped weights learnt from."""


class _Part(BaseModel):
    model_config = {"extra": "forbid", "frozen": True}


class Samples(_Part):
    """How samples are drawn."""

    seed: int = Field(default=6, ge=0, description="of what is drawn by lot")
    size: int = Field(default=96, ge=32, multiple_of=8, description="edge of a sample, fine pixels")
    tune: int = Field(default=48, ge=1, description="samples of tune places on which the skill is measured")


class Schedule(_Part):
    """How long and how fast a network learns."""

    steps: int = Field(ge=1, description="steps in all")
    batch: int = Field(default=4, ge=1, description="samples of a step")
    rate: float = Field(default=1e-3, gt=0, description="learning rate after the warm-up")
    last_rate: float = Field(default=1e-5, gt=0, description="learning rate at the end of the cosine")
    warmup: int = Field(default=50, ge=0, description="steps in which the rate grows")
    decay: float = Field(default=1e-4, ge=0, description="weight decay of AdamW")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    evaluate: int = Field(default=100, ge=1, description="steps between two looks at the tune samples")
    patience: int = Field(default=6, ge=1, description="looks without a better one after which it ends")

    @property
    def memory(self) -> float:
        """Decay of the moving average of the weights: it remembers a tenth of the steps at most."""
        return min(0.999, 1 - 10 / max(self.steps, 20))


class Recipe(_Part):
    """A training."""

    version: Literal[1] = 1
    train: tuple[World, ...] = Field(min_length=1, description="simulated places to learn from")
    tune: tuple[World, ...] = Field(min_length=1, description="simulated places to choose the weights on")
    samples: Samples = Samples()
    schedules: dict[str, Schedule] = Field(description="by stage: restoration, fusion, pairs, adversarial")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    ConfigurationError
        If the file is missing or says something else.
    """
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        remedy = "name a recipe of a training, an area file, or `sandbox` for the shipped recipe"
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", remedy) from None
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"{path} is no recipe of a training: {error}", f"see {SHIPPED_RECIPE}") from None
