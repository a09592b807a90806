"""The working store: what was read of an area, masked, as Zarr arrays that runs add to and never download again.

::

    zarr.json                                   grid, bands, block, coarse products
    scenes.json                                 the scenes table
    fine/values     (row, band, y, x)  int16    reflectance · 10⁴, kept wherever there is a number
    fine/reasons    (row, y, x)        uint16   `Reason` bits beside the values
    coarse/<product>/values  (row, band, Y, X)  int16
    coarse/<product>/std     (row, band, Y, X)  uint16   1 σ · 10⁴
    coarse/<product>/share   (row, band, Y, X)  uint8    percent of the cell that was really observed
    coarse/<product>/day     (row, Y, X)  int8    days from the nominal day, of composites that know it
    coarse/<product>/native  (Y, X)    int64    index of the native cell at the centre of each coarse cell
                             a product that is read for its texture has bands of its own
    restored/mean, restored/std   (day, band, Y, X)
    restored/observed             (day, Y, X)   uint8    percent
    restored/digest               (day,)        uint64
    screened/verdict, screened/doubt (day, y, x)   uint8    as `pipeline.observations.verdicts` packs them
    screened/offset               (day, band, Y, X) int16
    screened/digest   (day, block row, block column)  uint64

Rows are given out in order of arrival. One process adds scenes, with as many threads
as it likes; any number of processes read. The day axis is days since 1970-01-01 and
of fixed length: missing chunks cost nothing, and no writer ever has to grow it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from pipeline.catalog.scene import Scene
from pipeline.errors import StoreError
from pipeline.grid import EPOCH, Grid, Window, day_number
from pipeline.observations.coarse import NO_DAY
from pipeline.observations.masking import doubt, surface
from pipeline.observations.rescue import brightness, rescued
from pipeline.observations.scenes_table import Row, read_table, with_superseded, write_table
from pipeline.store.encoding import FILL, STD_FILL, decode_reflectance, decode_std, encode_reflectance, encode_std
from pipeline.vocabulary import HIDING, Reason

VERSION = 4
DAYS = 32768
"""Length of the day axis: up to the year 2059."""
DAY_CHUNK = 16
DIGEST_CHUNK = 256
"""Days in a chunk of the digests of screened blocks."""
CELL_CHUNK = 256
"""Edge of a chunk of coarse observations [cells]: a day of an ordinary area is one file."""
TABLE_INTERVAL = 1.0
"""Seconds between two writings of the scenes table while scenes come in: a kill loses no more than that."""

_NO_SCENE_KNOWN = -1


@dataclass(frozen=True)
class FineStack:
    """Clear fine observations of a window, merged to one image per day.

    Parameters
    ----------
    days : ndarray, (K,) int64
        Day numbers, increasing; only days that show something clear.
    values : ndarray, (K, B, y, x) float32
        Reflectance; NaN where hidden.
    std : ndarray, (K, B) float32
        1 σ of one value.
    reasons : ndarray, (K, y, x) uint16
        `Reason` bits of the scene that was taken.
    """

    days: np.ndarray
    values: np.ndarray
    std: np.ndarray
    reasons: np.ndarray

    @property
    def doubt(self) -> np.ndarray | None:
        """Factor of the 1 σ of each pixel, (K, y, x) float32; None when it is 1 everywhere."""
        return doubt(self.reasons)

    @property
    def surface(self) -> np.ndarray | None:
        """`Surface` codes of each pixel, (K, y, x) uint8; None when all show land."""
        return surface(self.reasons)


@dataclass(frozen=True)
class CoarseStack:
    """Coarse observations of a window, one image per product, day and platform; of a composite that knows the days of its
    cells one for each of them, so that no value stands on a day on which it was not seen.

    Parameters
    ----------
    days : ndarray, (N,) float64
        Day of the values, or centre of weight of the days that went in, as day number; increasing.
    nominal : ndarray, (N,) int64
        Nominal day number.
    values : ndarray, (N, B, Y, X) float32
        Reflectance; NaN where not observed.
    std : ndarray, (N, B, Y, X) float32
        1 σ; NaN where not observed.
    product : ndarray, (N,) str
        Name of the product.
    """

    days: np.ndarray
    nominal: np.ndarray
    values: np.ndarray
    std: np.ndarray
    product: np.ndarray


class WorkingStore:
    """The working store of one area. Make it with `create` or `open`."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        attributes = group.attrs
        self.path = path
        self.grid = Grid(**attributes["grid"])  # type: ignore[arg-type]
        self.bands: tuple[str, ...] = tuple(attributes["bands"])  # type: ignore[arg-type]
        self.products: tuple[str, ...] = tuple(attributes["products"])  # type: ignore[arg-type]
        self.dated: frozenset[str] = frozenset(attributes["dated"])  # type: ignore[arg-type]
        textures: dict[str, list[str]] = attributes.get("textures", {})  # type: ignore[assignment]
        self.textures: dict[str, tuple[str, ...]] = {product: tuple(bands) for product, bands in textures.items()}
        self.block = int(attributes["block"])  # type: ignore[arg-type]
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._lock = threading.Lock()
        self._written = 0.0
        self._unwritten: dict[str, Row] | None = None

    @classmethod
    def create(
        cls,
        path: Path | str,
        grid: Grid,
        bands: Sequence[str],
        products: Sequence[str],
        block: int,
        dated: Collection[str] = (),
        textures: Mapping[str, Sequence[str]] | None = None,
    ) -> WorkingStore:
        """An empty working store.

        Parameters
        ----------
        path : Path or str
            Folder that does not exist yet.
        grid : Grid
        bands : sequence of str
            STAC common names.
        products : sequence of str
            Names of the coarse products that make the coarse series.
        block : int
            Edge of a chunk, fine pixels; a multiple of ``grid.scale``.
        dated : collection of str
            Products whose values have a day of their own.
        textures : mapping, optional
            Coarse products that do not go into the series → their bands.

        Raises
        ------
        StoreError
            If something lies at `path`.
        """
        path = Path(path)
        if path.exists():
            raise StoreError(f"{path} exists", "open it, or delete it to read all scenes again")
        if block % grid.scale:
            raise StoreError(f"block of {block} pixels is not a multiple of the scale {grid.scale}")
        # Made beside and moved into place, so that a crash leaves no half store.
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        attributes = {
            "landfuse:observations": VERSION,
            "grid": asdict(grid),
            "bands": list(bands),
            "products": list(products),
            "dated": sorted(dated),
            "textures": {product: list(own) for product, own in (textures or {}).items()},
            "block": block,
        }
        every = {product: len(bands) for product in products} | {product: len(own) for product, own in (textures or {}).items()}
        group = zarr.create_group(str(temporary), attributes=attributes)
        for name, layout in _layouts(grid, bands, every, block, dated).items():
            group.create_array(name, compressors=_codec(layout["dtype"]), **layout)
        write_table(temporary, ())
        os.rename(temporary, path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> WorkingStore:
        """An existing working store.

        Raises
        ------
        StoreError
            If there is none, or it is not of this version.
        """
        path = Path(path)
        if not (path / "zarr.json").is_file():
            raise StoreError(f"no working store at {path}", "it is made when scenes are read: landfuse run")
        group = zarr.open_group(str(path), mode="r+")
        if group.attrs.get("landfuse:observations") != VERSION:
            raise StoreError(f"{path} is not a working store of version {VERSION}", "delete it; it is made and read again")
        return cls(path, group)

    def bands_of(self, product: str) -> tuple[str, ...]:
        """The bands that are kept of a product."""
        return self.textures.get(product, self.bands)

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the arrays of the store, by its path."""
        with self._lock:
            return self._array(name)

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:
            found = self._group[name]
            assert isinstance(found, zarr.Array)
            self._arrays[name] = found
        return self._arrays[name]

    # ------------------------------------------------------------------------------------------------------ scenes table

    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order they were given out."""
        with self._lock:
            return self._rows()

    def _rows(self) -> tuple[Row, ...]:
        return read_table(self.path) if self._unwritten is None else tuple(self._unwritten.values())

    def allocate(self, scenes: Sequence[Scene]) -> list[Row]:
        """Rows for those of `scenes` that were not completely read yet: the rows they have, or new ones at the end.

        The rows stand in the table as ``pending`` before this returns, so that what is
        written to them next can always be told from what counts.
        """
        with self._lock:
            rows = {row.scene.identity: row for row in self._rows()}
            count: dict[str, int] = defaultdict(int)
            for row in rows.values():
                count[_group_of(row.scene)] += 1
            wanted: dict[str, Row] = {}
            for scene in scenes:
                known = rows.get(scene.identity)
                if known is None:
                    group = _group_of(scene)
                    wanted[scene.identity] = Row(count[group], scene)
                    count[group] += 1
                elif known.state != "complete":
                    # The catalog may have mended an href since.
                    wanted[scene.identity] = replace(known, scene=scene, state="pending")
                else:
                    continue
                rows[scene.identity] = wanted[scene.identity]
            for group, length in count.items():
                for name in self._row_arrays(group):
                    array = self._array(f"{group}/{name}")
                    if array.shape[0] < length:
                        array.resize((length, *array.shape[1:]))
            self._write_table(tuple(rows.values()))
            return list(wanted.values())

    def _row_arrays(self, group: str) -> tuple[str, ...]:
        """Arrays with a row per scene, of the fine group or a coarse one."""
        if group == "fine":
            return "values", "reasons"
        return ("values", "std", "share", "day") if group.removeprefix("coarse/") in self.dated else ("values", "std", "share")

    def complete(self, row: Row, window: Window, clear_share: float, std: Sequence[float] = ()) -> None:
        """The data of a row are written and count from now on; in the table within `TABLE_INTERVAL`, or at `flush`."""
        self._settle(replace(row, state="complete", error="", window=window, clear_share=clear_share, std=tuple(std)))

    def fail(self, row: Row, error: str) -> None:
        """The scene of a row cannot be read; `error` says why, without secrets."""
        self._settle(replace(row, state="failed", attempts=row.attempts + 1, error=error))

    def flush(self) -> None:
        """Write the scenes table, if something happened since it was written."""
        with self._lock:
            if self._unwritten is not None:
                self._write_table(tuple(self._unwritten.values()))

    def select(self, identities: Collection[str]) -> None:
        """Make observations of exactly these scenes; others stay in the store, unread, until they are selected again.

        What a catalog withdrew, or an area withholds, must not go into a day whose
        manifest does not name it.
        """
        with self._lock:
            rows = self._rows()
            changed = tuple(replace(row, selected=row.scene.identity in identities) for row in rows)
            if changed != rows:
                self._write_table(changed)

    def _settle(self, row: Row) -> None:
        with self._lock:
            if self._unwritten is None:
                self._unwritten = {other.scene.identity: other for other in self._rows()}
            self._unwritten[row.scene.identity] = row
            if time.monotonic() - self._written >= TABLE_INTERVAL:
                self._write_table(tuple(self._unwritten.values()))

    def _write_table(self, rows: tuple[Row, ...]) -> None:
        write_table(self.path, with_superseded(rows))
        self._unwritten, self._written = None, time.monotonic()

    # -------------------------------------------------------------------------------------------------------------- fine

    def write_fine(self, row: Row, window: Window, values: np.ndarray, reasons: np.ndarray) -> None:
        """Write a part of a fine scene.

        Parameters
        ----------
        row : Row
        window : Window
            Fine pixels; on whole chunks (the edge of the area is one too) it costs no reading back.
        values : ndarray, (B, y, x) int16
            Encoded reflectance.
        reasons : ndarray, (y, x) uint16
            `Reason` bits.
        """
        where = window.slices
        self.array("fine/values")[(row.index, slice(None), *where)] = values
        self.array("fine/reasons")[(row.index, *where)] = reasons

    def read_fine(
        self, window: Window, first_day: int, last_day: int, skip_days: Collection[int] = (), levels: np.ndarray | None = None
    ) -> FineStack:
        """The clear fine observations of a window, one image per day.

        Scenes of one day are merged pixel by pixel: the first that shows it clear counts,
        tier 1 before tier 2, the newer processing before the older, then the WRS row, then the row here.

        Parameters
        ----------
        window : Window
            Any rectangle of fine pixels inside the area.
        first_day, last_day : int
            Day numbers, both included.
        skip_days : collection of int
            Day numbers to leave out.
        levels : ndarray, (y, x) int16, optional
            Levels of bright surfaces of the window, which are no clouds; see `pipeline.observations.rescue`.
        """
        by_day: dict[int, list[Row]] = defaultdict(list)
        for row in self._fine_rows(window, first_day, last_day):
            day = day_number(row.scene.day)
            if day not in skip_days:
                by_day[day].append(row)
        days = sorted(by_day)
        values = np.full((len(days), len(self.bands), *window.shape), np.nan, np.float32)
        std = np.zeros((len(days), len(self.bands)), np.float32)
        reasons = np.full((len(days), *window.shape), int(Reason.FILL), np.uint16)
        kept: list[int] = []
        for day in days:
            k = len(kept)
            if self._merge_day(_in_merge_order(by_day[day]), window, levels, values[k], std[k], reasons[k]):
                kept.append(day)
            else:
                reasons[k] = int(Reason.FILL)  # the place is the next day's; values and std were left alone
        return FineStack(np.array(kept, np.int64), values[: len(kept)], std[: len(kept)], reasons[: len(kept)])

    def read_brightness(self, window: Window, first_day: int, last_day: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """What `rescue.levels` looks at: the mean of the bands and the reasons of scenes, whatever hides them.

        Parameters
        ----------
        window : Window
            Any rectangle of fine pixels inside the area.
        first_day, last_day : int
            Day numbers, both included.
        images : int
            At most so many scenes, evenly chosen.

        Returns
        -------
        bright : ndarray, (N, y, x) int16
            Reflectance · 10⁴; FILL outside of a scene.
        reasons : ndarray, (N, y, x) uint16
        """
        found = list(self._fine_rows(window, first_day, last_day))
        rows = found[:: max(-(-len(found) // images), 1)]
        bright = np.full((len(rows), *window.shape), FILL, np.int16)
        reasons = np.full((len(rows), *window.shape), int(Reason.FILL), np.uint16)
        for n, row in enumerate(rows):
            assert row.window is not None
            part = _intersection(row.window, window)
            inside = (n, *part.relative_to(window).slices)
            bright[inside] = brightness(np.asarray(self.array("fine/values")[(row.index, slice(None), *part.slices)]))
            reasons[inside] = np.asarray(self.array("fine/reasons")[(row.index, *part.slices)])
        return bright, reasons

    def read_scene(self, row: Row, window: Window) -> np.ndarray:
        """The clear reflectance of one fine scene, (B, y, x) float32; NaN where it is hidden or outside."""
        assert row.window is not None
        values = np.full((len(self.bands), *window.shape), np.nan, np.float32)
        part = _intersection(row.window, window)
        if part.height > 0 and part.width > 0:
            stored = decode_reflectance(np.asarray(self.array("fine/values")[(row.index, slice(None), *part.slices)]))
            hidden = np.asarray(self.array("fine/reasons")[(row.index, *part.slices)]) & int(HIDING) != 0
            values[(slice(None), *part.relative_to(window).slices)] = np.where(hidden, np.float32(np.nan), stored)
        return values

    def read_granule(self, row: Row) -> np.ndarray:
        """The reflectance of one coarse scene on the whole area, (B, Y, X) float32; NaN where not observed."""
        return decode_reflectance(np.asarray(self.array(f"{_group_of(row.scene)}/values")[row.index]))

    def _fine_rows(self, window: Window, first_day: int, last_day: int) -> Iterator[Row]:
        for row in self.rows():
            if row.scene.role == "fine" and row.usable and first_day <= day_number(row.scene.day) <= last_day:
                assert row.window is not None
                if row.window.intersects(window):
                    yield row

    def _merge_day(
        self,
        rows: Sequence[Row],
        window: Window,
        levels: np.ndarray | None,
        values: np.ndarray,
        std: np.ndarray,
        reasons: np.ndarray,
    ) -> bool:
        """Merge the scenes of a day into prepared arrays (B, y, x), (B,) and (y, x); whether anything is clear."""
        values_array, reasons_array = self.array("fine/values"), self.array("fine/reasons")
        taken = np.zeros(window.shape, bool)
        for row in rows:
            assert row.window is not None
            part = _intersection(row.window, window)
            inside = part.relative_to(window).slices
            seen = np.asarray(reasons_array[(row.index, *part.slices)])
            stored: np.ndarray | None = None
            if levels is not None and (levels[inside] != FILL).any():
                stored = np.asarray(values_array[(row.index, slice(None), *part.slices)])
                seen = rescued(brightness(stored), seen, levels[inside])
            use = ((seen & int(HIDING)) == 0) & ~taken[inside]
            np.copyto(reasons[inside], seen, where=use | (reasons[inside] == int(Reason.FILL)))
            if not use.any():
                continue
            if stored is None:
                stored = np.asarray(values_array[(row.index, slice(None), *part.slices)])
            np.copyto(values[(slice(None), *inside)], decode_reflectance(stored), where=use)
            np.maximum(std, np.array(row.std, np.float32), out=std)
            taken[inside] |= use
        return bool(taken.any())

    # ------------------------------------------------------------------------------------------------------------ coarse

    def write_coarse(
        self, row: Row, cells: Window, values: np.ndarray, std: np.ndarray, share: np.ndarray, days: np.ndarray | None = None
    ) -> None:
        """Write a part of a coarse scene.

        Parameters
        ----------
        row : Row
        cells : Window
            Coarse cells.
        values, std : ndarray, (B, Y, X) float32
            Reflectance and 1 σ; NaN where not observed.
        share : ndarray, (B, Y, X) float32
            Share (0–1) of the cell that was observed.
        days : ndarray, (Y, X) int8, optional
            Days from the nominal day; for a product whose values have one.
        """
        where = (row.index, slice(None), *cells.slices)
        folder = _group_of(row.scene)
        self.array(f"{folder}/values")[where] = encode_reflectance(values)
        self.array(f"{folder}/std")[where] = encode_std(std)
        self.array(f"{folder}/share")[where] = np.rint(share * 100).astype(np.uint8)
        if days is not None:
            self.array(f"{folder}/day")[(row.index, *cells.slices)] = days

    def write_native(self, product: str, cells: Window, native: np.ndarray) -> None:
        """Write the index of the native cell at the centre of each coarse cell of a product, (Y, X) int64."""
        self.array(f"coarse/{product}/native")[cells.slices] = native

    def read_native(self, product: str, cells: Window) -> np.ndarray:
        """The index of the native cell at the centre of each coarse cell, (Y, X) int64; -1 before a scene was read."""
        return np.asarray(self.array(f"coarse/{product}/native")[cells.slices])

    def read_coarse(self, cells: Window, first_day: int, last_day: int, texture: str = "") -> CoarseStack:
        """The coarse observations of a window with values of `first_day` to `last_day`.

        Granules (tiles) of one product, day and platform make one image; a composite makes one of each day on which its cells
        were seen.

        Parameters
        ----------
        cells : Window
            Coarse cells inside the area.
        first_day, last_day : int
            Day numbers, both included.
        texture : str
            Of this product alone, in its own bands; left out, of all that make the coarse series.
        """
        wanted = {texture} if texture else set(self.products)
        images: dict[tuple[float, int, str, str], list[Row]] = defaultdict(list)
        for row in self.rows():
            day = day_number(row.scene.day)
            if row.scene.role != "coarse" or row.scene.product not in wanted or not row.usable:
                continue
            centre = day + row.scene.centre
            earliest, latest = centre, centre
            if row.scene.product in self.dated:
                earliest, latest = day_number(row.scene.first_day), day_number(row.scene.last_day)
            if earliest <= last_day and latest >= first_day:
                images[(day + row.scene.centre, day, row.scene.product, row.scene.platform)].append(row)
        keys = sorted(images)
        shape = (len(keys), len(self.bands_of(texture)), *cells.shape)
        values, std = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        offsets = np.full((len(keys), *cells.shape), NO_DAY, np.int8)
        image_of = {(row.scene.product, row.index): at for at, key in enumerate(keys) for row in images[key]}
        for product in sorted({key[2] for key in keys}):
            indices = sorted(index for name, index in image_of if name == product)
            for start, stop in _runs(indices):
                where = (slice(start, stop), slice(None), *cells.slices)
                numbers = np.asarray(self.array(f"coarse/{product}/values")[where])
                spread = np.asarray(self.array(f"coarse/{product}/std")[where])
                seen = np.asarray(self.array(f"coarse/{product}/day")[(where[0], *cells.slices)]) if product in self.dated else None
                for index in indices:
                    if start <= index < stop:
                        at = image_of[product, index]
                        known = np.isnan(values[at])
                        np.copyto(values[at], decode_reflectance(numbers[index - start]), where=known)
                        np.copyto(std[at], decode_std(spread[index - start]), where=known)
                        if seen is not None:
                            np.copyto(offsets[at], seen[index - start], where=known.all(axis=0))
        stack = CoarseStack(
            days=np.array([key[0] for key in keys], np.float64),
            nominal=np.array([key[1] for key in keys], np.int64),
            values=values,
            std=std,
            product=np.array([key[2] for key in keys], str),
        )
        return _by_day(stack, offsets) if (offsets != NO_DAY).any() else stack

    # ---------------------------------------------------------------------------------------------------------- restored

    def write_restored(self, cells: Window, first_day: int, mean: np.ndarray, std: np.ndarray, observed: np.ndarray) -> None:
        """Write consecutive days of the restored coarse series.

        May be called at the same time for windows that are made of different blocks.

        Parameters
        ----------
        cells : Window
            Coarse cells.
        first_day : int
            Day number of the first day.
        mean, std : ndarray, (T, B, Y, X) float32
            Reflectance and 1 σ; NaN where nothing is known.
        observed : ndarray, (T, Y, X) float32
            Share (0–1) of the support that was really observed.
        """
        days = slice(first_day, first_day + len(mean))
        if days.start < 0 or days.stop > DAYS:
            raise StoreError(f"days {days.start} to {days.stop - 1} after {EPOCH} lie outside the working store, which holds {DAYS} days")
        self.array("restored/mean")[(days, slice(None), *cells.slices)] = encode_reflectance(mean)
        self.array("restored/std")[(days, slice(None), *cells.slices)] = encode_std(std)
        self.array("restored/observed")[(days, *cells.slices)] = np.rint(np.asarray(observed) * 100).astype(np.uint8)

    def read_restored(self, cells: Window, first_day: int, last_day: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Days of the restored coarse series, the inverse of `write_restored`.

        Returns
        -------
        mean, std : ndarray, (T, B, Y, X) float32
            NaN on days that were not restored.
        observed : ndarray, (T, Y, X) float32
            Share (0–1); 0 on days that were not restored.
        """
        count = last_day - first_day + 1
        shape = (count, len(self.bands), *cells.shape)
        mean, std = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        observed = np.zeros((count, *cells.shape), np.float32)
        days = slice(max(first_day, 0), min(last_day + 1, DAYS))
        if days.start < days.stop:
            into = slice(days.start - first_day, days.stop - first_day)
            mean[into] = decode_reflectance(np.asarray(self.array("restored/mean")[(days, slice(None), *cells.slices)]))
            std[into] = decode_std(np.asarray(self.array("restored/std")[(days, slice(None), *cells.slices)]))
            observed[into] = np.asarray(self.array("restored/observed")[(days, *cells.slices)], np.float32) / np.float32(100)
        return mean, std, observed

    @property
    def restored_digest(self) -> zarr.Array[Any]:
        """What the restored days were made from, (day,) uint64; 0 where nothing was restored. Read and written by index of day."""
        return self.array("restored/digest")


def _by_day(stack: CoarseStack, offsets: np.ndarray) -> CoarseStack:
    """The stack with one image for each day on which cells of an image were seen.

    Parameters
    ----------
    offsets : ndarray, (N, Y, X) int8
        Days from the nominal day; NO_DAY where the day of the image stands.
    """
    parts = [
        (at, int(offset)) for at, image in enumerate(stack.values) for offset in np.unique(offsets[at][np.isfinite(image).any(axis=0)])
    ]
    days = np.array([stack.days[at] if offset == NO_DAY else stack.nominal[at] + offset for at, offset in parts], np.float64)
    order = np.argsort(days, kind="stable")
    parts = [parts[at] for at in order]
    images = [at for at, _ in parts]
    elsewhere = np.array([offsets[at] != offset for at, offset in parts]).reshape(-1, 1, *offsets.shape[1:])
    return CoarseStack(
        days=days[order],
        nominal=stack.nominal[images],
        values=np.where(elsewhere, np.float32(np.nan), stack.values[images]),
        std=np.where(elsewhere, np.float32(np.nan), stack.std[images]),
        product=stack.product[images],
    )


def _layouts(
    grid: Grid, bands: Sequence[str], products: Mapping[str, int], block: int, dated: Collection[str]
) -> dict[str, dict[str, Any]]:
    count = len(bands)
    fine, coarse = grid.shape, grid.coarse_shape
    block_cells = block // grid.scale
    edge = tuple(min(size, max(CELL_CHUNK, block_cells)) for size in coarse)
    square = tuple(min(size, block) for size in fine)
    block_edge = tuple(min(size, block_cells) for size in coarse)
    blocks = grid.block_shape(block)

    def rows(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str, fill: int, names: tuple[str, ...]) -> dict[str, Any]:
        return {
            "shape": (0, *shape),
            "chunks": (1, *chunk),
            "dtype": dtype,
            "fill_value": fill,
            "dimension_names": ("row", *names),
        }

    def days(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str, fill: int, names: tuple[str, ...]) -> dict[str, Any]:
        return {
            "shape": (DAYS, *shape),
            "chunks": (DAY_CHUNK, *chunk),
            "dtype": dtype,
            "fill_value": fill,
            "dimension_names": ("day", *names),
            "attributes": {"start": EPOCH.isoformat()},
        }

    layouts = {
        "fine/values": rows((count, *fine), (count, *square), "int16", FILL, ("band", "y", "x")),
        "fine/reasons": rows(fine, square, "uint16", int(Reason.FILL), ("y", "x")),
        "restored/mean": days((count, *coarse), (count, *block_edge), "int16", FILL, ("band", "Y", "X")),
        "restored/std": days((count, *coarse), (count, *block_edge), "uint16", STD_FILL, ("band", "Y", "X")),
        "restored/observed": days(coarse, block_edge, "uint8", 0, ("Y", "X")),
        "restored/digest": {**days((), (), "uint64", 0, ()), "chunks": (DAYS,)},
        "screened/verdict": {**days(fine, square, "uint8", 0, ("y", "x")), "chunks": (1, *square)},
        "screened/doubt": {**days(fine, square, "uint8", 0, ("y", "x")), "chunks": (1, *square)},
        # One day in a chunk: images of a block are screened at the same time.
        "screened/offset": {
            **days((count, *coarse), (count, *block_edge), "int16", 0, ("band", "Y", "X")),
            "chunks": (1, count, *block_edge),
        },
        "screened/digest": {**days(blocks, blocks, "uint64", 0, ("row", "col")), "chunks": (DIGEST_CHUNK, *blocks)},
    }
    for product, own in products.items():
        folder = f"coarse/{product}"
        layouts[f"{folder}/values"] = rows((own, *coarse), (own, *edge), "int16", FILL, ("band", "Y", "X"))
        layouts[f"{folder}/std"] = rows((own, *coarse), (own, *edge), "uint16", STD_FILL, ("band", "Y", "X"))
        layouts[f"{folder}/share"] = rows((own, *coarse), (own, *edge), "uint8", 0, ("band", "Y", "X"))
        if product in dated:
            layouts[f"{folder}/day"] = rows(coarse, edge, "int8", NO_DAY, ("Y", "X"))
        layouts[f"{folder}/native"] = {
            "shape": coarse,
            "chunks": edge,
            "dtype": "int64",
            "fill_value": _NO_SCENE_KNOWN,
            "dimension_names": ("Y", "X"),
        }
    return layouts


def _codec(dtype: str) -> BloscCodec:
    return BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=np.dtype(dtype).itemsize)


def _group_of(scene: Scene) -> str:
    return "fine" if scene.role == "fine" else f"coarse/{scene.product}"


def _in_merge_order(rows: Iterable[Row]) -> list[Row]:
    """Tier 1 before 2 before unknown, then the newest processing, then the WRS row, then the row here."""
    ordered = sorted(rows, key=lambda row: (row.scene.row, row.index))
    ordered.sort(key=lambda row: row.scene.stamp, reverse=True)
    ordered.sort(key=lambda row: row.scene.tier or 3)
    return ordered


def _intersection(one: Window, other: Window) -> Window:
    top, left = max(one.row, other.row), max(one.col, other.col)
    bottom = min(one.row + one.height, other.row + other.height)
    right = min(one.col + one.width, other.col + other.width)
    return Window(top, left, bottom - top, right - left)


def _runs(indices: Sequence[int], gap: int = 8) -> list[tuple[int, int]]:
    """Slices (start, stop) that hold all of the increasing `indices`, and few others."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and index - runs[-1][1] <= gap:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
