"""What a cube holds, day by day and block by block: the arrays that planning is arithmetic on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from pipeline.grid import day_number
from pipeline.store.documents import Read, members, read_array, read_file, root_document


@dataclass(frozen=True)
class State:
    """The state of a cube.

    Parameters
    ----------
    start : date or None
        Day of index 0; None when there is no cube.
    digest : ndarray, (time, block_y, block_x) uint64
        Digest of everything that went into a block of a day; 0 = never published.
    maturity : ndarray, (time, block_y, block_x) uint8
        `Maturity` codes.
    generation : int
        Even = stable, odd = published days are being replaced.
    """

    start: date | None
    digest: np.ndarray
    maturity: np.ndarray
    generation: int = 0

    def at(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """(digest, maturity) of the blocks of a day (day number), zeros where the cube does not reach."""
        index = -1 if self.start is None else day - day_number(self.start)
        if 0 <= index < len(self.digest):
            return self.digest[index], self.maturity[index]
        return np.zeros(self.digest.shape[1:], np.uint64), np.zeros(self.digest.shape[1:], np.uint8)


def read_state(cube_path: Path | str) -> State:
    """The state of a cube; empty when nothing lies at `cube_path`.

    Raises
    ------
    StoreError
        If something else than a cube lies there.
    """
    path = Path(cube_path)
    if not path.exists():
        return State(None, np.zeros((0, 0, 0), np.uint64), np.zeros((0, 0, 0), np.uint8))
    return state_from(read_file(path), str(path))


def state_from(read: Read, where: str) -> State:
    """The state of the cube whose objects `read` yields."""
    root = root_document(read, where)
    found = members(root)
    return State(
        date.fromisoformat(root["attributes"]["start"]),
        read_array(read, "state/digest", found["state/digest"]),
        read_array(read, "state/maturity", found["state/maturity"]),
        int(root["attributes"]["generation"]),
    )
