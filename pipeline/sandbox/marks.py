"""What a simulated Landsat image really shows, pixel by pixel: for judging whoever has to find it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from pipeline.sandbox.archive import SandboxSpec
from pipeline.sandbox.landscape import LandCover
from pipeline.sandbox.noise import Array
from pipeline.sandbox.sky import Sky
from pipeline.sandbox.world import TRUTH_HOUR, World

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Marks:
    """The sky over an area at the time of the pass of a day, and the state of its ground; maps (y, x).

    Parameters
    ----------
    cloud : ndarray of float32
        Share of the light that clouds replace by their own.
    shade : ndarray of float32
        Share of the direct sunlight that clouds take from the ground which is seen.
    haze : ndarray of float32
        Reflectance added in blue, of either sign.
    snow, water : ndarray of bool
        As the quality band says of clear ground.
    """

    cloud: Array
    shade: Array
    haze: Array
    snow: Mask
    water: Mask


def marks(spec: SandboxSpec, world: World, day: date) -> Marks:
    """What a pass of a day really shows.

    Parameters
    ----------
    spec : SandboxSpec
    world : World
        That of `spec`; kept by the caller, because it takes a while to make.
    day : date
    """
    scenery = world.scenery
    x, y = scenery.canvas.x, scenery.canvas.y
    sky = Sky(spec.seed, scenery.weather, spec.cloudiness)
    cloud = sky.opacity(day, TRUTH_HOUR, x, y)
    surface = scenery.surface(day)
    return Marks(cloud, sky.shadow(day, TRUTH_HOUR, x, y) * (1 - cloud), sky.haze(day, x, y), surface.snow > 0.45, surface.water)


def events(world: World, day: date, within: int) -> Mapping[str, Mask]:
    """Pixels that changed abruptly in the `within` days that end with `day`, by kind.

    Returns
    -------
    mapping
        ``cutting`` (harvest, plough, mowing), ``felling``, ``fire`` and ``flood``, its beginning or its end.
    """
    scenery = world.scenery
    everywhere = (slice(None), slice(None))
    flooded = [scenery._flooded(day - timedelta(days=before), *everywhere) for before in range(within + 1)]
    young = (scenery._table(day).age < within)[scenery.landscape.parcel]
    cover = scenery.landscape.cover
    return {
        "cutting": (cover == LandCover.FIELD) & young,
        "felling": ((cover == LandCover.BROADLEAF_FOREST) | (cover == LandCover.NEEDLE_FOREST)) & young,
        "fire": scenery._fires(day, *everywhere, youngest=within)[0] > 0,
        "flood": np.logical_or.reduce([flooded[0] != other for other in flooded[1:]]) if within else np.zeros(cover.shape, bool),
    }
