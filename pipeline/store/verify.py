"""Is a published cube whole? For operators: metadata, files against state, and what interrupted runs left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.grid import day_from_number, day_number
from pipeline.store.check import Check
from pipeline.store.documents import Document, Read, has_time, members, read_array, read_file, root_document
from pipeline.store.layout import journal_key, pixel_layers
from pipeline.store.staging import chunks_present
from pipeline.store.state import State, state_from
from pipeline.vocabulary import Maturity


def verify_cube(path: Path | str) -> list[Check]:
    """Check a published cube without decoding its pixels.

    Parameters
    ----------
    path : Path or str
        The cube.

    Returns
    -------
    list of Check
        ``metadata``, ``time``, ``chunks``, ``orphans``, ``maturity``, ``generation``, ``journal``, ``stagings``.

    Raises
    ------
    StoreError
        If no cube lies there.
    """
    path = Path(path)
    read = read_file(path)
    root = root_document(read, str(path))
    found = members(root)
    state = state_from(read, str(path))
    odd = root["attributes"]["generation"] % 2 == 1
    journal = (path.parent / journal_key(path)).exists()
    stagings = sorted(entry.name for entry in (path.parent / "staging").glob("*"))
    finish = "recover() finishes or drops it"
    return [
        _metadata(path, found),
        _time(read, found, state),
        *_chunks(path, root, state),
        _maturity(read, found, state),
        Check("generation", not odd, "error", f"published days were being replaced and it did not end: {finish}" if odd else ""),
        Check("journal", not journal, "error", f"a publication was interrupted: {finish}" if journal else ""),
        Check("stagings", not stagings, "warning", f"left by runs, or of a run at work: {', '.join(stagings)}" if stagings else ""),
    ]


def _metadata(path: Path, found: dict[str, Document]) -> Check:
    """The single documents say what the consolidated metadata say."""
    stale = [
        name for name, document in found.items() if _stripped(json.loads((path / name / "zarr.json").read_bytes())) != _stripped(document)
    ]
    return Check(
        "metadata", not stale, "error", f"the consolidated metadata differ from the documents of {', '.join(stale)}" if stale else ""
    )


def _stripped(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "consolidated_metadata"}


def _time(read: Read, found: dict[str, Document], state: State) -> Check:
    assert state.start is not None
    time = read_array(read, "time", found["time"])
    lengths = {document["shape"][0] for document in found.values() if has_time(document)}
    right = np.array_equal(time, day_number(state.start) + np.arange(len(time))) and lengths == {len(time)}
    return Check("time", right, "error", "" if right else f"the axis is not start + index, or layers differ in length ({sorted(lengths)})")


def _chunks(path: Path, root: Document, state: State) -> list[Check]:
    assert state.start is not None
    first = day_number(state.start)
    held = {(int(t), int(row), int(col)) for t, row, col in np.argwhere(state.maturity > Maturity.NONE)}
    lacking: dict[tuple[int, int, int], list[str]] = {}
    orphans: set[tuple[int, int, int]] = set()
    for name in pixel_layers(root["attributes"]["bands"]):
        present = chunks_present(path, name)
        for cell in held - present:
            lacking.setdefault(cell, []).append(name)
        orphans |= present - held
    days = tuple(sorted({first + cell[0] for cell in lacking}))
    where = "; ".join(
        f"{day_from_number(first + t)} block {row}, {col}: {', '.join(lacking[t, row, col])}" for t, row, col in sorted(lacking)[:5]
    )
    beside = tuple(sorted({first + cell[0] for cell in orphans}))
    return [
        Check("chunks", not lacking, "error", f"{len(lacking)} published blocks lack chunks – {where}" if lacking else "", days),
        Check("orphans", not orphans, "warning", f"{len(orphans)} blocks have chunks but no state" if orphans else "", beside),
    ]


def _maturity(read: Read, found: dict[str, Document], state: State) -> Check:
    """A day is as mature as its least mature block that holds anything."""
    assert state.start is not None
    days = read_array(read, "maturity", found["maturity"])
    expected = np.where(state.maturity == Maturity.NONE, 255, state.maturity).reshape(len(days), -1).min(axis=1, initial=255)
    wrong = np.flatnonzero(days != np.where(expected == 255, Maturity.NONE, expected))
    numbers = tuple(int(index) + day_number(state.start) for index in wrong)
    return Check(
        "maturity", not len(wrong), "error", f"{len(wrong)} days have another maturity than their blocks" if len(wrong) else "", numbers
    )
