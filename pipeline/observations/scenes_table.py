"""The scenes table of a working store: which scene stands in which row, and whether it may be used.

A small JSON file beside the arrays, replaced atomically. Planning reads it without
opening an array, so nothing here imports zarr.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pipeline.catalog.scene import Scene
from pipeline.errors import StoreError
from pipeline.grid import Window

FILE = "scenes.json"
VERSION = 1

State = Literal["pending", "complete", "failed"]


@dataclass(frozen=True)
class Row:
    """One scene of the working store.

    Parameters
    ----------
    index : int
        Row in the arrays of its role: of ``fine``, or of the product's group in ``coarse``.
    scene : Scene
    state : {"pending", "complete", "failed"}
        Only ``complete`` rows hold data that count.
    attempts : int
        How often reading was tried.
    error : str
        Why the last try failed; without secrets.
    window : Window or None
        The pixels it was read for: fine pixels of a fine scene, coarse cells of a coarse one.
    clear_share : float
        Share of the area that it shows clear.
    std : tuple of float
        1 σ of one value of each band; empty for a coarse scene, which has an array of its own.
    superseded : bool
        A newer processing of the acquisition is complete.
    selected : bool
        The scene is one that observations are made of (see `WorkingStore.select`).
    """

    index: int
    scene: Scene
    state: State = "pending"
    attempts: int = 0
    error: str = ""
    window: Window | None = None
    clear_share: float = 0.0
    std: tuple[float, ...] = ()
    superseded: bool = False
    selected: bool = True

    @property
    def usable(self) -> bool:
        """Its data may be read."""
        return self.state == "complete" and self.selected and not self.superseded


def read_table(store: Path | str) -> tuple[Row, ...]:
    """The rows of a working store, in the order they were given out; none when there is no store.

    Raises
    ------
    StoreError
        If the table is not one that this version wrote.
    """
    path = Path(store) / FILE
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    # Blocks ask for the rows over and over; a replaced file has another inode.
    return _parsed(str(path), status.st_ino, status.st_mtime_ns, status.st_size)


def write_table(store: Path | str, rows: Sequence[Row]) -> None:
    """Replace the table. A reader, or a restart after a crash at any moment, sees the old one or the new one."""
    path = Path(store) / FILE
    temporary = path.with_suffix(".tmp")
    document = {"version": VERSION, "rows": [_to_record(row) for row in rows]}
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def with_superseded(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, marked where a newer processing of the same acquisition stands beside them, complete and selected."""
    newest: dict[tuple[str, str], tuple[str, int]] = {}
    for row in rows:
        if row.state == "complete" and row.selected:
            key = row.scene.product, row.scene.acquisition
            newest[key] = max(newest.get(key, ("", -1)), (row.scene.stamp, row.index))
    return tuple(replace(row, superseded=newest.get((row.scene.product, row.scene.acquisition), _order(row)) > _order(row)) for row in rows)


def _order(row: Row) -> tuple[str, int]:
    return row.scene.stamp, row.index


@lru_cache(maxsize=8)
def _parsed(path: str, inode: int, modified: int, size: int) -> tuple[Row, ...]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise StoreError(f"{path} is of version {document['version']}; expected {VERSION}", "delete the store; it is read again")
        return tuple(_from_record(record) for record in document["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a scenes table: {error!r}", "delete the working store; it is read again") from None


def _to_record(row: Row) -> dict[str, Any]:
    window = row.window
    return {
        "index": row.index,
        "scene": row.scene.to_dict(),
        "state": row.state,
        "attempts": row.attempts,
        "error": row.error,
        "window": None if window is None else [window.row, window.col, window.height, window.width],
        "clear_share": row.clear_share,
        "std": list(row.std),
        "superseded": row.superseded,
        "selected": row.selected,
    }


def _from_record(record: Mapping[str, Any]) -> Row:
    values = dict(record)
    values["scene"] = Scene.from_dict(values["scene"])
    values["window"] = None if values["window"] is None else Window(*values["window"])
    values["std"] = tuple(values["std"])
    return Row(**values)
