"""The commented area file that `landfuse init` writes."""

from __future__ import annotations

from datetime import date

_TEXT = """\
# An area of landfuse: one published cube. Unknown keys are refused.
version: 1
name: {name}

science:                        # everything that changes a pixel
  grid:
    crs: {crs}                  # projected, in metres: the UTM zone of the area
    bounds: [{west}, {south}, {east}, {north}]   # west, south, east, north [m]; grown to whole coarse cells
    resolution: 30              # edge of a fine pixel [m]
    scale: 8                    # fine pixels along the edge of a coarse cell (8 · 30 = 240 m)
  start: {start}                # first day of the cube; fixed once it is published
  # end: {start}                # last day; left out, the day before each run
  bands: [blue, green, red, nir08, swir16, swir22]
  fine:
    - {{collection: landsat-c2-l2, catalog: planetary-computer}}
  coarse:
    - {{collection: modis-43A4-061, catalog: planetary-computer}}
  mask:
    dilate: 90                  # cloud and shadow are grown by this [m]
  method:
    name: smoother              # see: landfuse methods
    options: {{}}
  withhold: []                  # days whose fine scenes are withheld from everything, to score against
  block: 512                    # edge of a block = chunk of the store; fixed once it is published

runtime:                        # where and with what means; never changes a pixel
  root: .                       # stores and products, relative to this file
  catalogs:
    planetary-computer:
      url: https://planetarycomputer.microsoft.com/api/stac/v1
      sign: planetary-computer
  compute:
    workers: 2                  # local worker processes; or scheduler: tcp://host:8786
    memory_limit: 4GiB
    gpu: auto                   # auto, never or require
"""


def starter_area(name: str, crs: str, bounds: tuple[float, float, float, float], start: date) -> str:
    """The text of an area file that reads Landsat and MCD43A4 from the Planetary Computer."""
    west, south, east, north = bounds
    return _TEXT.format(name=name, crs=crs, west=west, south=south, east=east, north=north, start=start.isoformat())
