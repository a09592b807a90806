"""The publish protocol: staged blocks become the cube's, whole days at once, whatever call may fail in between.

Everything that will change is prepared in staging first: chunks by the workers, and
the coordinates, state, metadata and products by `Publisher`, which then writes the
journal, a list of renames. From there on publishing is carrying out that list, and
carrying it out again after a crash gives the same store:

1. the root document with an odd generation, if published days are touched
2. chunks, 3. the manifest, 4. time, maturity, method and state
5. the documents of single arrays, if the cube grows
6. the root document: new length and even generation in the metadata of all arrays at once
7. products (STAC and the like), then the journal and the staging are removed

Replacing the root document is the commit: readers of consolidated metadata see the
old length before it and the new length after it. File systems keep the order of
renames over a power cut, and the staged data are made durable before the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from pipeline.errors import StoreError
from pipeline.grid import day_from_number, day_number
from pipeline.store.documents import Document, changed_chunks, chunk_key, dump, members, root_document
from pipeline.store.journal import Journal
from pipeline.store.layout import journal_key, manifest_key
from pipeline.store.lock import StoreLock
from pipeline.store.manifest import manifest_bytes
from pipeline.store.objects import LocalObjects, Objects
from pipeline.store.revision import Entry, accepted, next_root, next_state
from pipeline.store.staging import Staged, open_staged, staged_cells
from pipeline.store.state import State, state_from
from pipeline.vocabulary import Maturity

logger = logging.getLogger(__name__)

Recovery = Literal["nothing", "replayed", "dropped"]


@dataclass(frozen=True)
class PublishResult:
    """What became visible.

    Parameters
    ----------
    published : tuple of Entry
    dropped : tuple of Entry
        Not published, since what stands in the cube is more mature.
    length : int
        Days on the time axis.
    generation : int
        Even; differs from the one before if anything was published.
    """

    published: tuple[Entry, ...]
    dropped: tuple[Entry, ...]
    length: int
    generation: int


class Publisher:
    """Publish staged days into a cube.

    Parameters
    ----------
    cube_path : Path or str
        An existing cube.
    objects : Objects, optional
        Of the folder that holds the cube; the local file system otherwise.
    lock : StoreLock, optional
        A lock the caller holds on this cube for the whole run; otherwise each call takes its own.
    """

    def __init__(self, cube_path: Path | str, objects: Objects | None = None, lock: StoreLock | None = None) -> None:
        self.cube_path = Path(cube_path)
        self.objects = objects or LocalObjects(self.cube_path.parent)
        self.lock = lock
        self._cube = self.cube_path.name
        self._journal = journal_key(self.cube_path)

    def accepted(self, entries: Iterable[Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
        """(kept, dropped): an entry is dropped when the cube holds that block of that day in a better maturity."""
        return accepted(self._state(), tuple(entries))

    def publish(
        self,
        staging: Path | str,
        entries: Sequence[Entry],
        extra_objects: Iterable[tuple[str, bytes]] = (),
        manifest: Mapping[str, Any] | None = None,
        method: str = "",
    ) -> PublishResult:
        """Make staged blocks visible and remove the staging.

        Parameters
        ----------
        staging : Path or str
            As `create_staging` returned it, in the folder of the cube.
        entries : sequence of Entry
            What of the staging is published; other blocks in it are not.
        extra_objects : iterable of (str, bytes)
            Products put beside the cube once the days are visible: path relative to the cube's folder, and content.
            They should describe what `accepted` keeps.
        manifest : mapping, optional
            The run's manifest, put in place before any day becomes visible.
        method : str
            Name of the method, for the per-day ``method`` flag.

        Raises
        ------
        StoreError
            If an entry is not staged whole or lies before the cube's start, another run holds the store, or a path is not safe.
        """
        staged = open_staged(staging)
        with self._held(staged.run_id) as lock:
            self._recover()
            state = self._state()
            kept, dropped = accepted(state, tuple(entries))
            journal = self._prepare(staged, state, kept, extra_objects if kept else (), manifest, method)
            lock.check()
            self.objects.settle(source for source, _ in journal.renames())
            self.objects.write(self._journal, journal.to_bytes())
            self._carry_out(journal)
            root = self._root()
        if dropped:
            logger.warning(
                "%d of %d blocks of run %s were not published: the cube holds them in a better maturity",
                len(dropped),
                len(entries),
                staged.run_id,
            )
        return PublishResult(kept, dropped, members(root)["time"]["shape"][0], root["attributes"]["generation"])

    def recover(self) -> Recovery:
        """Finish or drop what an interrupted publication left.

        Returns
        -------
        str
            ``"nothing"`` was left; ``"replayed"``: its days are visible now; ``"dropped"``: its staging is
            incomplete, no new day became visible, and blocks it may have touched count as never made.
        """
        if not self.objects.exists(self._journal):
            return "nothing"
        with self._held("recovery"):
            return self._recover()

    def sweep(self, keep: Iterable[str] = ()) -> tuple[str, ...]:
        """Remove stagings that no run works on; call it under a lock that spans whole runs.

        Parameters
        ----------
        keep : iterable of str
            Run ids whose staging stays; that of a left-over journal always does.

        Returns
        -------
        tuple of str
            Run ids removed.
        """
        with self._held("sweep"):
            kept = set(keep)
            if self.objects.exists(self._journal):
                kept.add(Journal.from_bytes(self.objects.read(self._journal)).run)
            runs = sorted({PurePosixPath(key).parts[1] for key in self.objects.list("staging")} - kept)
            for run in runs:
                self.objects.delete(f"staging/{run}")
        return tuple(runs)

    def _held(self, owner: str) -> AbstractContextManager[StoreLock]:
        return nullcontext(self.lock) if self.lock else StoreLock(self.cube_path, owner)

    def _read(self, key: str) -> bytes | None:
        try:
            return self.objects.read(f"{self._cube}/{key}")
        except FileNotFoundError:
            return None

    def _root(self) -> Document:
        return root_document(self._read, str(self.cube_path))

    def _state(self) -> State:
        return state_from(self._read, str(self.cube_path))

    def _recover(self) -> Recovery:
        try:
            journal = Journal.from_bytes(self.objects.read(self._journal))
        except FileNotFoundError:
            return "nothing"
        if self._complete(journal):
            self._carry_out(journal, again=True)
            logger.warning("publication of run %s was interrupted and is now finished", journal.run)
            return "replayed"
        self._abandon(journal)
        logger.warning(
            "publication of run %s was interrupted and its staging is incomplete: dropped; its blocks are to be made again", journal.run
        )
        return "dropped"

    def _complete(self, journal: Journal) -> bool:
        """All that is needed is there: days are visible already, or what was not moved yet is still waiting."""
        if self._root()["attributes"]["generation"] >= journal.generation:
            return True
        # Renames happen in order, so those that were done are the first ones.
        sources = [source for source, _ in journal.renames()]
        waiting = [self.objects.exists(source) for source in sources]
        first = waiting.index(True) if True in waiting else len(waiting)
        moved = [target for _, target in journal.renames()][:first]
        return first < len(waiting) and all(waiting[first:]) and all(self.objects.exists(target) for target in moved)

    def _carry_out(self, journal: Journal, again: bool = False) -> None:
        for source, target in journal.renames():
            try:
                self.objects.move(source, target)
            except FileNotFoundError:
                if not again:
                    raise
        # The journal goes last: as long as it is there, somebody finishes this.
        self.objects.delete(journal.staging)
        self.objects.delete(self._journal)

    def _abandon(self, journal: Journal) -> None:
        """Forget a publication that cannot be finished.

        New days stay invisible; blocks of published days get digest 0, so that the next plan makes them again.
        """
        # What is left of the staging goes first: it must never be taken for whole by a later attempt.
        self.objects.delete(journal.staging)
        root = self._root()
        documents = members(root)
        length = documents["time"]["shape"][0]
        for _, index, row, col in journal.cells:
            if index >= length:
                for layer in journal.layers:
                    self.objects.delete(f"{self._cube}/{chunk_key(layer, (index, row, col))}")
        touched = np.array([cell[1:] for cell in journal.cells if cell[1] < length], np.int64).reshape(-1, 3)
        digests = changed_chunks(self._read, "state/digest", documents["state/digest"], touched, np.zeros(len(touched), np.uint64))
        restored = {f"{name}/zarr.json": dump(document) for name, document in documents.items()}
        for key, data in {**digests, **restored}.items():
            self.objects.write(f"{self._cube}/{key}", data)
        generation = root["attributes"]["generation"]
        even = {**root, "attributes": {**root["attributes"], "generation": generation + generation % 2}}
        self.objects.write(journal.root, dump(even))
        self.objects.delete(self._journal)

    def _prepare(
        self,
        staged: Staged,
        state: State,
        entries: tuple[Entry, ...],
        extra_objects: Iterable[tuple[str, bytes]],
        manifest: Mapping[str, Any] | None,
        method: str,
    ) -> Journal:
        """Write under ``<staging>/next/`` every object that will be renamed, and list the renames."""
        if staged.path.parent.parent.parent != self.cube_path.parent or staged.path.name != self._cube:
            raise StoreError(f"{staged.path} is not a staging of {self.cube_path}", "stage beside the cube with create_staging")
        root = self._root()
        cells = _cells(staged, state, entries)
        length = max([len(state.digest), *(cell[1] + 1 for cell in cells)])
        generation = root["attributes"]["generation"] + (2 if cells else 0)
        flats, documents = next_state(self._read, state, members(root), entries, length, method)
        new_root = next_root(root, documents, length, generation)
        prepared = {f"{self._cube}/{key}": data for key, data in flats.items()}
        if manifest is not None:
            prepared = {manifest_key(staged.run_id): manifest_bytes(manifest), **prepared}
        prepared |= {
            f"{self._cube}/{name}/zarr.json": dump(document) for name, document in documents.items() if document != members(root)[name]
        }
        after = {_safe_key(key, self._cube): data for key, data in extra_objects}
        journal = Journal(
            run=staged.run_id,
            staging=f"staging/{staged.run_id}",
            cube=self._cube,
            generation=generation,
            touches=any(cell[1] < len(state.digest) for cell in cells),
            layers=staged.layers,
            cells=cells,
            prepared=tuple(prepared),
            after=tuple(after),
        )
        for key, data in {**prepared, journal.root: dump(new_root), **after}.items():
            self.objects.write(journal.waiting(key), data)
        if journal.touches:
            self.objects.write(journal.odd, dump({**root, "attributes": {**root["attributes"], "generation": generation - 1}}))
        return journal


def _cells(staged: Staged, state: State, entries: tuple[Entry, ...]) -> tuple[tuple[int, int, int, int], ...]:
    """(index in staging, index in the cube, row, column) of every entry, each checked to be staged whole."""
    assert state.start is not None  # a cube without a root document was refused before
    first = day_number(state.start)
    present = staged_cells(staged.path) if entries else set()
    positions = {day: position for position, day in enumerate(staged.days)}
    cells = []
    for entry in entries:
        where = f"block {entry.row}, {entry.col} of {day_from_number(entry.day)}"
        if entry.maturity == Maturity.NONE or not 0 < entry.digest < 2**64:
            raise StoreError(f"{where} has maturity {entry.maturity!r} and digest {entry.digest}; expected nrt or better, and 1 … 2^64-1")
        if entry.day < first:
            raise StoreError(f"{where} lies before the start of the cube, {state.start}", "the start of a cube is fixed; make another cube")
        if (positions.get(entry.day), entry.row, entry.col) not in present:
            raise StoreError(f"{where} is not whole in {staged.path}", "publish only what was written with write_block_day")
        cells.append((int(positions[entry.day]), int(entry.day) - first, int(entry.row), int(entry.col)))
    if len(set(cells)) < len(cells):
        raise StoreError("a block of a day is given twice", "give one entry for each block of each day")
    return tuple(cells)


def _safe_key(key: str, cube: str) -> str:
    """The key of a product, if it stays in the cube's folder and out of what the store itself keeps there."""
    path = PurePosixPath(key)
    reserved = {cube, "staging", "manifests", f"{cube}.journal", f"{cube}.lock"}
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in key or path.parts[0] in reserved or str(path) != key:
        raise StoreError(f"product path {key!r} is not allowed", f"use a plain relative path outside of {', '.join(sorted(reserved))}")
    return key
