"""The one record of a scene, whatever catalog it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True)
class Scene:
    """One Landsat acquisition or one MODIS granule, normalised.

    Parameters
    ----------
    id : str
        Item id, checked to be safe as a name (letters, digits, ``._-``).
    collection, product : str
        STAC collection id, and the name of the product that describes it.
    role : str
        ``"fine"`` or ``"coarse"``.
    acquisition : str
        Key shared by all processings of one acquisition (sensor, path, row or tile, date).
    datetime : datetime
        Instant (UTC) of the acquisition, or the nominal start of a composite.
    day : date
        Nominal day of the value, by the day rule.
    first_day, last_day : date
        Days that went into the value.
    centre : float
        Centre of weight in days after `day`.
    platform : str
        Normalised (``landsat-8``, ``terra``), or empty.
    stamp : str
        Orders the processings of one acquisition: the later wins.
    tier : int
        1 before 2; 0 when unknown.
    row : int
        Merge order of scenes of one day after tier and stamp (WRS row); 0 when it has none.
    crs : str
        ``"EPSG:n"`` or WKT.
    transform : tuple of 6 floats
        Affine coefficients (a, b, c, d, e, f) of the pixel edges.
    shape : tuple of int
        (rows, columns).
    bounds : tuple of 4 floats
        (west, south, east, north) [degrees].
    assets : mapping
        Band common name → unsigned href; QA layers by their asset key.
    properties : mapping
        Small facts kept for later: sun and view angles, cloud cover, off-nadir.
    """

    id: str
    collection: str
    product: str
    role: str
    acquisition: str
    datetime: datetime
    day: date
    first_day: date
    last_day: date
    centre: float
    platform: str
    stamp: str
    tier: int
    row: int
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    bounds: tuple[float, float, float, float]
    assets: Mapping[str, str]
    properties: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """What makes this processing of this acquisition itself: equal identities hold equal pixels."""
        return f"{self.product}/{self.acquisition}/{self.id}/{self.stamp}"

    @property
    def raster_bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) of the raster in its own CRS."""
        a, _, west, _, e, north = self.transform
        return west, north + e * self.shape[0], west + a * self.shape[1], north

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `from_dict` is its inverse."""
        record = asdict(self)
        record["datetime"] = self.datetime.isoformat()
        for name in ("day", "first_day", "last_day"):
            record[name] = getattr(self, name).isoformat()
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Scene:
        """A scene from the mapping that `to_dict` made."""
        values = dict(record)
        values["datetime"] = datetime.fromisoformat(values["datetime"])
        for name in ("day", "first_day", "last_day"):
            values[name] = date.fromisoformat(values[name])
        for name in ("transform", "shape", "bounds"):
            values[name] = tuple(values[name])
        return cls(**values)
