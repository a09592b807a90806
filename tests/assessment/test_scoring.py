"""Scores stand on the same pixels, are split by stratum, and name a control that is better."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from pipeline.assessment.scoring import Row, Sample, score
from pipeline.assessment.tables import Effort, csv_text, efforts_markdown, json_text, markdown, rich_table, verdict

TRUTH = np.linspace(0.1, 0.6, 2 * 4 * 4).reshape(2, 4, 4)
CONTROLS = frozenset({"linear", "nearest"})


def shifted(by: float) -> np.ndarray:
    return TRUTH + by


def whole(truth: np.ndarray, images: dict[str, np.ndarray]) -> Sample:
    return Sample(truth, images, {"all": np.ones(truth.shape[-2:], bool)})


def row(name: str, rmse: float, stratum: str = "clouded") -> Row:
    return Row(name, stratum, name in CONTROLS, 100, 1.0, rmse, rmse, 0.0, 0.9, 0.8, 30.0, 0.05, 1.0, (rmse,))


def test_rows_are_sorted_by_error_within_each_stratum() -> None:
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    sample = Sample(TRUTH, {"residual": shifted(0.01), "linear": shifted(-0.02)}, {"clear": left, "clouded": ~left})
    rows = score([sample], 8, CONTROLS)
    assert [(row.stratum, row.name, row.control) for row in rows] == [
        ("clear", "residual", False),
        ("clear", "linear", True),
        ("clouded", "residual", False),
        ("clouded", "linear", True),
    ]
    assert [row.rmse for row in rows] == pytest.approx([0.01, 0.02, 0.01, 0.02])
    assert [row.pixels for row in rows] == [8] * 4


def test_a_hole_in_one_image_leaves_those_pixels_out_for_all_and_shows_as_coverage() -> None:
    holes = shifted(0.0)
    holes[0, 0] = np.nan
    other = shifted(0.0)
    other[:, 0] += 10.0
    rows = score([whole(TRUTH, {"nearest": holes, "residual": other})], 8, CONTROLS)
    by_name = {row.name: row for row in rows}
    assert by_name["residual"].pixels == by_name["nearest"].pixels == 12
    assert by_name["residual"].rmse == pytest.approx(0.0)
    assert by_name["residual"].coverage == 1.0
    assert by_name["nearest"].coverage == 0.75


def test_a_method_that_says_nothing_somewhere_is_charged_with_its_fall_back() -> None:
    holes = shifted(0.0)
    holes[0, 0] = np.nan
    images = {"nearest": shifted(0.2), "residual": holes}
    by_name = {row.name: row for row in score([whole(TRUTH, images)], 8, CONTROLS, fallback="nearest")}
    assert by_name["residual"].pixels == 16
    assert by_name["residual"].coverage == 0.75
    assert by_name["residual"].rmse == pytest.approx(0.2 * math.sqrt(4 / 16))


def test_the_deviation_of_a_hole_is_not_taken_for_that_of_the_fall_back() -> None:
    holes = shifted(0.0)
    holes[0, 0] = np.nan
    images = {"nearest": shifted(0.2), "residual": holes}
    sample = Sample(TRUTH, images, {"all": np.ones((4, 4), bool)}, std={name: np.full_like(TRUTH, 0.1) for name in images})
    by_name = {row.name: row for row in score([sample], 8, CONTROLS, fallback="nearest")}
    assert by_name["nearest"].cover68 == 0.0
    assert by_name["residual"].cover68 == 1.0, "of the pixels it says something of"
    assert by_name["residual"].crps == pytest.approx((12 * 0.1 * 0.23370 + 4 * 0.2) / 16, rel=1e-4)


def test_days_are_pooled_by_pixel_not_averaged_by_day() -> None:
    everywhere, corner = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    corner[0, 0] = True
    samples = [Sample(TRUTH, {"a": shifted(0.1)}, {"all": everywhere}), Sample(TRUTH, {"a": shifted(0.0)}, {"all": corner})]
    assert score(samples, 8)[0].rmse == pytest.approx(0.1 * math.sqrt(16 / 17))


def test_samples_that_compare_different_images_are_refused() -> None:
    everywhere = {"all": np.ones((4, 4), bool)}
    with pytest.raises(ValueError, match="the first one"):
        score([Sample(TRUTH, {"a": TRUTH}, everywhere), Sample(TRUTH, {"b": TRUTH}, everywhere)], 8)


def test_where_the_truth_is_hidden_nothing_counts() -> None:
    truth = np.where(np.arange(4) < 2, np.nan, TRUTH)
    made = score([whole(truth, {"published": shifted(0.03)})], 8)[0]
    assert made.pixels == 8
    assert made.coverage == 1.0
    assert made.bias == pytest.approx(0.03)


def test_a_method_that_beats_every_control_is_said_to_and_by_how_much() -> None:
    rows = [row("residual", 0.030), row("linear", 0.040), row("nearest", 0.060)]
    sentence = verdict(rows, "residual", ["linear", "nearest"], "clouded")
    assert sentence == "On clouded pixels residual beats every control: RMSE 0.0300 against 0.0400 of linear, 25.0% less."


def test_a_method_that_loses_to_a_control_is_said_to() -> None:
    rows = [row("residual", 0.050), row("linear", 0.040), row("nearest", 0.060)]
    assert "residual DOES NOT beat the control linear: RMSE 0.0500 against 0.0400" in verdict(
        rows, "residual", ["linear", "nearest"], "clouded"
    )


def test_a_tie_is_no_win_and_every_better_control_is_named() -> None:
    rows = [row("residual", 0.050), row("linear", 0.050), row("nearest", 0.050)]
    sentence = verdict(rows, "residual", ["linear", "nearest"], "clouded")
    assert "DOES NOT beat" in sentence
    assert "linear, nearest are all at least as good" in sentence


def test_a_verdict_needs_every_control() -> None:
    with pytest.raises(ValueError, match="nearest"):
        verdict([row("residual", 0.05), row("linear", 0.06)], "residual", ["linear", "nearest"], "clouded")
    with pytest.raises(ValueError, match="any control"):
        verdict([row("residual", 0.05)], "residual", [], "clouded")


def test_without_common_pixels_there_is_no_verdict() -> None:
    rows = [row("residual", float("nan")), row("linear", float("nan"))]
    assert "cannot be judged" in verdict(rows, "residual", ["linear"], "clouded")


def test_markdown_sets_controls_in_italics_and_leaves_undefined_figures_blank() -> None:
    text = markdown([row("residual", 0.03), row("linear", float("nan"))])
    assert "| clouded | residual | 0.0300 |" in text
    assert "| clouded | *linear* | – |" in text


def test_csv_holds_every_figure_at_full_precision() -> None:
    records = list(csv.DictReader(io.StringIO(csv_text([row("residual", 1 / 3)]))))
    assert float(records[0]["rmse"]) == 1 / 3
    assert float(records[0]["rmse_1"]) == 1 / 3


def test_what_an_image_took_stands_in_a_table_and_in_each_of_its_rows() -> None:
    efforts = [Effort("edcstfn", False, 283_910, 282_000, 1.234), Effort("linear", True, None, None, 0.01)]
    text = efforts_markdown(efforts)
    assert "| edcstfn | 284 k | 282 k | 1.2 |" in text
    assert "| *linear* | – | – | 0.01 |" in text
    rows = [row("edcstfn", 0.03), row("linear", 0.04)]
    first, second = json.loads(json_text(rows, efforts))
    assert (first["parameters"], first["multiply_adds"], first["seconds"]) == (283_910, 282_000, 1.234)
    assert second["parameters"] is None
    assert [record["seconds"] for record in csv.DictReader(io.StringIO(csv_text(rows, efforts)))] == ["1.234", "0.01"]


def test_json_is_json_even_with_undefined_and_infinite_figures() -> None:
    perfect = score([whole(TRUTH[:1], {"published": TRUTH[:1]})], 8)
    record = json.loads(json_text(perfect), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))[0]
    assert record["sam"] is None
    assert record["psnr"] is None
    assert record["rmse"] == 0.0


def test_the_terminal_table_shows_every_row() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(rich_table([row("residual", 0.03), row("linear", 0.04, "clear")], "Scores"))
    text = console.export_text()
    assert all(word in text for word in ("Scores", "residual", "linear", "clouded", "clear", "0.0300"))
