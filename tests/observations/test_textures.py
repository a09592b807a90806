"""Products of 250 m that lack bands of the area: beside others they are kept in bands of their own, and make no coarse series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Area, MaskPart
from pipeline.grid import Grid, Window
from pipeline.observations.ingest import ingest
from pipeline.observations.location import observations_path
from pipeline.observations.textures import texture_bands
from pipeline.observations.working import WorkingStore
from pipeline.sensors import builtin_products
from pipeline.steps.recipe import coarse_products, dated_products, used_sources

from .scenes import AS_SEEN, UTM33, make_scene, modis_scene, small_grid, write_tiff

MCD43, Q1, VI = "modis-43A4-061", "modis-09Q1-061", "modis-13Q1-061"
BANDS = ("green", "red", "nir08")


def area_of(*coarse: str, bands: tuple[str, ...] = BANDS, method: str = "smoother") -> Area:
    science = {
        "grid": {"crs": UTM33, "bounds": small_grid().bounds},
        "start": "2024-06-01",
        "bands": bands,
        "fine": [{"collection": "landsat-c2-l2"}],
        "coarse": [{"collection": name} for name in coarse],
        "method": {"name": method},
    }
    return Area.model_validate({"name": "textures", "science": science})


@pytest.mark.parametrize(
    ("coarse", "bands", "textures"),
    [
        ((MCD43, Q1, VI), BANDS, {Q1: ("red", "nir08"), VI: ("ndvi",)}),
        ((MCD43, Q1), ("green", "red"), {Q1: ("red",)}),
        ((MCD43, Q1), ("red", "nir08"), {}),
        ((Q1,), BANDS, {}),
        ((VI,), ("ndvi",), {}),
        ((MCD43, "modis-09A1-061", "viirs-43IA4-002"), BANDS, {}),
    ],
)
def test_textures_are_products_of_small_pixels_that_lack_bands_beside_others_that_do_not(
    coarse: tuple[str, ...], bands: tuple[str, ...], textures: dict[str, tuple[str, ...]]
) -> None:
    area = area_of(*coarse, bands=bands)
    assert texture_bands(area) == textures
    assert coarse_products(area) == [name for name in coarse if name not in textures]


def test_they_have_a_store_of_their_own_and_are_not_searched_for_methods_that_do_not_need_them() -> None:
    plain, rich = area_of(MCD43), area_of(MCD43, Q1, VI)
    assert observations_path(plain) != observations_path(rich)
    assert [source.collection for source in used_sources(rich)] == ["landsat-c2-l2", MCD43]
    assert dated_products(rich) == [VI]


def vegetation(folder: Path, grid: Grid) -> dict[str, str]:
    """A 13Q1 granule on pixels of 80 m of the grid: water, then fields, then cloud; seen on the third and the tenth day."""
    shape, transform = (grid.height * 3 // 8, grid.width * 3 // 8), (80.0, 0.0, grid.west, 0.0, -80.0, grid.north)
    index = np.full(shape, 6000, np.int16)
    index[:6] = -1500
    reliability = np.zeros(shape, np.int8)
    reliability[-3:] = 3
    day = np.full(shape, 155, np.int16)
    day[:, 6:] = 162
    layers = {"ndvi": index, "250m_16_days_pixel_reliability": reliability, "250m_16_days_composite_day_of_the_year": day}
    return {name: write_tiff(folder / f"{at}.tif", pixels, UTM33, transform) for at, (name, pixels) in enumerate(layers.items())}


def test_an_index_is_kept_in_its_own_group_on_its_own_days_and_never_in_the_series(tmp_path: Path) -> None:
    grid = small_grid()
    transform = (80.0, 0.0, grid.west, 0.0, -80.0, grid.north)
    scene = make_scene("vi", vegetation(tmp_path, grid), UTM33, transform, (12, 12), product=VI, platform="terra")
    other = modis_scene(tmp_path, "m", grid)
    store = WorkingStore.create(tmp_path / "o.zarr", grid, BANDS, [MCD43], 32, [VI], {VI: ("ndvi",)})
    records = ingest([scene, other], store, grid, BANDS, builtin_products(), MaskPart(), AS_SEEN, {}, 1)
    assert [record.error for record in records] == ["", ""]
    cells = Window(0, 0, 4, 4)
    series = WorkingStore.open(store.path).read_coarse(cells, 0, 1 << 30)
    assert set(series.product) == {MCD43}
    assert series.values.shape[1] == 3
    seen = WorkingStore.open(store.path).read_coarse(cells, 0, 1 << 30, texture=VI)
    first = int(seen.nominal[0])
    assert (seen.days - first).tolist() == [155 - 153, 162 - 153]
    values = np.where(np.isfinite(seen.values[0]), seen.values[0], seen.values[1])[0]
    # Below −0.05, the limit of reflectances, an index still is one.
    np.testing.assert_allclose(values, np.repeat([[-0.15], [-0.15], [0.6], [np.nan]], 4, axis=1), atol=1e-4)
    assert np.isfinite(seen.values[0, 0, 0]).tolist() == [True, True, False, False]
