"""A simulated world with daily truth, its own observation model, and the catalog of scenes it would have left behind."""

from pipeline.sandbox.landscape import LandCover
from pipeline.sandbox.world import World

__all__ = ["LandCover", "World"]
