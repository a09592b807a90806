"""The few calls on objects that publishing needs, over a local folder."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol


class Objects(Protocol):
    """Objects by key (``a/b/c``) below one root. Every call is whole or not at all."""

    def read(self, key: str) -> bytes:
        """The bytes of an object; FileNotFoundError when there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Create or replace an object, durably."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys below ``prefix/``, in any order."""

    def exists(self, key: str) -> bool:
        """There is such an object."""

    def move(self, source: str, target: str) -> None:
        """Rename an object, replacing `target`; FileNotFoundError when there is no `source`."""

    def delete(self, key: str) -> None:
        """Remove an object and everything below ``key/``, whatever of it is there."""

    def settle(self, keys: Iterable[str]) -> None:
        """Make objects durable that were not written through `write`."""


class LocalObjects:
    """`Objects` in a folder of a local or shared file system.

    Parameters
    ----------
    root : Path
        Folder that holds the cube, its staging and what else is published.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        for folder, _, names in os.walk(self.root / prefix):
            relative = Path(folder).relative_to(self.root).as_posix()
            yield from (f"{relative}/{name}" for name in names)

    def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    def move(self, source: str, target: str) -> None:
        path = self.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.root / source, path)

    def delete(self, key: str) -> None:
        path = self.root / key
        path.unlink(missing_ok=True) if not path.is_dir() else shutil.rmtree(path)

    def settle(self, keys: Iterable[str]) -> None:
        # File systems commit waiting fsyncs together, so many at a time cost little more than one.
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self._fsync, keys))

    def _fsync(self, key: str) -> None:
        handle = os.open(self.root / key, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
