"""The calendar shows every day where it belongs, in the colours of its legend."""

from __future__ import annotations

import io
from datetime import date, timedelta

import numpy as np
import pytest
from PIL import Image

from pipeline.products.calendar import COLOURS, LABELS, CalendarRow, Found, calendar_png

MARCH = (date(2023, 3, 1), date(2023, 3, 31))


def pixels(*rows: CalendarRow, days: tuple[date, date] = MARCH) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(calendar_png(rows, *days, "area", "what is there"))))


def body(image: np.ndarray) -> np.ndarray:
    """The picture below its legend."""
    return image[90:]


def share(image: np.ndarray, found: Found) -> int:
    """Pixels of a colour."""
    return int((body(image) == COLOURS[found]).all(axis=-1).sum())


def columns(image: np.ndarray, found: Found) -> np.ndarray:
    """Columns in which a colour occurs."""
    return np.flatnonzero((body(image) == COLOURS[found]).all(axis=-1).any(axis=0))


def test_every_kind_has_a_colour_and_a_label_of_its_own() -> None:
    assert set(COLOURS) == set(LABELS) == set(Found)
    assert len(set(COLOURS.values())) == len(set(LABELS.values())) == len(Found)


def test_days_stand_in_order_and_take_equal_room() -> None:
    days = {date(2023, 3, 1): {Found.CLEAR: 1}, date(2023, 3, 2): {Found.CLOUDY: 1}, date(2023, 3, 31): {Found.MISSING: 1}}
    image = pixels(CalendarRow("fine landsat", "landsat-8", days))
    first, second, last = (columns(image, found) for found in (Found.CLEAR, Found.CLOUDY, Found.MISSING))
    assert len(first) == len(second) == len(last) > 10
    assert last[0] - first[0] == 30 * (second[0] - first[0])
    assert share(image, Found.CLEAR) == share(image, Found.MISSING)


def test_the_scenes_of_a_day_share_its_cell() -> None:
    whole = pixels(CalendarRow("s", "p", {date(2023, 3, 5): {Found.CLEAR: 2}}))
    shared = pixels(CalendarRow("s", "p", {date(2023, 3, 5): {Found.CLEAR: 1, Found.FAILED: 1}}))
    assert share(shared, Found.CLEAR) == share(shared, Found.FAILED) == share(whole, Found.CLEAR) / 2
    np.testing.assert_array_equal(columns(shared, Found.CLEAR), columns(whole, Found.CLEAR))


def test_a_copy_marks_the_cell_and_takes_no_share_of_the_scenes() -> None:
    image = pixels(CalendarRow("s", "p", {date(2023, 3, 5): {Found.CLEAR: 1, Found.SUPERSEDED: 3}}))
    assert 0 < share(image, Found.SUPERSEDED) < share(image, Found.CLEAR)
    np.testing.assert_array_equal(columns(image, Found.SUPERSEDED), columns(image, Found.CLEAR))


def test_a_day_of_the_year_stands_below_itself_in_other_years_leap_or_not() -> None:
    days = {date(2023, 12, 24): {Found.CLEAR: 1}, date(2024, 12, 24): {Found.MISSING: 1}, date(2024, 2, 29): {Found.FAILED: 1}}
    image = pixels(CalendarRow("s", "p", days), days=(date(2023, 6, 1), date(2024, 12, 31)))
    np.testing.assert_array_equal(columns(image, Found.CLEAR), columns(image, Found.MISSING))
    assert len(columns(image, Found.FAILED)) == len(columns(image, Found.CLEAR))


def test_two_sources_of_many_years_remain_of_a_size_that_can_be_looked_at() -> None:
    first, last = date(1984, 1, 1), date(2023, 12, 31)
    days = {first + timedelta(days=number): {Found.UNTOLD: 1} for number in range(0, (last - first).days, 16)}
    image = pixels(CalendarRow("fine", "landsat-5", days), CalendarRow("coarse", "terra", days), days=(first, last))
    height, width = image.shape[:2]
    assert width < 2400
    assert height < 2400


def test_the_same_rows_give_the_same_bytes_and_none_are_refused() -> None:
    row = CalendarRow("s", "", {date(2023, 3, 5): {Found.UNTOLD: 1}})
    assert calendar_png([row], *MARCH, "area") == calendar_png([row], *MARCH, "area")
    with pytest.raises(ValueError, match="at least one row"):
        calendar_png([], *MARCH, "area")
