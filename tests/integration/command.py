"""The command as a user calls it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("landfuse")


def landfuse(*arguments: str | Path, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call ``landfuse`` with one thread for arithmetic, and without what this process knows of Prefect."""
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env=clean_environment() | environment
    )


def clean_environment() -> dict[str, str]:
    """The environment of this process without its Prefect settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
