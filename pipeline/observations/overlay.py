"""A working store that shows the observations of another, with a restored series and verdicts of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DERIVED = ("restored", "screened")
"""Groups of the working store that follow from observations and parameters."""


@contextmanager
def overlay(store: Path | str, folder: Path) -> Iterator[Path]:
    """A store in which something else can be derived from the same observations, for the time of a ``with`` block.

    Nothing is copied: observations are links, what is derived starts empty.

    Parameters
    ----------
    store : Path or str
        A working store. Nothing of it is changed.
    folder : Path
        Where the other one is made.

    Yields
    ------
    Path
        Of the other store, for `WorkingStore.open`.
    """
    store = Path(store).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for part in store.iterdir():
            if part.name not in DERIVED:
                (Path(made) / part.name).symlink_to(part)
                continue
            for document in (part / "zarr.json", *part.glob("*/zarr.json")):
                copied = Path(made) / document.relative_to(store)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(document, copied)
        yield Path(made)
