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


def test_a_collection_belongs_to_one_product() -> None:
    products = builtin_products()
    names = [name for key, product in products.items() for name in (key, *product.collections)]
    assert len(names) == len(set(names))


def test_every_tile_of_a_product_is_a_whole_number_of_its_pixels() -> None:
    for product in builtin_products().values():
        if product.tiling is not None:
            edge = 109_800 if product.tiling == "hls" else 1_111_950.5196666666
            assert edge / product.pixel == pytest.approx(round(edge / product.pixel), abs=1e-5)


def test_the_line_to_oli_is_the_reduced_major_axis_of_roy() -> None:
    # Roy et al. 2016, table 2, surface reflectance: the lines of ordinary least squares have slopes from 0.85 to 0.91.
    product = builtin_products()["landsat-c2-l2"]
    assert set(product.bandpass) == {"landsat-4", "landsat-5", "landsat-7"}
    for line in product.bandpass.values():
        assert [line.gain[band] for band in ("blue", "green", "red", "nir08", "swir16", "swir22")] == [
            0.9785,
            0.9542,
            0.9825,
            1.0073,
            1.0171,
            0.9949,
        ]
        assert line.offset["nir08"] == -0.0021
        assert set(line.offset) == set(line.gain) == set(product.bands)


def test_the_geometry_of_every_product_is_said_and_what_was_observed_has_an_hour() -> None:
    geometry = {name: product.geometry for name, product in builtin_products().items()}
    assert geometry == {
        "landsat-c2-l2": "observed",
        "hls2-l30": "hls",
        "hls2-s30": "hls",
        "modis-43A4-061": "noon",
        "modis-09GA-061": "observed",
        "modis-09A1-061": "observed",
        "modis-09Q1-061": "observed",
        "modis-13Q1-061": "published",
        "viirs-09GA-002": "observed",
        "viirs-43IA4-002": "noon",
    }
    for name, product in builtin_products().items():
        if product.geometry == "observed":
            assert set(product.platforms.values()) == set(product.local_hour), name


def test_the_quality_bits_of_mod09_follow_the_numbers_of_the_bands() -> None:
    for name in ("modis-09GA-061", "modis-09A1-061"):
        for band in builtin_products()[name].bands.values():
            number = int(band.asset.removesuffix("_1")[-2:])
            assert band.quality_bits == (2 + 4 * (number - 1), 4)
    assert {band.asset: band.quality_bits for band in builtin_products()["modis-09Q1-061"].bands.values()} == {
        "sur_refl_b01": (4, 4),
        "sur_refl_b02": (8, 4),
    }


def test_an_unknown_reason_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="haze"):
        Layer(asset="qa", bits={"haze": (1,)})


def test_importing_sensors_and_catalog_imports_no_heavy_library() -> None:
    heavy = "torch dask distributed prefect stackstac rasterio pystac_client xarray zarr"
    code = f"import sys, pipeline.sensors.qa, pipeline.catalog; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
