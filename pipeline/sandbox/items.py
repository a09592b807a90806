"""STAC items and collections shaped as large providers shape theirs, oddities included."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer
from scipy.spatial import ConvexHull

from pipeline.sandbox.landsat import OFFSET, SCALE, LandsatScene
from pipeline.sandbox.modis import AFTER, SINUSOIDAL, Lattice
from pipeline.sandbox.modis250 import REFLECTANCE, VEGETATION, Series
from pipeline.vocabulary import BANDS

LANDSAT = "landsat-c2-l2"
MODIS = "modis-43A4-061"
COMPOSITES = {REFLECTANCE: "modis-09Q1-061", VEGETATION: "modis-13Q1-061"}

_GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_OLI = {"blue": "2", "green": "3", "red": "4", "nir08": "5", "swir16": "6", "swir22": "7"}
_ETM = {"blue": "1", "green": "2", "red": "3", "nir08": "4", "swir16": "5", "swir22": "7"}
_MODIS_BAND = {"red": 1, "nir08": 2, "blue": 3, "green": 4, "swir16": 6, "swir22": 7}
_BAND_NAMES = {"sur_refl_b01": "red", "sur_refl_b02": "nir08"}
_SCALED = {*_BAND_NAMES, "250m_16_days_NDVI"}
_RELIABILITY = ("good data", "marginal data", "snow or ice", "cloudy data")
_DAYS_TO_PRODUCT = {REFLECTANCE: 9, VEGETATION: 21}
_EXTENSION = "https://stac-extensions.github.io"
_MODIS_EXTENSIONS = ["projection/v1.1.0", "raster/v1.1.0", "eo/v1.1.0", "classification/v1.0.0"]
_QA_BITS = {
    "fill": (0, 1),
    "dilated_cloud": (1, 1),
    "cirrus": (2, 1),
    "cloud": (3, 1),
    "cloud_shadow": (4, 1),
    "snow": (5, 1),
    "clear": (6, 1),
    "water": (7, 1),
    "cloud_confidence": (8, 2),
    "cloud_shadow_confidence": (10, 2),
    "snow_confidence": (12, 2),
    "cirrus_confidence": (14, 2),
}


def landsat_files(scene: LandsatScene) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    """Asset key → (file name, pixels)."""
    bands = _ETM if scene.platform == "landsat-7" else _OLI
    files: dict[str, tuple[str, npt.NDArray[Any]]] = {
        name: (f"{scene.product_id}_SR_B{bands[name]}.TIF", scene.bands[number]) for number, name in enumerate(BANDS)
    }
    files["qa_pixel"] = (f"{scene.product_id}_QA_PIXEL.TIF", scene.qa_pixel)
    files["qa_radsat"] = (f"{scene.product_id}_QA_RADSAT.TIF", scene.qa_radsat)
    if scene.platform != "landsat-7":
        files["qa_aerosol"] = (f"{scene.product_id}_SR_QA_AEROSOL.TIF", scene.qa_aerosol)
    return files


def landsat_item(scene: LandsatScene) -> dict[str, Any]:
    """The item of a scene; hrefs are file names."""
    geometry = _footprint(scene)
    instruments = ["etm+"] if scene.platform == "landsat-7" else ["oli", "tirs"]
    assets: dict[str, Any] = {}
    for key, (name, _) in landsat_files(scene).items():
        asset: dict[str, Any] = {"href": f"./{name}", "type": _GEOTIFF}
        if key in BANDS:
            sensor, number = ("ETM", _ETM[key]) if scene.platform == "landsat-7" else ("OLI", _OLI[key])
            asset["eo:bands"] = [{"name": f"{sensor}_B{number}", "common_name": key}]
            asset["raster:bands"] = [{"scale": SCALE, "nodata": 0, "offset": OFFSET, "data_type": "uint16", "spatial_resolution": 30}]
            asset["roles"] = ["data", "reflectance"]
        elif key == "qa_pixel":
            asset["classification:bitfields"] = [
                {"name": bit, "offset": offset, "length": length, "classes": [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}]}
                for bit, (offset, length) in _QA_BITS.items()
            ]
            asset["raster:bands"] = [{"unit": "bit index", "nodata": 1, "data_type": "uint16", "spatial_resolution": 30}]
            asset["roles"] = ["cloud", "cloud-shadow", "snow-ice", "water-mask"]
        else:
            data_type = "uint8" if key == "qa_aerosol" else "uint16"
            bits: dict[str, Any] = {"unit": "bit index", "data_type": data_type, "spatial_resolution": 30}
            asset["raster:bands"] = [bits | {"nodata": 1} if key == "qa_aerosol" else bits]
            asset["roles"] = ["data-mask", "water-mask"] if key == "qa_aerosol" else ["saturation"]
        assets[key] = asset
    short = scene.product_id[:4].replace("L2", "")
    properties = {
        "gsd": 30,
        "created": _stamp(scene.created),
        "datetime": _stamp(scene.instant),
        "platform": scene.platform,
        "instruments": instruments,
        "description": "Simulated scene in the form of Landsat Collection 2 Level-2",
        "proj:epsg": scene.epsg,
        "proj:shape": list(scene.qa_pixel.shape),
        "proj:transform": list(scene.transform),
        "eo:cloud_cover": round(scene.cloud_cover, 2),
        "view:off_nadir": 0,
        "view:sun_azimuth": round(scene.sun_azimuth, 8),
        "view:sun_elevation": round(scene.sun_elevation, 8),
        "landsat:wrs_row": f"{scene.row:03d}",
        "landsat:wrs_path": f"{scene.path:03d}",
        "landsat:wrs_type": "2",
        "landsat:scene_id": f"{short[0]}{short[1]}{short[3]}{scene.path:03d}{scene.row:03d}{scene.instant:%Y%j}LGN00",
        "landsat:correction": "L2SP",
        "landsat:cloud_cover_land": round(scene.cloud_cover, 2),
        "landsat:collection_number": "02",
        "landsat:collection_category": f"T{scene.tier}",
    }
    extensions = ["raster/v1.1.0", "eo/v1.0.0", "view/v1.0.0", "projection/v1.1.0", "classification/v1.0.0"]
    return _item(scene.id, LANDSAT, geometry, properties, assets, extensions)


def modis_id(place: Lattice, day: date, produced: datetime) -> str:
    """Granule id with nominal day, tile and production stamp."""
    return f"MCD43A4.A{day:%Y%j}.h{place.horizontal:02d}v{place.vertical:02d}.061.{produced:%Y%j%H%M%S}"


def modis_file(item_id: str, band: str, quality: bool) -> str:
    """Name of the file of a band, or of its quality."""
    return f"{item_id}_{_modis_asset(band, quality)}.tif"


def _modis_asset(band: str, quality: bool) -> str:
    return f"{'BRDF_Albedo_Band_Mandatory_Quality' if quality else 'Nadir_Reflectance'}_Band{_MODIS_BAND[band]}"


def modis_item(place: Lattice, day: date, produced: datetime) -> dict[str, Any]:
    """The item of one MCD43A4 granule; hrefs are file names.

    As in items made since March 2024: no platform, start on the nominal day, and a datetime half-way
    between start and end, that is on the fourth day after the nominal one.
    """
    item_id = modis_id(place, day, produced)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=AFTER + 1) - timedelta(milliseconds=1)
    assets: dict[str, Any] = {}
    for quality in (False, True):
        for band in sorted(BANDS, key=_MODIS_BAND.__getitem__):
            name = _modis_asset(band, quality)
            raster = {"data_type": "uint8" if quality else "int16", "spatial_resolution": 500}
            assets[name] = {
                "href": f"./{modis_file(item_id, band, quality)}",
                "type": _GEOTIFF,
                "roles": ["data"] if quality else ["data", "reflectance"],
                "eo:bands": [{"name": name} if quality else {"name": name, "common_name": band}],
                "raster:bands": [raster if quality else {"scale": 0.0001, **raster}],
            }
            if quality:
                assets[name]["classification:classes"] = [
                    {"value": 0, "description": "full inversion"},
                    {"value": 1, "description": "magnitude inversion"},
                ]
    properties = _granule_properties(place, produced, start + (end - start) / 2, start, end)
    return _item(item_id, MODIS, {"type": "Polygon", "coordinates": [_outline(place)[1]]}, properties, assets, _MODIS_EXTENSIONS)


def composite_id(series: Series, aqua: bool, place: Lattice, start: date) -> str:
    """Granule id with sensor, first day, tile and production stamp."""
    produced = _composite_made(series, start)
    tile = f"h{place.horizontal:02d}v{place.vertical:02d}"
    return f"{'MYD' if aqua else 'MOD'}{series.name}.A{start:%Y%j}.{tile}.061.{produced:%Y%j%H%M%S}"


def composite_file(item_id: str, asset: str) -> str:
    """Name of the file of an asset."""
    return f"{item_id}_{asset}.tif"


def composite_item(series: Series, aqua: bool, place: Lattice, start: date, types: Mapping[str, str]) -> dict[str, Any]:
    """The item of one granule of a composite of 250 m; hrefs are file names.

    As in items made since March 2024: no platform, and no datetime but first and last instant.

    Parameters
    ----------
    series : Series
    aqua : bool
    place : Lattice
        Of 250 m cells.
    start : date
        First day.
    types : mapping
        Asset → type of its numbers.
    """
    item_id = composite_id(series, aqua, place, start)
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    last = first + timedelta(days=series.days) - timedelta(seconds=1)
    assets: dict[str, Any] = {}
    for name, data_type in types.items():
        raster: dict[str, Any] = {"data_type": data_type, "spatial_resolution": 250}
        assets[name] = {
            "href": f"./{composite_file(item_id, name)}",
            "type": _GEOTIFF,
            "roles": ["data", "reflectance"] if name in _BAND_NAMES else ["data"],
            "raster:bands": [{"scale": 0.0001, **raster} if name in _SCALED else raster],
        }
        if name in _BAND_NAMES:
            assets[name]["eo:bands"] = [{"name": name, "common_name": _BAND_NAMES[name]}]
        if name.endswith("pixel_reliability"):
            assets[name]["classification:classes"] = [{"value": value, "description": text} for value, text in enumerate(_RELIABILITY)]
    properties = _granule_properties(place, _composite_made(series, start), None, first, last)
    geometry = {"type": "Polygon", "coordinates": [_outline(place)[1]]}
    return _item(item_id, COMPOSITES[series], geometry, properties, assets, _MODIS_EXTENSIONS)


def _composite_made(series: Series, start: date) -> datetime:
    """When a granule was made: days after its first one."""
    return datetime(start.year, start.month, start.day, 3, 46, 38, tzinfo=UTC) + timedelta(days=_DAYS_TO_PRODUCT[series])


def _granule_properties(place: Lattice, produced: datetime, instant: datetime | None, start: datetime, end: datetime) -> dict[str, Any]:
    """What all items of MODIS tell of place and time."""
    corners, _ = _outline(place)
    return {
        "created": _stamp(produced),
        "updated": _stamp(produced),
        "datetime": None if instant is None else _stamp(instant),
        "start_datetime": _stamp(start),
        "end_datetime": _stamp(end),
        "platform": "",
        "instruments": [],
        "proj:epsg": None,
        "proj:wkt2": SINUSOIDAL,
        "proj:shape": [place.height, place.width],
        "proj:transform": list(place.transform),
        "proj:geometry": {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]},
        "modis:tile-id": f"510{place.horizontal:02d}0{place.vertical:02d}",
        "modis:horizontal-tile": place.horizontal,
        "modis:vertical-tile": place.vertical,
    }


@lru_cache(maxsize=8)
def _outline(place: Lattice) -> tuple[list[tuple[float, float]], list[list[float]]]:
    """Corners of a lattice as a closed ring: in metres, and in longitude and latitude."""
    to_lonlat = Transformer.from_crs(CRS.from_wkt(SINUSOIDAL), "OGC:CRS84", always_xy=True)
    cell, _, west, _, _, north = place.transform
    east, south = west + place.width * cell, north - place.height * cell
    corners = [(west, north), (west, south), (east, south), (east, north), (west, north)]
    return corners, [list(to_lonlat.transform(*corner)) for corner in corners]


def collection(name: str, bbox: list[float], first: date, last: date) -> dict[str, Any]:
    """A collection without links."""
    return {
        "type": "Collection",
        "id": name,
        "stac_version": "1.0.0",
        "description": f"Simulated scenes in the form of {name}",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [bbox]},
            "temporal": {"interval": [[f"{first.isoformat()}T00:00:00Z", f"{last.isoformat()}T23:59:59Z"]]},
        },
        "links": [],
    }


def _item(
    item_id: str, owner: str, geometry: dict[str, Any], properties: dict[str, Any], assets: dict[str, Any], extensions: list[str]
) -> dict[str, Any]:
    ring = np.array(geometry["coordinates"][0])
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"{_EXTENSION}/{extension}/schema.json" for extension in extensions],
        "id": item_id,
        "geometry": geometry,
        "bbox": [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        "properties": properties,
        "links": [],
        "assets": assets,
        "collection": owner,
    }


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _footprint(scene: LandsatScene) -> dict[str, Any]:
    """The convex hull of what was seen, in longitude and latitude."""
    rows, cols = np.nonzero(scene.bands[0])
    edge = np.unique(np.concatenate([np.unique(rows, return_index=True)[1], rows.size - 1 - np.unique(rows[::-1], return_index=True)[1]]))
    corners = np.concatenate([np.stack([cols[edge] + dc, rows[edge] + dr], axis=1) for dr in (0, 1) for dc in (0, 1)]).astype(float)
    hull = corners[ConvexHull(corners).vertices]
    a, _, west, _, e, north = scene.transform
    to_lonlat = Transformer.from_crs(f"EPSG:{scene.epsg}", "OGC:CRS84", always_xy=True)
    lon, lat = to_lonlat.transform(west + a * hull[:, 0], north + e * hull[:, 1])
    ring = np.stack([lon, lat], axis=1)[::-1]
    if _signed_area(ring) < 0:
        ring = ring[::-1]
    return {"type": "Polygon", "coordinates": [np.concatenate([ring, ring[:1]]).tolist()]}


def _signed_area(ring: npt.NDArray[np.float64]) -> float:
    """Positive for a ring that runs counter-clockwise."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
