"""The manifest of a run: what went in, with which versions, and what became of each day. Secrets are refused."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store.layout import manifest_key
from pipeline.store.objects import LocalObjects

PACKAGES = (
    "landfuse", "numpy", "torch", "xarray", "zarr", "numcodecs", "dask", "distributed", "stackstac", "rasterio", "pyproj", "prefect",
)  # fmt: skip
"""Packages whose version can change a pixel or how it is stored."""

_SECRET = re.compile(
    r"[?&](sig|signature|token|access_token|key|api[-_]?key|awsaccesskeyid|x-amz-[a-z-]+|x-goog-[a-z-]+)=|://[^/\s@]*:[^/\s@]*@|\b(bearer|basic)\s+[a-z0-9+/._=-]{8,}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Manifest:
    """Everything needed to say where a day came from.

    Parameters
    ----------
    run, area : str
    science_digest, parameters_digest : str
        Hexadecimal digests of the area's science part and of the method's parameters.
    inputs : sequence of mapping
        One per scene: ``id``, ``collection``, ``stamp`` and what else identifies it. No hrefs with queries.
    days : mapping
        ISO day → `Outcome`.
    started, ended : str
        ISO instants, UTC.
    timings : mapping
        Step → seconds.
    checks : sequence of mapping
        Results of the validators.
    versions : mapping
        Package → version.
    notes : mapping
        Whatever else the run wants to say.
    """

    run: str
    area: str
    science_digest: str
    parameters_digest: str = ""
    inputs: Sequence[Mapping[str, Any]] = ()
    days: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: package_versions())
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed among `PACKAGES`, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as it is written.

    Raises
    ------
    StoreError
        If a string in it looks like a signed URL, a password or a token. The string itself is not repeated.
    """
    text = json.dumps(manifest, indent=1, sort_keys=True)
    for place, value in _strings(manifest, ""):
        if _SECRET.search(value):
            raise StoreError(f"the manifest holds what looks like a secret at {place}", "name scenes by id and redacted href only")
    return text.encode()


def write_manifest(cube_path: Path | str, run_id: str, manifest: Mapping[str, Any]) -> Path:
    """Write the manifest of a run that publishes nothing; `Publisher.publish` writes the others."""
    objects, key = LocalObjects(Path(cube_path).parent), manifest_key(run_id)
    objects.write(key, manifest_bytes(manifest))
    return objects.root / key


def read_manifest(cube_path: Path | str, run_id: str) -> dict[str, Any]:
    """The manifest of a run.

    Raises
    ------
    StoreError
        If there is none.
    """
    path = Path(cube_path).parent / manifest_key(run_id)
    if not path.is_file():
        raise StoreError(f"no manifest of run {run_id} at {path}")
    return dict(json.loads(path.read_bytes()))


def _strings(value: Any, place: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in [*_strings(str(key), place), *_strings(item, f"{place}/{key}"[:80])]]
    if isinstance(value, Sequence):
        return [found for number, item in enumerate(value) for found in _strings(item, f"{place}/{number}")]
    return []
