"""What became of a run and of its days, and what is published: read from what the steps left and from the cube's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from pipeline.config import Area
from pipeline.errors import ConfigurationError
from pipeline.grid import day_number, days_between
from pipeline.planning import MAKE
from pipeline.steps.parameters import about
from pipeline.steps.plan import Plan, load_plan
from pipeline.steps.recipe import read_parameters, versions_of
from pipeline.steps.runs import load, run_folder
from pipeline.vocabulary import Maturity, Outcome


@dataclass(frozen=True)
class Report:
    """What became of a run."""

    run_id: str
    outcome: Outcome
    days: tuple[tuple[date, Outcome, str], ...]
    seconds: dict[str, float]
    counts: dict[str, int]
    message: str = ""
    registration: dict[str, Any] = field(default_factory=dict)
    screening: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "outcome": str(self.outcome),
            "days": [{"day": day.isoformat(), "outcome": str(outcome), "reason": reason} for day, outcome, reason in self.days],
        }


def day_outcomes(area: Area, run_id: str) -> list[tuple[date, Outcome, str]]:
    """(day, outcome, reason) of every day that was asked for."""
    planned = load_plan(area, run_id)
    records = load(area, run_id, "records")["tasks"] if (run_folder(area, run_id) / "records.json").exists() else []
    broken: dict[int, str] = {}
    good: set[int] = set()
    for record in records:
        for day in record["days"]:
            if record["error"]:
                broken[day] = record["error"]
            else:
                good.add(day)
    reasons = {day.day: day for day in planned.days}
    result = []
    for day, plan_ in reasons.items():
        number = day_number(day)
        if number in broken:
            result.append((day, Outcome.DEGRADED if number in good else Outcome.FAILED, broken[number]))
        elif plan_.status == MAKE:
            result.append((day, Outcome.PUBLISHED if number in good else Outcome.FAILED, plan_.reason if number in good else "not made"))
        else:
            result.append((day, Outcome(plan_.status), plan_.reason))
    return result


_WORST_IMAGES = 20
"""So many images are named in the table of screening."""

_WORST_FIRST = (
    Outcome.FAILED,
    Outcome.REJECTED,
    Outcome.DEGRADED,
    Outcome.PUBLISHED,
    Outcome.DEFERRED,
    Outcome.UNCHANGED,
    Outcome.EXPECTED_EMPTY,
)


def load_report(area: Area, run_id: str) -> Report:
    """What became of a run, from what its steps left."""
    days = day_outcomes(area, run_id)
    records = load(area, run_id, "records") if (run_folder(area, run_id) / "records.json").exists() else {"seconds": {}, "tasks": []}
    checked = sum(count["checked"] for record in records["tasks"] for count in record["counts"])
    squared = sum(count["squared_error"] for record in records["tasks"] for count in record["counts"])
    message = f"prediction against {checked} clear values it was not shown: RMSE {np.sqrt(squared / checked):.4f}" if checked else ""
    failed = load_plan(area, run_id).failed
    if failed:
        message += ("; " if message else "") + f"{len(failed)} scenes could not be read: {', '.join(list(failed)[:3])}"
    registration = (read_parameters(area) or {}).get("registration", {})
    return Report(
        run_id,
        _overall(days),
        tuple(days),
        records["seconds"],
        _counts(days),
        message,
        registration,
        records.get("screened", []),
        records.get("parameters", {}),
    )


def registration_table(registration: Mapping[str, Any]) -> str:
    """How the coarse products lie against the fine images, all dates together and each, as a Markdown table; empty when not looked for."""
    if not registration:
        return ""
    lines = ["| product | date | moved south [m] | moved east [m] | correlation | verdict |", "|---|---|---|---|---|---|"]
    for product, found in registration.items():
        verdict = "applied" if found["applied"] else f"not applied: {found['why']}"
        lines.append(f"| {product} | all | {_metres(found, 'y')} | {_metres(found, 'x')} | – | {verdict} |")
        for one in found["dates"]:
            verdict = one["why"] or ("agrees" if one["date"] in found["agreeing"] else "differs from the others")
            place = f"{_metres(one, 'y')} | {_metres(one, 'x')}"
            lines.append(f"| {product} | {one['date']} | {place} | {one['correlation']:.2f} | {verdict} |")
    return "\n".join(lines)


def _metres(found: Mapping[str, Any], axis: str) -> str:
    return "–" if found[f"d{axis}"] is None else f"{found[f'd{axis}']:+.0f} ± {found[f'std_{axis}']:.0f}"


def screening_table(screening: Sequence[Mapping[str, Any]]) -> str:
    """What screening said of the clear pixels of the images it looked at in a run, the worst ones by name, as a Markdown table."""
    if not screening:
        return ""
    worst = sorted(screening, key=lambda image: (-_share(image, "refused") - _share(image, "suspect"), image["day"]))[:_WORST_IMAGES]
    lines = ["| image | clear pixels | refused | by cause | suspect | by cause |", "|---|---|---|---|---|---|"]
    for name, image in [(f"all {len(screening)}", _together(screening)), *((image["day"], image) for image in worst)]:
        found = " | ".join(f"{_share(image, kind):.2%} | {_causes(image[kind])}" for kind in ("refused", "suspect"))
        lines.append(f"| {name} | {_pixels(image)} | {found} |")
    return "\n".join(lines)


def _together(screening: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    causes = {kind: Counter[str]() for kind in ("suspect", "refused")}
    for image in screening:
        for kind, counter in causes.items():
            counter.update(image[kind])
    return {"clear": sum(image["clear"] for image in screening), **causes}


def _pixels(image: Mapping[str, Any]) -> int:
    return int(image["clear"] + sum(image["suspect"].values()) + sum(image["refused"].values()))


def _share(image: Mapping[str, Any], kind: str) -> float:
    return float(sum(image[kind].values()) / max(_pixels(image), 1))


def _causes(pixels: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} {count}" for cause, count in sorted(pixels.items())) or "–"


def nothing_to_make(made: Plan) -> Report:
    """The report of a plan in which nothing is stale."""
    days = [(day.day, Outcome(day.status), day.reason) for day in made.days]
    return Report("", _overall(days), tuple(days), {}, _counts(days))


def _overall(days: Sequence[tuple[date, Outcome, str]]) -> Outcome:
    present = {outcome for _, outcome, _ in days}
    return next((outcome for outcome in _WORST_FIRST if outcome in present), Outcome.UNCHANGED)


def _counts(days: Iterable[tuple[date, Outcome, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, outcome, _ in days:
        counts[str(outcome)] = counts.get(str(outcome), 0) + 1
    return counts


def published_days(area: Area) -> list[date]:
    """Every day of which the cube holds at least one block."""
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    if state.start is None:
        return []
    return [state.start + timedelta(days=int(slot)) for slot in np.flatnonzero((state.maturity > 0).any((1, 2)))]


def status(area: Area) -> dict[str, Any]:
    """What is published, without searching a catalog."""
    from pipeline.store.state import read_state

    state = read_state(area.cube_path)
    days = published_days(area)
    levels = [Maturity(int(level[level > 0].min())) for level in state.maturity if (level > 0).any()]
    runs = sorted(path.parent.name for path in (area.runtime.root / "runs").glob("*/plan.json"))
    return {
        "area": area.name,
        "cube": str(area.cube_path),
        "published": len(days),
        "first": days[0].isoformat() if days else None,
        "last": days[-1].isoformat() if days else None,
        "missing": [day.isoformat() for day in days_between(days[0], days[-1]) if day not in set(days)] if days else [],
        "maturity": {level.name.lower(): levels.count(level) for level in Maturity if level in levels},
        "generation": state.generation,
        "parameters": _parameters(area),
        "last_run": runs[-1] if runs else None,
    }


def _parameters(area: Area) -> dict[str, Any] | None:
    """The pinned version of the parameters and all there are; None before anything was learnt."""
    try:
        learnt = read_parameters(area)
    except ConfigurationError:
        return None  # a method that is not installed here: what is published can be told all the same
    return {**about(learnt), "versions": versions_of(area).numbers} if learnt else None
