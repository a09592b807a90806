"""One simulated region and one cube published from it, for all tests that need a whole way."""

from __future__ import annotations

import os

# Before torch is imported: threads that share small tensors mostly wait for each other, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from datetime import date
from pathlib import Path

import pytest

from pipeline.config import load_area
from pipeline.sandbox import SandboxSpec, write_sandbox
from tests.region import GRID, run, write_area


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated region with 36 days of observations around the published days."""
    folder = tmp_path_factory.mktemp("region") / "sandbox"
    write_sandbox(folder, SandboxSpec(GRID, date(2023, 4, 28), date(2023, 7, 14), seed=3, cloudiness=0.3), workers=2)
    return folder


@pytest.fixture(scope="session")
def published(sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The area file of a region whose days are published, without Prefect."""
    path = write_area(tmp_path_factory.mktemp("published"), sandbox)
    run(load_area(path))
    return path
