"""Charts and sheets: what is drawn stands where it should, and names cannot break the page."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from pipeline.assessment.charts import Chart, legend, ticks
from pipeline.assessment.digests import code_digest, digest
from pipeline.assessment.figures import diverging
from pipeline.assessment.page import _kind, _table
from pipeline.assessment.scoring import Difference, Row
from pipeline.assessment.tables import FULL, differences_markdown, distinct, headings, markdown, row_cells


def row(**keys: object) -> Row:
    values = {name: 0.5 for name, _, _ in FULL} | {"psnr": 30.0} | keys
    return Row(name="a", stratum="all", control=False, pixels=10, coverage=1.0, band_rmse=(0.5,), **values)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.013, 0.021) == [-0.01, 0.0, 0.01, 0.02]


def test_a_chart_is_valid_and_puts_the_ends_of_its_axes_at_its_corners() -> None:
    chart = Chart((0, 10), (0, 1), ("days", "a < b & c"), (400, 300))
    chart.dots([0, 10, math.nan], [0, 1, 0.5], "red", title="<script>")
    root = ElementTree.fromstring(chart.svg())
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert [(element.get("cx"), element.get("cy")) for element in circles] == [("62.0", "254.0"), ("386.0", "14.0")]
    assert "<script>" not in chart.svg()
    assert any(element.text == "a < b & c" for element in root.iter())


def test_a_chart_of_one_value_has_room_around_it() -> None:
    chart = Chart((3, 3), (0.2, 0.2), ("x", "y"))
    chart.dots([3], [0.2], "red")
    assert "nan" not in chart.svg()


def test_a_line_leaves_out_what_is_not_known() -> None:
    chart = Chart((0, 2), (0, 1), ("x", "y"))
    chart.line([0, 1, 2], [0.0, math.nan, 1.0], "red")
    (points,) = re.findall(r'points="([^"]*)"', chart.svg())
    assert len(points.split()) == 2


def test_what_was_withheld_is_a_ring_and_what_was_observed_a_dot() -> None:
    chart = Chart((0, 1), (0, 1), ("x", "y"))
    chart.dots([0.5], [0.5], "black", ring=True)
    chart.dots([0.5], [0.5], "black")
    ring, dot = (element for element in ElementTree.fromstring(chart.svg()).iter() if element.tag.endswith("circle"))
    assert (ring.get("fill"), ring.get("stroke")) == ("none", "black")
    assert dot.get("fill") == "black"


def test_a_table_of_the_page_leaves_out_figures_that_no_image_has() -> None:
    whole, bare = _table([row()]), _table([row(roughness=math.nan, sam=math.nan)])
    assert "<th>roughness</th>" in whole
    assert "<th>SAM</th>" in whole
    assert "roughness" not in bare
    assert "SAM" not in bare
    assert bare.count("<th>") == bare.count("<td>") == whole.count("<td>") - 2


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("On all pixels a beats every control: less.", "beats"),
        ("On all pixels a beats every control: less: NOT DECIDED.", "undecided"),
        ("On all pixels a DOES NOT beat the control b: more: NOT DECIDED.", "loses"),
        ("Withheld: 2001-07-11 (this date only).", ""),
    ],
)
def test_a_win_that_chance_may_have_made_is_not_shown_as_one(sentence: str, kind: str) -> None:
    assert _kind(sentence) == kind


def test_a_legend_names_every_colour() -> None:
    assert all(name in legend([("one", "#111111"), ("two", "#222222")]) for name in ("one", "two", "#111111", "#222222"))


def test_errors_are_blue_below_red_above_and_black_where_unknown() -> None:
    dark, none, bright, unknown = diverging(np.array([-1.0, 0.0, 9.0, np.nan]), 1.0)
    assert dark[2] > dark[0]
    assert bright[0] > bright[2]
    assert none.min() > 245
    assert unknown.max() == 0


def test_a_row_has_a_cell_for_every_heading_and_its_interval_beside_the_error() -> None:
    cells = row_cells(row(rmse=0.02, rmse_low=0.01, rmse_high=0.03), FULL)
    assert len(cells) == len(headings(FULL))
    assert cells[2] == "0.0200 [0.0100–0.0300]"
    assert "[" not in markdown([row()])


def test_a_stratum_that_says_what_an_earlier_one_said_is_not_shown_again() -> None:
    rows = [row(), replace(row(), stratum="one-sided"), replace(row(rmse=0.4), stratum="changed", pixels=5)]
    assert [shown.stratum for shown in distinct(rows)] == ["all", "changed"]


def test_differences_say_whether_they_are_decided_and_on_what() -> None:
    text = differences_markdown([Difference("a", "b", "all", -0.01, -0.02, -0.005, 1), Difference("a", "c", "all", 0.001, -0.01, 0.01, 4)])
    assert "| a | b | **-0.01000** | -0.02000 to -0.00500 | this date only |" in text
    assert "| a | c | +0.00100 | -0.01000 to +0.01000 | 4 dates |" in text


def test_a_digest_follows_values_shapes_and_order() -> None:
    array = np.arange(6.0)
    assert digest(array) == digest(array.copy())
    assert len({digest(array), digest(array.reshape(2, 3)), digest(array.astype(np.float32)), digest(array, 1), digest(1, array)}) == 5


@pytest.mark.parametrize("module", ["pipeline.fusion.controls", "pipeline.fusion.residual"])
def test_the_digest_of_code_covers_what_it_imports(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.assessment import digests

    before = code_digest.__wrapped__(module)
    source = digests._source

    class Touched:
        def __init__(self, path: object) -> None:
            self.path = path

        def read_bytes(self) -> bytes:
            return self.path.read_bytes() + b"\n# changed"

    def touching(name: str) -> object:
        path = source(name)
        return Touched(path) if name == touched else path

    monkeypatch.setattr(digests, "_source", touching)
    touched = "pipeline.operators.resample"
    assert code_digest.__wrapped__(module) != before
    assert touched in digests.sources(module)
    touched = "pipeline.store.publish"
    assert code_digest.__wrapped__(module) == before
