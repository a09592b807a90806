"""Train: let a network learn from simulated places, or from the observations of an area."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Area
from pipeline.errors import LandfuseError
from pipeline.grid import day_number
from pipeline.steps.estimate import sample_windows
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.recipe import pinned_parameters
from pipeline.steps.runs import Progress, silent

if TYPE_CHECKING:
    from pipeline.fusion.interface import FusionInput
    from pipeline.training.train import Trained

TUNE_EVERY, TUNE_FIRST = 4, 1
"""Of so many images one is kept for choosing, from this one on."""

_MIN_IMAGES = 8
_MIN_CLEAR = 0.1

WORTH = 0.005
"""Part of the error by which adapted weights have to beat those they start from, on images kept for choosing."""


@dataclass(frozen=True)
class Adapted:
    """What became of adapting weights to an area.

    Parameters
    ----------
    trained : Trained
    before, after : float
        RMSE on the images kept for choosing, with the weights that it began with and with the adapted ones [reflectance].
    control : float
        RMSE of the control there.
    """

    trained: Trained
    before: float
    after: float
    control: float

    @property
    def better(self) -> bool:
        """Whether the adapted weights are worth having."""
        return self.after < (1 - WORTH) * self.before


def train_on_area(area: Area, name: str, adapt: bool, folder: Path, budget: float | None, progress: Progress = silent) -> Adapted:
    """Train the network of a method on what was read of an area, split by date.

    Of the images with some clear ground every fourth is kept for choosing: it is withheld from all that is learnt. The weights are
    written beside their card; adapted ones only when they beat those they began with.

    Parameters
    ----------
    adapt : bool
        Start from the shipped weights, at a tenth of the rate.
    folder : Path
        Checkpoints, logs, weights and card.
    budget : float, optional
        Seconds.

    Raises
    ------
    StoreError
        If nothing was learnt of the area yet.
    LandfuseError
        If the area has too few images.
    """
    from pipeline.fusion.networks.weights import shipped
    from pipeline.training.places import observed_place
    from pipeline.training.recipe import SHIPPED_RECIPE, load_recipe
    from pipeline.training.train import trained, written
    from pipeline.training.trainees import stages_of

    blocks = observed(area, progress)
    days = sorted({day for block in blocks for day, clear in _clear(block).items() if clear >= _MIN_CLEAR})
    if len(days) < _MIN_IMAGES:
        raise LandfuseError(
            f"area {area.name!r} has {len(days)} images with {_MIN_CLEAR:.0%} of clear ground, expected {_MIN_IMAGES} or more",
            "run a longer period first: landfuse run",
        )
    kept = set(days[TUNE_FIRST::TUNE_EVERY])
    places, tune = [], []
    for number, block in enumerate(blocks):
        left = block.only([index for index, day in enumerate(block.fine_days) if day not in kept])
        mine = tuple(day for day in days if day not in kept and day in left.fine_days)
        place = observed_place(f"{area.name} {number + 1}", left, mine)
        places.append(place)
        truth = {day: block.fine[block.fine_days.index(day)] for day in kept if day in block.fine_days}
        tune.append(replace(place, targets=tuple(sorted(truth)), truth=truth.__getitem__))
    start = shipped(name) if adapt else None
    network, stages = stages_of(name, start.state if start else None)
    recipe = load_recipe(SHIPPED_RECIPE)
    edge = min(recipe.samples.size, *blocks[0].fine.shape[-2:])
    schedules = {
        stage: plan.model_copy(update={"rate": plan.rate / 10, "steps": min(plan.steps, 400), "evaluate": 25} if adapt else {})
        for stage, plan in recipe.schedules.items()
    }
    recipe = recipe.model_copy(update={"schedules": schedules, "samples": recipe.samples.model_copy(update={"size": edge, "tune": 24})})
    learnt, recipe = trained(stages, recipe, places, tune, folder, budget, progress)
    last = learnt[stages[-1].name]
    told: dict[str, Any] = {
        "data": {
            "train": [f"area {area.name}, {len(days) - len(kept)} images"],
            "tune": [f"area {area.name}, {len(kept)} images"],
            "started_from": start.digest if start else "untrained",
        },
        "licence": "that of the observations of the area",
        "recipe": {"schedules": {stage: plan.model_dump(mode="json") for stage, plan in recipe.schedules.items()}},
    }
    path = folder / f"{name}-{area.name}.safetensors"
    made = written(name, network.state_dict(), learnt, told, path)
    answer = Adapted(made, last.start, last.rmse, last.control)
    if adapt and not answer.better:
        path.unlink()
        path.with_suffix(".json").unlink()
    return answer


def observed(area: Area, progress: Progress) -> list[FusionInput]:
    """What was read of some windows of an area, as methods see it: screened, with the restored coarse series."""
    from pipeline.compute.reading import level, read_window

    learnt = pinned_parameters(area)
    job = with_parameters(job_of(area), learnt)
    first, last = (day_number(date.fromisoformat(learnt[key])) for key in ("trained_from", "trained_to"))
    windows = sample_windows(area)
    found = []
    for done, window in enumerate(windows):
        block = read_window(job, window, first, last, judged=job.screening is not None).fusion
        if job.screening is not None:
            level(job, window, block)
        found.append(block)
        progress("reading", done + 1, len(windows))
    return found


def _clear(block: FusionInput) -> dict[int, float]:
    """Day → clear share of its image."""
    import torch

    return {day: float(torch.isfinite(image).all(dim=0).float().mean()) for day, image in zip(block.fine_days, block.fine, strict=True)}
