"""The next revision of a cube: what its small arrays and metadata become when blocks of days are added or improved. No I/O of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from pipeline.errors import StoreError
from pipeline.grid import day_from_number, day_number
from pipeline.store.documents import Document, Read, changed_chunks, has_time, with_length, with_members
from pipeline.store.layout import TIME_CHUNK
from pipeline.store.state import State
from pipeline.vocabulary import Maturity


@dataclass(frozen=True)
class Entry:
    """One block of one day that a run made.

    Parameters
    ----------
    day : int
        Day number.
    row, col : int
        Position of the block in the array of blocks.
    digest : int
        Of everything that went into it, 1 … 2⁶⁴ − 1.
    maturity : Maturity
        Not ``NONE``.
    """

    day: int
    row: int
    col: int
    digest: int
    maturity: Maturity


def accepted(state: State, entries: tuple[Entry, ...]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """(kept, dropped): an entry is dropped when the cube holds that block of that day in a better maturity."""
    kept: list[Entry] = []
    dropped: list[Entry] = []
    for entry in entries:
        _, maturity = state.at(entry.day)
        (kept if entry.maturity >= maturity[entry.row, entry.col] else dropped).append(entry)
    return tuple(kept), tuple(dropped)


def next_state(
    read: Read, state: State, found: Mapping[str, Document], entries: tuple[Entry, ...], length: int, method: str
) -> tuple[dict[str, bytes], dict[str, Document]]:
    """Chunks of time, maturity, method and state after `entries`, and the documents of all members.

    Parameters
    ----------
    read : callable
        Bytes of a key of the cube, or None.
    state : State
        Of the cube as it is.
    found : mapping
        Documents of all members as they are, by path.
    entries : tuple of Entry
        All accepted.
    length : int
        Days on the new time axis.
    method : str
        Name for the ``method`` flag of the days.

    Returns
    -------
    dict, dict
        Key → bytes of changed chunks; path → document of every member.
    """
    documents = {name: with_length(document, length) if has_time(document) else document for name, document in found.items()}
    if not entries:
        return {}, documents
    assert state.start is not None  # only the state of no cube has no start
    first = day_number(state.start)
    cells = np.array([(entry.day - first, entry.row, entry.col) for entry in entries])
    digests = np.array([entry.digest for entry in entries], np.uint64)
    maturities = np.array([entry.maturity for entry in entries], np.uint8)
    days = np.unique(cells[:, 0])

    blocks = np.zeros((length, *state.maturity.shape[1:]), np.uint8)
    blocks[: len(state.maturity)] = state.maturity
    blocks[tuple(cells.T)] = maturities
    # 255 stands for blocks without anything, which do not count.
    least = np.where(blocks[days] == Maturity.NONE, 255, blocks[days]).min(axis=(1, 2))

    documents["method"], code = _with_method(documents["method"], method)
    chunks: dict[str, bytes] = {}
    old = len(state.digest)
    if length > old:
        # The axis is start + index everywhere, so whole chunks are written ahead of the length that shows them.
        ahead = np.arange(old // TIME_CHUNK * TIME_CHUNK, -(-length // TIME_CHUNK) * TIME_CHUNK)
        chunks |= changed_chunks(lambda _: None, "time", documents["time"], ahead[:, None], first + ahead)
    chunks |= changed_chunks(read, "maturity", found["maturity"], days[:, None], least)
    chunks |= changed_chunks(read, "method", found["method"], days[:, None], np.full(len(days), code))
    chunks |= changed_chunks(read, "state/digest", found["state/digest"], cells, digests)
    chunks |= changed_chunks(read, "state/maturity", found["state/maturity"], cells, maturities)
    return chunks, documents


def _with_method(document: Document, method: str) -> tuple[Document, int]:
    """The document of the `method` layer in which `method` has a flag, and that flag."""
    attributes = document["attributes"]
    names = attributes["flag_meanings"].split()
    if not method:
        return document, 0
    if not re.fullmatch(r"[A-Za-z0-9_.+@-]{1,64}", method):
        raise StoreError(f"method {method!r} cannot be a flag meaning", "use letters, digits and _.+@- without blanks")
    if method not in names:
        names = [*names, method]
        attributes = {**attributes, "flag_values": list(range(len(names))), "flag_meanings": " ".join(names)}
    return {**document, "attributes": attributes}, names.index(method)


def next_root(root: Document, documents: Mapping[str, Document], length: int, generation: int) -> Document:
    """The root document that shows `length` days of all members at once."""
    attributes = {**root["attributes"], "generation": generation}
    if length:
        start = date.fromisoformat(attributes["start"])
        attributes |= {
            "time_coverage_start": start.isoformat(),
            "time_coverage_end": day_from_number(day_number(start) + length - 1).isoformat(),
        }
    return with_members({**root, "attributes": attributes}, documents)
