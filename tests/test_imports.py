"""What is imported when: rooms only from below, and nothing heavy before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_room_imports_only_what_the_architecture_allows() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    linted = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


def test_methods_are_listed_and_their_options_checked_without_torch() -> None:
    code = "from pipeline.fusion.registry import options_of, specs; [options_of(name, {}) for name in specs()]"
    assert not loaded_by(code) & {"torch", "scipy"}


@pytest.mark.parametrize("arguments", [["methods"], ["methods", "starfm"], ["methods", "--json"]])
def test_methods_are_shown_with_costs_and_scores_without_anything_heavy(arguments: list[str]) -> None:
    code = f"import contextlib, pipeline.cli as cli\nwith contextlib.suppress(SystemExit):\n    cli.app({arguments})"
    assert not loaded_by(code) & {"torch", "scipy", "numba", "prefect", "dask", "xarray", "zarr", "rasterio"}


def test_the_command_line_shows_its_help_without_anything_heavy() -> None:
    code = "import contextlib, pipeline.cli as cli\nwith contextlib.suppress(SystemExit):\n    cli.app(['--help'])"
    assert not loaded_by(code) & {"torch", "prefect", "dask", "distributed", "xarray", "zarr", "rasterio", "pystac_client"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    report = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())
