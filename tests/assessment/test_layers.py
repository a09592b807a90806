"""What methods see beside the images and the coarse series: composites of 250 m, as far as they need them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.assessment.archives import Archive
from pipeline.assessment.cases import cases_of
from pipeline.assessment.predicting import Entrant, predict
from pipeline.assessment.simulated import sandbox_archive
from pipeline.restoration.textures import Texture
from tests.assessment.places import FIRST, small_archive
from tests.assessment.test_experiments import MIDDLE, _small_place_may_be_tested, experiment, silent

__all__ = ["_small_place_may_be_tested"]


def textured(archive: Archive) -> Archive:
    """The archive with composites of eight days of an index, each as large as its last day of the archive counts."""
    last = FIRST + 7 + 8 * np.arange(9)
    values = np.broadcast_to((0.01 * (last - FIRST))[:, None, None, None], (9, 1, 6, 6)).astype(np.float32)
    texture = Texture(("ndvi",), last - 3.5, values, np.full(values.shape, 0.02, np.float32), last)
    return replace(archive, restoration=(16.0, 8.0), textures=(texture,))


def test_methods_get_the_textures_of_an_archive_by_day_if_they_need_them() -> None:
    (case,) = cases_of(experiment(), textured(small_archive()))
    layer = case.block.coarse_layers["ndvi_250m"]
    assert layer.shape == (len(case.block.coarse_days), 6, 6)
    at = case.block.coarse_days.index(MIDDLE)
    assert float(layer[at].mean()) == pytest.approx(0.01 * (32 + 3.5), abs=0.01)
    assert layer[case.block.coarse_days.index(FIRST - 20)].isnan().all()
    (coarser,) = cases_of(experiment(coarse={"scale": 16}), textured(small_archive()))
    assert coarser.block.coarse_layers == {}, "they are known on the cells of the archive only"


def test_a_nowcast_has_only_the_composites_that_were_complete_and_published() -> None:
    archive = textured(small_archive())
    late = archive.textures[0].last + 9 > MIDDLE
    archive.textures[0].values[late] = 9.0
    (case,) = cases_of(experiment(nowcast={"fine_delay": 1, "coarse_delay": 9}), archive)
    layer = case.block.coarse_layers["ndvi_250m"]
    assert torch.isfinite(layer).any()
    assert float(layer.nan_to_num(0).max()) < 1


def test_a_prediction_is_kept_whatever_layers_there_are_that_its_method_does_not_need(tmp_path: Path) -> None:
    rich = textured(small_archive())
    for archive in (rich, replace(rich, textures=())):
        (case,) = cases_of(experiment(), archive)
        predict(Entrant("linear", "linear"), case.block, [MIDDLE], tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1


@pytest.mark.slow
def test_a_sandbox_with_composites_has_the_same_archive_and_textures_beside(tmp_path: Path) -> None:
    given = (21, 0.3, date(2023, 6, 1), date(2023, 6, 20), 64, tmp_path, silent)
    plain, rich = sandbox_archive(*given), sandbox_archive(*given, composites=True)
    np.testing.assert_array_equal(plain.fine, rich.fine)
    np.testing.assert_array_equal(plain.coarse, rich.coarse)
    assert plain.textures == ()
    assert [texture.bands for texture in rich.textures] == [("red", "nir08"), ("ndvi",)]
    assert all(np.isfinite(texture.values).any() for texture in rich.textures)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    again = sandbox_archive(*given, composites=True)
    np.testing.assert_array_equal(again.textures[1].values, rich.textures[1].values)
