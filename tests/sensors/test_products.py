from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from pipeline.sensors import Layer, builtin_products


def test_the_golden_value_of_usgs_is_reproduced() -> None:
    band = builtin_products()["landsat-c2-l2"].bands["red"]
    assert 18639 * band.scale + band.offset == pytest.approx(0.3126, abs=5e-5)


@pytest.mark.parametrize("name", builtin_products())
def test_every_product_keeps_its_fill_out_of_its_valid_range(name: str) -> None:
    for band in builtin_products()[name].bands.values():
        assert band.nodata is not None
        if band.valid is not None:
            assert not band.valid[0] <= band.nodata <= band.valid[1]


def test_mcd43a4_bands_follow_the_modis_numbers_and_each_has_its_own_quality() -> None:
    numbers = {common: band.asset[-1] for common, band in builtin_products()["modis-43A4-061"].bands.items()}
    assert numbers == {"blue": "3", "green": "4", "red": "1", "nir08": "2", "swir16": "6", "swir22": "7"}
    for band in builtin_products()["modis-43A4-061"].bands.values():
        assert band.quality_asset is not None
        assert band.quality_asset[-1] == band.asset[-1]


def test_hls_takes_the_narrow_near_infrared_of_sentinel_2() -> None:
    products = builtin_products()
    assert products["hls2-l30"].bands["nir08"].asset == "B05"
    assert products["hls2-s30"].bands["nir08"].asset == "B8A"


def test_an_unknown_reason_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="haze"):
        Layer(asset="qa", bits={"haze": (1,)})


def test_importing_sensors_and_catalog_imports_no_heavy_library() -> None:
    heavy = "torch dask distributed prefect stackstac rasterio pystac_client xarray zarr"
    code = f"import sys, pipeline.sensors.qa, pipeline.catalog; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
