"""A simulated world with daily truth, its own observation model, and the catalog of scenes it would have left behind."""

from pipeline.sandbox.archive import SandboxSpec, load_spec, load_world, write_sandbox
from pipeline.sandbox.landscape import LandCover
from pipeline.sandbox.world import World

__all__ = ["LandCover", "SandboxSpec", "World", "load_spec", "load_world", "write_sandbox"]
