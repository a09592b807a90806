"""Methods for `landfuse methods`: what can be known of them, what they cost, what they reached. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.assessment.record import Cost, Score, record
from pipeline.fusion.interface import MethodSpec
from pipeline.fusion.networks.weights import cards
from pipeline.fusion.notes import Notes, notes
from pipeline.fusion.registry import spec_of, specs

SETS = {
    "BOREAS": "boreas-two-pairs",
    "CIA": "cia-two-pairs",
    "IFSDAF": "ifsdaf-archive",
    "sandbox": "sandbox-10*",
    "elsewhere": "sandbox-11?-*th",
}
"""Columns of the table of scores, and the experiments behind each; *elsewhere* are the sandboxes at other latitudes."""

_UNKNOWN = "–"
_LOSES = "✗"

_PARTS = (("ours", "ours"), ("clouds", "clouds"), ("limits", "cannot"))


def described(name: str) -> dict[str, Any]:
    """All that is known of a method, JSON-ready; null or empty where nothing was measured or written.

    Raises
    ------
    ConfigurationError
        If there is no method of that name.
    """
    spec = spec_of(name)
    options, cost, said, scores = spec.options(), record().costs.get(name), notes().get(name), record().of(name)
    return {
        "name": name,
        "title": spec.title,
        "source": spec.source,
        "needs": sorted(spec.needs),
        "control": spec.control,
        "support_days": list(options.support()),
        "halo_m": options.halo(),
        "options": {key: field.default for key, field in spec.options.model_fields.items()},
        "notes": asdict(said) if said else None,
        "cost": asdict(cost) if cost else None,
        "weights": cards().get(name),
        "scores": [{**asdict(score), "change": score.change, "decided": score.decided, "loses": score.loses} for score in scores],
    }


def all_methods() -> RenderableType:
    """What each method is, then what it costs and reaches, then what networks are made of."""
    ordered = sorted(specs().values(), key=lambda spec: spec.control)
    what = _table("method", "what it does", "paper", "needs", "support", "halo")
    what.columns[2].overflow = "fold"
    reached = _table("method", "one day", "of thirty", "memory", *SETS)
    for column in reached.columns[1:]:
        column.justify = "right"
    for spec, following in zip(ordered, [*ordered[1:], None], strict=True):
        end = following is not None and spec.control != following.control
        name = Text(spec.name, "dim" if spec.control else "bold")
        needs = "\n".join(sorted(spec.needs))
        what.add_row(name, Text(spec.title), Text(spec.source, "dim"), needs, support_of(spec), halo_of(spec), end_section=end)
        scores = [_coloured(summary_of(spec.name, pattern)) for pattern in SETS.values()]
        reached.add_row(name, *cost_of(spec.name), *scores, end_section=end)
    parts: list[RenderableType] = [what, reached, Padding(Text(legend()), (0, 0, 0, 1))]
    learnt = [spec for spec in ordered if is_network(spec)]
    if learnt:
        sizes = _table(*NETWORK)
        for column in sizes.columns[2:]:
            column.justify = "right"
        for spec in learnt:
            for cells in network_rows(spec.name):
                sizes.add_row(Text(cells[0], "bold"), *cells[1:])
        parts += [Text(), sizes, Padding(Text(NETWORK_LEGEND), (0, 0, 0, 1))]
    return Group(*parts)


def one_method(name: str) -> RenderableType:
    """A method in full.

    Raises
    ------
    ConfigurationError
        If there is no method of that name.
    """
    spec, said, known = spec_of(name), notes().get(name), record()
    parts: list[RenderableType] = [Text.assemble((name, "bold"), f": {spec.title}"), Text(f"{spec.source}\n", "dim")]
    if said:
        parts += [Text(said.idea), Padding(Text(said.equation, "cyan"), (1, 0, 1, 4))]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for key, text in _facts(spec, said):
        facts.add_row(key, Text(text))
    parts += [facts, Text()]
    if spec.options.model_fields:
        options = _table("option", "default", "meaning")
        for key, field in spec.options.model_fields.items():
            options.add_row(key, default_of(field.default), Text(field.description or ""))
        parts.append(options)
    if is_network(spec):
        parts += [_weights(name), Text()]
    scores = known.of(name)
    if scores:
        parts += [_scores(scores), Padding(Text(legend()), (0, 0, 0, 1))]
    else:
        parts.append(Text("no scores are recorded"))
    parts += [Text(f"{experiment}: {label} failed: {why}") for experiment, label, why in failures_of(name)]
    return Group(*parts)


NETWORK = ("network", "stage", "parameters", "multiply-adds", "RMSE", "control", "skill")
"""Titles of the cells of `network_rows`."""

NETWORK_LEGEND = (
    "Multiply-adds: for a fine pixel of six bands, with as many pairs as it takes. RMSE of the shipped weights on simulated places for "
    "tuning, by which they were chosen, so it flatters. Control: on the same samples, for restoration the series restored in time, "
    "otherwise the nearest observations moved by the coarse change. Skill: 1 − the geometric mean over images of RMSE / control."
)

NO_WEIGHTS = "no weights: landfuse train"


def is_network(spec: MethodSpec) -> bool:
    """Has it weights that were learnt beforehand."""
    return "training" in spec.needs


def network_rows(name: str) -> Iterator[list[str]]:
    """A row for each stage of a network: what it is made of, and what it reached on tune data, as its card says."""
    card = cards().get(name)
    if card is None:
        yield [name, NO_WEIGHTS, *[_UNKNOWN] * (len(NETWORK) - 2)]
        return
    size = [amount(card.get(key)) for key in ("parameters", "multiply_adds")]
    for number, (stage, figures) in enumerate(card.get("scores", {}).items()):
        reached = [f"{figures[key]:.4f}" if key in figures else _UNKNOWN for key in ("rmse", "control")]
        skill = percent(figures["skill"]) if "skill" in figures else _UNKNOWN
        yield [name if not number else "", stage, *(size if not number else ["", ""]), *reached, skill]


def card_facts(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a card says of weights beside size and scores."""
    yield "learnt from", said(card["data"])
    yield "training", said(card["training"])
    yield "licence", str(card["licence"])
    yield "created", str(card["created"])
    yield "SHA-256", str(card["sha256"])


def said(value: Any) -> str:
    """A value of a card as words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {said(part)}" for key, part in value.items())
    return ", ".join(map(said, value)) if isinstance(value, list | tuple) else str(value)


def support_of(spec: MethodSpec) -> str:
    """Days around a target that are looked at."""
    before, after = spec.options().support()
    return f"±{before} d" if before == after else f"−{before} +{after} d"


def halo_of(spec: MethodSpec) -> str:
    """Metres around a pixel that are looked at."""
    return f"{spec.options().halo():.0f} m"


def default_of(value: Any) -> str:
    """A default as words; of a mapping its keys."""
    return ", ".join(value) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)


def cost_of(name: str) -> tuple[str, str, str]:
    """CPU seconds per megapixel · band for one day and for each of thirty, and memory."""
    cost: Cost | None = record().costs.get(name)
    return (_seconds(cost.one), _seconds(cost.thirty), f"{cost.peak_mb:.0f} MB") if cost else (_UNKNOWN,) * 3


def summary_of(name: str, pattern: str) -> str:
    """How a method with its defaults stands against the best control: the geometric mean of the ratios over experiments of a name."""
    scores = [score for score in record().of(name) if score.label == name and fnmatch(score.experiment, pattern)]
    if not scores:
        return _UNKNOWN
    if len(scores) == 1:
        return standing_of(scores[0])
    change = math.exp(sum(math.log1p(score.change) for score in scores) / len(scores)) - 1
    lost = sum(score.loses for score in scores)
    mark = f"{_LOSES}{lost}/{len(scores)} " if lost and not specs()[name].control else ""
    return mark + percent(change)


def standing_of(score: Score) -> str:
    """How a score stands against the best control: in brackets where chance may have decided, with a cross where it loses."""
    if score.label == score.control:
        return "best"
    if score.less_low is None:
        return percent(score.change)
    said = percent(score.change) if score.decided else f"({percent(score.change)})"
    return f"{_LOSES} {said}" if score.loses else said


def percent(change: float) -> str:
    """A relative difference; one place after the point where it is small."""
    value = 100 * change
    if abs(value) < 0.05:
        return "±0 %"
    text = f"{value:+.1f}" if abs(value) < 9.95 else f"{value:+.0f}"
    return text.replace("-", "−") + " %"


def amount(count: int | None) -> str:
    """A large number in three digits; – where there is none."""
    if count is None:
        return "–"
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".rstrip(".") + f" {unit}"
    return str(count)


def legend() -> str:
    """What the columns mean."""
    known = record()
    days = sorted({score.measured for score in known.scores})
    measured = f" Scored {days[0]}{f' to {days[-1]}' if len(days) > 1 else ''}." if days else ""
    machine = f" Costs: {known.machine}." if known.machine else ""
    return (
        "Cost: CPU seconds per megapixel·band on one thread, for one day alone and for a day of thirty with the same references. "
        f"Scores: RMSE against that of the best control on the same withheld pixels; {_LOSES} loses to a control; in brackets: "
        f"may be chance. Options are the defaults.{measured}{machine}"
    )


def failures_of(name: str) -> Iterator[tuple[str, str, str]]:
    """Experiment, label and reason of each failure."""
    for experiment, failed in record().failed.items():
        yield from ((experiment, label, why) for label, why in failed.items() if label == name)


def interval_of(score: Score) -> str:
    """RMSE and its interval."""
    return f"{score.rmse:.4f} [{score.low:.4f}–{score.high:.4f}]"


def _scores(scores: Sequence[Score]) -> Table:
    table = _table("experiment", "image", "RMSE [95 %]", "best control", "against it", "dates")
    table.columns[4].justify = table.columns[5].justify = "right"
    for score in scores:
        control = f"{score.control} {score.control_rmse:.4f}"
        table.add_row(
            score.experiment, Text(score.label), Text(interval_of(score)), control, _coloured(standing_of(score)), str(score.dates)
        )
    return table


def _weights(name: str) -> RenderableType:
    """The weights of a network, as their card says."""
    if name not in cards():
        return Text(NO_WEIGHTS)
    sizes = _table(*NETWORK[1:])
    for column in sizes.columns[1:]:
        column.justify = "right"
    for cells in network_rows(name):
        sizes.add_row(*cells[1:])
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for key, text in card_facts(cards()[name]):
        facts.add_row(key, Text(text))
    return Group(sizes, Padding(Text(NETWORK_LEGEND), (0, 0, 1, 1)), facts)


def _facts(spec: MethodSpec, said: Notes | None) -> Iterator[tuple[str, str]]:
    one, thirty, memory = cost_of(spec.name)
    yield "needs", ", ".join(sorted(spec.needs))
    yield "support", f"{support_of(spec)} around a day"
    yield "halo", f"{halo_of(spec)} around a pixel"
    yield "cost", _UNKNOWN if one == _UNKNOWN else f"{one} for one day, {thirty} for each of thirty, {memory}"
    for key, label in _PARTS:
        if said and getattr(said, key):
            yield label, getattr(said, key)


def _coloured(text: str) -> Text:
    return Text(text, "red" if _LOSES in text else "green" if text.startswith("−") else "dim")


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    return table
