"""A run's staging: a Zarr of the cube's template whose time axis is the run's days, written by workers block by block."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.errors import StoreError
from pipeline.grid import Block, Window
from pipeline.store.chunks import ChunkCodec, chunk_path, write_chunk
from pipeline.store.documents import Document, changed_chunks, dump, has_time, members, read_array, read_file, root_document, with_length
from pipeline.store.encoding import encode_reflectance, encode_std
from pipeline.store.layout import day_layers, pixel_layers, staging_folder, uncertainty_name


@dataclass(frozen=True)
class BlockDay:
    """One day of one block, ready to be written.

    Parameters
    ----------
    bands : ndarray, (B, h, w) float32
        Reflectance in the cube's order of bands, NaN = missing.
    std : ndarray, (B, h, w) float32
        1 σ; NaN where missing.
    provenance, condition : ndarray, (h, w) uint8
        `Provenance` codes and `Condition` bits.
    days_to_observation : ndarray, (h, w) int16
        Signed days, `FILL` = no observation known.
    coarse_valid : ndarray, (h, w) uint8
        Percent, 255 = unknown.
    """

    bands: np.ndarray
    std: np.ndarray
    provenance: np.ndarray
    condition: np.ndarray
    days_to_observation: np.ndarray
    coarse_valid: np.ndarray

    def layers(self, bands: Sequence[str]) -> dict[str, np.ndarray]:
        """The encoded layers by name.

        Raises
        ------
        ValueError
            If an array's shape or type is not what the class says.
        """
        shape = self.provenance.shape
        for name, kind in (("provenance", "uint8"), ("condition", "uint8"), ("days_to_observation", "int16"), ("coarse_valid", "uint8")):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {kind} {shape}")
        for name in ("bands", "std"):
            if getattr(self, name).shape != (len(bands), *shape):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {(len(bands), *shape)}: bands {list(bands)}")
        return {
            **dict(zip(bands, encode_reflectance(self.bands), strict=True)),
            **dict(zip(map(uncertainty_name, bands), encode_std(self.std), strict=True)),
            "provenance": self.provenance,
            "condition": self.condition,
            "days_to_observation": self.days_to_observation,
            "coarse_valid": self.coarse_valid,
        }


@dataclass(frozen=True)
class Staged:
    """What a staging is: read from its metadata, so that every process sees the same.

    Parameters
    ----------
    path : Path
        The staged Zarr.
    run_id : str
    days : tuple of int
        Day numbers of the time axis.
    bands : tuple of str
    block : int
        Edge of a chunk [fine pixels].
    shape : tuple of int
        (height, width).
    """

    path: Path
    run_id: str
    days: tuple[int, ...]
    bands: tuple[str, ...]
    block: int
    shape: tuple[int, int]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all (time, y, x) layers."""
        return tuple(pixel_layers(self.bands))


def create_staging(cube_path: Path | str, run_id: str, days: Sequence[int]) -> Path:
    """Make the staging of a run; one of the same run is removed first.

    Parameters
    ----------
    cube_path : Path or str
        The published cube, whose template is taken over.
    run_id : str
        Letters, digits, ``_.-``.
    days : sequence of int
        Day numbers, increasing.

    Returns
    -------
    Path
        ``staging/<run>/fused.zarr`` beside the cube.
    """
    cube = Path(cube_path)
    if not days or list(days) != sorted(set(days)):
        raise StoreError(f"days of run {run_id} are {list(days)[:5]}…, expected increasing day numbers without doubles")
    root = root_document(read_file(cube), str(cube))
    folder = staging_folder(cube, run_id)
    if folder.exists():
        shutil.rmtree(folder)
    path = folder / cube.name
    left_out = {*day_layers(), "state", "state/digest", "state/maturity"}
    documents = {name: document for name, document in members(root).items() if name not in left_out}
    for name, document in documents.items():
        target = path / name
        target.mkdir(parents=True)
        if has_time(document):
            document = with_length(document, len(days))
            documents[name] = document
        elif (cube / name / "c").exists():
            # Pixel coordinates and the scalar that carries the CRS.
            (shutil.copytree if (cube / name / "c").is_dir() else shutil.copy)(cube / name / "c", target / "c")
        (target / "zarr.json").write_bytes(dump(document))
    indices = np.arange(len(days))[:, None]
    for key, data in changed_chunks(lambda _: None, "time", documents["time"], indices, np.asarray(days)).items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(data)
    attributes = {**root["attributes"], "run": run_id}
    (path / "zarr.json").write_bytes(dump({"zarr_format": 3, "node_type": "group", "attributes": attributes}))
    return path


def open_staged(staging_path: Path | str) -> Staged:
    """Describe a staging.

    Raises
    ------
    StoreError
        If there is none at that path.
    """
    path = Path(staging_path)
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        time = json.loads((path / "time" / "zarr.json").read_bytes())
        return Staged(
            path=path,
            run_id=attributes["run"],
            days=tuple(int(day) for day in read_array(read_file(path), "time", time)),
            bands=tuple(attributes["bands"]),
            block=int(attributes["block"]),
            shape=tuple(attributes["spatial:shape"]),
        )
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError(f"{path} is not a staging: {error!r}", "make one with create_staging before blocks are written") from error


def write_block_day(staging_path: Path | str, block: Block, index: int, day: BlockDay) -> None:
    """Write one day of one block into a staging: one chunk of every layer, by nobody else.

    Parameters
    ----------
    staging_path : Path or str
        As `create_staging` returned it.
    block : Block
        Of the size the cube was made with.
    index : int
        Position of the day on the staging's time axis.
    day : BlockDay
    """
    staged, codecs = _opened(str(staging_path), os.stat(Path(staging_path) / "zarr.json").st_mtime_ns)
    window = block.window
    whole = Window(block.row * staged.block, block.col * staged.block, staged.block, staged.block)
    if window != whole.clipped(*staged.shape):
        raise ValueError(f"{block} does not lie on the chunks of {staged.block} pixels of {staged.path}")
    if not 0 <= index < len(staged.days):
        raise ValueError(f"day {index} does not lie on the {len(staged.days)} days of {staged.path}")
    if day.provenance.shape != window.shape:
        raise ValueError(f"day of shape {day.provenance.shape} does not fill {block}")
    # A chunk of nothing but fill is written too: only so does "nothing valid" differ from "never made",
    # and a replaced day leaves no chunk of its earlier version behind.
    for name, values in day.layers(staged.bands).items():
        write_chunk(chunk_path(staged.path, name, index, block.row, block.col), codecs[name].encode(values))


# The time stamp in the key: a run that starts again makes a new staging under the same path.
@lru_cache(maxsize=8)
def _opened(path: str, _made: int) -> tuple[Staged, dict[str, ChunkCodec]]:
    staged = open_staged(path)
    return staged, {name: ChunkCodec(document) for name, document in staged_documents(staged).items()}


def staged_documents(staged: Staged) -> dict[str, Document]:
    """The documents of the (time, y, x) layers of a staging that are there."""
    files = {name: staged.path / name / "zarr.json" for name in staged.layers}
    return {name: json.loads(file.read_bytes()) for name, file in files.items() if file.is_file()}


def staged_cells(staging_path: Path | str) -> set[tuple[int, int, int]]:
    """(index, block row, block column) of everything that was written whole."""
    staged = open_staged(staging_path)
    return set.intersection(*(chunks_present(staged.path, name) for name in staged.layers))


def chunks_present(path: Path, layer: str) -> set[tuple[int, int, int]]:
    """(index, block row, block column) of the chunks of a layer that lie on disk."""
    cells = set()
    for folder, _, names in os.walk(path / layer / "c"):
        parts = Path(folder).relative_to(path / layer / "c").parts
        if len(parts) == 2:
            cells |= {(int(parts[0]), int(parts[1]), int(name)) for name in names if name.isdigit()}
    return cells


def block_day_bytes(bands: int, block: int) -> int:
    """Bytes that one day of one block may take at most: uncompressed, with a twentieth for headers."""
    return int(1.05 * block * block * (bands * 4 + 5))


def require_space(path: Path | str, bands: int, block: int, block_days: int) -> None:
    """Refuse to start a run that the disk cannot hold.

    Parameters
    ----------
    path : Path or str
        The cube, or where it will be.
    bands, block, block_days : int
        Number of bands, edge of a block, and blocks × days that will be staged.

    Raises
    ------
    StoreError
        Naming what is free and what is needed.
    """
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    needed, free = block_days * block_day_bytes(bands, block), shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"{folder} has {free / 2**30:.1f} GiB free; {block_days} block-days may need {needed / 2**30:.1f} GiB",
            "free some space, or run fewer days at a time",
        )
