"""How hard is the sandbox? The same figures from simulated and from real scenes, as Markdown.

Usage: python benchmarks/realism.py [folder with the real sets, default $LANDFUSE_SHARED/data or ../shared/data]
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.warp import Resampling, reproject

from pipeline.grid import Grid
from pipeline.sandbox import SandboxSpec, World, write_sandbox
from pipeline.vocabulary import BANDS

Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """Two clear images of one place."""

    name: str
    days: int
    before: Image
    after: Image
    scale: int


def cell_mean(image: Image, scale: int) -> Image:
    """Means over squares of `scale` pixels; what does not fill a square is left out."""
    height, width = (size // scale for size in image.shape[-2:])
    cut = image[..., : height * scale, : width * scale]
    return np.asarray(cut.reshape(*image.shape[:-2], height, scale, width, scale).mean(axis=(-3, -1)))


def rmse(error: Image) -> float:
    return float(np.sqrt(np.mean(error**2)))


def figures(change: Change, band: int) -> list[float]:
    """Error of copying, error left by a perfect coarse change, spread, texture at one pixel, share of variance below the coarse cell."""
    before, after, scale = change.before[band], change.after[band], change.scale
    difference = after - before
    coarse = np.kron(cell_mean(difference, scale), np.ones((scale, scale), dtype=np.float32))
    left = difference[: coarse.shape[0], : coarse.shape[1]] - coarse
    texture = rmse(np.diff(before, axis=1)) / float(before.std())
    below = 1 - float(cell_mean(before, scale).var() / before.var())
    return [rmse(difference), rmse(left), float(before.std()), texture, below]


def real_changes(folder: Path) -> Iterator[tuple[Change, tuple[int, int]]]:
    """Pairs of real images, and where red and near infrared are."""

    def read(name: str) -> Image:
        with rasterio.open(folder / name) as source:
            return np.asarray(source.read(), dtype=np.float32) / 1e4

    for place, template, days, scale, bands in (
        ("CIA, 50 m", "cia-3date-50m/landsat7_{}.tif", ("20011008", "20011017", "20011102"), 5, (2, 3)),
        ("BOREAS, 30 m", "boreas-estarfm-30m/landsat7_{}.tif", ("20010524", "20010711", "20010812"), 8, (1, 2)),
    ):
        for first, second in itertools.pairwise(days):
            gap = (datetime.strptime(second, "%Y%m%d") - datetime.strptime(first, "%Y%m%d")).days
            yield Change(f"{place} {first}", gap, read(template.format(first)), read(template.format(second)), scale), bands


def simulated_changes() -> Iterator[Change]:
    """Pairs of true images of three worlds."""
    grid = Grid.from_bounds("EPSG:32633", (500_000, 5_100_000, 512_000, 5_112_000))
    for seed in (1, 2, 3):
        world = World(seed, grid, date(2022, 4, 1), date(2022, 9, 30))
        for first, gap in ((date(2022, 5, 10), 9), (date(2022, 6, 20), 16), (date(2022, 7, 10), 32)):
            yield Change(f"sandbox {seed}, {first:%m-%d}", gap, world.truth(first), world.truth(first + timedelta(days=gap)), 8)


def clear_share_and_gaps(clear: npt.NDArray[np.bool_], days: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of clear looks, and median and 90th percentile of the days between clear looks of a pixel; clear is (time, pixel)."""
    gaps = [np.diff(days[column]) for column in clear.T if column.sum() > 1]
    lengths = np.concatenate(gaps)
    return float(clear.mean()), float(np.median(lengths)), float(np.percentile(lengths, 90))


def line_series(folder: Path) -> tuple[float, float, float]:
    """Clear looks of one line of pixels at Harvard Forest in the years of two satellites."""
    with np.load(folder / "landsat-line-series" / "p013r030_r50_n423_b8.npz", allow_pickle=False) as record:
        days, mask = record["dates"].astype(np.int64), record["Y"][7]
    season = np.array([date.fromordinal(int(day)).year in range(1999, 2011) for day in days])
    return clear_share_and_gaps((mask[season] <= 1)[:, ::10], days[season])


def sandbox_looks(folder: Path, spec: SandboxSpec) -> tuple[tuple[float, float, float], float, float]:
    """Clear looks at every tenth pixel; correlation and error of MCD43A4 against the mean truth of its cells (near infrared)."""
    by_day: dict[int, npt.NDArray[np.bool_]] = {}
    for path in sorted((folder / "landsat-c2-l2").glob("*/*_QA_PIXEL.TIF")):
        day = datetime.strptime(path.name.split("_")[3], "%Y%m%d").toordinal()
        qa = np.ones(spec.grid.shape, dtype=np.uint16)
        with rasterio.open(path) as source:
            reproject(
                source.read(1),
                qa,
                src_crs=source.crs,
                src_transform=source.transform,
                dst_crs=spec.grid.crs,
                dst_transform=rasterio.Affine(*spec.grid.transform),
                resampling=Resampling.nearest,
                init_dest_nodata=False,
            )
        clear = (qa[::10, ::10] & 0b11111) == 0
        by_day[day] = by_day.get(day, np.zeros_like(clear)) | clear
    days = np.array(sorted(by_day))
    looks = clear_share_and_gaps(np.stack([by_day[day].ravel() for day in days]), days)

    pairs = []
    for path in sorted((folder / "modis-43A4-061").glob("*/*_Nadir_Reflectance_Band2.tif"))[::6]:
        truth = spec.world.truth(datetime.strptime(path.name.split(".")[1], "A%Y%j").date())[BANDS.index("nir08")]
        with rasterio.open(path) as source:
            values = source.read(1)
            mean = np.full(values.shape, np.nan, dtype=np.float32)
            reproject(
                truth,
                mean,
                src_crs=spec.grid.crs,
                src_transform=rasterio.Affine(*spec.grid.transform),
                dst_crs=source.crs,
                dst_transform=source.transform,
                resampling=Resampling.average,
                dst_nodata=np.nan,
            )
        valid = np.isfinite(mean) & (values != 32767)
        pairs.append(np.stack([values[valid] * 1e-4, mean[valid]]))
    both = np.concatenate(pairs, axis=1)
    return looks, float(np.corrcoef(both)[0, 1]), rmse(both[0] - both[1])


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    shared = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared"))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else shared / "data"
    header = (
        "images",
        "days apart",
        "error of copying",
        "left by a perfect coarse change",
        "spread",
        "texture / spread",
        "variance below the cell",
    )
    for title, index in (("Red", 0), ("Near infrared", 1)):
        print(f"\n## {title}\n\n{row(*header)}\n{row(*['---'] * len(header))}")
        if folder.is_dir():
            for change, bands in real_changes(folder):
                print(row(change.name, change.days, *figures(change, bands[index])))
        for change in simulated_changes():
            print(row(change.name, change.days, *figures(change, (2, 3)[index])))

    print(f"\n## Clear looks\n\n{row('record', 'clear share', 'median gap [days]', '90 % of gaps [days]')}\n{row(*['---'] * 4)}")
    if folder.is_dir():
        print(row("Harvard Forest 1999–2010, Landsat 5 + 7", *line_series(folder)))
    grid = Grid.from_bounds("EPSG:32633", (500_000, 5_100_000, 507_000, 5_107_000))
    spec = SandboxSpec(grid, date(2022, 4, 1), date(2022, 7, 31))
    with tempfile.TemporaryDirectory() as scratch:
        write_sandbox(Path(scratch) / "sandbox", spec)
        looks, correlation, error = sandbox_looks(Path(scratch) / "sandbox", spec)
    print(row("sandbox, cloudiness 0.5", *looks))
    print(f"\nMCD43A4 of the sandbox against the mean truth of its cells, near infrared: correlation {correlation:.2f}, RMSE {error:.3f}.")
    print("(Real: 0.74–0.87 between MODIS composites and block means of Landsat NDVI, 0.81–0.85 for single days of MODIS in red.)")


if __name__ == "__main__":
    main()
