"""Which coarse products of an area are read for their texture alone. Imports nothing heavy: planning asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.catalog.search import product_of
from pipeline.config import Area
from pipeline.sensors import Product

FINEST_PIXEL = 300.0
"""Products of finer pixels than this have the texture that those of 500 m lack, and few bands [m]."""


def coarse_names(area: Area) -> list[str]:
    """Names of the products of all coarse sources, each once."""
    return list(dict.fromkeys(product_of(source, area.products) for source in area.science.coarse))


def texture_bands(area: Area) -> dict[str, tuple[str, ...]]:
    """The products that are read for their texture, and the bands that are read of them.

    They are the 250 m products (MOD09Q1, MOD13Q1) that lack bands of the area, beside others that make the coarse series. Where there
    are no others they make it as far as they go.
    """
    bands, names = area.science.bands, coarse_names(area)
    found = {name: bands_of(area.products[name], bands) for name in names if is_texture(area.products[name], bands)}
    return found if len(found) < len(names) else {}


def is_texture(product: Product, bands: Sequence[str]) -> bool:
    """Whether a product has small pixels and not all of these bands."""
    return 0 < product.pixel < FINEST_PIXEL and not set(bands) <= set(product.bands)


def bands_of(product: Product, bands: Sequence[str]) -> tuple[str, ...]:
    """Those of the bands of an area that a product has, or all of its own where it has none of them."""
    return tuple(name for name in product.bands if name in bands) or tuple(product.bands)
