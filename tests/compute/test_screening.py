"""Screening of a working store block by block: verdicts are stored, revised by the next scene, and kept to when days are made."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.compute.block import fuse_block, load_block
from pipeline.compute.job import Job
from pipeline.compute.reading import read_window
from pipeline.compute.screening import screen_block
from pipeline.fusion.interface import FusionInput
from pipeline.grid import Block, Grid, day_from_number
from pipeline.observations.verdicts import read_offsets, read_verdicts
from pipeline.observations.working import WorkingStore
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.screen import screen
from pipeline.store.encoding import encode_reflectance
from pipeline.vocabulary import BANDS, Cause, Condition, Provenance, Reason, Verdict
from tests.observations.scenes import UTM33, make_scene
from tests.screening.places import CLOUD, FIELD, first, painted, place

GRID = Grid.from_bounds(UTM33, (500175.0, 5090175.0, 500175.0 + 96 * 30, 5090175.0 + 96 * 30))
WHOLE = Block(0, 0, GRID.window)
START = 19000
"""Day number of the first image of a place."""
BAD = START + 24
"""The day of the image that shows a cloud nobody flagged."""


def remember(store: WorkingStore, block: FusionInput) -> None:
    """Put the images and the coarse series of a place into a store; what is there already stays."""
    for index, day in enumerate(block.fine_days):
        when: date = day_from_number(START + day)
        for row in store.allocate([make_scene(f"image-{day}", {}, UTM33, (30.0, 0, 500175.0, 0, -30.0, 5093055.0), (96, 96), when)]):
            image = block.fine[index].numpy()
            hidden = np.where(np.isnan(image).any(axis=0), np.uint16(Reason.CLOUD), np.uint16(0))
            store.write_fine(row, GRID.window, encode_reflectance(image), hidden)
            store.complete(row, GRID.window, 1.0, tuple(block.fine_std[index].tolist()))
    store.flush()
    cells = GRID.window.coarse(GRID.scale)
    mean, std = block.coarse.numpy(), block.coarse_std.numpy()
    store.write_restored(cells, START + block.coarse_days[0], mean, std, np.ones((len(mean), *cells.shape), np.float32))


@pytest.fixture
def cloudy() -> FusionInput:
    """Seven images, the fourth with a cloud over `FIELD`."""
    return painted(place(), 3, CLOUD, 0.5)


@pytest.fixture
def store(tmp_path: Path) -> WorkingStore:
    return WorkingStore.create(tmp_path / "o.zarr", GRID, BANDS, [], 48)


def job_over(store: WorkingStore, **changes: object) -> Job:
    job = Job(str(store.path), "", GRID, BANDS, "delta2", {"days": 24}, screening=ScreeningOptions())
    return replace(job, **changes)


def days_of(block: FusionInput) -> list[int]:
    return [START + day for day in block.fine_days]


def stored(store: WorkingStore, day: int = BAD) -> np.ndarray:
    return read_verdicts(store, GRID.window, day)[0]


def part_of(verdict: np.ndarray, kind: Verdict) -> float:
    return float((verdict[FIELD] == kind).mean())


def test_blocks_and_batches_of_any_size_find_the_verdicts_of_the_whole(store: WorkingStore, cloudy: FusionInput) -> None:
    remember(store, cloudy)
    job = job_over(store)
    # Reach of a single cell, so that a block with its halo is smaller than the place.
    job = replace(job, screening=ScreeningOptions(reach=200.0, days=16))
    fusion = read_window(job, GRID.window, START - 40, START + 95, judged=False).fusion
    whole = screen(fusion, BANDS, None, job.screening)
    for block in GRID.blocks(48):
        for batch in (days_of(cloudy)[:3], days_of(cloudy)[3:]):
            screen_block(job, block, batch)
    for index, day in enumerate(days_of(cloudy)):
        verdict, cause, doubt = read_verdicts(store, GRID.window, day)
        np.testing.assert_array_equal(verdict, whole.verdict[index])
        np.testing.assert_array_equal(cause, whole.cause[index])
        np.testing.assert_allclose(doubt, whole.doubt[index], rtol=0.0101)
        np.testing.assert_allclose(read_offsets(store, GRID.window, [day])[0], whole.offset[index], atol=5.1e-5)
    assert part_of(stored(store), Verdict.REFUSED) > 0.98


def test_a_verdict_is_revised_when_the_next_scene_arrives(store: WorkingStore, cloudy: FusionInput) -> None:
    early = first(cloudy, 4, until=24)
    remember(store, early)
    screen_block(job_over(store), WHOLE, days_of(early))
    assert part_of(stored(store), Verdict.SUSPECT) > 0.9
    remember(store, first(cloudy, 5, until=32))
    screen_block(job_over(store), WHOLE, days_of(cloudy)[:5])
    assert part_of(stored(store), Verdict.REFUSED) > 0.98
    assert (stored(store) == Verdict.SUSPECT).mean() < 0.01


def test_pixels_are_counted_by_what_became_of_them(store: WorkingStore, cloudy: FusionInput) -> None:
    fine = cloudy.fine.clone()
    fine[3, :, 80:] = torch.nan
    remember(store, replace(cloudy, fine=fine))
    counts = {image.day: image.pixels for image in screen_block(job_over(store), WHOLE, days_of(cloudy))}
    assert sorted(counts) == days_of(cloudy)
    assert {sum(pixels.values()) for day, pixels in counts.items() if day != BAD} == {96 * 96}
    assert sum(counts[BAD].values()) == 80 * 96, "what the mask hides is not counted"
    assert counts[BAD][Verdict.REFUSED, Cause.CLOUD] == (stored(store) == Verdict.REFUSED).sum()


def test_a_refused_pixel_is_never_published_as_observed_and_a_suspect_one_says_so(store: WorkingStore, cloudy: FusionInput) -> None:
    job = job_over(store)
    for known, kind in ((first(cloudy, 4, until=24), Verdict.SUSPECT), (cloudy, Verdict.REFUSED)):
        remember(store, known)
        screen_block(job, WHOLE, days_of(known))
        verdict = stored(store)
        assert part_of(verdict, kind) > 0.9
        (made,) = fuse_block(job, load_block(job, WHOLE, [BAD]), [BAD])
        observed = made.values.provenance == Provenance.OBSERVED
        doubted = made.values.condition & Condition.SUSPECT_OBSERVATION > 0
        np.testing.assert_array_equal(observed, verdict != Verdict.REFUSED)
        np.testing.assert_array_equal(doubted, verdict == Verdict.SUSPECT)
        if kind == Verdict.SUSPECT:
            assert made.values.std[:, doubted].mean() > 3 * made.values.std[:, observed & ~doubted].mean()


def test_without_screening_blocks_hold_what_was_read_bit_for_bit(store: WorkingStore, cloudy: FusionInput) -> None:
    remember(store, cloudy)
    screen_block(job_over(store), WHOLE, days_of(cloudy))
    read = store.read_fine(GRID.window, BAD, BAD)
    assert np.isfinite(read.values).all(), "what was read is left as it is"
    assert not read.reasons.any()
    plain, judged = (load_block(job_over(store, screening=chosen), WHOLE, [BAD]).fusion for chosen in (None, ScreeningOptions()))
    index = plain.fine_days.index(BAD)
    np.testing.assert_array_equal(plain.fine[index], read.values[0])
    assert plain.fine_doubt is None
    assert judged.fine[index].isnan().any()


def test_an_image_of_which_nothing_is_clear_any_more_keeps_no_verdict(store: WorkingStore, cloudy: FusionInput) -> None:
    remember(store, cloudy)
    screen_block(job_over(store), WHOLE, days_of(cloudy))
    assert stored(store).any()
    store.select({row.scene.identity for row in store.rows() if row.index != 3})
    counts = screen_block(job_over(store), WHOLE, days_of(cloudy))
    assert BAD not in {image.day for image in counts}
    assert not stored(store).any()
