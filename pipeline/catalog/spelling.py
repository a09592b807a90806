"""Spellings of a collection id that mean the same collection."""

from __future__ import annotations

import re


def same_collection(one: str, other: str) -> bool:
    """Whether two ids name one collection: NASA's were written ``HLSL30.v2.0`` before ``HLSL30_2.0``.

    Examples
    --------
    >>> same_collection("MOD09GA.v061", "MOD09GA_061"), same_collection("modis-09A1-061", "modis-09A1-006")
    (True, False)
    """
    return _today(one) == _today(other)


def _today(collection: str) -> str:
    return re.sub(r"^([A-Z][A-Z0-9]+)\.v?(\d[\d.]*)$", r"\1_\2", collection)
