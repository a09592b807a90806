"""stac-fastapi on pgSTAC, on a PostgreSQL of its own: what the larger public catalogs run, on loopback for as long as a test needs it.

``make pgstac`` installs it. PostgreSQL refuses to run as root; under root it runs as the system user ``postgres``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_USER = "postgres"
_START_SECONDS = 30.0
_SETTINGS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=40"
"""A database that lives for seconds need not survive a power cut."""


def missing() -> str:
    """What is not installed, or an empty string."""
    if not (_venv() / "bin" / "uvicorn").is_file():
        return f"no stac-fastapi.pgstac in {_venv()}: run make pgstac"
    binaries = _binaries()
    if binaries is None:
        return "no PostgreSQL server is installed: run make pgstac as root, or install postgresql and its PostGIS"
    share = subprocess.run([binaries / "pg_config", "--sharedir"], capture_output=True, text=True, check=True).stdout.strip()
    if not (Path(share) / "extension" / "postgis.control").is_file():
        return f"the PostgreSQL in {binaries} has no PostGIS: run make pgstac as root, or install it"
    return ""


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server with the pgSTAC schema.

    Parameters
    ----------
    environment : dict
        What pypgstac and the API need to reach it.
    folder : Path
        Scratch space.
    """

    environment: dict[str, str]
    folder: Path

    def load(self, collections: Iterable[dict[str, Any]], items: Iterable[dict[str, Any]]) -> None:
        """Write collections and items; what is there already is replaced."""
        for kind, documents in (("collections", collections), ("items", items)):
            file = self.folder / f"{kind}.ndjson"
            file.write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
            self._pypgstac("load", kind, str(file), "--method", "upsert")

    def migrate(self) -> None:
        """Make the schema."""
        self._pypgstac("migrate")

    def _pypgstac(self, *arguments: str) -> None:
        _call([_venv() / "bin" / "pypgstac", *arguments], env=self.environment, cwd=self.folder)


@contextmanager
def database() -> Iterator[Database]:
    """An empty pgSTAC database on a random port of loopback, which needs a password; gone at the end."""
    binaries = _binaries()
    assert binaries is not None, missing()
    user = _USER if os.geteuid() == 0 else None
    port, password = free_port(), secrets.token_hex(16)
    # Not below pytest's folders: only their owner may enter those.
    folder = Path(tempfile.mkdtemp(prefix="pgstac-"))
    try:
        data, key = folder / "data", folder / "password"
        key.write_text(password)
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(key, user)
        _call([binaries / "initdb", "-D", data, "-U", _USER, "-A", "scram-sha-256", f"--pwfile={key}", "-N"], user=user, cwd=folder)
        options = f"{_SETTINGS} -c listen_addresses=127.0.0.1 -p {port} -k {folder}"
        control = [binaries / "pg_ctl", "-D", data, "-w"]
        _call([*control, "-l", folder / "log", "-o", options, "start"], user=user, cwd=folder)
        try:
            facts = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": _USER, "PGPASSWORD": password, "PGDATABASE": _USER}
            opened = Database(_environment() | facts, folder)
            opened.migrate()
            yield opened
        finally:
            _call([*control, "-m", "immediate", "stop"], user=user, cwd=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    """The API as a process of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it without a goodbye."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serve(opened: Database) -> Iterator[Server]:
    """The STAC API of a database on a random port of loopback."""
    port = free_port()
    log = opened.folder / f"api-{port}.log"
    command = [_venv() / "bin" / "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=opened.environment, cwd=opened.folder, stdout=file, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        _wait(server, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Server, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(server.url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"no STAC API at {server.url}: {log.read_text(errors='replace')[-2000:]}")


def _call(command: list[Any], **options: Any) -> None:
    # To a file, not a pipe: the server that pg_ctl leaves behind would hold the pipe open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, **options)
        said.seek(0)
        assert done.returncode == 0, f"{command[0]} {command[1]} failed: {said.read()[-2000:].decode(errors='replace')}"


def _environment() -> dict[str, str]:
    """The environment without what points to another database."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "POSTGRES_"))}


def _venv() -> Path:
    return Path(os.environ.get("LANDFUSE_PGSTAC_VENV", ROOT / ".venv-pgstac"))


def _binaries() -> Path | None:
    """The folder of the newest PostgreSQL server; Debian keeps it off the path."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found = shutil.which("initdb")
    if folders:
        return max(folders, key=lambda folder: int(folder.parent.name))
    return Path(found).resolve().parent if found else None
