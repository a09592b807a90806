"""The empty cube: written once by xarray, with a time axis of length 0, and checked before every run."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS

from pipeline.errors import StoreError
from pipeline.grid import Grid
from pipeline.store.documents import chunk_shape, dump, members, read_file, root_document, with_members
from pipeline.store.layout import GEOMETRY, STATE_BLOCKS, STATE_DAYS, TIME_CHUNK, day_layers, pixel_layers

_CONVENTIONS = [
    {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
        "uuid": uuid_,
        "name": name,
        "description": description,
    }
    for name, uuid_, description in (
        ("proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data"),
        ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    )
]


def create_cube(
    path: Path | str,
    grid: Grid,
    bands: Sequence[str],
    start: date,
    block: int,
    attributes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the empty cube: all layers, coordinates and metadata, no day.

    Parameters
    ----------
    path : Path or str
        Where ``fused.zarr`` shall be; nothing may lie there yet.
    grid : Grid
        Fine grid of the area.
    bands : sequence of str
        STAC common names, or other plain names (``ndvi``).
    start : date
        Index 0 of the time axis.
    block : int
        Edge of a block = chunk [fine pixels].
    attributes : mapping, optional
        More group attributes, ready for JSON (``title``, ``method``, ``science_digest`` …).

    Raises
    ------
    StoreError
        If something lies at `path`, or a band's name cannot be used.
    """
    path = Path(path)
    pixel_layers(bands)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"{path} cannot become a cube: something lies there", "choose another path, or move away what lies there")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name and renamed, so that a killed creation leaves no half cube behind.
    draft = path.with_name(f"{path.name}.creating-{uuid.uuid4().hex[:8]}")
    try:
        _write_layers(draft, grid, bands, start, block, dict(attributes or {}))
        _write_state(draft, grid.block_shape(block))
        _consolidate(draft)
        if path.exists():
            path.rmdir()
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return path


def check_cube(path: Path | str, grid: Grid, bands: Sequence[str], start: date, block: int) -> None:
    """Refuse a cube whose structure is not what the area asks for.

    Raises
    ------
    StoreError
        Naming every difference: grid, start, layers, types, fills, chunks.
    """
    path = Path(path)
    root = root_document(read_file(path), str(path))
    found = members(root)
    drift = []

    def compare(what: str, value: Any, expected: Any) -> None:
        if value != expected:
            drift.append(f"  {what}: found {value}, expected {expected}")

    attributes = root["attributes"]
    compare("start", attributes.get("start"), start.isoformat())
    compare("bands", attributes.get("bands"), list(bands))
    compare("transform", attributes.get("spatial:transform"), list(grid.transform))
    compare("shape", attributes.get("spatial:shape"), list(grid.shape))
    if CRS.from_wkt(found["spatial_ref"]["attributes"]["crs_wkt"]) != CRS.from_user_input(grid.crs):
        drift.append(f"  crs: found {attributes.get('proj:code', 'another one')}, expected {grid.crs}")
    for name, layer in pixel_layers(bands).items():
        document = found.get(name)
        if document is None:
            drift.append(f"  {name}: missing")
            continue
        compare(f"{name}.dtype", document["data_type"], layer.dtype)
        compare(f"{name}.fill", document["fill_value"], int(layer.fill))
        compare(f"{name}.chunks", chunk_shape(document), (1, block, block))
    lengths = {name: document["shape"][0] for name, document in found.items() if (document.get("dimension_names") or [""])[0] == "time"}
    if len(set(lengths.values())) != 1:
        drift.append(f"  length of time: {lengths}")
    if drift:
        raise StoreError(
            f"{path} is not the cube this area describes:\n" + "\n".join(drift),
            "publish into another runtime.root, or restore the grid, start, bands and block the cube was made with",
        )


def _write_layers(path: Path, grid: Grid, bands: Sequence[str], start: date, block: int, attributes: dict[str, Any]) -> None:
    import xarray as xr
    from zarr.codecs import BloscCodec

    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    variables: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    for name, layer in pixel_layers(bands).items():
        extra = {"_FillValue": np.dtype(layer.dtype).type(layer.fill)} if layer.masked else {}
        empty = np.empty((0, *grid.shape), layer.dtype)
        variables[name] = (("time", "y", "x"), empty, {**layer.attributes, **extra, "grid_mapping": "spatial_ref"})
        encoding[name] = {"chunks": (1, block, block), "compressors": (codec,), "fill_value": int(layer.fill)}
    for name, layer_attributes in day_layers().items():
        variables[name] = (("time",), np.empty(0, "uint8"), layer_attributes)
        encoding[name] = {"chunks": (TIME_CHUNK,), "compressors": None, "fill_value": 0}
    for name in ("y", "x"):
        encoding[name] = {"chunks": (len(getattr(grid, name)),), "compressors": None, "_FillValue": None}
    encoding["time"] = {"chunks": (TIME_CHUNK,), "compressors": None}
    encoding["spatial_ref"] = {"compressors": None}
    dataset = xr.Dataset(
        variables,
        coords={
            "time": (
                "time",
                np.empty(0, "int32"),
                {
                    "standard_name": "time",
                    "long_name": "solar-local day",
                    "axis": "T",
                    "units": "days since 1970-01-01",
                    "calendar": "proleptic_gregorian",
                    "units_metadata": "leap_seconds: none",
                },
            ),
            "y": (
                "y",
                grid.y,
                {"standard_name": "projection_y_coordinate", "long_name": "northing", "axis": "Y", "units": "m"},
            ),
            "x": (
                "x",
                grid.x,
                {"standard_name": "projection_x_coordinate", "long_name": "easting", "axis": "X", "units": "m"},
            ),
            "spatial_ref": ((), np.int32(0), _grid_mapping(grid)),
        },
        attrs=_group_attributes(grid, bands, start, block, attributes),
    )
    # The time axis is empty, so nothing but metadata and the two pixel coordinates is written.
    dataset.to_zarr(path, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)


def _group_attributes(grid: Grid, bands: Sequence[str], start: date, block: int, attributes: dict[str, Any]) -> dict[str, Any]:
    authority = CRS.from_user_input(grid.crs).to_authority()
    return {
        "Conventions": "CF-1.11",
        "title": "Daily seamless fine-resolution surface reflectance",
        "source": "fusion of Landsat and MODIS observations by landfuse",
        "history": f"created by landfuse {version('landfuse')}; the runs are in manifests/ beside the cube",
        "geometry": GEOMETRY,
        "uncertainty": "1 sigma of the error against the true surface reflectance",
        **attributes,
        "landfuse_version": version("landfuse"),
        "generation": 0,
        "start": start.isoformat(),
        "bands": list(bands),
        "block": block,
        "zarr_conventions": _CONVENTIONS,
        **({"proj:code": ":".join(authority)} if authority else {"proj:wkt2": CRS.from_user_input(grid.crs).to_wkt()}),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(grid.bounds),
        "spatial:transform_type": "affine",
        "spatial:transform": list(grid.transform),
        "spatial:shape": list(grid.shape),
        "spatial:registration": "pixel",
    }


def _grid_mapping(grid: Grid) -> dict[str, Any]:
    a, b, c, d, e, f = grid.transform
    cf = CRS.from_user_input(grid.crs).to_cf()
    return {"long_name": "coordinate reference system", **cf, "GeoTransform": f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"}


def _write_state(path: Path, blocks: tuple[int, int]) -> None:
    import zarr

    group = zarr.open_group(path, mode="r+", use_consolidated=False).create_group("state")
    chunks = (STATE_DAYS, min(blocks[0], STATE_BLOCKS), min(blocks[1], STATE_BLOCKS))
    for name, dtype in (("digest", "uint64"), ("maturity", "uint8")):
        group.create_array(
            name,
            shape=(0, *blocks),
            chunks=chunks,
            dtype=dtype,
            fill_value=0,
            compressors=None,
            dimension_names=("time", "block_y", "block_x"),
        )


def _consolidate(path: Path) -> None:
    """Gather all documents in the root document, and write every one the way publishing does."""
    documents = {file.parent.relative_to(path).as_posix(): json.loads(file.read_bytes()) for file in path.rglob("zarr.json")}
    root = with_members(documents.pop("."), documents)
    for name, document in {".": root, **documents}.items():
        (path / name / "zarr.json").write_bytes(dump(document))
