"""Verdicts in the working store: packed, apart from what was observed, and written again at any time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.grid import Window, day_number
from pipeline.observations.verdicts import judge, read_digests, read_offsets, read_verdicts, write_digests, write_verdicts
from pipeline.observations.working import FineStack, WorkingStore
from pipeline.vocabulary import Cause, Verdict

from .scenes import DAY, small_grid

TODAY = day_number(DAY)
WHOLE = Window(0, 0, 32, 32)


@pytest.fixture
def store(tmp_path: Path) -> WorkingStore:
    return WorkingStore.create(tmp_path / "o.zarr", small_grid(), ("red", "nir08"), [], 16)


def no_offset(store: WorkingStore) -> np.ndarray:
    return np.zeros((len(store.bands), *store.grid.coarse_shape), np.float32)


def some_verdicts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    verdict, cause = rng.integers(0, 3, (32, 32), np.uint8), rng.integers(0, 4, (32, 32), np.uint8)
    return verdict, cause, rng.uniform(1, 10, (32, 32)).astype(np.float32)


def test_verdicts_come_back_and_doubt_to_half_a_percent(store: WorkingStore) -> None:
    verdict, cause, doubt = some_verdicts()
    write_verdicts(store, WHOLE, TODAY, verdict, cause, doubt, no_offset(store))
    part = Window(3, 5, 20, 17)
    found = read_verdicts(WorkingStore.open(store.path), part, TODAY)
    np.testing.assert_array_equal(found[0], verdict[part.slices])
    np.testing.assert_array_equal(found[1], cause[part.slices])
    np.testing.assert_allclose(found[2], doubt[part.slices], rtol=0.0051)


def test_where_nothing_was_screened_everything_is_clear_and_nothing_is_stored(store: WorkingStore) -> None:
    verdict, cause, doubt = read_verdicts(store, WHOLE, TODAY)
    assert not verdict.any()
    assert not cause.any()
    assert (doubt == 1).all()
    write_verdicts(store, WHOLE, TODAY, verdict, cause, doubt, no_offset(store))
    assert not (store.path / "screened" / "verdict" / "c").exists()


def test_offsets_come_back_to_half_a_ten_thousandth_and_are_zero_where_nothing_was_screened(store: WorkingStore) -> None:
    offset = np.random.default_rng(2).uniform(-0.03, 0.03, no_offset(store).shape).astype(np.float32)
    write_verdicts(store, WHOLE, TODAY, *some_verdicts(), offset)
    scale = store.grid.scale
    part = Window(scale, 0, WHOLE.height - scale, WHOLE.width)
    before, today = read_offsets(WorkingStore.open(store.path), part, [TODAY - 1, TODAY])
    assert not before.any()
    np.testing.assert_allclose(today, offset[:, 1:], atol=5.1e-5)


def test_a_revised_verdict_takes_the_place_of_the_old(store: WorkingStore) -> None:
    write_verdicts(store, WHOLE, TODAY, *some_verdicts(), no_offset(store))
    clear = np.zeros((32, 32), np.uint8)
    write_verdicts(store, WHOLE, TODAY, clear, clear, clear + np.float32(1), no_offset(store))
    assert not read_verdicts(store, WHOLE, TODAY)[0].any()


def test_what_is_refused_is_hidden_and_what_is_suspect_is_named(store: WorkingStore) -> None:
    verdict, cause, doubt = some_verdicts()
    write_verdicts(store, WHOLE, TODAY, verdict, cause, doubt, no_offset(store))
    values = np.full((2, 2, 32, 32), 0.1, np.float32)
    fine = FineStack(np.array([TODAY - 1, TODAY]), values, np.full((2, 2), 0.01, np.float32), np.zeros((2, 32, 32), np.uint16))
    factor, suspect = judge(store, WHOLE, fine)
    assert np.isfinite(values[0]).all(), "another day"
    np.testing.assert_array_equal(np.isnan(values[1]), np.broadcast_to(verdict == Verdict.REFUSED, (2, 32, 32)))
    np.testing.assert_array_equal(suspect[1], verdict == Verdict.SUSPECT)
    assert (factor[0] == 1).all()
    np.testing.assert_allclose(factor[1], doubt, rtol=0.0051)
    assert not fine.reasons.any(), "reasons are what the sensor said"


def test_digests_belong_to_days_and_blocks(store: WorkingStore) -> None:
    days = [TODAY - 300, TODAY, TODAY + 7]
    assert not read_digests(store, days).any()
    digests = np.arange(1, 13, dtype=np.uint64).reshape(3, 2, 2) + np.uint64(2**63)
    write_digests(store, days, digests)
    np.testing.assert_array_equal(read_digests(WorkingStore.open(store.path), days[::-1]), digests[::-1])
    assert not read_digests(store, [TODAY + 1]).any()


def test_every_cause_has_room_beside_the_verdict() -> None:
    assert max(Verdict) < 4
    assert max(Cause) < 64
