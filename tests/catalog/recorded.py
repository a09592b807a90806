"""The recorded items of real providers and what they must become: the table in `recorded.txt` that several tests go through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One recorded item and the scene it must become.

    Parameters
    ----------
    product, file, id : str
        The file lies below the folder of recorded responses.
    longitude : float
        Of the middle of the item.
    platform, acquisition, stamp, tier, day
        As in the scene.
    crs : str
        EPSG code, or ``sinusoidal``.
    pixel, west, north, shape
        Of the bands [m].
    band : str
        How the file name of the red band (or NDVI) ends.
    """

    product: str
    file: str
    id: str
    longitude: float
    platform: str
    day: date
    acquisition: str
    stamp: str
    tier: int
    crs: str
    pixel: float
    west: int
    north: int
    shape: tuple[int, int]
    band: str

    @property
    def provider(self) -> str:
        return self.file.partition("/")[0]


def _rows() -> list[Row]:
    rows, product, file = [], "", ""
    for line in Path(__file__).with_name("recorded.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        words = ["" if word == "-" else word for word in line.split()]
        if not line.startswith(" "):
            product, file = words
            continue
        item_id, longitude, platform, day, acquisition, stamp, tier, crs, pixel, west, north, shape, band = words
        height, width = shape.split("x")
        rows.append(
            Row(
                product,
                file,
                item_id,
                float(longitude),
                platform,
                date.fromisoformat(day),
                acquisition,
                stamp,
                int(tier),
                crs,
                float(pixel),
                int(west),
                int(north),
                (int(height), int(width)),
                band,
            )
        )
    return rows


RECORDED = _rows()

REFUSED = {
    ("earth-search/test_multiple_collections_0.json", "S2A_13TDE_20231008_0_L2A"): "is not of this product",
    ("nasa-cmr-stac/hls-vi_STAC_item_fixture.json", "HLS-VI.L30.T06WVS.2024120T211159.v2.0"): "vegetation indices, not reflectance",
    (
        "planetary-computer/DERIVED_from_parquet_L7_item.json",
        "LE07_L2SP_034032_20231028_02_T2",
    ): "no properties; expected a STAC item[\\s\\S]*stac-geoparquet",
    (
        "planetary-computer/cog_raster_footprint_MCD43A4.json",
        "MCD43A4.A2001055.h25v06.006.2016113010159",
    ): "no asset .*Nadir_Reflectance_Band1.*; it has B01",
    (
        "stactools-modis/006_MCD43A4.A2022019.h10v04.006.json",
        "MCD43A4.A2022019.h10v04.006",
    ): "only in MCD43A4.A2022019.h10v04.006.2022028111747.hdf, an HDF4 file[\\s\\S]*GeoTIFF",
    (
        "stactools-modis/006_MCD43A4.A2022073.h28v08.006.2022082044758.json",
        "MCD43A4.A2022073.h28v08.006.2022082044758",
    ): "no asset .*Nadir_Reflectance_Band2.*; it has Nadir_Reflectance_Band1",
}
"""(file, item id) → what the reason must say."""
