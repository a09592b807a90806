"""What a year of a block costs on the way of a run, beside reading the same inputs and writing the same outputs without any fusion.

    python benchmarks/block_speed.py [--small] [--methods smoother residual delta2] [--threads 1 2] [--device cuda] [--json FILE]

A working store is filled with simulated images under clouds, then every case runs in a process of its own: `process_block` reads the
block, fuses its days and writes them to staging. Then the same reading and the same writing are done alone. CPU seconds stand beside
those of the clock, for machines do other work as well. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from pipeline.catalog.scene import Scene
from pipeline.compute.block import load_block, process_block
from pipeline.compute.job import Job, Task
from pipeline.compute.reading import read_window
from pipeline.compute.screening import screen_block
from pipeline.fusion.registry import build, options_of
from pipeline.grid import Block, Grid, Window, day_from_number, day_number
from pipeline.observations.working import WorkingStore
from pipeline.operators.resample import area_mean, lift
from pipeline.screening.options import ScreeningOptions
from pipeline.store.encoding import decode_reflectance, decode_std, encode_reflectance
from pipeline.store.layout import uncertainty_name
from pipeline.store.staging import BlockDay, create_staging, write_block_day
from pipeline.store.template import create_cube
from pipeline.vocabulary import BANDS, Reason

START = date(2023, 1, 1)
YEAR = 365
MARGIN = 150
"""Days of the coarse series before and after the year."""

SAMPLE = 128
"""Edge of the windows that a method learns from [fine pixels]."""

_SNOW = torch.tensor([0.75, 0.76, 0.75, 0.68, 0.14, 0.10])
_WARM = 2
"""Days that are made before anything is measured: libraries and kernels are loaded then, and files come into the cache."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Parameters
    ----------
    method : str
    size : int
        Edge of the block [fine pixels].
    dates : int
        Fine images of the year.
    days : int
        Days that are made, in the middle of the year.
    threads : int
        Of torch.
    per_task : int
        Days of a task; 0 = all in one.
    device : str
    """

    method: str
    size: int
    dates: int
    days: int
    threads: int = 1
    per_task: int = 0
    device: str = "cpu"

    @property
    def work(self) -> float:
        """Megapixels · bands · days."""
        return self.size**2 / 1e6 * len(BANDS) * self.days

    @property
    def numbers(self) -> list[int]:
        """Day numbers of the days that are made."""
        first = day_number(START) + (YEAR - self.days) // 2
        return list(range(first, first + self.days))


@dataclass(frozen=True)
class Cost:
    """What a case costs. Seconds by the clock but for `cpu` and `bare_cpu`.

    Parameters
    ----------
    read, fuse, write : float
        Parts of `process_block`.
    cpu : float
        CPU seconds of all three.
    bare_read, bare_write, bare_cpu : float
        The same reading and writing alone.
    peak, before : float
        Largest memory of the process, and its memory before anything was read [MB].
    learning : float
        To estimate the parameters, once per area.
    images : int
        Fine images that the (first) task had read.
    staged : float
        What was written [MB].
    """

    read: float
    fuse: float
    write: float
    cpu: float
    bare_read: float
    bare_write: float
    bare_cpu: float
    peak: float
    before: float
    learning: float
    images: int
    staged: float

    @property
    def whole(self) -> float:
        return self.read + self.fuse + self.write

    @property
    def bare(self) -> float:
        return self.bare_read + self.bare_write

    @property
    def ratio(self) -> float:
        """CPU seconds over those of reading and writing alone: what else the machine does counts for little."""
        return self.cpu / self.bare_cpu


@dataclass
class Clock:
    """Seconds by the clock and of the processor that went by inside `running` blocks."""

    wall: float = 0.0
    cpu: float = field(default=0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


# ---------------------------------------------------------------------------------------------------------- the place


def grid_of(size: int) -> Grid:
    west, south = 500_175.0, 4_900_815.0
    return Grid.from_bounds("EPSG:32633", (west, south, west + size * 30, south + size * 30))


def fine_dates(count: int, most: int) -> list[int]:
    """Indices of `count` images among `most`, evenly spread."""
    return [round((index + 0.5) * most / count - 0.5) for index in range(count)]


def smooth(generator: torch.Generator, count: int, size: int, cells: int) -> torch.Tensor:
    """Random fields (count, size, size) of unit variance and about so many features across."""
    return lift(torch.randn(count, cells, cells, generator=generator), -(-size // cells))[:, :size, :size]


@dataclass(frozen=True)
class Ground:
    """Fields with a season, each harvested on a day of its own; a lake, and snow on the hills in winter."""

    level: torch.Tensor
    amplitude: torch.Tensor
    peak: torch.Tensor
    harvest: torch.Tensor
    bare: torch.Tensor
    lake: torch.Tensor
    hills: torch.Tensor

    @classmethod
    def of(cls, size: int, generator: torch.Generator) -> Ground:
        parcels, bands = -(-size // 24), len(BANDS)

        def by_parcel(count: int) -> torch.Tensor:
            values = torch.rand(count, parcels, parcels, generator=generator)
            return values.repeat_interleave(24, 1).repeat_interleave(24, 2)[:, :size, :size]

        return cls(
            level=0.12 + 0.08 * by_parcel(bands) + 0.015 * smooth(generator, bands, size, size // 4),
            amplitude=torch.tensor([-0.02, 0.0, -0.04, 0.2, -0.05, -0.06])[:, None, None] * (0.5 + by_parcel(1)),
            peak=150 + 60 * by_parcel(1),
            harvest=180 + 100 * by_parcel(1)[0],
            bare=0.06 * (by_parcel(bands) - 0.3),
            lake=smooth(generator, 1, size, 6)[0] > 2.0,
            hills=smooth(generator, 1, size, 4)[0] > 0.8,
        )

    def image(self, day: int) -> torch.Tensor:
        """Reflectance (B, y, x) on a day of the year."""
        image = self.level + self.amplitude * torch.exp(-0.5 * ((day % YEAR - self.peak) / 40) ** 2)
        image += self.bare * (self.harvest < day % YEAR)
        image[:, self.lake] = 0.03
        if (snow := self.snow(day)) is not None:
            image[:, snow] = _SNOW[:, None]
        return image

    def snow(self, day: int) -> torch.Tensor | None:
        """Where snow lies."""
        return self.hills if not 60 < day % YEAR < 330 else None


def make_store(path: Path, size: int, dates: int) -> float:
    """Fill a working store with a year of images, a coarse series and verdicts; returns the seconds of screening them."""
    generator, rng = torch.Generator().manual_seed(11), np.random.default_rng(11)
    grid, ground, first = grid_of(size), Ground.of(size, generator), day_number(START)
    store = WorkingStore.create(path, grid, BANDS, [], size)
    offsets = fine_dates(dates, YEAR)
    for row in store.allocate([_scene(grid, index, first + offset) for index, offset in enumerate(offsets)]):
        offset = offsets[row.index]
        image = ground.image(offset) + 0.006 * torch.randn(len(BANDS), size, size, generator=generator)
        cover = smooth(generator, 1, size, 6)[0] + 0.3 * smooth(generator, 1, size, 24)[0]
        # As over Europe: a tenth to nine tenths of an image that is used at all is hidden.
        hidden = cover > torch.quantile(cover.flatten()[::7], 1 - rng.uniform(0.1, 0.9))
        image[:, hidden] = 0.6
        reasons = np.where(hidden, np.uint16(Reason.CLOUD), np.uint16(0))
        reasons[ground.lake.numpy()] |= np.uint16(Reason.WATER)
        if (snow := ground.snow(offset)) is not None:
            reasons[snow.numpy()] |= np.uint16(Reason.SNOW)
        store.write_fine(row, grid.window, encode_reflectance(image.numpy()), reasons)
        store.complete(row, grid.window, float((~hidden).float().mean()), (0.006,) * len(BANDS))
    store.flush()
    cells = grid.window.coarse(grid.scale)
    for start in range(-MARGIN, YEAR + MARGIN, 50):
        mean = torch.stack([area_mean(ground.image(day), grid.scale)[0] for day in range(start, min(start + 50, YEAR + MARGIN))])
        mean += 0.004 * torch.randn(mean.shape, generator=generator)
        known = np.ones((len(mean), *cells.shape), np.float32)
        store.write_restored(cells, first + start, mean.numpy(), np.full(mean.shape, 0.008, np.float32), known)
    clock = Clock()
    with clock.running():
        screen_block(_job(path, grid, "nearest", ""), Block(0, 0, grid.window), [first + offset for offset in offsets])
    return clock.cpu


def _scene(grid: Grid, index: int, number: int) -> Scene:
    """The record of an image that covers the grid."""
    day, name = day_from_number(number), f"image-{index}"
    return Scene(
        id=name,
        collection="simulated",
        product="simulated",
        role="fine",
        acquisition=name,
        datetime=datetime(day.year, day.month, day.day, 10, tzinfo=UTC),
        day=day,
        first_day=day,
        last_day=day,
        centre=0.0,
        platform="landsat-8",
        stamp="1",
        tier=1,
        row=29,
        crs=grid.crs,
        transform=(grid.resolution, 0.0, grid.west, 0.0, -grid.resolution, grid.north),
        shape=grid.shape,
        bounds=grid.lonlat_bounds,
        assets={},
        properties={},
    )


def _job(store: Path, grid: Grid, method: str, staging: str) -> Job:
    return Job(str(store), staging, grid, BANDS, method, screening=ScreeningOptions())


# ------------------------------------------------------------------------------------------- one case in a process of its own


def measured(case: Case, store: Path, dates: int) -> Cost:
    """Measure a case on a store of `dates` images, in a fresh process: pools of threads survive no fork, and peaks must not mix."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, case, store, dates).result()


def _run(case: Case, store: Path, dates: int) -> Cost:
    torch.set_num_threads(case.threads)
    grid = grid_of(case.size)
    chosen = {f"image-{index}" for index in fine_dates(case.dates, dates)}
    opened = WorkingStore.open(store)
    opened.select({row.scene.identity for row in opened.rows() if row.scene.id in chosen})
    folder = Path(tempfile.mkdtemp(dir=store.parent))
    try:
        job = replace(_job(store, grid, case.method, ""), threads=case.threads, device=case.device)
        job, learning = _learnt(job, case)
        job = replace(job, staging=str(_staging(folder / "made", grid, case.numbers)))
        return _timed(job, case, folder, learning)
    finally:
        shutil.rmtree(folder)


def _timed(job: Job, case: Case, folder: Path, learning: float) -> Cost:
    block, step = Block(0, 0, job.grid.window), case.per_task or case.days
    numbers = case.numbers
    tasks = [Task(block, tuple(numbers[at : at + step]), tuple(range(at, min(at + step, case.days)))) for at in range(0, case.days, step)]
    process_block(job, replace(tasks[0], days=tasks[0].days[:_WARM], slots=tasks[0].slots[:_WARM]))
    before = _from_now_on()
    whole, spent = Clock(), {"read": 0.0, "fuse": 0.0, "write": 0.0}
    with whole.running():
        for task in tasks:
            for part, seconds in process_block(job, task).seconds.items():
                spent[part] += seconds
    peak = _memory("VmHWM")

    reading, writing, images = Clock(), Clock(), 0
    copy = str(_staging(folder / "copy", job.grid, numbers))
    for task in tasks:
        with reading.running():
            found = load_block(job, block, task.days)
        images = images or len(found.fusion.fine_days)
        for slot in task.slots:
            day = _staged(job.staging, slot)
            with writing.running():
                write_block_day(copy, block, slot, day)
    staged = sum(file.stat().st_size for file in Path(job.staging).rglob("*") if file.is_file()) / 1e6
    bare_cpu = reading.cpu + writing.cpu
    return Cost(*spent.values(), whole.cpu, reading.wall, writing.wall, bare_cpu, peak, before, learning, images, staged)


def _learnt(job: Job, case: Case) -> tuple[Job, float]:
    """The job with the parameters of its method, learnt from windows as in a run, and the seconds that took."""
    edge = min(SAMPLE, case.size)
    corners = sorted({(int(down * (case.size - edge)) // 8 * 8, int(right * (case.size - edge)) // 8 * 8) for down, right in _CORNERS})
    first = day_number(START)
    samples = [read_window(job, Window(row, col, edge, edge), first, first + YEAR - 1, judged=True).fusion for row, col in corners]
    clock = Clock()
    with clock.running():
        parameters = build(case.method, {}).estimate(samples)
    return replace(job, parameters=parameters), clock.cpu


_CORNERS = ((0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))


def _staging(folder: Path, grid: Grid, numbers: Sequence[int]) -> Path:
    folder.mkdir()
    cube = create_cube(folder / "fused.zarr", grid, BANDS, START, grid.height, {"title": "", "area": "benchmark", "method": ""})
    return create_staging(cube, "benchmark", numbers)


def _staged(staging: str, slot: int) -> BlockDay:
    """A day as it was written."""
    group = zarr.open_group(staging, mode="r")

    def layer(name: str) -> np.ndarray:
        array = group[name]
        assert isinstance(array, zarr.Array)
        return np.asarray(array[slot])

    return BlockDay(
        bands=np.stack([decode_reflectance(layer(band)) for band in BANDS]),
        std=np.stack([decode_std(layer(uncertainty_name(band))) for band in BANDS]),
        **{name: layer(name) for name in ("provenance", "condition", "days_to_observation", "coarse_valid")},
    )


def _from_now_on() -> float:
    """Let the peak of memory begin here; returns what is taken now [MB]."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    """A figure of /proc/self/status [MB]."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


# --------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Plan:
    """Sizes of everything that is measured."""

    size: int
    dates: int
    days: int
    growth_size: int
    growth_dates: tuple[int, ...]
    growth_days: tuple[int, ...]


FULL = Plan(512, 45, YEAR, 256, (15, 30, 45, 90), (30, 90, YEAR))
SMALL = Plan(128, 12, 24, 64, (6, 12), (8, 24))
PER_TASK = 32
"""Days of a task where an area says nothing else."""

Result = list[tuple[Case, Cost]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a quick trial: a small block and few days")
    parser.add_argument("--methods", nargs="+", default=["smoother", "residual", "delta2"], help="the first one is also grown and cut")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}), help="default: 1, and one per core")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--folder", type=Path, help="where working stores and stagings lie meanwhile: a few GB")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    plan, main_method = SMALL if given.small else FULL, given.methods[0]
    for method in given.methods:
        options_of(method, {})
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        screening = make_store(folder / "main.zarr", plan.size, plan.dates)
        _head(plan, screening)
        block = Case(main_method, plan.size, plan.dates, plan.days, given.threads[0], device=given.device)
        cases = [replace(block, method=method) for method in given.methods]
        cases += [replace(block, threads=threads) for threads in given.threads[1:]]
        cases += [replace(block, per_task=PER_TASK)] if plan.days > PER_TASK else []
        found = _each(cases, folder / "main.zarr", plan.dates)
        print("\n".join(table(found)), "\n", flush=True)
        shutil.rmtree(folder / "main.zarr")

        small, most = replace(block, size=plan.growth_size), max(plan.growth_dates)
        make_store(folder / "growth.zarr", plan.growth_size, most)
        by_dates = _each([replace(small, dates=dates) for dates in plan.growth_dates], folder / "growth.zarr", most)
        print("\n".join(growth(f"Fine dates, {plan.days} days of a block of {small.size}²", by_dates, "dates")), "\n", flush=True)
        by_days = _each([replace(small, days=days) for days in plan.growth_days], folder / "growth.zarr", most)
        print("\n".join(growth(f"Days, {plan.dates} fine dates, a block of {small.size}²", by_days, "days")))
    finally:
        shutil.rmtree(folder)
    if given.json:
        every = {"block": found, "by_dates": by_dates, "by_days": by_days}
        figures: dict[str, Any] = {
            name: [asdict(case) | asdict(cost) | {"ratio": cost.ratio} for case, cost in part] for name, part in every.items()
        }
        given.json.write_text(json.dumps(figures | {"screening_cpu": screening}, indent=1) + "\n", encoding="utf-8")


def _each(cases: Sequence[Case], store: Path, dates: int) -> Result:
    found = []
    for case in cases:
        found.append((case, measured(case, store, dates)))
        print(f"{case}: {found[-1][1]}", file=sys.stderr, flush=True)
    return found


def _head(plan: Plan, screening: float) -> None:
    print(
        f"A block of {plan.size}², {len(BANDS)} bands, {plan.days} days, {plan.dates} fine dates of the year; torch {torch.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}. Cost in CPU seconds per megapixel, band and day. "
        f"Not counted: screening all images once, {screening:.1f} CPU s, and what is learnt once of an area.\n"
    )


def table(found: Result) -> Iterator[str]:
    """Lines of Markdown: where the time goes, and what reading and writing cost without fusion."""
    yield (
        "| method | threads | days of a task | read s | fuse s | write s | whole s | CPU s | cost | read + write alone s | CPU s | "
        "CPU ÷ alone | peak MB | before MB | learnt in CPU s |"
    )
    yield "|---|" + "---:|" * 14
    for case, cost in found:
        seconds = [f"{value:.1f}" for value in (cost.read, cost.fuse, cost.write, cost.whole, cost.cpu)]
        alone = [f"{cost.cpu / case.work:.3f}", f"{cost.bare:.1f}", f"{cost.bare_cpu:.1f}", f"**{cost.ratio:.2f}**"]
        memory = [f"{cost.peak:.0f}", f"{cost.before:.0f}", f"{cost.learning:.1f}"]
        yield f"| {case.method} | {case.threads} | {case.per_task or case.days} | {' | '.join([*seconds, *alone, *memory])} |"


def growth(title: str, found: Result, axis: str) -> Iterator[str]:
    """Lines of Markdown: how CPU time and memory grow along one axis."""
    yield f"| {title} | images read | CPU s | to the first | cost | read + write alone CPU s | CPU ÷ alone | peak MB |"
    yield "|---|" + "---:|" * 7
    first = found[0][1]
    for case, cost in found:
        cells = [f"{cost.images}", f"{cost.cpu:.1f}", f"{cost.cpu / first.cpu:.2f}", f"{cost.cpu / case.work:.3f}", f"{cost.bare_cpu:.1f}"]
        yield f"| {getattr(case, axis)} | {' | '.join(cells)} | {cost.ratio:.2f} | {cost.peak:.0f} |"


if __name__ == "__main__":
    main()
