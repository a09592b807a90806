"""Where the working store of an area lies. Imports nothing heavy: planning asks for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.catalog.search import product_of
from pipeline.config import Area
from pipeline.observations.textures import texture_bands
from pipeline.planning import recipe_hash


def observations_path(area: Area) -> Path:
    """The working store of everything that decides what is read and how it is masked; another recipe gets another store."""
    science = area.science
    used = {product_of(source, area.products) for source in (*science.fine, *science.coarse)}
    recipe: dict[str, Any] = {
        "block": science.block,
        "grid": asdict(area.grid),
        "bands": list(science.bands),
        "products": {name: area.products[name].model_dump(mode="json") for name in sorted(used)},
        "mask": science.mask.model_dump(mode="json", exclude={"rescue"}),
        "normalise": science.normalise.model_dump(mode="json", exclude={"coregistration"}),
    }
    if textures := texture_bands(area):
        recipe["textures"] = textures
    return area.runtime.root / "work" / f"observations-{int(recipe_hash(recipe)):016x}.zarr"
