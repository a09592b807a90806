"""Reading scenes into the working store: each once, in parallel, whatever happens to the others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import numpy as np

from pipeline.catalog.hrefs import CatalogLike, redact
from pipeline.catalog.scene import Scene
from pipeline.errors import ConfigurationError, LandfuseError
from pipeline.grid import Grid, Window
from pipeline.normalisation.adjustment import Adjustment, coarse_adjustment, fine_adjustment
from pipeline.observations.coarse import cell_days, cell_values, coarse_std, directions_of, native_index, sub_grid, subdivision
from pipeline.observations.cube import read_scene
from pipeline.observations.masking import QA_TYPE, WIDE_QA_TYPE, mask_scene, raw_type
from pipeline.observations.scenes_table import Row
from pipeline.observations.working import WorkingStore
from pipeline.sensors.product import Product
from pipeline.sensors.qa import reasons as qa_reasons
from pipeline.store.encoding import FILL
from pipeline.vocabulary import HIDING

STRIP_PIXELS = 4_000_000
"""Pixels of one band that a thread holds at once."""

INDEX_LIMITS = (-1.0, 1.0)
"""Lowest and highest value of an index in an area of reflectances, whose ``mask.reflectance`` does not speak of it."""

Progress = Callable[[str, int, int], None]


class MaskLike(Protocol):
    """What is looked at of the mask part of an area file."""

    @property
    def dilate(self) -> float: ...
    @property
    def reflectance(self) -> tuple[float, float]: ...


class NormaliseLike(Protocol):
    """What is looked at of the normalise part of an area file."""

    @property
    def geometry(self) -> bool: ...
    @property
    def bandpass(self) -> bool: ...


@dataclass(frozen=True)
class IngestRecord:
    """What became of reading one scene.

    Parameters
    ----------
    identity, id, product : str
        Of the scene.
    day : date
    state : {"complete", "failed"}
    error : str
        Why it failed; without secrets.
    clear_share : float
        Share of the area that it shows clear.
    seconds : float
    """

    identity: str
    id: str
    product: str
    day: date
    state: str
    error: str
    clear_share: float
    seconds: float


def ingest(
    scenes: Sequence[Scene],
    store: WorkingStore,
    grid: Grid,
    bands: Sequence[str],
    products: Mapping[str, Product],
    mask: MaskLike,
    normalise: NormaliseLike,
    catalogs: Mapping[str, CatalogLike],
    threads: int,
    progress: Progress | None = None,
) -> list[IngestRecord]:
    """Read the scenes that the working store does not hold completely yet.

    A scene counts when all of it was written. One that cannot be read, or is not what its
    item says, is recorded as failed and does not stop the others. May be killed at any
    moment and run again: only what was unfinished is read again.

    Parameters
    ----------
    scenes : sequence of Scene
    store : WorkingStore
    grid : Grid
        Of the store.
    bands : sequence of str
        Of the store.
    products : mapping of str to Product
    mask : MaskPart
        ``dilate`` [m] and ``reflectance`` (lowest, highest).
    normalise : NormalisePart
        Which steps are done.
    catalogs : mapping of str to CatalogPart
        Say how hrefs are signed.
    threads : int
        Scenes read at the same time.
    progress : callable, optional
        Called as ``progress("ingest", done, total)``.

    Returns
    -------
    list of IngestRecord
        One for each scene that was tried, in the order of `scenes`.

    Raises
    ------
    ConfigurationError
        If `grid` or `bands` are not those of the store, or a product has none of the bands.
    """
    if grid != store.grid or tuple(bands) != store.bands:
        raise ConfigurationError(f"{store.path} is for another grid or other bands", "delete it, or give the area another runtime.root")
    for name in sorted({scene.product for scene in scenes}):
        if not set(store.bands_of(name)) & set(products[name].bands):
            known = ", ".join(products[name].bands)
            raise ConfigurationError(f"product {name} has the bands {known}; the area asks for {', '.join(bands)}")
    rows = store.allocate(scenes)
    _write_native(rows, store)
    records: dict[str, IngestRecord] = {}
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="read")
    try:
        futures = [pool.submit(_read_row, row, store, products[row.scene.product], mask, normalise, catalogs) for row in rows]
        for done, future in enumerate(as_completed(futures), start=1):
            record = future.result()
            records[record.identity] = record
            if progress is not None:
                progress("ingest", done, len(futures))
    finally:
        # After an error or an interrupt no further scene is begun; those under way are waited for, and count.
        pool.shutdown(wait=True, cancel_futures=True)
        store.flush()
    return [records[row.scene.identity] for row in rows]


def _read_row(
    row: Row, store: WorkingStore, product: Product, mask: MaskLike, normalise: NormaliseLike, catalogs: Mapping[str, CatalogLike]
) -> IngestRecord:
    started = time.monotonic()
    scene, state, error, clear = row.scene, "complete", "", 0.0
    try:
        if scene.role == "fine":
            window, clear, std = _read_fine(row, store, product, mask, normalise, catalogs)
            store.complete(row, window, clear, std)
        else:
            window, clear = _read_coarse(row, store, product, mask, normalise, catalogs)
            store.complete(row, window, clear)
    except LandfuseError as problem:
        state, error = "failed", redact(str(problem))
        store.fail(row, error)
    return IngestRecord(scene.identity, scene.id, scene.product, scene.day, state, error, clear, time.monotonic() - started)


def _read_fine(
    row: Row, store: WorkingStore, product: Product, mask: MaskLike, normalise: NormaliseLike, catalogs: Mapping[str, CatalogLike]
) -> tuple[Window, float, list[float]]:
    """Read, mask, normalise and write a fine scene; its window, the share of the area that it shows clear, and 1 σ of each band."""
    grid, scene = store.grid, row.scene
    window = footprint(scene, grid)
    radius = mask.dilate / grid.resolution
    # Cloud just outside of a strip, or of the area, hides pixels inside as well: whole cells, so that it stays a grid.
    margin = math.ceil(radius / grid.scale) * grid.scale
    clear, std = 0, [product.std] * len(store.bands)
    for strip in _strips(window, store.block, grid.shape, STRIP_PIXELS):
        padded = strip.padded(margin)
        numbers, layers = _read(scene, product, store.bands, _window_grid(grid, padded), catalogs)
        values, reasons = mask_scene(product, numbers, layers, scene.platform, store.bands, mask.reflectance, radius)
        inside = strip.relative_to(padded).slices
        adjustment = fine_adjustment(
            product,
            scene.platform,
            scene.properties,
            scene.datetime,
            scene.day,
            *sub_grid(grid, strip.coarse(grid.scale), 1).lonlat,
            store.bands,
            geometry=normalise.geometry,
            bandpass=normalise.bandpass,
        )
        store.write_fine(row, strip, _adjusted(values[(slice(None), *inside)], adjustment, grid.scale), reasons[inside])
        clear += int(np.count_nonzero((reasons[inside] & int(HIDING)) == 0))
        std = [product.std * float(gain) for gain in adjustment.gain.mean(axis=(1, 2))]
    return window, clear / (grid.height * grid.width), std


def _adjusted(values: np.ndarray, adjustment: Adjustment, scale: int) -> np.ndarray:
    """Stored reflectance (B, y, x) int16 in the published geometry and bandpass; the pixels of a cell share its gain."""
    if not adjustment.applied:
        return values
    bands, height, width = values.shape
    cells = values.reshape(bands, height // scale, scale, width // scale, scale)
    moved = cells * adjustment.gain[:, :, None, :, None] + 10_000 * adjustment.offset[:, None, None, None, None]
    np.rint(moved, out=moved).clip(FILL + 1, -(FILL + 1), out=moved)
    return np.where(cells == FILL, np.int16(FILL), moved.astype(np.int16)).reshape(values.shape)


def _read_coarse(
    row: Row, store: WorkingStore, product: Product, mask: MaskLike, normalise: NormaliseLike, catalogs: Mapping[str, CatalogLike]
) -> tuple[Window, float]:
    """Read, mask, normalise, average and write a coarse scene; its window of cells and the share of the area that it shows."""
    grid, scene, bands = store.grid, row.scene, store.bands_of(row.scene.product)
    parts = subdivision(grid, scene)
    cells = _outward(footprint(scene, grid), grid.scale).clipped(*grid.shape).coarse(grid.scale)
    chunk = store.array(f"coarse/{scene.product}/values").chunks[2]
    observed = 0.0
    for strip in _strips(cells, chunk, grid.coarse_shape, STRIP_PIXELS // parts**2):
        part = sub_grid(grid, strip, parts)
        numbers, layers = _read(scene, product, bands, part, catalogs)
        reasons = np.broadcast_to(qa_reasons(product, layers, scene.platform), part.shape)
        hidden = (reasons & int(HIDING)) != 0
        days = None
        if product.day_layer is not None and product.day_layer.asset in layers:
            days = cell_days(layers[product.day_layer.asset], ~hidden, product.day_layer, scene.day, parts)
        # With angles of its own every native pixel is a case of its own; without them one gain serves a whole cell.
        directions = directions_of(product, layers)
        repeat = parts if directions is None else 1
        adjustment = coarse_adjustment(
            product,
            scene.platform,
            scene.day,
            (part if directions is not None else sub_grid(grid, strip, 1)).lonlat[1],
            bands,
            directions,
            geometry=normalise.geometry,
            bandpass=normalise.bandpass,
        )
        native_std = coarse_std(product, reasons, days is not None) * _repeated(adjustment.inflation, repeat)
        shape = (len(bands), *strip.shape)
        mean, std, share = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32), np.zeros(shape, np.float32)
        for at, name in enumerate(bands):
            if name in numbers:
                signed = name == "ndvi" and scene.product in store.textures
                limits = INDEX_LIMITS if signed else mask.reflectance
                band, gain = product.bands[name], _repeated(adjustment.gain[at], repeat)
                quality = layers[band.quality_asset] if band.quality_asset else None
                found = cell_values(numbers[name], hidden, quality, band, native_std * gain, limits, parts, gain, signed)
                mean[at], std[at], share[at] = found[0] + adjustment.offset[at], found[1], found[2]
        store.write_coarse(row, strip, mean, std, share, days)
        observed += float(share.sum()) / len(numbers)
    return cells, observed / math.prod(grid.coarse_shape)


def _repeated(cells: np.ndarray, times: int) -> np.ndarray:
    """Values of cells (Y, X) on their sub-pixels."""
    return cells.repeat(times, 0).repeat(times, 1)


def _read(
    scene: Scene, product: Product, bands: Sequence[str], grid: Grid, catalogs: Mapping[str, CatalogLike]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Raw numbers by common name and raw QA by asset key."""
    numbers: dict[str, np.ndarray] = {}
    by_type: dict[tuple[Any, str], list[str]] = {}
    for name in bands:
        if name in product.bands:
            dtype, fill = raw_type(product.bands[name])
            by_type.setdefault((dtype, repr(fill)), []).append(name)
    for (dtype, number), names in by_type.items():
        numbers |= _read_assets(scene, names, grid, dtype, float(number), catalogs)
    present = [layer.asset for layer in product.layers_of(scene.platform) if layer.required or layer.asset in scene.assets]
    if product.day_layer is not None and product.day_layer.asset in scene.assets:
        present.append(product.day_layer.asset)
    if product.angles is not None and all(asset in scene.assets for asset in product.angles.assets):
        present += product.angles.assets
    quality = {asset: product.bands[name].quality_bits for name in numbers if (asset := product.bands[name].quality_asset)}
    wide = [asset for asset, bits in quality.items() if bits is not None]
    narrow = [asset for asset in dict.fromkeys((*present, *quality)) if asset not in wide]
    layers = _read_assets(scene, narrow, grid, QA_TYPE, 0, catalogs) if narrow else {}
    return numbers, layers | (_read_assets(scene, wide, grid, WIDE_QA_TYPE, 0, catalogs) if wide else {})


def _read_assets(
    scene: Scene, assets: Sequence[str], grid: Grid, dtype: np.dtype[Any], fill: float, catalogs: Mapping[str, CatalogLike]
) -> dict[str, np.ndarray]:
    return dict(zip(assets, read_scene(scene, assets, grid, dtype, fill, catalogs), strict=True))


def footprint(scene: Scene, grid: Grid) -> Window:
    """The fine pixels of the area inside the outline of a scene."""
    bounds = grid.project_bounds(scene.raster_bounds, scene.crs)
    # Corners of a sinusoidal tile may lie off the Earth.
    return grid.window_of(bounds) if all(map(math.isfinite, bounds)) else grid.window


def _window_grid(grid: Grid, window: Window) -> Grid:
    """The grid of a window on whole coarse cells, which may reach beyond the area."""
    west, _, _, north = grid.window_bounds(window)
    return Grid(grid.crs, west, north, grid.resolution, window.height, window.width, grid.scale)


def _outward(window: Window, size: int) -> Window:
    """The window grown to multiples of `size`."""
    top, left = window.row // size * size, window.col // size * size
    bottom, right = -(-(window.row + window.height) // size) * size, -(-(window.col + window.width) // size) * size
    return Window(top, left, bottom - top, right - left)


def _strips(window: Window, chunk: int, shape: tuple[int, int], pixels: int) -> Iterator[Window]:
    """The window cut into strips of whole chunks of an array of `shape`, each of about `pixels`."""
    if not window.height or not window.width:
        return
    whole = _outward(window, chunk)
    height = max(pixels // whole.width // chunk, 1) * chunk
    for row in range(whole.row, whole.row + whole.height, height):
        strip = Window(row, whole.col, min(height, whole.row + whole.height - row), whole.width)
        yield strip.clipped(*shape)


def _write_native(rows: Sequence[Row], store: WorkingStore) -> None:
    """The native cells of coarse products, from the first scene of each that comes in."""
    first = {row.scene.product: row.scene for row in reversed(rows) if row.scene.role == "coarse"}
    everything = Window(0, 0, *store.grid.coarse_shape)
    for product, scene in first.items():
        if (store.read_native(product, everything) < 0).all():
            store.write_native(product, everything, native_index(store.grid, scene, everything))
