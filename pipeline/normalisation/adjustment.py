"""What one scene is multiplied by and what is added to it, so that it shows the published geometry in the bandpass of OLI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.normalisation import sun, swath
from pipeline.normalisation.bandpass import bandpass_lines
from pipeline.normalisation.cfactor import SHAPED, c_factor
from pipeline.sensors import Product

Array = npt.NDArray[np.float64]

UNKNOWN_VIEW = 1.5
"""σ of a coarse value seen from an unknown direction, relative to one from above. Of composites, which prefer views within 45°, the
footprint grows by 1.2 and the c-factor spreads by 7 %: together 1.2 in red and 1.5 in the near infrared for a σ of 0.02."""

_RADIUS, _HEIGHT = 6371.0, 705.0
"""Of the Earth, and of the orbit of Terra and Aqua [km]."""


@dataclass(frozen=True)
class Adjustment:
    """reflectance ← gain · reflectance + offset, and σ ← gain · inflation · σ.

    Parameters
    ----------
    gain : ndarray, (B, Y, X) float32
    offset : ndarray, (B,) float32
    inflation : ndarray, (Y, X) float32
        1 for fine scenes and nadir products.
    applied : tuple of str
        What was done, and from what, for reports; empty when nothing was.
    """

    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    inflation: npt.NDArray[np.float32]
    applied: tuple[str, ...]


@dataclass(frozen=True)
class Directions:
    """Where sun and sensor stood over each cell [degrees], NaN where it is not known.

    Parameters
    ----------
    sun_zenith, view_zenith, relative_azimuth : ndarray, (Y, X)
        Relative azimuth 0: the sun behind the sensor. Its sign does not matter, so it is the difference of two azimuths either way.
    """

    sun_zenith: Array
    view_zenith: Array
    relative_azimuth: Array


def fine_adjustment(
    product: Product,
    platform: str,
    properties: Mapping[str, Any],
    instant: datetime,
    day: date,
    longitude: Array,
    latitude: Array,
    bands: Sequence[str],
    *,
    geometry: bool = True,
    bandpass: bool = True,
) -> Adjustment:
    """The adjustment of a fine scene.

    Parameters
    ----------
    product : Product
    platform : str
        As in the scene (``landsat-7``).
    properties : mapping
        Of the scene. Of use are ``landsat:wrs_path``, or else ``footprint``, the outline of the scene as pairs of longitude and
        latitude; and ``view:sun_elevation`` and ``view:sun_azimuth`` where the instant has no time of day.
    instant : datetime
        Of the acquisition.
    day : date
        Solar-local day of the acquisition.
    longitude, latitude : ndarray, (Y, X)
        Degrees, of the cells to which the gain belongs. It does not depend on which other cells are asked for.
    bands : sequence of str
        STAC common names.
    geometry, bandpass : bool
        Whether each step is to be done.
    """
    if not geometry or product.geometry == "published" or SHAPED.isdisjoint(bands):
        return _adjustment(product, platform, bands, np.ones((len(bands), *latitude.shape)), np.ones(latitude.shape), (), bandpass)
    if product.geometry == "observed":
        seen, source = _landsat_directions(properties, instant, day, longitude, latitude)
    else:
        seen, source = _nominal_directions(product, platform, day, latitude), f"nadir, sun of {product.geometry}"
    factor = _to_published(bands, day, latitude, seen)
    return _adjustment(product, platform, bands, factor, np.ones(latitude.shape), (f"geometry: {source}",), bandpass)


def coarse_adjustment(
    product: Product,
    platform: str,
    day: date,
    latitude: Array,
    bands: Sequence[str],
    directions: Directions | None = None,
    *,
    geometry: bool = True,
    bandpass: bool = True,
) -> Adjustment:
    """The adjustment of a coarse scene.

    Parameters
    ----------
    product : Product
    platform : str
        As in the scene (``terra``).
    day : date
        Nominal day of the values.
    latitude : ndarray, (Y, X)
        Degrees, of the coarse cells.
    bands : sequence of str
        STAC common names.
    directions : Directions, optional
        From the angle layers of a product with geometry ``observed``. Where they are not known the view is taken as nadir and the sun
        as that of the platform's overpass, and σ is enlarged.
    geometry, bandpass : bool
        Whether each step is to be done. σ grows with an oblique view either way.
    """
    if product.geometry != "observed":
        directions, inflation, source = None, np.ones(latitude.shape), f"nadir, sun of {product.geometry}"
    elif directions is None:
        inflation, source = np.full(latitude.shape, UNKNOWN_VIEW), "view not known, taken as nadir"
    else:
        inflation, source = coarse_inflation(directions.view_zenith), "angles of each pixel"
    if not geometry or product.geometry == "published" or SHAPED.isdisjoint(bands):
        return _adjustment(product, platform, bands, np.ones((len(bands), *latitude.shape)), inflation, (), bandpass)
    factor = _to_published(bands, day, latitude, _nominal_directions(product, platform, day, latitude))
    if directions is not None:
        seen = _to_published(bands, day, latitude, directions)
        factor = np.where(np.isfinite(seen), seen, factor)
    return _adjustment(product, platform, bands, factor, inflation, (f"geometry: {source}",), bandpass)


def coarse_inflation(view_zenith: npt.ArrayLike) -> Array:
    """σ of a coarse value relative to one from above: the root of the growth of its footprint, `UNKNOWN_VIEW` where the view is NaN.

    A whiskbroom's footprint grows with the distance along track, and with distance / cos(view zenith) along scan: 2.0 × 4.8 at
    the edge of the MODIS swath (Wolfe, Roy, Vermote 1998, IEEE TGRS 36:1324–1338). What a value says of its own cell falls with it.

    Parameters
    ----------
    view_zenith : array_like
        Degrees.
    """
    view = np.deg2rad(np.asarray(view_zenith, dtype=float))
    slant = np.sqrt((_RADIUS + _HEIGHT) ** 2 - (_RADIUS * np.sin(view)) ** 2) - _RADIUS * np.cos(view)
    return np.where(np.isnan(view), UNKNOWN_VIEW, slant / _HEIGHT / np.sqrt(np.cos(view)))


def _adjustment(
    product: Product,
    platform: str,
    bands: Sequence[str],
    factor: Array,
    inflation: Array,
    applied: tuple[str, ...],
    bandpass: bool,
) -> Adjustment:
    """Geometry first, then the bandpass: so the offset is one number for each band."""
    gain, offset = np.ones(len(bands)), np.zeros(len(bands))
    if bandpass and platform in product.bandpass:
        gain, offset = bandpass_lines(product, platform, bands)
        applied = (*applied, f"bandpass: {platform} to OLI")
    return Adjustment((gain[:, None, None] * factor).astype(np.float32), offset.astype(np.float32), inflation.astype(np.float32), applied)


def _to_published(bands: Sequence[str], day: date, latitude: Array, seen: Directions) -> Array:
    return c_factor(bands, seen.sun_zenith, seen.view_zenith, seen.relative_azimuth, sun.published_zenith(day, latitude))


def _nominal_directions(product: Product, platform: str, day: date, latitude: Array) -> Directions:
    """Nadir view under the sun for which a product is normalised, or else of its platform's overpass."""
    if product.geometry == "noon":
        zenith = sun.noon_zenith(day, latitude)
    elif product.geometry == "hls":
        zenith = sun.hls_zenith(latitude)
    else:
        zenith = sun.at_hour(day, latitude, product.local_hour.get(platform, sun.PUBLISHED_HOUR))[0]
    return Directions(zenith, np.zeros(latitude.shape), np.zeros(latitude.shape))


def _landsat_directions(
    properties: Mapping[str, Any], instant: datetime, day: date, longitude: Array, latitude: Array
) -> tuple[Directions, str]:
    """Directions at each cell of a Landsat scene, and what they come from."""
    sun_zenith, sun_azimuth, sun_source = _sun(properties, instant, day, longitude, latitude)
    ring, path = properties.get("footprint"), properties.get("landsat:wrs_path")
    node, view_source = None, "not known, taken as nadir"
    if path is not None:
        node, view_source = swath.node_of_path(int(path)), f"from path {int(path)}"
    elif ring:
        node = swath.node_of_footprint(ring)
        view_source = view_source if node is None else "from the footprint"
    if node is None:
        view_zenith, view_azimuth = np.zeros(latitude.shape), np.zeros(latitude.shape)
    else:
        view_zenith, view_azimuth = swath.view_angles(node, longitude, latitude)
    return Directions(sun_zenith, view_zenith, view_azimuth - sun_azimuth), f"sun {sun_source}, view {view_source}"


def _sun(properties: Mapping[str, Any], instant: datetime, day: date, longitude: Array, latitude: Array) -> tuple[Array, Array, str]:
    """Zenith and azimuth of the sun at each cell, and what they come from.

    What an item says of the sun holds for the middle of its scene. The instant gives the same there, and the right angle elsewhere.
    """
    if instant.time() != time():
        return *sun.position(instant, longitude, latitude), "of the instant"
    # An item made of a date alone: midnight is not when it was taken.
    elevation, azimuth = properties.get("view:sun_elevation"), properties.get("view:sun_azimuth")
    if elevation is not None and azimuth is not None:
        return np.full(latitude.shape, 90.0 - elevation), np.full(latitude.shape, float(azimuth)), "of the item"
    return *sun.at_hour(day, latitude, sun.PUBLISHED_HOUR), "taken to be that of 10:10"
