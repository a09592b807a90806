"""Methods as they are listed: words for each, costs, standing against the controls, and how the record of figures is written."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pipeline.assessment import listing
from pipeline.assessment.record import Cost, Record, Score, read_record, record, record_path
from pipeline.errors import ConfigurationError, WeightsError
from pipeline.fusion import registry
from pipeline.fusion.interface import MethodSpec
from pipeline.fusion.networks import weights
from pipeline.fusion.notes import notes
from pipeline.fusion.options import ControlOptions
from pipeline.fusion.registry import specs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

LOST = Score("boreas-two-pairs", "starfm", "starfm", {}, "delta2", 0.0080, 0.0084, 0.0080, 0.0088, 0.0002, 0.0006, 1, "ab", "2026-01-02")
OPEN = replace(LOST, label="residual", method="residual", rmse=0.0079, less_low=-0.0003, less_high=0.0001)
WON = replace(OPEN, experiment="ifsdaf-archive", rmse=0.0060, less_low=-0.0023, less_high=-0.0017)
VARIANT = replace(WON, label="residual 128 d", rmse=0.0040, options={"days": 128})
CONTROL = replace(LOST, label="delta2", method="delta2", rmse=0.0080, less_low=None, less_high=None)
COSTS = {"starfm": Cost(12.34, 0.456, 512.0, "1000 × 1000 × 6")}


def shown(part: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(part)
    return console.file.getvalue()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Record:
    sandbox = [replace(WON, experiment=f"sandbox-10{n}-half", rmse=rmse, control_rmse=0.01) for n, rmse in enumerate((0.005, 0.02))]
    made = Record("a machine", COSTS, {}, (LOST, OPEN, WON, VARIANT, CONTROL, *sandbox), {"cia-two-pairs": {"robot": "ValueError: no"}})
    monkeypatch.setattr(listing, "record", lambda: made)
    return made


def row(text: str, name: str) -> list[str]:
    """Cells of the last row that begins with a name: the row of figures."""
    return [line for line in text.splitlines() if line.split()[:1] == [name]][-1].split("  ")


def test_the_committed_record_is_as_the_writer_writes_it() -> None:
    text = record_path().read_text(encoding="utf-8")
    assert read_record(text).text() == text
    assert {score.method for score in record().scores} <= set(specs())
    assert {score.experiment for score in record().scores} <= {path.stem for path in (BENCHMARKS / "experiments").glob("*.yaml")}


def test_every_built_in_method_has_its_words_and_none_is_left_over() -> None:
    assert set(notes()) == {spec.name for spec in registry._BUILT_IN}
    for name, said in notes().items():
        assert said.idea, name
        assert max(map(len, said.equation.splitlines())) <= 90, f"{name}: the equation does not fit a terminal"
        assert bool(said.ours and said.clouds and said.limits) is not specs()[name].control, name


@pytest.mark.usefixtures("measured")
def test_a_loss_to_a_control_is_marked_and_what_chance_may_have_made_stands_in_brackets() -> None:
    text = shown(listing.all_methods())
    starfm, residual = " ".join(row(text, "starfm")), " ".join(row(text, "residual"))
    assert "✗ +5.0 %" in starfm
    assert "12 s" in starfm
    assert "0.46 s" in starfm
    assert "512 MB" in starfm
    assert "(−1.2 %)" in residual
    assert "−25 %" in residual, "the variant has other options and no say here"
    assert "✗1/2 ±0 %" in residual, "half and double of the control, geometric mean"
    assert "best" in " ".join(row(text, "delta2"))


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("width", [100, 140])
def test_the_list_fits_a_terminal_and_cuts_nothing_off(width: int) -> None:
    text = shown(listing.all_methods(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert all(f" {name} " in text for name in specs())
    assert "10.1109/JSTARS" in text.replace("\n", "")


@pytest.mark.usefixtures("measured")
def test_one_method_is_told_in_full() -> None:
    text = shown(listing.one_method("residual"))
    assert notes()["residual"].equation.splitlines()[0] in text
    assert "residual 128 d" in text
    assert "0.0040 [0.0080–0.0088]" in text
    assert "edge of the window in which similar neighbours are sought [m]" in shown(listing.one_method("starfm"))
    failed = shown(listing.one_method("robot"))
    assert "no scores are recorded" in failed
    assert "cia-two-pairs: robot failed: ValueError: no" in failed
    with pytest.raises(ConfigurationError, match="no method 'magic'"):
        listing.one_method("magic")


@pytest.mark.usefixtures("measured")
def test_for_machines_everything_is_there_and_json() -> None:
    known = json.loads(json.dumps(listing.described("starfm")))
    assert known["cost"]["thirty"] == 0.456
    assert known["scores"][0]["loses"]
    assert known["scores"][0]["decided"]
    assert known["scores"][0]["change"] == pytest.approx(0.05)
    assert listing.described("vsdf")["cost"] is None


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The only card there is, of weights that are not there: a list needs none."""
    made = {
        "method": "realfusion",
        "source": "a paper",
        "parameters": 83_412,
        "multiply_adds": 246_800,
        "licence": "Apache-2.0",
        "data": {"train": ["sandbox 301, 30% cloud"], "tune": ["sandbox 201, 50% cloud"], "real_modis": "none"},
        "scores": {
            "restoration": {"rmse": 0.0105, "control": 0.0124, "skill": 0.1532},
            "fusion": {"rmse": 0.0213, "control": 0.0301, "skill": -0.0301},
        },
        "training": {"steps": {"fusion": 1200}, "seconds": 777, "machine": "a machine"},
        "recipe": {},
        "created": "2026-01-02",
        "sha256": "ab" * 32,
    }
    (tmp_path / "realfusion.json").write_text(json.dumps(made))
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    return made


@pytest.mark.parametrize("width", [100, 140])
def test_networks_are_listed_with_size_and_tune_scores_of_every_stage(card: dict[str, Any], width: int) -> None:
    text = shown(listing.all_methods(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    fusion = next(line for line in text.splitlines() if "0.0213" in line)
    first = next(line for line in text.splitlines() if "0.0105" in line)
    assert first.split() == ["realfusion", "restoration", "83.4", "k", "247", "k", "0.0105", "0.0124", "+15", "%"]
    assert fusion.split() == ["fusion", "0.0213", "0.0301", "−3.0", "%"]
    assert listing.NO_WEIGHTS in " ".join(row(text, "edcstfn"))
    assert not any(line.startswith(" starfm") for line in text[text.index("multiply-adds") :].splitlines())


def test_a_network_shows_its_card_and_machines_get_all_of_it(card: dict[str, Any]) -> None:
    text = shown(listing.one_method("realfusion"), 140)
    assert "train: sandbox 301, 30% cloud; tune: sandbox 201, 50% cloud; real_modis: none" in text
    assert card["sha256"] in text
    assert "0.0105" in text
    assert listing.described("realfusion")["weights"] == card
    assert listing.described("edcstfn")["weights"] is None
    assert listing.NO_WEIGHTS in shown(listing.one_method("edcstfn"))


def test_a_damaged_card_is_not_taken_for_a_missing_one(card: dict[str, Any]) -> None:
    (weights.SHIPPED / "edcstfn.json").write_text("{")
    with pytest.raises(WeightsError, match="is no JSON"):
        listing.all_methods()


@pytest.mark.parametrize(
    ("count", "words"), [(None, "–"), (7, "7"), (57_012, "57.0 k"), (284_000, "284 k"), (999_600, "1.00 M"), (5_920_123, "5.92 M")]
)
def test_large_numbers_are_told_in_three_digits(count: int | None, words: str) -> None:
    assert listing.amount(count) == words


def test_a_method_of_another_package_is_listed_without_words_or_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = MethodSpec("guest", "a guest [of honour]", "here", "nowhere:Guest", ControlOptions)
    known = {**specs(), "guest": guest}
    monkeypatch.setattr(registry, "specs", lambda: known)
    monkeypatch.setattr(listing, "specs", lambda: known)
    assert "a guest [of honour]" in shown(listing.all_methods(), 140)
    assert "no scores are recorded" in shown(listing.one_method("guest"))
    assert listing.described("guest")["notes"] is None


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_record", BENCHMARKS / "record.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def left_by_assess(folder: Path, role: str = "test") -> None:
    """The files of an experiment, as far as the record reads them."""
    folder.mkdir(parents=True)
    images = {"residual": (0.006, False), "delta2": (0.008, True), "linear": (0.011, True)}
    document: dict[str, Any] = {
        "experiment": {"title": "A place", "role": role},
        "measured": "2026-01-02",
        "methods": {name: {"method": name, "options": {}, "source": "ab"} for name in images},
        "failed": {"robot": "ValueError: no"},
    }
    rows = [
        {"name": name, "stratum": stratum, "control": control, "rmse": rmse, "rmse_low": rmse - 1e-3, "rmse_high": rmse + 1e-3, "days": 2}
        for stratum in ("all", "changed")
        for name, (rmse, control) in images.items()
    ]
    (folder / "experiment.json").write_text(json.dumps(document))
    (folder / "scores.json").write_text(json.dumps(rows))
    with (folder / "differences.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "other", "stratum", "rmse", "low", "high", "days"])
        table.writerow(["residual", "delta2", "changed", 9, 9, 9, 2])
        table.writerow(["residual", "delta2", "all", -0.002, -0.003, -0.001, 2])


def test_scores_are_taken_over_with_their_best_control_and_those_for_tuning_are_not(writer: ModuleType, tmp_path: Path) -> None:
    left_by_assess(tmp_path / "one" / "cia-two-pairs")
    left_by_assess(tmp_path / "two" / "ifsdaf-tune", role="tune")
    made = writer.with_scores(Record(costs=COSTS), [tmp_path / "one", tmp_path / "two"])
    assert made.costs == COSTS, "what was not given stays"
    assert made.titles == {"cia-two-pairs": "A place"}
    assert made.failed == {"cia-two-pairs": {"robot": "ValueError: no"}}
    residual, best, _ = made.scores
    assert (residual.rmse, residual.control, residual.control_rmse, residual.dates) == (0.006, "delta2", 0.008, 2)
    assert (residual.less_low, residual.less_high) == (-0.003, -0.001)
    assert residual.decided
    assert not residual.loses
    assert not best.loses
    assert read_record(made.text()) == made
    assert "residual in cia-two-pairs: its code has changed since" in writer.outdated(made)


def test_an_experiment_given_twice_or_not_at_all_is_refused(writer: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        left_by_assess(tmp_path / name / "cia-two-pairs")
    with pytest.raises(SystemExit, match="give one of them"):
        writer.with_scores(Record(), [tmp_path / "one", tmp_path / "two"])
    with pytest.raises(SystemExit, match="landfuse assess --out"):
        writer.with_scores(Record(), [tmp_path])


def test_throughput_becomes_cost(writer: ModuleType, tmp_path: Path) -> None:
    found = {"mpx_band_per_cpu_s_one": 0.25, "mpx_band_per_cpu_s_thirty": 2.0, "peak_mb": 512.4, "size": "1000 × 1000 × 6"}
    (tmp_path / "costs.json").write_text(json.dumps({"machine": "a machine", "torch": "2.9", "methods": {"starfm": found}}))
    made = writer.with_costs(Record(scores=(LOST,)), tmp_path / "costs.json")
    assert made.costs == {"starfm": Cost(4.0, 0.5, 512, "1000 × 1000 × 6")}
    assert made.machine.startswith("a machine, torch 2.9, ")
    assert made.scores == (LOST,)


def test_what_is_not_given_stays_as_long_as_methods_saw_the_same(writer: ModuleType, tmp_path: Path) -> None:
    left_by_assess(tmp_path / "one" / "cia-two-pairs")
    known = writer.with_scores(Record(), [tmp_path / "one"])
    one = known.scores[0]
    other, elsewhere = replace(one, label="starfm", method="starfm"), replace(one, experiment="boreas-one-pair")
    stale = replace(other, control_rmse=0.007)
    kept = writer.with_scores(replace(known, scores=(*known.scores, other, elsewhere)), [tmp_path / "one"])
    assert other in kept.scores
    assert elsewhere in kept.scores
    assert stale not in writer.with_scores(replace(known, scores=(*known.scores, stale)), [tmp_path / "one"]).scores
