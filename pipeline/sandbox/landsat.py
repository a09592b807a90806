"""What Landsat delivers of a pass: digital numbers and QA of small Collection 2 Level 2 scenes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject, transform_bounds
from scipy.ndimage import correlate1d, maximum_filter

from pipeline.grid import Grid, Window, day_number
from pipeline.sandbox.landscape import LandCover
from pipeline.sandbox.noise import Array, field, fractal, gauss, key_of, uniform
from pipeline.sandbox.orbit import Pass, view_from
from pipeline.sandbox.sky import CLOUD, HAZE, SHADE, Sky
from pipeline.sandbox.sun import anisotropy, equation_of_time, sun_position, vegetation_of
from pipeline.sandbox.world import TRUTH_HOUR, Scenery

SCALE, OFFSET = 2.75e-5, -0.2
MARGIN = 96
"""Pixels of ground around the area that a scene may show."""

_TILT = 0.21
"""Tangent of the angle between the ground track and the meridian."""

_SENSOR = {"landsat-7": "LE07", "landsat-8": "LC08", "landsat-9": "LC09"}

# Reflectance of ETM+ from OLI, by band (inverse of the reduced-major-axis lines of Roy et al. 2016, RSE 185, table 2).
_ETM_INTERCEPT = np.array([-0.0095, -0.0016, -0.0022, -0.0021, -0.0030, 0.0029], dtype=np.float32)
_ETM_SLOPE = np.array([0.9785, 0.9542, 0.9825, 1.0073, 1.0171, 0.9949], dtype=np.float32)


@dataclass(frozen=True)
class LandsatScene:
    """One scene, ready to be written.

    Parameters
    ----------
    id, product_id : str
        Item id, and the name of its files with the processing date.
    platform : str
    day : date
    instant, created : datetime
        UTC.
    path, row, tier : int
    epsg : int
    transform : tuple of 6 floats
    bands : ndarray, (6, y, x) uint16
        DN of `vocabulary.BANDS`, 0 = fill.
    qa_pixel, qa_radsat : ndarray of uint16
    qa_aerosol : ndarray of uint8
    sun_elevation, sun_azimuth : float
        Degrees.
    """

    id: str
    product_id: str
    platform: str
    day: date
    instant: datetime
    created: datetime
    path: int
    row: int
    tier: int
    epsg: int
    transform: tuple[float, float, float, float, float, float]
    bands: npt.NDArray[np.uint16]
    qa_pixel: npt.NDArray[np.uint16]
    qa_radsat: npt.NDArray[np.uint16]
    qa_aerosol: npt.NDArray[np.uint8]
    sun_elevation: float
    sun_azimuth: float

    @property
    def cloud_cover(self) -> float:
        """Share of the scene flagged as cloud [percent]."""
        seen = (self.qa_pixel & 1) == 0
        return float(100 * np.mean((self.qa_pixel[seen] & 8) > 0)) if seen.any() else 0.0


@dataclass(frozen=True)
class _View:
    """All that was seen of a pass, on the grid of the world."""

    reflectance: Array
    cloud: npt.NDArray[np.bool_]
    dilated: npt.NDArray[np.bool_]
    shadow: npt.NDArray[np.bool_]
    cirrus: npt.NDArray[np.bool_]
    snow: npt.NDArray[np.bool_]
    water: npt.NDArray[np.bool_]
    aerosol: npt.NDArray[np.uint8]


def landsat_scenes(scenery: Scenery, sky: Sky, grid: Grid, flight: Pass, longitude: float) -> list[LandsatScene]:
    """The scenes of a pass: two rows, and now and then a second processing of one of them.

    Parameters
    ----------
    scenery : Scenery
        Its canvas holds the area and at least `MARGIN` pixels around it.
    sky : Sky
    grid : Grid
        The area.
    flight : Pass
    longitude : float
        Degrees, of the middle of the area.
    """
    margin = (scenery.canvas.height - grid.height) // 2
    shown = Window(margin - MARGIN, margin - MARGIN, grid.height + 2 * MARGIN, grid.width + 2 * MARGIN)
    key = key_of(scenery.seed, "pass", flight.platform, flight.path, day_number(flight.day))
    x, y = scenery.canvas.x[shown.slices[1]], scenery.canvas.y[shown.slices[0]]
    swaths = [_coverage(grid, flight, x, y, place, key) for place in (0, 1)]
    if not (swaths[0] | swaths[1]).any():
        return []
    seen = _bounding(swaths[0] | swaths[1])
    window = Window(shown.row + seen.row, shown.col + seen.col, seen.height, seen.width)
    _, south, _, north = grid.lonlat_bounds
    latitude = (south + north) / 2
    view = _observe(scenery, sky, flight, window, longitude, latitude)
    scenes = []
    for place, row in enumerate(flight.rows):
        covered = swaths[place][seen.slices]
        if not covered.any():
            continue
        part = _bounding(covered)
        corner = (float(x[seen.col + part.col]) - grid.resolution / 2, float(y[seen.row + part.row]) + grid.resolution / 2)
        latency = timedelta(days=3 + int(5 * uniform(key, place, 1)[0]), hours=5, minutes=13)
        repeated = bool(uniform(key, place, 2)[0] < 0.03) or (place == 0 and _first_of_month(flight))
        processings = [(0, latency, 0.010 if repeated else 0.0)]
        if repeated:
            processings.append((1, latency + timedelta(days=21), 0.0))
        jitter = [int(12 * value) for value in uniform(key, np.arange(4), place + 10)]
        frame = _frame(view, covered, part, corner, grid, _epsg(longitude, flight.eastern), jitter)
        for number, delay, error in processings:
            scenes.append(_scene(frame, flight, row, place, key, number, delay, error, longitude, latitude))
    return scenes


def _bounding(mask: npt.NDArray[np.bool_]) -> Window:
    """The smallest window that holds all of a mask."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Window(int(rows[0]), int(cols[0]), int(rows[-1] - rows[0] + 1), int(cols[-1] - cols[0] + 1))


def _first_of_month(flight: Pass) -> bool:
    """Whether this is the first pass of Landsat 8 on the western path in a month: so that every longer period has a duplicate."""
    earlier = flight.day - timedelta(days=16)
    return flight.platform == "landsat-8" and not flight.eastern and earlier.month != flight.day.month


def _sun(flight: Pass, latitude: float) -> tuple[float, float]:
    """Zenith and azimuth of the sun during a pass [degrees]: the orbit keeps mean solar time, the truth apparent time."""
    return sun_position(flight.day, latitude, TRUTH_HOUR + equation_of_time(flight.day))


def _observe(scenery: Scenery, sky: Sky, flight: Pass, window: Window, longitude: float, latitude: float) -> _View:
    day, seed = flight.day, scenery.seed
    number = day_number(day)
    x, y = scenery.canvas.x[window.slices[1]], scenery.canvas.y[window.slices[0]]
    surface = scenery.surface(day, window)
    sun_zenith, sun_azimuth = _sun(flight, latitude)
    reference, _ = sun_position(day, latitude, TRUTH_HOUR)
    view_zenith, view_azimuth = view_from(flight.path, longitude, latitude)
    seen = surface.reflectance
    seen *= anisotropy(vegetation_of(seen), min(sun_zenith, 75), view_zenith, view_azimuth - sun_azimuth, min(reference, 75))

    opacity = sky.opacity(day, TRUTH_HOUR, x, y)
    shade = sky.shadow(day, TRUTH_HOUR, x, y) * (1 - opacity)
    haze = sky.haze(day, x, y)
    brightness = 1 + 0.12 * field(key_of(seed, "cloud top", number), x, y, 400.0) if opacity.any() else np.ones((1, 1), dtype=np.float32)
    for band in range(6):
        layer = seen[band]
        layer *= 1 - shade * (1 - SHADE[band])
        layer += haze * HAZE[band]
        layer += opacity * (CLOUD[band] * brightness - layer)
    _blur(seen, key_of(seed, "pointing", flight.platform, flight.path, number))
    rng = np.random.Generator(np.random.Philox(key=int(key_of(seed, "noise", flight.platform, flight.path, number))))
    noise = np.empty(opacity.shape, dtype=np.float32)
    for band in range(6):
        rng.standard_normal(dtype=np.float32, out=noise)
        noise *= 0.0012 + 0.006 * seen[band]
        seen[band] += noise
    if flight.platform == "landsat-7":
        seen -= _ETM_INTERCEPT[:, None, None]
        seen /= _ETM_SLOPE[:, None, None]

    cover = scenery.landscape.cover[window.slices]
    doubt = fractal(key_of(seed, "cloud test", number), x, y, (1500.0, 400.0), (1, 0.6))
    found = (opacity > 0.10) & ~((doubt > 1.3) & (opacity < 0.75))
    mistaken = ((cover == LandCover.BRIGHT_GROUND) | (cover == LandCover.TOWN) | (surface.snow > 0.6)) & (doubt < -1.35)
    cloud = found | mistaken
    shadow = (shade > 0.22) & (doubt < 1.1)
    return _View(
        reflectance=seen,
        cloud=cloud,
        dilated=maximum_filter(cloud.view(np.uint8), size=7).view(np.bool_),
        shadow=maximum_filter(shadow.view(np.uint8), size=3).view(np.bool_) & ~cloud,
        cirrus=(opacity > 0.04) & (opacity < 0.35) & (doubt > 0),
        snow=surface.snow > 0.45,
        water=surface.water,
        aerosol=np.clip(1 + np.floor(np.abs(haze) / 0.008), 1, 3).astype(np.uint8),
    )


def _blur(image: Array, key: np.uint64) -> None:
    """Point spread of the instrument and resampling, and an error of pointing of some metres, in place."""
    for axis, offset in ((1, 0.12 * float(gauss(key, 0)[0])), (2, 0.12 * float(gauss(key, 1)[0]))):
        spread = 0.10
        weights = [spread + offset**2 / 2 - offset / 2, 1 - 2 * spread - offset**2, spread + offset**2 / 2 + offset / 2]
        correlate1d(image, weights, axis=axis, output=image, mode="nearest")


def _coverage(
    grid: Grid, flight: Pass, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], place: int, key: np.uint64
) -> npt.NDArray[np.bool_]:
    """Pixels inside the swath and inside the northern (0) or southern (1) of two overlapping rows."""
    west, south, east, north = grid.bounds
    middle_x, middle_y = (west + east) / 2, (south + north) / 2
    wander = 600 * float(gauss(key, 3)[0])
    overlap = 0.15 * (north - south)
    along = y[:, None] - middle_y + _TILT * (x[None, :] - middle_x)
    covered = along > -overlap + wander if place == 0 else along < overlap + wander
    if flight.eastern:
        edge = west + 0.35 * (east - west) + wander
        covered &= x[None, :] > edge + _TILT * (y[:, None] - middle_y)
    if flight.platform == "landsat-7":
        # The failed scan line corrector leaves wedges without data, wider towards the edge of the swath.
        width = 4 + 9 * np.clip((x - west) / (east - west), 0, 1) * (0.5 if flight.eastern else 1.0)
        covered &= np.mod(along / 30 + 0.12 * (x[None, :] - middle_x) / 30, 33) > width[None, :]
    return covered


@dataclass(frozen=True)
class _Frame:
    """A view on the native grid of one scene; flags as `_flags` codes them."""

    reflectance: Array
    flags: npt.NDArray[np.uint16]
    transform: tuple[float, float, float, float, float, float]
    epsg: int


def _scene(
    frame: _Frame,
    flight: Pass,
    row: int,
    place: int,
    key: np.uint64,
    processing: int,
    delay: timedelta,
    error: float,
    longitude: float,
    latitude: float,
) -> LandsatScene:
    """Code a frame as one processing delivers it; `error` is a flaw of calibration [reflectance in blue]."""
    flags = frame.flags
    inside = (flags & 1) == 0
    gain = (1 + 0.004 * float(gauss(key, place, 4)[0])) / SCALE
    offset = (0.0008 * gauss(key, place, 5, np.arange(6)) + error * HAZE - OFFSET) / SCALE
    bands = np.empty(frame.reflectance.shape, dtype=np.uint16)
    for band in range(6):
        value = frame.reflectance[band] * np.float32(gain)
        value += np.float32(offset[band] + 0.5)
        bands[band] = np.clip(value, 1, 65535, out=value)
        bands[band] *= inside

    landsat7 = flight.platform == "landsat-7"
    saturated = np.zeros(inside.shape, dtype=np.uint16)
    for band in range(6):
        bit = (0, 1, 2, 3, 4, 6)[band] if landsat7 else band + 1
        saturated |= (inside & (bands[band] > 43636)).astype(np.uint16) << np.uint16(bit)
    aerosol = (2 | (flags >> 8 & 3) << 6).astype(np.uint8)

    minutes = TRUTH_HOUR * 60 - longitude * 4 + 0.4 * place + 8e-3 * float(gauss(key, 6)[0])
    instant = datetime(flight.day.year, flight.day.month, flight.day.day, tzinfo=UTC) + timedelta(minutes=minutes)
    created = instant.replace(microsecond=0) + delay
    zenith, azimuth = _sun(flight, latitude)
    tier = 2 if uniform(key, place, 7)[0] < 0.08 else 1
    start = f"{_SENSOR[flight.platform]}_L2SP_{flight.path:03d}{row:03d}_{instant:%Y%m%d}"
    product_id = f"{start}_{created - timedelta(days=1):%Y%m%d}_02_T{tier}"
    return LandsatScene(
        id=product_id if processing else f"{start}_02_T{tier}",
        product_id=product_id,
        platform=flight.platform,
        day=flight.day,
        instant=instant,
        created=created,
        path=flight.path,
        row=row,
        tier=tier,
        epsg=frame.epsg,
        transform=frame.transform,
        bands=bands,
        qa_pixel=_qa_pixel(flags, landsat7),
        qa_radsat=saturated,
        qa_aerosol=np.where(inside, aerosol, 1).astype(np.uint8),
        sun_elevation=90 - zenith,
        sun_azimuth=azimuth,
    )


def _qa_pixel(flags: npt.NDArray[np.uint16], landsat7: bool) -> npt.NDArray[np.uint16]:
    """QA_PIXEL of Collection 2 from the bits of `_flags`: conditions in bits 0–7, confidences in pairs of bits from 8 on."""
    fill, dilated, cirrus, cloud, shadow, snow, _, water = ((flags >> bit & 1).astype(bool) for bit in range(8))
    code = np.zeros(flags.shape, dtype=np.uint16)
    for bit, condition in ((1, dilated & ~cloud), (3, cloud), (4, shadow), (5, snow), (6, ~cloud & ~dilated), (7, water & ~cloud)):
        code |= condition.astype(np.uint16) << np.uint16(bit)
    for bit, sure in ((8, cloud), (10, shadow), (12, snow)):
        code |= np.where(sure, 3, 1).astype(np.uint16) << np.uint16(bit)
    if not landsat7:
        code |= cirrus.astype(np.uint16) << np.uint16(2)
        code |= np.where(cirrus, 3, 1).astype(np.uint16) << np.uint16(14)
    code[fill] = 1
    return code


def _flags(view: _View, covered: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """All masks of a view in one array: bits as in QA_PIXEL, aerosol level in bits 8–9."""
    flags = (~covered).astype(np.uint16)
    for bit, mask in ((1, view.dilated), (2, view.cirrus), (3, view.cloud), (4, view.shadow), (5, view.snow), (7, view.water)):
        flags |= mask.astype(np.uint16) << np.uint16(bit)
    return flags | view.aerosol.astype(np.uint16) << np.uint16(8)


def _epsg(longitude: float, eastern: bool) -> int:
    """The UTM zone of a path, always a northern one as Landsat has it; the eastern path is filed in the neighbouring zone."""
    zone = int((longitude + 180) // 6) + 1
    return 32600 + (zone % 60 + 1 if eastern else zone)


def _frame(
    view: _View, covered: npt.NDArray[np.bool_], part: Window, corner: tuple[float, float], grid: Grid, epsg: int, jitter: list[int]
) -> _Frame:
    """A part of a view on the native grid of a scene: pixel edges at 15 mod 30 m, corners that differ from date to date.

    `corner` is the outer north-western corner of `part` [m]; `jitter` are pixels cut off north, south, west, east.
    """
    sizes = (part.height, part.height, part.width, part.width)
    top, bottom, left, right = (min(cut, size // 4) for cut, size in zip(jitter, sizes, strict=True))
    flags = _flags(view, covered)[part.slices]
    reflectance = view.reflectance[:, *part.slices]
    west, north = corner
    native = grid.crs.upper() == f"EPSG:{epsg}" and grid.resolution == 30 and grid.west % 30 == 15 and grid.north % 30 == 15
    if native:
        rows, cols = slice(top, part.height - bottom), slice(left, part.width - right)
        return _Frame(reflectance[:, rows, cols], flags[rows, cols], (30.0, 0.0, west + 30 * left, 0.0, -30.0, north - 30 * top), epsg)
    east, south = west + part.width * grid.resolution, north - part.height * grid.resolution
    box = transform_bounds(grid.crs, f"EPSG:{epsg}", west, south, east, north)
    first_col, first_row = int(box[0] // 30) + left, int(-box[3] // 30) + top
    columns, lines = int((box[2] - box[0]) // 30) - left - right, int((box[3] - box[1]) // 30) - top - bottom
    transform = (30.0, 0.0, 30.0 * first_col + 15, 0.0, -30.0, -30.0 * first_row + 15)
    options = {
        "src_transform": Affine(grid.resolution, 0, west, 0, -grid.resolution, north),
        "src_crs": grid.crs,
        "dst_transform": Affine(*transform),
        "dst_crs": f"EPSG:{epsg}",
    }
    warped = np.zeros((6, lines, columns), dtype=np.float32)
    reproject(reflectance, warped, resampling=Resampling.cubic, **options)
    placed = np.ones((lines, columns), dtype=np.uint16)
    reproject(flags, placed, resampling=Resampling.nearest, init_dest_nodata=False, **options)
    return _Frame(warped, placed, transform, epsg)
