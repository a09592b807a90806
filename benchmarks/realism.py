"""How hard is the sandbox? The same figures from simulated and from real scenes, as Markdown or JSON.

Usage: python benchmarks/realism.py [folder with the real sets, default $LANDFUSE_SHARED/data or ../shared/data] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from control_errors import CONTROLS, GapError, Series, block_correlation, errors_by_gap
from realism_series import NDVI, REAL, RED_NIR, Image, Simulated, ThreeDates, ifsdaf, ndvi
from scipy.interpolate import interp1d

from pipeline.grid import Grid, Window, day_from_number
from pipeline.sandbox import World
from pipeline.vocabulary import BANDS

SEEDS = (1, 2)
FIRST, LAST = date(2022, 5, 1), date(2022, 9, 30)
"""The snow-free season, as that of the real sets."""
SIZE = 128

LAGS = (60, 120, 240, 480, 960)
"""Distances of the variograms [m]."""

_CLEAR_ENOUGH = 0.95
"""Share of an image that must be clear for its variogram."""

TITLES = {"red": "red", "nir08": "near infrared", "ndvi": "NDVI"}


@dataclass(frozen=True)
class Table:
    """One table of figures: the same for reading and for programs."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def markdown(self) -> str:
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return f"## {self.title}\n\n" + "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"

    def records(self) -> list[dict[str, Any]]:
        return [{name: _finite(value) for name, value in zip(self.header, line, strict=True)} for line in self.rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Change:
    """Two clear images of one place, red and near infrared."""

    name: str
    days: int
    before: Image
    after: Image
    scale: int
    resolution: float


def real_changes(data: Path, place: ThreeDates) -> Iterator[Change]:
    """The pairs of neighbouring dates of a real set."""
    for first, second in itertools.pairwise(place.days):
        before, after = place.image(data, first), place.image(data, second)
        yield Change(f"{place.name} {first}", (second - first).days, before, after, place.scale, place.resolution)


def simulated_changes() -> Iterator[Change]:
    """Pairs of true images of three worlds."""
    grid = Grid.from_bounds("EPSG:32633", (500_000, 5_100_000, 512_000, 5_112_000))
    bands = [BANDS.index(band) for band in RED_NIR]
    for seed in (1, 2, 3):
        world = World(seed, grid, date(2022, 4, 1), date(2022, 9, 30))
        for first, gap in ((date(2022, 5, 10), 9), (date(2022, 6, 20), 16), (date(2022, 7, 10), 32)):
            before, after = (world.truth(day)[bands] for day in (first, first + timedelta(days=gap)))
            yield Change(f"sandbox {seed}, {first:%m-%d}", gap, before, after, grid.scale, grid.resolution)


def cell_mean(image: Image, scale: int) -> Image:
    """Means over squares of `scale` pixels; what does not fill a square is left out."""
    height, width = (size // scale for size in image.shape[-2:])
    cut = image[..., : height * scale, : width * scale]
    return np.asarray(cut.reshape(*image.shape[:-2], height, scale, width, scale).mean(axis=(-3, -1)))


def rmse(error: Image) -> float:
    return float(np.sqrt(np.mean(error**2)))


def change_table(changes: Iterable[Change], band: int) -> Table:
    """Error of copying, error left by a perfect coarse change, spread, texture at one pixel, share of variance below the coarse cell."""
    rows = []
    for change in changes:
        before, after, scale = change.before[band], change.after[band], change.scale
        difference = after - before
        coarse = np.kron(cell_mean(difference, scale), np.ones((scale, scale), dtype=np.float32))
        left = difference[: coarse.shape[0], : coarse.shape[1]] - coarse
        texture = rmse(np.diff(before, axis=1)) / float(before.std())
        below = 1 - float(cell_mean(before, scale).var() / before.var())
        rows.append((change.name, change.days, rmse(difference), rmse(left), float(before.std()), texture, below))
    header = (
        "images",
        "days apart",
        "error of copying",
        "left by a perfect coarse change",
        "spread",
        "texture / spread",
        "variance below the cell",
    )
    return Table(f"Change of {TITLES[RED_NIR[band]]}", header, tuple(rows))


def variogram(image: Image, resolution: float) -> tuple[float, ...]:
    """Semivariance at `LAGS` over the variance of an image (y, x); NaN in it is not known."""
    steps = sorted({1, *(int(lag // resolution) + more for lag in LAGS for more in (0, 1))} - {0})
    values = []
    for step in steps:
        squares = [np.square(image[step:] - image[:-step]), np.square(image[:, step:] - image[:, :-step])]
        values.append(np.nanmean(np.concatenate([part.ravel() for part in squares])) / 2)
    between = interp1d(np.array(steps) * resolution, np.array(values) / np.nanvar(image))
    return tuple(float(value) for value in between(LAGS))


def variogram_table(changes: Iterable[Change], year: Series | None) -> Table:
    """Semivariance by distance: how much of the variance lies in how fine detail."""
    rows: list[tuple[Any, ...]] = []
    for change in changes:
        views = zip((*RED_NIR, *NDVI), (*change.before, *ndvi(change.before)), strict=True)
        rows += [(TITLES[band], change.name, *variogram(image, change.resolution)) for band, image in views]
    if year is not None:
        for number, (image,) in zip(year.block.fine_days, year.block.fine.numpy(), strict=True):
            if np.isfinite(image).mean() > _CLEAR_ENOUGH:
                rows.append((TITLES["ndvi"], f"{year.name[:6]} {day_from_number(number)}", *variogram(image, year.block.resolution)))
    _by_band(rows)
    return Table("Variogram: semivariance / variance", ("band", "image", *(f"{lag} m" for lag in LAGS)), tuple(rows))


def clear_share_and_gaps(clear: npt.NDArray[np.bool_], days: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of clear looks, and median and 90th percentile of the days between clear looks of a pixel; clear is (time, pixel)."""
    gaps = [np.diff(days[column]) for column in clear.T if column.sum() > 1]
    lengths = np.concatenate(gaps)
    return float(clear.mean()), float(np.median(lengths)), float(np.percentile(lengths, 90))


def look_table(folder: Path, simulated: Sequence[Simulated]) -> Table:
    """Clear looks of a line of pixels at Harvard Forest in the years of two satellites, and of the sandbox."""
    rows: list[tuple[Any, ...]] = []
    line = folder / "landsat-line-series" / "p013r030_r50_n423_b8.npz"
    if line.is_file():
        with np.load(line, allow_pickle=False) as record:
            days, mask = record["dates"].astype(np.int64), record["Y"][7]
        season = np.array([date.fromordinal(int(day)).year in range(1999, 2011) for day in days])
        rows.append(("Harvard Forest 1999–2010, Landsat 5 + 7", *clear_share_and_gaps((mask[season] <= 1)[:, ::10], days[season])))
    for world in simulated:
        clear = world.clear[:, ::5, ::5].reshape(len(world.looks), -1)
        name = f"sandbox {world.spec.seed}, cloudiness {world.spec.cloudiness}, Landsat 8 + 9"
        rows.append((name, *clear_share_and_gaps(clear, np.array(world.looks))))
    return Table("Clear looks", ("record", "clear share", "median gap [days]", "90 % of gaps [days]"), tuple(rows))


def correlation_table(series: Iterable[Series]) -> Table:
    """Correlation in space between the coarse series and the fine images averaged to its cells."""
    rows: list[tuple[Any, ...]] = [(TITLES[band], one.name, value) for one in series for band, value in block_correlation(one).items()]
    _by_band(rows)
    return Table("Fine–coarse block correlation, mean over the images", ("band", "set", "correlation"), tuple(rows))


def _by_band(rows: list[tuple[Any, ...]]) -> None:
    """Sort rows by their first cell, in the order of `TITLES`."""
    order = list(TITLES.values())
    rows.sort(key=lambda line: order.index(line[0]))


def control_tables(errors: Sequence[GapError]) -> Iterator[Table]:
    """Errors of the controls by band, gap and set; the last column says what the coarse change adds to interpolation."""
    header = "days to the nearest", "set", "against", "images", "pixels", "spread", *CONTROLS, "delta2 / linear"
    for band, title in TITLES.items():
        rows = [
            (
                f"{error.gap[0]}–{error.gap[1]}",
                error.series,
                error.against,
                error.days,
                error.pixels,
                error.spread,
                *(error.rmse[name] for name in CONTROLS),
                error.rmse["delta2"] / error.rmse["linear"],
            )
            for error in sorted(errors, key=lambda error: error.gap)
            if error.band == band
        ]
        yield Table(f"RMSE of the controls by gap, {title}", header, tuple(rows))


def tables(data: Path) -> Iterator[Table]:
    """All tables; the real sets are left out where they are not."""
    real = [place for place in REAL if (data / place.folder).is_dir()]
    changes = [change for place in real for change in real_changes(data, place)] + list(simulated_changes())
    for band in range(len(RED_NIR)):
        yield change_table(changes, band)
    series = [one for place in real for one in place.series(data)]
    year = ifsdaf(data / "ifsdaf-ndvi-2015", Window(136, 144, 288, 288)) if (data / "ifsdaf-ndvi-2015").is_dir() else None
    if year is not None:
        series.append(year)
    yield variogram_table(changes, year)
    with tempfile.TemporaryDirectory() as scratch:
        simulated = [Simulated(Path(scratch) / str(seed), seed, FIRST, LAST, SIZE) for seed in SEEDS]
    yield look_table(data, simulated)
    series += [one for world in simulated for one in world.series()]
    yield correlation_table(series)
    yield from control_tables([error for one in series for error in errors_by_gap(one)])


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    shared = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=shared / "data", help="folder with the real sets")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.json:
        print(json.dumps({table.title: table.records() for table in tables(options.data)}, indent=2, ensure_ascii=False))
        return
    for table in tables(options.data):
        print(table.markdown(), flush=True)


if __name__ == "__main__":
    main()
