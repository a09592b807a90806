"""What docs/cube.md tells the data team to type works on a published cube."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import zarr

from pipeline.grid import Grid
from pipeline.products.stac import CubeFacts, DayFacts, stac_objects
from pipeline.store.encoding import FILL, SCALE
from pipeline.store.layout import day_layers, pixel_layers
from pipeline.vocabulary import Condition, Maturity, Outcome, Provenance

from .conftest import BANDS, fill_cube

MANUAL = (Path(__file__).parents[2] / "docs" / "cube.md").read_text(encoding="utf-8")


def test_every_python_block_runs_in_the_published_folder(tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_cube(tmp_path / "fused.zarr", grid)
    facts = DayFacts(
        date(2023, 6, 1), Maturity.FINAL, "residual", Outcome.PUBLISHED, 0, {Provenance.OBSERVED: 1.0}, "r1", "00", datetime.now(UTC)
    )
    for path, data in stac_objects(CubeFacts("manual", grid, BANDS), [facts], []):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["series"].shape == (4,)  # type: ignore[attr-defined]
    assert names["final"].sizes["time"] == 2  # type: ignore[attr-defined]
    assert [item.id for item in names["clear"]] == ["manual-2023-06-01"]  # type: ignore[attr-defined]


def test_the_manual_names_every_variable_and_code() -> None:
    for name in [*pixel_layers(()), *day_layers()]:
        assert f"`{name}`" in MANUAL
    for kind in Provenance:
        assert f"| {int(kind)} {kind.name.lower().split('_')[0]}" in MANUAL
    for bit in Condition:
        assert f"{int(bit)} {str(bit.name).lower().replace('_', ' ')}" in MANUAL
    assert ", ".join(f"{int(word)} {word.name.lower()}" for word in Maturity) in MANUAL


def test_gdal_reads_a_day_of_the_cube_in_its_place(tmp_path: Path, grid: Grid) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = fill_cube(tmp_path / "fused.zarr", grid)
    expected = zarr.open_array(path / "nir08", mode="r")[1]
    if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 11):
        # Before 3.11 GDAL knows the codec "bytes" by the name it had in a draft of Zarr v3; everything else can be checked all the same.
        for document in path.rglob("zarr.json"):
            document.write_text(document.read_text().replace('"name": "bytes"', '"name": "endian"'))
    with rasterio.open(f'ZARR:"{path}":/nir08:1') as day:
        assert day.shape == grid.shape
        assert day.crs.to_epsg() == 32633
        assert tuple(day.transform)[:6] == grid.transform
        assert day.nodata == FILL
        assert day.scales == (SCALE,)
        assert (day.read(1) == expected).all()
