"""One run at a time on a store: an advisory lock file with owner, heartbeat and takeover of what a dead run left."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError

logger = logging.getLogger(__name__)


class StoreLock:
    """Hold a store, as a context manager.

    Parameters
    ----------
    cube_path : Path
        The cube; the lock lies beside it as ``<name>.lock``.
    owner : str
        Who asks, in words: the run id.
    ttl : float
        Seconds without a heartbeat after which a holder counts as dead.
    heartbeat : float
        Seconds between heartbeats.

    Raises
    ------
    StoreError
        On entering, when another run holds the store; it is named.
    """

    def __init__(self, cube_path: Path | str, owner: str, ttl: float = 300.0, heartbeat: float = 20.0) -> None:
        self.path = Path(f"{cube_path}.lock")
        self.owner = owner
        self.ttl = ttl
        self.heartbeat = heartbeat
        self._token = ""
        self._since = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StoreLock:
        if self._thread is not None:
            raise StoreError(f"{self.path.name} is already held by this very lock", "enter a lock once")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._token, self._since = uuid.uuid4().hex, time.time()
        with self._exclusive():
            holder = self._holder()
            if holder is not None:
                if not self._dead(holder):
                    raise StoreError(f"{self.path.with_suffix('')} is in use by {_describe(holder)}", self._advice(holder))
                logger.warning("taking over %s from %s, which no longer lives", self.path, _describe(holder))
                self.path.unlink()
            self._write(os.O_EXCL)
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, name="store-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._exclusive():
            if self._mine():
                self.path.unlink()

    def check(self) -> None:
        """Raise StoreError when the lock was lost to another run."""
        if not self._mine():
            raise StoreError(
                f"{self.path} was taken over by {_describe(self._holder() or {})} while {self.owner} still ran",
                "nothing more is written by this run; look why it gave no sign of life, then run again",
            )

    def _mine(self) -> bool:
        return (self._holder() or {}).get("token") == self._token

    def _holder(self) -> dict[str, Any] | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return dict(json.loads(text))
        except ValueError:
            # Cut off by a crash or a full disk: its age is that of the file.
            return {"owner": "a run that left an unreadable lock", "heartbeat": self.path.stat().st_mtime}

    def _dead(self, holder: dict[str, Any]) -> bool:
        if time.time() - float(holder.get("heartbeat", 0)) > self.ttl:
            return True
        return holder.get("machine") == _machine() and holder.get("process") != _process(int(holder.get("pid", 0)))

    def _advice(self, holder: dict[str, Any]) -> str:
        age = time.time() - float(holder.get("heartbeat", 0))
        return f"wait for it to end; its last sign of life is {age:.0f} s old, and after {self.ttl:.0f} s it is taken for dead"

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat):
            try:
                with self._exclusive():
                    if not self._mine():
                        return
                    self._write(os.O_TRUNC)
            except OSError as error:
                logger.warning("no heartbeat on %s: %s", self.path, error)

    def _write(self, flag: int) -> None:
        text = json.dumps(
            {
                "owner": self.owner,
                "host": socket.gethostname(),
                "machine": _machine(),
                "pid": os.getpid(),
                "process": _process(os.getpid()),
                "token": self._token,
                "since": self._since,
                "heartbeat": time.time(),
            }
        )
        if flag == os.O_EXCL:
            with os.fdopen(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
                file.write(text)
            return
        draft = self.path.with_name(f".{self.path.name}.{self._token[:8]}")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, self.path)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        # Two runs that both find a dead holder must not both replace it. The kernel drops this inner lock with its process.
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _describe(holder: dict[str, Any]) -> str:
    return f"{holder.get('owner', 'nobody')} (process {holder.get('pid', '?')} on {holder.get('host', '?')})"


def _machine() -> str:
    """Names the kernel and pid namespace: only inside one can a pid be looked up. Empty-handed systems rely on the heartbeat."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.uuid4().hex}"


def _process(pid: int) -> str:
    """Pid and start time of a living process, which a reused pid does not share; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{pid} {fields[19]}"
