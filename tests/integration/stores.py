"""What a cube holds, for comparing two of them."""

from __future__ import annotations

import hashlib
from pathlib import Path


def chunks(cube: Path) -> dict[str, str]:
    """Digest of every chunk file of a cube, by its path inside: everything but the metadata documents."""
    return {
        str(path.relative_to(cube)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cube.rglob("*"))
        if path.is_file() and path.name != "zarr.json"
    }
