"""Catalogs: where scenes are found. A search yields `Scene` records, whoever the provider is.

Nothing here reads a pixel, and importing this package imports neither pystac-client
nor rasterio: an unchanged run must start quickly.
"""

from pipeline.catalog.scene import Scene
from pipeline.catalog.search import Search, find_scenes

__all__ = ["Scene", "Search", "find_scenes"]
