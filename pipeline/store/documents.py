"""The metadata documents of a cube (``zarr.json``) as plain JSON, and its small uncompressed arrays, without importing zarr.

Planning and publishing need a few shapes and two small arrays; opening them as JSON
and raw bytes takes a millisecond, importing zarr half a second. What is written here
is plain Zarr v3: consolidated metadata in the root document, arrays with the `bytes`
codec alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError

Document = dict[str, Any]
Read = Callable[[str], bytes | None]
"""Bytes of a key, or None when there is no such object."""


def read_file(folder: Path) -> Read:
    """A `Read` over the files of a folder."""

    def read(key: str) -> bytes | None:
        try:
            return (folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    return read


def dump(document: Mapping[str, Any]) -> bytes:
    """A document as it is written."""
    return json.dumps(document, indent=1).encode()


def root_document(read: Read, where: str) -> Document:
    """The root document of a cube.

    Raises
    ------
    StoreError
        If there is none, or it is not one that landfuse wrote.
    """
    data = read("zarr.json")
    if data is None:
        raise StoreError(f"{where} is not a cube: it has no zarr.json", "give the path of a fused.zarr, or one where nothing lies yet")
    try:
        document = json.loads(data)
        known = "landfuse_version" in document["attributes"] and "metadata" in document["consolidated_metadata"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise StoreError(f"{where} holds a Zarr that landfuse did not make", "choose another path; nothing was changed")
    return document


def members(root: Document) -> dict[str, Document]:
    """The documents of all arrays and groups below the root, by path."""
    return root["consolidated_metadata"]["metadata"]


def with_members(root: Document, documents: Mapping[str, Document]) -> Document:
    """`root` with the consolidated metadata of `documents`: replacing this one object shows all of them at once."""
    metadata = {name: documents[name] for name in sorted(documents)}
    return {**root, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": metadata}}


def with_length(document: Document, length: int) -> Document:
    """An array's document with another length of the first dimension."""
    changed = deepcopy(document)
    changed["shape"][0] = length
    return changed


def has_time(document: Document) -> bool:
    """The array's first dimension is time."""
    return document.get("node_type") == "array" and (document.get("dimension_names") or [None])[0] == "time"


def chunk_shape(document: Document) -> tuple[int, ...]:
    """Shape of one chunk."""
    return tuple(document["chunk_grid"]["configuration"]["chunk_shape"])


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Key of a chunk relative to the root of the cube."""
    return "/".join((name, "c", *map(str, index)))


def read_array(read: Read, name: str, document: Document, first: int = 0) -> np.ndarray:
    """All of a small uncompressed array from index `first` of its first dimension on."""
    shape, chunks = tuple(document["shape"]), chunk_shape(document)
    values = np.full(shape, document["fill_value"], document["data_type"])
    ranges = [range(-(-size // chunk)) for size, chunk in zip(shape, chunks, strict=True)]
    ranges[0] = range(first // chunks[0], ranges[0].stop)
    for index in itertools.product(*ranges):
        data = read(chunk_key(name, index))
        if data is not None:
            corner = tuple(i * chunk for i, chunk in zip(index, chunks, strict=True))
            target = values[tuple(slice(start, start + chunk) for start, chunk in zip(corner, chunks, strict=True))]
            target[...] = _chunk(data, document)[tuple(slice(size) for size in target.shape)]
    return values[first:]


def changed_chunks(read: Read, name: str, document: Document, indices: np.ndarray, values: np.ndarray) -> dict[str, bytes]:
    """The chunks of a small uncompressed array after ``array[indices] = values``.

    What a chunk holds beyond the length of the first dimension counts as never written.

    Parameters
    ----------
    read : callable
        Bytes of a key of the cube, or None.
    name, document : str, mapping
        The array as it is.
    indices : ndarray, (N, dimensions) int
    values : ndarray, (N,)

    Returns
    -------
    dict
        Key → bytes of every chunk that was touched.
    """
    chunks = np.array(chunk_shape(document))
    owners = indices // chunks
    result = {}
    for owner in np.unique(owners, axis=0):
        key = chunk_key(name, tuple(int(i) for i in owner))
        data = read(key)
        chunk = np.full(chunks, document["fill_value"], document["data_type"])
        if data is not None:
            known = max(0, document["shape"][0] - int(owner[0] * chunks[0]))
            chunk[:known] = _chunk(data, document)[:known]
        mine = (owners == owner).all(axis=1)
        chunk[tuple((indices[mine] - owner * chunks).T)] = values[mine]
        result[key] = chunk.tobytes()
    return result


def _chunk(data: bytes, document: Document) -> np.ndarray:
    return np.frombuffer(data, np.dtype(document["data_type"]).newbyteorder("<")).reshape(chunk_shape(document))
