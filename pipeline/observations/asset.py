"""What a reader knows of one band of one asset before it is opened, written into the fragment of its href.

So a Dask graph holds unsigned hrefs and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs, urlencode

from pipeline.catalog.hrefs import Part, redact, split_part
from pipeline.observations.warp import Lattice


@dataclass(frozen=True)
class Asset:
    """What is known of an asset before it is opened.

    Parameters
    ----------
    href : str
        Unsigned.
    part : Part
        Band of the file, or dataset inside it.
    crs : str
        ``"EPSG:n"`` or WKT, as the item says.
    transform : tuple of 6 floats
        Affine coefficients (a, b, c, d, e, f) of the pixel edges, as the item says.
    shape : tuple of int
        (rows, columns), as the item says.
    sign : str
        How the href is signed when it is opened.
    assigned : bool
        The file itself has no georeference; the item was given one.
    """

    href: str
    part: Part
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    sign: str = "none"
    assigned: bool = False

    def __str__(self) -> str:
        """As it is named in messages."""
        return f"asset {redact(self.href)}{self.part.fragment}"

    @property
    def lattice(self) -> Lattice:
        return Lattice.of(self.crs, self.transform)


def locate(
    href: str,
    crs: str,
    transform: tuple[float, float, float, float, float, float],
    shape: tuple[int, int],
    sign: str = "none",
    assigned: bool = False,
) -> str:
    """The href with what its item says of it in the fragment: all that a reader needs, in one string.

    Parameters
    ----------
    href : str
        Unsigned, with the part of the file it means (see `split_part`).
    crs, transform, shape, sign, assigned
        See `Asset`. What lies in HDF5 is always assigned its georeference: a dataset has none of its own.
    """
    bare, part = split_part(href)
    facts = {
        "band": part.band,
        "dataset": part.dataset,
        "crs": crs,
        "transform": ",".join(repr(float(value)) for value in transform),
        "shape": f"{shape[0]},{shape[1]}",
        "sign": sign,
        "assigned": int(assigned or bool(part.dataset)),
    }
    return f"{bare}#{urlencode(facts)}"


@lru_cache(maxsize=4096)
def located(url: str) -> Asset:
    """The inverse of `locate`."""
    href, _, fragment = url.rpartition("#")
    facts = {key: values[0] for key, values in parse_qs(fragment, keep_blank_values=True).items()}
    a, b, c, d, e, f = (float(value) for value in facts["transform"].split(","))
    rows, columns = (int(value) for value in facts["shape"].split(","))
    part = Part(int(facts["band"]), facts["dataset"])
    return Asset(href, part, facts["crs"], (a, b, c, d, e, f), (rows, columns), facts["sign"], facts["assigned"] == "1")
