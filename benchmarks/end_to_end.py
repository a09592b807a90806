"""Where the time of the whole way goes, what the framework costs over a plain loop, and how cost grows, as Markdown or JSON.

Usage: python benchmarks/end_to_end.py [--size 512] [--days 20] [--workers 2] [--folder FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import zarr
from zarr.codecs import BloscCodec

from pipeline import demo, steps
from pipeline.compute.block import fuse_block, load_block, process_block
from pipeline.compute.cluster import open_cluster
from pipeline.compute.job import Job, Task
from pipeline.config import Area, load_area
from pipeline.grid import day_number
from pipeline.planning import DayPlan
from pipeline.steps.make import block_tasks, job_of, with_parameters
from pipeline.steps.recipe import read_parameters
from pipeline.steps.runs import load
from pipeline.store.layout import pixel_layers
from pipeline.store.staging import create_staging
from pipeline.store.template import create_cube

ROUNDS = 2
LOOP = "plain loop in one process, plain Zarr write"
CLUSTER = "cluster of {}: the tasks, into staging"


@dataclass(frozen=True)
class Figure:
    """Seconds of one part, and what was made in them.

    Parameters
    ----------
    part : str
    seconds : float
        Wall clock; of the parts of a block, the sum over the workers.
    unit : float
        Megapixels × bands × days.
    """

    part: str
    seconds: float
    unit: float

    @property
    def cost(self) -> float:
        """Seconds per megapixel, band and day."""
        return self.seconds / self.unit


@dataclass(frozen=True)
class Result:
    """All figures of one run; `ratio` is that of the tasks on one worker to the plain loop."""

    machine: str
    size: int
    days: int
    scenes: int
    whole_way: tuple[Figure, ...]
    framework: tuple[Figure, ...]
    ratio: float
    by_days: tuple[Figure, ...]
    by_block: tuple[Figure, ...]


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    with working_folder(arguments.folder) as folder:
        path = demo.prepare(folder, arguments.size, arguments.days, seed=1, workers=arguments.workers)
        result = measure(with_block(load_area(path), arguments.size // 2), folder)
    print(json.dumps(asdict(result), indent=1) if arguments.json else markdown(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="edge of the simulated region, fine pixels (a multiple of 256)")
    parser.add_argument("--days", type=int, default=20, help="published days (at least 4)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the whole way")
    parser.add_argument("--folder", type=Path, help="keep the simulated region here, and use it again")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.size % 256 or arguments.size <= 0 or arguments.days < 4:
        parser.error(f"--size {arguments.size} --days {arguments.days}: expected a multiple of 256, and 4 days or more")
    return arguments


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """The folder of the simulated region; only the region survives from an earlier run."""
    if kept is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    for path in kept.iterdir() if kept.exists() else ():
        if path.name not in ("sandbox", "area.yaml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    yield kept


def with_block(area: Area, block: int) -> Area:
    return area.model_copy(update={"science": area.science.model_copy(update={"block": block})})


def measure(area: Area, folder: Path) -> Result:
    """Run the whole way once, then parts of it again in other ways."""
    days = [day_number(area.science.start) + n for n in range((area.science.end - area.science.start).days + 1)]  # type: ignore[operator]
    whole_way, todo, scenes = run_whole_way(area)
    compared = compare(area, todo[: len(days) // 2], folder)
    seconds = {figure.part: figure.seconds for figure in compared}
    size, block = area.grid.height, area.science.block
    return Result(
        machine=f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[1]:.1f}, torch {torch.__version__}",
        size=size,
        days=len(days),
        scenes=scenes,
        whole_way=whole_way,
        framework=compared,
        ratio=seconds[CLUSTER.format(1)] / seconds[LOOP],
        by_days=tuple(one_block(area, block, days[:count]) for count in (len(days) // 4, len(days) // 2, len(days))),
        by_block=tuple(one_block(area, edge, days[: len(days) // 4]) for edge in (size // 4, size // 2, size)),
    )


def run_whole_way(area: Area) -> tuple[tuple[Figure, ...], list[DayPlan], int]:
    """Publish the region; figures per step, the days that were made, and the number of scenes."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[part] = time.perf_counter() - started

    with timed("search and plan"):
        made = steps.plan(area)
        run_id = steps.start_run(area, made)
    with steps.hold(area, run_id):
        with timed("read scenes, mask, warp (ingest)"):
            steps.ingest(area, run_id)
        with timed("make"):
            steps.make(area, run_id)
        with timed("validate, publish, describe"):
            steps.validate(area, run_id)
            steps.publish(area, run_id)
            steps.describe(area, run_id)
    within = load(area, run_id, "records")["seconds"]
    known = {
        "estimate parameters (once per area)": within["estimate"],
        "restore the coarse series": within["restore"],
        "fuse": within["fuse"],
    }
    total = sum(seconds.values())
    parts = {
        "search and plan": seconds["search and plan"],
        "read scenes, mask, warp (ingest)": seconds["read scenes, mask, warp (ingest)"],
        **known,
        "– of it, on all workers: read blocks": within["fuse.read"],
        "– of it, on all workers: fuse": within["fuse.fuse"],
        "– of it, on all workers: write to staging": within["fuse.write"],
        "start of the cluster and the rest of the step": seconds["make"] - sum(known.values()),
        "validate, publish, describe": seconds["validate, publish, describe"],
        "**whole way**": total,
    }
    unit = megapixels(area) * len(area.science.bands) * len(made.to_make)
    return tuple(Figure(part, spent, unit) for part, spent in parts.items()), made.to_make, len(made.scenes)


def compare(area: Area, todo: Sequence[DayPlan], folder: Path) -> tuple[Figure, ...]:
    """The same tasks in a plain loop and on a cluster of one and of two workers; of each the better of two rounds.

    Raises
    ------
    AssertionError
        If their outputs differ anywhere.
    """
    tasks = block_tasks(area, todo)
    job = trained(area)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        plain, spent = plain_loop(job, tasks, folder / "plain.zarr", area.science.block, len(todo))
        seconds[LOOP].append(spent)
        for workers in (1, 2):
            staging, opened, spent = framework(area, job, tasks, todo, workers)
            seconds[f"cluster of {workers}: start the processes, import torch"].append(opened)
            seconds[CLUSTER.format(workers)].append(spent)
            for name, array in plain.arrays():
                if not np.array_equal(np.asarray(array[:]), np.asarray(staging[name][:])):  # type: ignore[index]
                    raise AssertionError(f"layer {name} of the cluster of {workers} differs from the plain loop")
    unit = megapixels(area) * len(area.science.bands) * len(todo)
    return tuple(Figure(part, min(rounds), unit) for part, rounds in seconds.items())


def framework(area: Area, job: Job, tasks: Sequence[Task], todo: Sequence[DayPlan], workers: int) -> tuple[zarr.Group, float, float]:
    """Run tasks on a local cluster into a staging; the seconds until its workers are ready, and those of the tasks."""
    started = time.perf_counter()
    path = str(create_staging(area.cube_path, f"bench-{workers}", [day_number(day.day) for day in todo]))
    with open_cluster(None, workers, 1, "4GiB", "never") as cluster:
        cluster.client.run(exec, "import pipeline.compute.block")
        opened = time.perf_counter()
        for _, result in cluster.map(process_block, [(replace(job, staging=path), task) for task in tasks]):
            if isinstance(result, Exception):
                raise result
        ended = time.perf_counter()
    return zarr.open_group(path, mode="r"), opened - started, ended - opened


def plain_loop(job: Job, tasks: Sequence[Task], path: Path, block: int, days: int) -> tuple[zarr.Group, float]:
    """What the framework does, without it: read a block, make its days, write them with zarr."""
    group = zarr.create_group(str(path), overwrite=True)
    arrays = {
        name: group.create_array(
            name,
            shape=(days, *job.grid.shape),
            chunks=(1, block, block),
            dtype=layer.dtype,
            fill_value=layer.fill,
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=np.dtype(layer.dtype).itemsize),
        )
        for name, layer in pixel_layers(job.bands).items()
    }
    started = time.perf_counter()
    with torch.inference_mode():
        for task in tasks:
            slots = dict(zip(task.days, task.slots, strict=True))
            for made in fuse_block(job, load_block(job, task.block, task.days), task.days):
                for name, values in made.values.layers(job.bands).items():
                    arrays[name][(slots[made.day], *task.block.window.slices)] = values
    return group, time.perf_counter() - started


def one_block(area: Area, edge: int, days: Sequence[int]) -> Figure:
    """One block, as near to the middle as there is one, in this process."""
    blocks = list(area.grid.blocks(edge))
    block = blocks[len(blocks) // 2 + area.grid.block_shape(edge)[1] // 2 if len(blocks) > 1 else 0]
    folder = Path(tempfile.mkdtemp(dir=area.runtime.root))
    cube = folder / "fused.zarr"
    attributes = {"title": "", "area": area.name, "method": area.science.method.name}
    create_cube(cube, area.grid, area.science.bands, area.science.start, edge, attributes)
    job = trained(area, str(create_staging(cube, "bench", days)))
    record = process_block(job, Task(block, tuple(days), tuple(range(len(days)))))
    shutil.rmtree(folder)
    unit = block.window.height * block.window.width / 1e6 * len(area.science.bands) * len(days)
    return Figure(f"{len(days)} days of a block of {edge}²", sum(record.seconds.values()), unit)


def trained(area: Area, staging: str = "") -> Job:
    """The job of the area, with what the run has learnt about it."""
    learnt = read_parameters(area)
    assert learnt is not None
    return with_parameters(job_of(area, staging), learnt)


def megapixels(area: Area) -> float:
    return area.grid.height * area.grid.width / 1e6


def markdown(result: Result) -> str:
    """The figures as Markdown tables."""
    head = [
        f"{result.size} × {result.size} pixels, 6 bands, {result.days} days from {result.scenes} scenes; {result.machine}.",
        "Costs are seconds per megapixel, band and day.",
    ]
    tables = [
        table("Whole way", result.whole_way),
        table("The framework over a plain loop, same arithmetic, equal outputs", result.framework),
        f"Ratio of the tasks on one worker to the plain loop: **{result.ratio:.2f}**",
        table("Growth with days", result.by_days),
        table("Growth with the size of a block", result.by_block),
    ]
    return "\n\n".join([" ".join(head), *tables])


def table(title: str, figures: Sequence[Figure]) -> str:
    rows = [f"| {figure.part} | {figure.seconds:.2f} | {figure.cost:.3f} |" for figure in figures]
    return "\n".join([f"| {title} | seconds | cost |", "| --- | ---: | ---: |", *rows])


if __name__ == "__main__":
    main()
