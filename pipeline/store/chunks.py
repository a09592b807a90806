"""One chunk of a pixel layer, encoded and decoded as its document says.

A chunk of the cube is a Blosc frame of little-endian integers. Making it here costs the
codec alone; the general way through zarr costs a round trip through its event loop for
each of the sixteen layers of a block, more than the codec itself.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
from numcodecs import blosc

from pipeline.errors import StoreError
from pipeline.store.documents import Document, chunk_key, chunk_shape

# With more threads the frame's parts stand in the order in which they are done: equal values, unequal bytes.
blosc.use_threads = False

_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}


class ChunkCodec:
    """The codec of one layer.

    Parameters
    ----------
    document : mapping
        The layer's ``zarr.json``: chunks of (1, rows, columns), codecs ``bytes`` and ``blosc``.

    Raises
    ------
    StoreError
        If the layer is stored in another way.
    """

    def __init__(self, document: Document) -> None:
        codecs = document["codecs"]
        if [codec["name"] for codec in codecs] != ["bytes", "blosc"] or codecs[0].get("configuration", {}).get(
            "endian", "little"
        ) != "little":
            raise StoreError(f"a layer is stored with the codecs {codecs}; expected little-endian bytes and blosc", "make the cube anew")
        self.shape = chunk_shape(document)[1:]
        self.dtype = np.dtype(document["data_type"]).newbyteorder("<")
        self.fill = document["fill_value"]
        self._options = codecs[1]["configuration"]

    def encode(self, values: np.ndarray) -> bytes:
        """A chunk from (h, w) values of the layer's type; blocks at the edge are filled up."""
        if values.shape != self.shape:
            whole = np.full(self.shape, self.fill, self.dtype)
            whole[: values.shape[0], : values.shape[1]] = values
            values = whole
        options = self._options
        data = np.ascontiguousarray(values, self.dtype)
        frame = blosc.compress(data, options["cname"].encode(), options["clevel"], _SHUFFLES[options["shuffle"]], options["blocksize"])
        return bytes(frame)

    def decode(self, data: bytes) -> np.ndarray:
        """The (rows, columns) values of a whole chunk."""
        return np.frombuffer(blosc.decompress(data), self.dtype).reshape(self.shape)


def chunk_path(store: Path, layer: str, index: int, row: int, col: int) -> Path:
    """File of a chunk of a layer."""
    return store / chunk_key(layer, (index, row, col))


def write_chunk(path: Path, data: bytes) -> None:
    """Write the file of a chunk, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
