"""What tests of the whole way need beside the shared region."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.region import FIRST, GRID, LAST, run, write_area

__all__ = ["FIRST", "GRID", "LAST", "run", "write_area"]


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """A copy of the published region that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(published.parent, folder)
    return folder / "area.yaml"
