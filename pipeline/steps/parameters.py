"""What was learnt about an area, in numbered versions that never change, one of them pinned; and the unit of every parameter.

::

    v0001.json          a version: what was learnt, the days it was learnt from, its recipe, units, digest
    v0001-levels.zarr   levels of bright surfaces, of a version that found some
    v0001-ndvi.zarr     annual median of the fine NDVI, where the method needs it
    pinned.json         the version that runs use

The digest of a version follows from the recipe and from what was learnt alone: the same values learnt from other days, or under
another number, make the same pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.planning import recipe_hash
from pipeline.steps.runs import write_json

UNITS: Mapping[str, str] = {
    "registration.*.d[yx]": "m",
    "registration.*.std_[yx]": "m",
    "registration.*.correlation": "1",
    "restoration.gain": "1",
    "restoration.offset": "1",
    "restoration.correlation": "1",
    "restoration.rmse": "1",
    "restoration.cells": "1",
    "rescue.pixels": "1",
    "ndvi.pixels": "1",
    "method.tau": "d",
    "method.noise": "1",
    "method.level": "1",
    "method.season": "1",
    "method.gain_std": "1",
    "method.freedom": "1",
    "method.process": "1",
    "method.coarse_gain": "1",
    "method.std_scale": "1",
    "method.std_power": "1",
    "method.contrast": "1",
    "method.offset": "1",
    "method.sigma": "1",
    "method.floor": "1",
    "method.change": "1",
    "method.follow": "1",
    "method.apart": "1",
    "method.classes.centres": "1",
    "method.classes.day": "days since 1970-01-01",
}
"""UDUNITS spelling of the unit of the parameters whose names match; reflectance and ratios are ``1``. What is no quantity has none."""

LEVELS, NDVI = "levels", "ndvi_median"
"""What is learnt about every pixel: keys that give the path of it."""
_LAYERS = {LEVELS: ("rescue", "levels"), NDVI: ("ndvi", "ndvi")}
"""Key → the part of the document that says how many ``pixels`` are known, and the name of the array."""
_ADDED = frozenset({"version", "digest", "units", *_LAYERS})
"""Keys that a document has once it is a version."""
_ABOUT = _ADDED | {"trained_from", "trained_to"}
"""Keys of a version that its digest does not follow from."""


@dataclass(frozen=True)
class Versions:
    """The versions of what was learnt about an area.

    Parameters
    ----------
    folder : Path
        Where they lie; it need not exist.
    """

    folder: Path

    @property
    def numbers(self) -> list[int]:
        """The versions there are, increasing."""
        return sorted(int(path.stem[1:]) for path in self.folder.glob("v[0-9][0-9][0-9][0-9].json"))

    @property
    def pinned(self) -> int | None:
        """The version that runs use; None before anything was learnt."""
        path = self.folder / "pinned.json"
        return int(json.loads(path.read_text(encoding="utf-8"))["version"]) if path.exists() else None

    def next_layer(self, key: str) -> Path:
        """Where `LEVELS` or `NDVI` of the version that is learnt next are kept; `save` keeps them or clears them away."""
        return self._layer(key, self._next)

    def read(self, version: int) -> dict[str, Any]:
        """A version, with the paths of its ``levels`` and ``ndvi_median``, empty where it has none.

        Raises
        ------
        StoreError
            If there is no such version, or its file was changed.
        """
        path = self._path(version)
        if not path.exists():
            known = ", ".join(map(str, self.numbers)) or "none"
            raise StoreError(
                f"there is no version {version} of the parameters in {self.folder}; there is {known}",
                "pin one of these, or learn a new one: landfuse refit",
            )
        document = json.loads(path.read_text(encoding="utf-8"))
        if digest_of(document) != document["digest"]:
            raise StoreError(
                f"{path} was changed: its content has digest {digest_of(document)}, not {document['digest']}",
                "put the file back as it was, or pin another version: a version never changes",
            )
        return {**document, **{key: str(self._layer(key, version)) if _pixels(document, key) else "" for key in _LAYERS}}

    def digests(self) -> dict[int, str]:
        """Version → its digest."""
        return {number: str(json.loads(self._path(number).read_text(encoding="utf-8"))["digest"]) for number in self.numbers}

    def save(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what was learnt as the next version, unless a version holds the same; that one is returned then.

        Parameters
        ----------
        document : mapping
            JSON-ready: what was learnt, ``rescue``, ``ndvi`` where it was asked for, ``recipe``, ``trained_from`` and ``trained_to``.
        """
        # As it will be read: in JSON all keys are text.
        document = {key: value for key, value in json.loads(json.dumps(document)).items() if key not in _ADDED}
        version, digest = self._next, digest_of(document)
        known = next((number for number, other in self.digests().items() if other == digest), None)
        for key in _LAYERS:
            if known is not None or not _pixels(document, key):
                shutil.rmtree(self._layer(key, version), ignore_errors=True)
        if known is not None:
            return self.read(known)
        made = {"version": version, "digest": digest, **document, "units": units_of(document)}
        path = self._path(version)
        temporary = path.with_suffix(".new")
        write_json(temporary, made)
        # A link never takes the place of a file, and shows the whole of it at once.
        os.link(temporary, path)
        temporary.unlink()
        return self.read(version)

    def pin(self, version: int) -> dict[str, Any]:
        """Make runs use a version from now on.

        Raises
        ------
        StoreError
            As for `read`.
        """
        found = self.read(version)
        write_json(self.folder / "pinned.json", {"version": version})
        return found

    @property
    def _next(self) -> int:
        return max(self.numbers, default=0) + 1

    def _path(self, version: int) -> Path:
        return self.folder / f"v{version:04d}.json"

    def _layer(self, key: str, version: int) -> Path:
        return self.folder / f"v{version:04d}-{_LAYERS[key][1]}.zarr"


def _pixels(document: Mapping[str, Any], key: str) -> int:
    """Pixels that a layer of a version knows."""
    return int(document.get(_LAYERS[key][0], {}).get("pixels", 0))


def digest_of(document: Mapping[str, Any]) -> str:
    """Digest of a version: of all that changes a pixel."""
    return f"{int(recipe_hash({key: value for key, value in document.items() if key not in _ABOUT})):016x}"


def about(document: Mapping[str, Any]) -> dict[str, Any]:
    """Which version it is, and what it was learnt from."""
    return {name: document[name] for name in ("version", "digest", "trained_from", "trained_to")}


def unit_of(name: str) -> str:
    """Unit of a parameter such as ``method.tau``; empty where none is declared."""
    return next((unit for pattern, unit in UNITS.items() if fnmatchcase(name, pattern)), "")


def units_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Those of the declared units that parameters of a document have."""
    names = {name for name, _ in _leaves(document, deep=True)}
    return {pattern: unit for pattern, unit in UNITS.items() if any(fnmatchcase(name, pattern) for name in names)}


def values_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What was learnt: name such as ``method.tau`` → value, a list where there is one for each band."""
    learnt = {key: value for key, value in document.items() if key not in _ABOUT | {"recipe"}}
    return dict(_leaves(learnt))


def _leaves(value: Any, name: str = "", deep: bool = False) -> Iterator[tuple[str, Any]]:
    """Names and values inside of mappings; `deep` looks into lists of mappings as well."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key), deep)
    elif deep and isinstance(value, list) and value and isinstance(value[0], Mapping):
        for part in value:
            yield from _leaves(part, name, deep)
    else:
        yield name, value
