"""The folder of a run: what one step leaves for the next, as small JSON files, and what can be read afterwards."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import Area
from pipeline.errors import StoreError

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """A progress callback that says nothing."""


@contextmanager
def hold(area: Area, run_id: str) -> Iterator[None]:
    """Hold the stores of an area for the time of a run, and first finish or clear away what an interrupted run left.

    Raises
    ------
    StoreError
        If another run holds them, it is named; or if the disk gets full.
    """
    from pipeline.store.lock import StoreLock
    from pipeline.store.publish import Publisher

    with _full_disk_named(area), StoreLock(area.runtime.root / "run", f"run {run_id}"):
        if area.cube_path.exists():
            publisher = Publisher(area.cube_path)
            publisher.recover()
            publisher.sweep()
        yield


@contextmanager
def _full_disk_named(area: Area) -> Iterator[None]:
    """Say which disk is full and what to do: what writes chunks knows neither."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreError(
            f"{error.strerror}: the disk of {area.runtime.root} is full",
            "free some space and run again: what was read and published is kept",
        ) from error


def new_run_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(2).hex()}"


def started(run_id: str) -> str:
    """The instant a run was planned, ISO."""
    return datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).isoformat()


def run_folder(area: Area, run_id: str) -> Path:
    """Where the steps of a run leave what the next step needs."""
    return area.runtime.root / "runs" / run_id


def save(area: Area, run_id: str, name: str, document: Any) -> None:
    with _full_disk_named(area):
        write_json(run_folder(area, run_id) / f"{name}.json", document)


def load(area: Area, run_id: str, name: str) -> Any:
    return json.loads((run_folder(area, run_id) / f"{name}.json").read_text(encoding="utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write a small document so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(temporary, path)
