"""A STAC API and a static catalog of the same scenes lead to the same cube."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import steps
from pipeline.config import load_area
from pipeline.sandbox.server import serve
from pipeline.steps.recipe import versions_of
from tests.integration.stores import chunks
from tests.region import run, write_area


@pytest.fixture(scope="module")
def api_area(sandbox: Path, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An area whose scenes are searched in an API on loopback, and which knows what was learnt about the region."""
    with serve(sandbox) as url:
        area_file = write_area(tmp_path_factory.mktemp("api"), url)
        shutil.copytree(versions_of(load_area(published)).folder, versions_of(load_area(area_file)).folder)
        yield area_file


def test_an_api_knows_the_same_scenes_as_the_static_catalog(api_area: Path, sandbox: Path, tmp_path: Path) -> None:
    asked = steps.plan(load_area(api_area))
    read = steps.plan(load_area(write_area(tmp_path, sandbox)))
    assert len(asked.scenes) > 50
    assert [scene.identity for scene in asked.scenes] == [scene.identity for scene in read.scenes]
    assert asked.unread == read.unread
    for over_http, from_files in zip(asked.scenes, read.scenes, strict=True):
        assert {**over_http.to_dict(), "assets": None} == {**from_files.to_dict(), "assets": None}
        assert set(over_http.assets) == set(from_files.assets)
    assert [day.to_dict() for day in asked.days] == [day.to_dict() for day in read.days]


def test_a_cube_from_an_api_equals_the_one_from_the_static_catalog_byte_for_byte(api_area: Path, published: Path) -> None:
    area = load_area(api_area)
    run(area)
    expected = chunks(load_area(published).cube_path)
    assert len(expected) > 100
    assert chunks(area.cube_path) == expected
    assert not steps.plan(area).to_make
