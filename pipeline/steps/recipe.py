"""What an area is made by: how far a day looks, what changes its pixels, and where that is kept."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.catalog.scene import Scene
from pipeline.catalog.search import product_of
from pipeline.config import Area, SourcePart
from pipeline.errors import StoreError
from pipeline.fusion.interface import COARSE_LAYERS
from pipeline.fusion.registry import options_of, spec_of
from pipeline.grid import Window, day_number, halo_cells
from pipeline.observations.textures import coarse_names, texture_bands
from pipeline.operators.reach import SPIKE_REACH, day_halo, search_reach
from pipeline.planning import Input, Reach, recipe_hash
from pipeline.steps.parameters import Versions

ALGORITHM = 6
"""Raised when a change in the code changes pixels: days made before are then made again."""


def reach_of(area: Area) -> Reach:
    """How far a day of the area looks in time and space."""
    options = options_of(area.science.method.name, area.science.method.options)
    before, after = options.support()
    own, images = _cells(area, day_halo(options.halo())), screening_reach(area)
    # What is seen through verdicts lies around what the day itself sees.
    return Reach(before, after, images.window, own * area.grid.scale + images.halo, images.before, SPIKE_REACH)


def screening_reach(area: Area) -> Reach:
    """How far the verdicts of a fine image look in time and space; no further than its coarse cells when nothing is screened."""
    grid, screening, window = area.grid, area.science.screening, area.science.restoration.window
    # A shifted cell takes its value from beside it.
    shift = (
        max((search_reach(area.products[name].footprint, grid.scale, grid.resolution) for name in coarse_products(area)), default=0)
        if area.science.normalise.coregistration
        else 0
    )
    if not screening.enabled:
        return Reach(0, 0, window, shift * grid.scale, spikes=SPIKE_REACH)
    cells = _cells(area, screening.halo(grid.scale, grid.resolution)) + shift
    return Reach(*screening.support(), window, cells * grid.scale, spikes=SPIKE_REACH)


def _cells(area: Area, metres: float) -> int:
    return halo_cells(metres, area.grid.resolution, area.grid.scale)


def screening_recipe(area: Area) -> dict[str, Any] | None:
    """What decides how fine images are screened; None when they are not."""
    screening = area.science.screening
    return screening.model_dump(mode="json", exclude={"enabled"}) if screening.enabled else None


def recipe_of(area: Area) -> dict[str, Any]:
    """Everything but scenes and parameters that changes a pixel of the area."""
    science = area.science
    used = {product_of(source, area.products) for source in (*science.fine, *science.coarse)}
    return {
        "algorithm": ALGORITHM,
        "grid": asdict(area.grid),
        "bands": list(science.bands),
        "products": {name: area.products[name].model_dump(mode="json") for name in sorted(used)},
        "mask": science.mask.model_dump(mode="json"),
        "normalise": science.normalise.model_dump(mode="json"),
        "restoration": science.restoration.model_dump(mode="json"),
        "screening": screening_recipe(area),
        "method": science.method.name,
        "options": options_of(science.method.name, science.method.options).model_dump(mode="json"),
    }


def current_recipe(area: Area) -> np.uint64:
    """Hash of all but scenes that changes a pixel, with the pinned parameters."""
    learnt = read_parameters(area)
    return recipe_with(area, learnt["digest"] if learnt else None)


def recipe_with(area: Area, learnt: str | None) -> np.uint64:
    """Hash of all but scenes that changes a pixel, with parameters of a digest."""
    return recipe_hash({"recipe": recipe_of(area), "parameters": learnt})


def earlier_recipes(area: Area) -> dict[str, np.uint64]:
    """The recipes with versions of the parameters that are not pinned, by what changed since days were made with them."""
    versions = versions_of(area)
    pinned = versions.pinned
    return {
        f"the parameters changed: version {number} → {pinned}": recipe_with(area, digest)
        for number, digest in versions.digests().items()
        if number != pinned
    }


def as_input(area: Area, scene: Scene) -> Input:
    centre = round(scene.centre)
    own_days = area.products[scene.product].day_layer is not None
    # A centre between two days is up to half a day off; cells that know their day lie anywhere in the support.
    spread = max((scene.last_day - scene.day).days - centre, (scene.day - scene.first_day).days + centre) if own_days else 0
    between = math.ceil(abs(scene.centre - centre))
    return Input(scene.id, scene.identity, scene.role, day_number(scene.day) + centre, scene_window(area, scene), max(spread, between))


def scene_window(area: Area, scene: Scene) -> Window:
    """The fine pixels of the area inside the outline of a scene."""
    return area.grid.window_of(area.grid.project_bounds(scene.raster_bounds, scene.crs))


def versions_of(area: Area) -> Versions:
    """What was learnt for the recipe of the area. Another recipe, or other withheld days, have versions of their own."""
    # Parameters that have seen an image must not serve a score on it.
    key = recipe_of(area) | {"withhold": sorted(day.isoformat() for day in area.science.withhold)}
    return Versions(area.runtime.root / "work" / f"parameters-{int(recipe_hash(key)):016x}")


def read_parameters(area: Area) -> dict[str, Any] | None:
    """The pinned version of the parameters of the area, or None before they were estimated."""
    versions = versions_of(area)
    pinned = versions.pinned
    return None if pinned is None else versions.read(pinned)


def pinned_parameters(area: Area) -> dict[str, Any]:
    """The pinned version of the parameters of the area.

    Raises
    ------
    StoreError
        If nothing was learnt yet.
    """
    learnt = read_parameters(area)
    if learnt is None:
        raise StoreError(f"nothing was learnt about area {area.name!r} yet", "run it first: landfuse run")
    return learnt


def dated_products(area: Area) -> list[str]:
    """Those of the coarse products whose values have a day of their own."""
    return [name for name in coarse_names(area) if area.products[name].day_layer is not None]


def coarse_products(area: Area) -> list[str]:
    """Names of the coarse products that make the coarse series, each once; those that are read for their texture are not among them."""
    textures = texture_bands(area)
    return [name for name in coarse_names(area) if name not in textures]


def used_sources(area: Area) -> list[SourcePart]:
    """The sources that are searched: all but those of textures that the method does not look at."""
    wanted = COARSE_LAYERS in spec_of(area.science.method.name).needs
    textures = {} if wanted else texture_bands(area)
    return [*area.science.fine, *(source for source in area.science.coarse if product_of(source, area.products) not in textures)]
