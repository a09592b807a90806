"""The journal of a publication: a list of renames that can be carried out again after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.store.documents import chunk_key


@dataclass(frozen=True)
class Journal:
    """The renames of one publication, in order.

    Parameters
    ----------
    run : str
    staging, cube : str
        Keys of the run's staging folder and of the cube.
    generation : int
        Of the cube when all is done.
    touches : bool
        Published days are touched.
    layers : tuple of str
        Layers of which a chunk is moved.
    cells : tuple
        (index in staging, index in the cube, block row, block column).
    prepared : tuple of str
        Objects prepared under ``<staging>/next/``, in order; they go where the rest of their key says.
    after : tuple of str
        Likewise, once the days are visible.
    """

    run: str
    staging: str
    cube: str
    generation: int
    touches: bool
    layers: tuple[str, ...]
    cells: tuple[tuple[int, int, int, int], ...]
    prepared: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def root(self) -> str:
        """Key of the cube's root document."""
        return f"{self.cube}/zarr.json"

    @property
    def odd(self) -> str:
        """Key of the root document that says that days are being replaced."""
        return f"{self.staging}/odd/zarr.json"

    def waiting(self, key: str) -> str:
        """Where an object lies until its turn comes."""
        return f"{self.staging}/next/{key}"

    def renames(self) -> Iterator[tuple[str, str]]:
        """(source, target) of every step."""
        if self.touches:
            yield self.odd, self.root
        for staged, index, row, col in self.cells:
            for layer in self.layers:
                source = f"{self.staging}/{self.cube}/{chunk_key(layer, (staged, row, col))}"
                yield source, f"{self.cube}/{chunk_key(layer, (index, row, col))}"
        for key in (*self.prepared, self.root, *self.after):
            yield self.waiting(key), key

    def to_bytes(self) -> bytes:
        return json.dumps(vars(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Journal:
        document = json.loads(data)
        for name in ("layers", "prepared", "after"):
            document[name] = tuple(document[name])
        return cls(**{**document, "cells": tuple(tuple(cell) for cell in document["cells"])})
