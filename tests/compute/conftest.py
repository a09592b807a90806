"""Jobs over the shared region, each with a cube and a staging of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.compute.job import Job, Task
from pipeline.config import load_area
from pipeline.fusion.registry import spec_of
from pipeline.grid import day_number
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.recipe import read_parameters
from pipeline.store.chunks import ChunkCodec, chunk_path
from pipeline.store.staging import create_staging, open_staged, staged_documents
from pipeline.store.template import create_cube
from tests.region import FIRST, LAST

DAYS = tuple(range(day_number(FIRST), day_number(LAST) + 1))

MakeJob = Callable[..., Job]


@pytest.fixture(scope="session")
def make_job(published: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeJob:
    """Jobs over the observations of the published region, which they only read: ``make_job(method, block, days)``."""
    area = load_area(published)
    learnt = read_parameters(area)
    assert learnt

    def make(method: str = "residual", block: int = 96, days: Sequence[int] = DAYS) -> Job:
        cube = tmp_path_factory.mktemp("cube") / "fused.zarr"
        create_cube(cube, area.grid, area.science.bands, area.science.start, block, {"title": "", "area": "region", "method": method})
        job = replace(job_of(area, str(create_staging(cube, "test", days))), method=method, options=short_options(method))
        return with_parameters(job, learnt if method == area.science.method.name else {**learnt, "method": {}})

    return make


@pytest.fixture
def store_copy(published: Path, tmp_path: Path) -> WorkingStore:
    """A copy of the observations of the published region that a test may change."""
    source = observations_path(load_area(published))
    shutil.copytree(source, tmp_path / source.name)
    return WorkingStore.open(tmp_path / source.name)


def short_options(method: str) -> dict[str, Any]:
    """The support of the shared region, for methods that let it be chosen."""
    return {"days": 24} if "days" in spec_of(method).options.model_fields else {}


def tasks_of(job: Job, days_per_task: int = len(DAYS)) -> list[Task]:
    """Tasks that make all days of the staging of a job."""
    staged = open_staged(job.staging)
    parts = [range(start, min(start + days_per_task, len(staged.days))) for start in range(0, len(staged.days), days_per_task)]
    return [
        Task(block, tuple(staged.days[slot] for slot in part), tuple(part)) for block in job.grid.blocks(staged.block) for part in parts
    ]


def staged_bytes(job: Job) -> dict[str, bytes]:
    """Every chunk of the pixel layers of a staging, by its place."""
    staged = open_staged(job.staging)
    files = (path for layer in staged.layers for path in (staged.path / layer / "c").rglob("*") if path.is_file())
    return {str(path.relative_to(staged.path)): path.read_bytes() for path in files}


def staged_layers(job: Job) -> dict[str, np.ndarray]:
    """The pixel layers of a staging, (days, y, x), as stored."""
    staged = open_staged(job.staging)
    layers = {}
    for name, document in staged_documents(staged).items():
        codec = ChunkCodec(document)
        layer = layers[name] = np.full((len(staged.days), *staged.shape), codec.fill, codec.dtype)
        for block in job.grid.blocks(staged.block):
            height, width = block.window.shape
            for index in range(len(staged.days)):
                chunk = codec.decode(chunk_path(staged.path, name, index, block.row, block.col).read_bytes())
                layer[(index, *block.window.slices)] = chunk[:height, :width]
    return layers
