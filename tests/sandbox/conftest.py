"""One small sandbox for all tests of this room."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.grid import Grid
from pipeline.sandbox import SandboxSpec, write_sandbox


def small_grid(pixels: int = 80) -> Grid:
    edge = 30 * (pixels - 8)
    return Grid.from_bounds("EPSG:32633", (500_100, 5_100_100, 500_100 + edge, 5_100_100 + edge))


@pytest.fixture(scope="session")
def spec() -> SandboxSpec:
    return SandboxSpec(small_grid(), date(2022, 5, 24), date(2022, 6, 14), seed=3, cloudiness=0.6)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, spec: SandboxSpec) -> Path:
    folder = tmp_path_factory.mktemp("sandbox") / "world"
    return write_sandbox(folder, spec, workers=1).parent
