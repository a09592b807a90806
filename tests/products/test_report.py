"""A run report stands alone and trusts no word from outside."""

from __future__ import annotations

from datetime import date
from html.parser import HTMLParser

from pipeline.products.report import ReportDay, RunReport, report_html
from pipeline.store.check import Check
from pipeline.vocabulary import Maturity, Outcome, Provenance


class Reader(HTMLParser):
    """Collects what a browser would load or run, checks that tags close, and keeps the words."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(report: RunReport) -> Reader:
    reader = Reader()
    reader.feed(report_html(report))
    assert reader.opened == []
    return reader


REPORT = RunReport(
    title="Sava <plain>",
    run_id="20230612T040000Z-1a2b",
    outcome=Outcome.DEGRADED,
    facts={"method": "residual", "period": "2023-06-01 to 2023-06-02"},
    days=[
        ReportDay(
            date(2023, 6, 1), Outcome.PUBLISHED, Maturity.FINAL, {Provenance.OBSERVED: 0.4, Provenance.FUSED_TWO_SIDED: 0.6}, "new scene"
        ),
        ReportDay(date(2023, 6, 2), Outcome.FAILED, Maturity.NONE, {}, "<script>alert(1)</script>"),
    ],
    seconds={"read": 1.5, "fuse": 2.5},
    checks=[Check("range", True, "error", "0 of 1 000 000"), Check("step", False, "warning", "jump of 0.13 at a block")],
    contact_sheet=b"\x89PNG",
    tables=[("Scores", "| image | RMSE |\n|---|---:|\n| residual | 0.01 |\n| *linear* | 0.02 |\n")],
)


def test_a_report_loads_nothing_from_elsewhere_and_runs_nothing() -> None:
    reader = read(REPORT)
    assert reader.loads == ["data:image/png;base64,iVBORw=="]
    assert not {"script", "link", "iframe"} & set(reader.tags)


def test_words_from_outside_are_escaped() -> None:
    words = read(REPORT).words
    assert "Sava <plain> " in words
    assert "<script>alert(1)</script>" in words


def test_a_report_says_what_became_of_every_day_and_check() -> None:
    words = read(REPORT).words
    for expected in (
        "2023-06-01",
        "published",
        "final",
        "40 %",
        "2023-06-02",
        "failed",
        "new scene",
        "step",
        "look",
        "4.0 s",
        "residual",
        "linear",
    ):
        assert expected in words


def test_a_run_that_had_nothing_to_do_has_a_report() -> None:
    words = read(RunReport("Sava", "r1", Outcome.UNCHANGED, {}, [], {})).words
    assert "No day was due." in words
