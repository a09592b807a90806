"""Windows around every pixel against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.operators import window
from pipeline.operators.window import most_similar, over_rows, radius_of, shifted, weighted_sum, window_std


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(4)
    values = torch.rand((3, 17, 23), generator=generator)
    valid = torch.rand((17, 23), generator=generator) > 0.3
    return values, valid


def neighbours(y, x, shape, radius):
    rows = range(max(y - radius, 0), min(y + radius + 1, shape[0]))
    cols = range(max(x - radius, 0), min(x + radius + 1, shape[1]))
    return [(row, col) for row in rows for col in cols]


def test_a_window_in_metres_is_an_odd_number_of_pixels():
    assert [radius_of(metres, 30.0) for metres in (30, 60, 90, 1530)] == [0, 1, 1, 25]


def test_a_shift_shows_the_neighbour_of_every_pixel(scene):
    values = scene[0]
    seen = shifted(window.padded(values, 2, -1.0), 2, 1, -2)
    assert torch.equal(seen[:, :-1, 2:], values[:, 1:, :-2])
    assert (seen[:, -1] == -1).all()


def test_the_spread_of_a_window_counts_valid_pixels_only(scene):
    values, valid = scene
    std = window_std(torch.where(valid, values, 7.0), valid, 2)
    for y, x in ((0, 0), (8, 11), (16, 22)):
        seen = [values[1, row, col].item() for row, col in neighbours(y, x, valid.shape, 2) if valid[row, col]]
        assert std[1, y, x].item() == pytest.approx(np.std(seen), abs=1e-5)
    assert (window_std(values, torch.zeros_like(valid), 2) == 0).all()


def plain_most_similar(values, valid, y, x, radius, count):
    def key(place):
        gap = float(((values[:, place[0], place[1]] - values[:, y, x]) ** 2).sum())
        return gap, (place[0] - y) ** 2 + (place[1] - x) ** 2

    return sorted((place for place in neighbours(y, x, valid.shape, radius) if valid[place]), key=key)[:count]


def test_the_most_similar_pixels_are_those_of_a_plain_search(scene):
    values, valid = scene
    index, steps = most_similar(values, valid, 4, 6)
    for y, x in zip(*np.nonzero(valid.numpy()), strict=True):
        expected = plain_most_similar(values, valid, y, x, 4, 6)
        found = {divmod(int(place), 23) for place, step in zip(index[y, x], steps[y, x], strict=True) if torch.isfinite(step)}
        assert found == {(int(row), int(col)) for row, col in expected}
        for place, step in zip(index[y, x].tolist(), steps[y, x].tolist(), strict=True):
            if np.isfinite(step):
                assert step == pytest.approx(np.hypot(place // 23 - y, place % 23 - x), abs=1e-5)


def test_too_few_similar_pixels_leave_the_pixel_itself_infinitely_far(scene):
    values, valid = scene
    alone = torch.zeros_like(valid)
    alone[5, 6] = True
    index, steps = most_similar(values, alone, 3, 4)
    assert (index[5, 6] == 5 * 23 + 6).all()
    assert torch.isfinite(steps[5, 6]).sum() == 1


def test_offset_by_offset_finds_the_same_pixels_as_the_compiled_search(scene):
    values, valid = scene
    planes = window.padded(torch.where(valid, values, window.FAR), 4, window.FAR)
    order = sorted(window.offsets(4), key=lambda step: (step[0] ** 2 + step[1] ** 2, step))
    other = window._most_similar_by_offset(planes, order, 4, 6, at_once=7)
    index, _ = most_similar(values, valid, 4, 6)
    assert torch.equal(other[valid].sort(dim=-1).values, index[valid].sort(dim=-1).values)


def test_chosen_pixels_are_added_up_with_their_weights(scene):
    values, valid = scene
    index, _ = most_similar(values, valid, 3, 5)
    weight = torch.rand(index.shape)
    total = weighted_sum(values, index, weight)
    expected = (values.flatten(1)[:, index.long()] * weight).sum(dim=-1)
    torch.testing.assert_close(total, expected)


def test_rows_are_shared_among_threads_without_loss():
    done = torch.zeros(13, dtype=torch.int)

    def work(first: int, last: int) -> None:
        done[first:last] += 1

    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            over_rows(work, 13)
        finally:
            torch.set_num_threads(before)
    assert (done == 2).all()
