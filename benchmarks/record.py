"""Write what was measured of every method to pipeline/assessment/record.json, for `landfuse methods` and docs/methods.md.

Usage: python benchmarks/record.py [--scores FOLDER…] [--costs FILE]

--scores: what `landfuse assess … --out FOLDER` left; experiments for tuning are passed over. --costs: what
`benchmarks/methods.py --json FILE` left. What is not given stays as it is recorded. Ends with figures that the code of today has not made.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.assessment.assess import ALL
from pipeline.assessment.digests import digest
from pipeline.assessment.predicting import code_of
from pipeline.assessment.record import Cost, Record, Score, read_record, record_path
from pipeline.fusion.registry import specs


def with_scores(known: Record, folders: Sequence[Path]) -> Record:
    """A record with the scores of assessments in place of its own.

    Experiments that are not given stay. So do methods that an experiment was not given for, as long as its best control, and with it what
    methods saw, is the same as it was.

    Raises
    ------
    SystemExit
        If there is no experiment, or the same one twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*/experiment.json")):
        if path.parent.name in found:
            raise SystemExit(f"{path.parent.name} is in {found[path.parent.name].parent} and in {path.parent.parent}: give one of them")
        found[path.parent.name] = path
    documents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items()}
    tests = {name: document for name, document in documents.items() if document["experiment"]["role"] == "test"}
    if not tests:
        raise SystemExit(f"no */experiment.json of a test in {', '.join(map(str, folders))}: give what landfuse assess --out made")
    new = [score for name, document in tests.items() for score in scores_of(found[name].parent, document)]
    made = {(score.experiment, score.label) for score in new}
    controls = {score.experiment: (score.control, score.control_rmse) for score in new}
    old = [
        score
        for score in known.scores
        if (score.experiment, score.label) not in made
        and controls.get(score.experiment, (score.control, score.control_rmse)) == (score.control, score.control_rmse)
    ]
    return replace(
        known,
        titles={**known.titles, **{name: document["experiment"]["title"] for name, document in tests.items()}},
        scores=tuple(sorted([*new, *old], key=lambda score: (score.experiment, score.rmse))),
        failed={
            **{name: failed for name, failed in known.failed.items() if name not in tests},
            **{name: document["failed"] for name, document in tests.items() if document["failed"]},
        },
    )


def scores_of(folder: Path, document: dict[str, Any]) -> Iterator[Score]:
    """The scores of an experiment on all pixels, the smallest RMSE first."""
    rows = [row for row in json.loads((folder / "scores.json").read_text(encoding="utf-8")) if row["stratum"] == ALL]
    best = min((row for row in rows if row["control"]), key=lambda row: row["rmse"])
    with (folder / "differences.csv").open(encoding="utf-8", newline="") as file:
        less = {row["name"]: row for row in csv.DictReader(file) if row["stratum"] == ALL and row["other"] == best["name"]}
    for row in rows:
        entrant, against = document["methods"][row["name"]], less.get(row["name"])
        yield Score(
            experiment=folder.name,
            label=row["name"],
            method=entrant["method"],
            options=entrant["options"],
            control=best["name"],
            control_rmse=_rounded(best["rmse"]),
            rmse=_rounded(row["rmse"]),
            low=_rounded(row["rmse_low"]),
            high=_rounded(row["rmse_high"]),
            less_low=_rounded(float(against["low"])) if against else None,
            less_high=_rounded(float(against["high"])) if against else None,
            dates=row["days"],
            source=entrant["source"],
            measured=document["measured"],
        )


def with_costs(known: Record, path: Path) -> Record:
    """A record with measured costs in place of its own."""
    document = json.loads(path.read_text(encoding="utf-8"))
    costs = {
        name: Cost(
            one=_rounded(1 / found["mpx_band_per_cpu_s_one"]),
            thirty=_rounded(1 / found["mpx_band_per_cpu_s_thirty"]),
            peak_mb=round(found["peak_mb"]),
            size=str(found["size"]),
        )
        for name, found in document["methods"].items()
    }
    day = date.fromtimestamp(path.stat().st_mtime)
    return replace(known, machine=f"{document['machine']}, torch {document['torch']}, {day}", costs=costs)


def outdated(known: Record) -> list[str]:
    """Scores whose method has other code today, and methods without a score or cost."""
    today = {name: digest(code_of(name)) for name in specs()}
    other = [score for score in known.scores if today.get(score.method) != score.source]
    lines = [f"{score.label} in {score.experiment}: its code has changed since" for score in other]
    lines += [f"{name}: no score" for name in today if known.scores and not known.of(name)]
    return lines + [f"{name}: no cost" for name in today if known.costs and name not in known.costs]


def _rounded(value: float) -> float:
    """Six significant digits: more would only make noise in the history of the file."""
    return float(f"{value:.6g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, nargs="+", help="folders that landfuse assess --out made")
    parser.add_argument("--costs", type=Path, help="file that benchmarks/methods.py --json made")
    arguments = parser.parse_args()
    path = record_path()
    known = read_record(path.read_text(encoding="utf-8")) if path.exists() else Record()
    if arguments.scores:
        known = with_scores(known, arguments.scores)
    if arguments.costs:
        known = with_costs(known, arguments.costs)
    path.write_text(known.text(), encoding="utf-8")
    print(f"{path}: {len(known.scores)} scores of {len(known.titles)} experiments, costs of {len(known.costs)} methods")
    print("now: python docs/generate_methods.py")
    for line in outdated(known):
        print(f"  {line}")


if __name__ == "__main__":
    main()
