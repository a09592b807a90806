"""A real STAC API of a sandbox on this machine, for as long as a block of code runs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CatalogError

_START_SECONDS = 20.0


@contextmanager
def serve(folder: Path | str, port: int = 0) -> Iterator[str]:
    """Serve a sandbox as a STAC API on 127.0.0.1 and stop when the block ends.

    Search works by collections, bbox, intersects, datetime, ids and pages; the server knows neither ``query`` nor ``filter``.
    Hrefs of assets are ``file://`` URLs.

    Parameters
    ----------
    folder : Path or str
        What `write_sandbox` wrote.
    port : int
        0 = any free port.

    Yields
    ------
    str
        URL of the API.

    Raises
    ------
    CatalogError
        If the server does not answer within some seconds, or the folder holds no catalog.
    """
    folder = Path(folder).resolve()
    if not (folder / "catalog.json").is_file():
        raise CatalogError(f"no catalog.json in {folder}", "make the sandbox with write_sandbox first")
    program = _program()
    with tempfile.TemporaryDirectory(prefix="sandbox-api-") as scratch:
        documents = _documents(folder, Path(scratch))
        port = port or _free_port()
        url = f"http://127.0.0.1:{port}"
        log_path = Path(scratch) / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen([program, "serve", *documents, "-a", f"127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT)
            try:
                _wait(url, process, log_path)
                yield url
            finally:
                process.terminate()
                try:
                    process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _program() -> str:
    """The rustac command of this environment."""
    beside = Path(sys.executable).parent / "rustac"
    found = str(beside) if beside.is_file() else shutil.which("rustac")
    if not found:
        raise CatalogError("the command rustac is not installed", "pip install 'rustac>=0.9.18,<0.10'")
    return found


def _documents(folder: Path, scratch: Path) -> list[str]:
    """Collections, and one item collection with absolute hrefs, as files."""
    files: list[str] = []
    features: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/collection.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = [link["href"] for link in document["links"] if link["rel"] == "item"]
        document["links"] = []
        files.append(str(scratch / f"{document['id']}.json"))
        Path(files[-1]).write_text(json.dumps(document), encoding="utf-8")
        for entry in entries:
            item_path = path.parent / entry
            item = json.loads(item_path.read_text(encoding="utf-8"))
            item["links"] = []
            for asset in item["assets"].values():
                asset["href"] = (item_path.parent / asset["href"]).resolve().as_uri()
            features.append(item)
    files.append(str(scratch / "items.json"))
    Path(files[-1]).write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return files


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Return when the API answers."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CatalogError(f"the sandbox API stopped while starting: {log_path.read_text(errors='replace')[-500:]}")
        try:
            with urllib.request.urlopen(f"{url}/", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise CatalogError(f"the sandbox API at {url} did not answer within {_START_SECONDS:.0f} s")
