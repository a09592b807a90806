"""When methods say that the ground changed, how well they know it then, and how often they say so for nothing.

    python benchmarks/breaks.py 201:0.3 202:0.6 --methods smoother residual delta2 linear

The sandbox knows the day of every harvest, ploughing, mowing, felling, fire and flood. All images but the first and the last are given
to the methods, read, restored and screened as in a run; every day between is predicted. Prints Markdown. Seeds are for tuning
(200–299) unless a table is for a report.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from places import Place, add_places, places_of

from pipeline.assessment.cases import Case
from pipeline.assessment.predicting import Entrant, entrants
from pipeline.fusion.interface import FusionInput
from pipeline.fusion.registry import build, spec_of
from pipeline.grid import day_from_number
from pipeline.sandbox.marks import events
from pipeline.screening.screen import applied, screen
from pipeline.vocabulary import BANDS

CONTRAST = 0.03
"""A break day is asked for where the truth of the clear days before and after differs by so much (RMS over bands) [reflectance] …"""

ABRUPT = 0.5
"""… and at least this share of the difference comes on the day of the event."""

STEPS = (0.05, 0.1)
"""A break is false where some band moves by more than this between two days, and by more than this other than the truth does.

Rain on bare soil moves the truth, too: by 0.05 a few times in a pixel·year, by 0.1 hardly ever.
"""

NEAR = 8
"""A break is in time if it is dated within so many days."""

LONG = 16
"""Gaps of more days than this stand in a row of their own: in shorter ones nobody can be far off."""

ALL, IN_LONG = "all", f"all, gaps over {LONG} days"
TRUTH = "truth"
YEAR = 365.25


@dataclass
class Crossings:
    """The day on which each of some series first crosses one half upwards, fed day by day.

    Parameters
    ----------
    value, since : ndarray, (n,)
        The last known value of each series, and its day.
    """

    value: np.ndarray
    since: np.ndarray
    day: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.value, self.since = self.value.astype(float), self.since.astype(float)
        self.day = np.full(self.value.shape, np.nan)

    def feed(self, day: float, which: np.ndarray, value: np.ndarray) -> None:
        """The values of the series `which` (indices) on a day; unknown ones are passed over."""
        which, value = which[np.isfinite(value)], value[np.isfinite(value)]
        before, since = self.value[which], self.since[which]
        crossed = (before < 0.5) & (value >= 0.5) & np.isnan(self.day[which])
        part = (0.5 - before[crossed]) / (value[crossed] - before[crossed])
        self.day[which[crossed]] = since[crossed] + part * (day - since[crossed])
        self.value[which], self.since[which] = value, day


def gap_of(clear: np.ndarray, days: Sequence[int], day: int) -> np.ndarray:
    """The gap between clear observations that a day lies in: how many each pixel has before it, (y, x).

    The day of an observation belongs to the gap that it ends: what happened on that day it shows already.
    """
    return np.asarray(clear[: int(np.searchsorted(days, day))].sum(axis=0))


def clear_days(clear: np.ndarray, days: Sequence[int]) -> np.ndarray:
    """Days of the clear observations of each pixel in order, (K, y, x); the largest number there is where there are no more."""
    never = np.iinfo(np.int64).max
    return np.sort(np.where(clear, np.asarray(days, np.int64)[:, None, None], never), axis=0)


@dataclass(frozen=True)
class Events:
    """Gaps between two clear observations of a pixel in which something happened, all (n,).

    Parameters
    ----------
    pixel : ndarray of int
        Index in the flattened image.
    before, after, day : ndarray of int
        Days of the two observations, and of the first event.
    kind : ndarray of str
    single : ndarray of bool
        Whether it is the only one in the gap.
    """

    pixel: np.ndarray
    before: np.ndarray
    after: np.ndarray
    day: np.ndarray
    kind: np.ndarray
    single: np.ndarray

    def taken(self, keep: np.ndarray) -> Events:
        """Some of them."""
        return Events(**{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})


@dataclass
class Tally:
    """Errors over pixel·days: number of values, sum of their squares, and how many lie within 1 σ."""

    values: int = 0
    square: float = 0.0
    inside: int = 0

    def add(self, error: np.ndarray, std: np.ndarray) -> None:
        self.values += error.size
        self.square += float(np.square(error, dtype=np.float64).sum())
        self.inside += int((np.abs(error) <= std).sum())

    def __iadd__(self, other: Tally) -> Tally:
        self.values, self.square, self.inside = self.values + other.values, self.square + other.square, self.inside + other.inside
        return self

    @property
    def rmse(self) -> float:
        return float(np.sqrt(self.square / self.values)) if self.values else float("nan")

    @property
    def covered(self) -> float:
        return self.inside / self.values if self.values else float("nan")


@dataclass
class Found:
    """What was found of the methods on some places.

    Parameters
    ----------
    title : str
    methods : tuple of str
        Those that were asked for; the controls are always among what was looked at.
    kinds, gaps : ndarray, (n,)
        Kind and length [days] of the gaps of which a break day was asked for.
    errors : mapping of str to ndarray, (n,)
        Method → days by which the break is dated too late; NaN where it has none.
    tallies : mapping
        (method, whether the next image is known, kind) → errors on event pixels from the event to the next image.
    false : mapping of (str, float) to int
        (method, step) → false breaks; of the truth: steps of its own.
    years : float
        Pixel·years without an event that they were counted over.
    events : int
        Gaps with an event.
    """

    title: str
    methods: tuple[str, ...]
    kinds: np.ndarray
    gaps: np.ndarray
    errors: dict[str, np.ndarray]
    tallies: dict[tuple[str, bool, str], Tally]
    false: dict[tuple[str, float], int]
    years: float
    events: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_places(parser)
    parser.add_argument("--methods", nargs="+", default=["smoother", "residual", "delta2", "linear"])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for place in places_of(given):
        found.append(looked_at(place, given.cache, given.methods))
        print("\n".join(markdown(found[-1])), flush=True)
    if len(found) > 1:
        found.append(together(found))
        print("\n".join(markdown(found[-1])))
    if given.json:
        given.json.write_text(json.dumps([document(part) for part in found], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def looked_at(place: Place, cache: Path, names: Sequence[str]) -> Found:
    """All figures of a place."""
    archive = place.archive(cache)
    case = place.case(archive, (archive.fine_days[0], archive.fine_days[-1]))
    line = _line(names)
    parameters = {entrant.label: build(entrant.method, entrant.options).estimate([case.block]) for entrant in line}
    clear = torch.isfinite(case.block.fine).all(dim=1).numpy()
    happened, quiet = _happened(place, case, clear)
    asked, span = _asked(case, happened)

    found = Found(
        title=f"{place.title}, {len(case.block.fine_days)} images",
        methods=tuple(names),
        kinds=asked.kind,
        gaps=asked.after - asked.before,
        errors={},
        tallies={},
        false={(name, step): 0 for name in (*(entrant.label for entrant in line), TRUTH) for step in STEPS},
        years=0.0,
        events=len(happened.day),
    )
    _with_next(case, line, parameters, happened, quiet, clear, (asked, span), found)
    _without_next(case, line, parameters, happened, found)
    return found


def _line(names: Sequence[str]) -> list[Entrant]:
    """The methods by name, then the other controls; controls look as far as any of the methods."""
    made = {name: Entrant(name, name) for name in names}
    return list((made | {entrant.label: entrant for entrant in entrants(made) if entrant.control}).values())


def _happened(place: Place, case: Case, clear: np.ndarray) -> tuple[Events, np.ndarray]:
    """What happened between clear observations, and the gaps (K + 1, y, x) in which nothing did and no snow lay."""
    world, days = place.spec.world, case.block.fine_days
    shape = (len(days) + 1, *clear.shape[1:])
    count, first, kind = np.zeros(shape, np.int16), np.zeros(shape, np.int64), np.full(shape, "", "<U8")
    busy = np.zeros(shape, bool)
    for day in range(days[0] + 1, days[-1] + 1):
        today, gap = day_from_number(day), gap_of(clear, days, day)
        changes = events(world, today, 1)
        any_of = np.logical_or.reduce(list(changes.values()))
        for name, change in changes.items():
            rows, cols = (change & (count[gap, *np.indices(gap.shape)] == 0)).nonzero()
            kind[gap[rows, cols], rows, cols], first[gap[rows, cols], rows, cols] = name, day
        for mask, into in ((any_of, count), (any_of | world.snow(today), busy)):
            rows, cols = mask.nonzero()
            into[gap[rows, cols], rows, cols] += True
    gaps, rows, cols = (count[1:-1] > 0).nonzero()
    order = clear_days(clear, days)
    before, after = order[gaps, rows, cols], order[gaps + 1, rows, cols]
    at = gaps + 1, rows, cols
    made = Events(rows * shape[2] + cols, before, after, first[at], kind[at], count[at] == 1)
    return made.taken(after <= days[-1]), ~busy


@dataclass(frozen=True)
class Span:
    """What breaks lead from and to.

    Parameters
    ----------
    origin, direction : ndarray, (B, n)
        Truth of the clear day before, and truth of the one after less it, over its square.
    start, end : ndarray, (n,)
        The observations of these two days, as shares of the way.
    crossed : ndarray, (n,)
        Day on which the truth is half way.
    """

    origin: np.ndarray
    direction: np.ndarray
    start: np.ndarray
    end: np.ndarray
    crossed: np.ndarray

    def share(self, values: np.ndarray, which: np.ndarray) -> np.ndarray:
        """How far values (B, m) of the breaks `which` have come, 0 = before, 1 = after."""
        return np.asarray(((values - self.origin[:, which]) * self.direction[:, which]).sum(axis=0))


def _asked(case: Case, happened: Events) -> tuple[Events, Span]:
    """The breaks of which the day is asked for: alone in their gap, large, and abrupt in the truth."""
    single = happened.taken(happened.single)
    ends = (single.before, single.after, single.day - 1, single.day)
    start, end, eve, day = (_true(case, single.pixel, when) for when in ends)
    change = end - start
    size = np.square(change).sum(axis=0)
    abrupt = ((day - eve) * change).sum(axis=0) >= ABRUPT * size
    keep = abrupt & (np.sqrt(size / len(change)) >= CONTRAST)
    asked, direction = single.taken(keep), (change / size)[:, keep]
    days = case.block.fine_days
    fine = case.block.fine.flatten(2).numpy()
    seen = [fine[np.searchsorted(days, when), :, asked.pixel].T for when in (asked.before, asked.after)]
    nothing = np.zeros(len(asked.day))
    everyone = np.arange(len(asked.day))
    span = Span(start[:, keep], direction, nothing, nothing, nothing)
    truth = Crossings(nothing, asked.before)
    for number in range(days[0] + 1, days[-1] + 1):
        which = everyone[(asked.before < number) & (number <= asked.after)]
        truth.feed(number, which, span.share(_flat(case.expected(number))[:, asked.pixel[which]], which))
    return asked, replace(span, start=span.share(seen[0], everyone), end=span.share(seen[1], everyone), crossed=truth.day)


def _true(case: Case, pixel: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Truth (B, n) of pixels, each on a day of its own."""
    made = np.empty((len(BANDS), len(pixel)), np.float32)
    for day in np.unique(when):
        at = when == day
        made[:, at] = _flat(case.expected(int(day)))[:, pixel[at]]
    return made


def _flat(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image), -1)


Images = Mapping[str, np.ndarray]


def _predicted(
    block: FusionInput, line: Sequence[Entrant], parameters: Mapping[str, Any], days: Sequence[int]
) -> Iterator[tuple[int, Images, Images]]:
    """Day by day what all methods say, mean and σ (B, P): only one day of each is kept."""
    streams = {}
    with torch.inference_mode():
        for entrant in line:
            method = build(entrant.method, entrant.options)
            state = method.prepare(block, parameters[entrant.label], torch.device("cpu"))
            streams[entrant.label] = method.days(state, days)
        for made in zip(*streams.values(), strict=True):
            named = dict(zip(streams, made, strict=True))
            mean = {name: _flat(day.mean.numpy()) for name, day in named.items()}
            yield made[0].day, mean, {name: _flat(day.std.numpy()) for name, day in named.items()}


def _with_next(
    case: Case,
    line: Sequence[Entrant],
    parameters: Mapping[str, Any],
    happened: Events,
    quiet: np.ndarray,
    clear: np.ndarray,
    breaks: tuple[Events, Span],
    found: Found,
) -> None:
    """All days with all images: dates of breaks, errors on event pixels, false breaks."""
    asked, span = breaks
    days, everyone = case.block.fine_days, np.arange(len(asked.day))
    crossings = {entrant.label: Crossings(span.start, asked.before) for entrant in line}
    earlier: tuple[int, Images, np.ndarray, np.ndarray] | None = None
    for day, mean, std in _predicted(case.block, line, parameters, range(days[0] + 1, days[-1])):
        truth = _flat(case.expected(day))
        between = everyone[(asked.before < day) & (day < asked.after)]
        ended = everyone[asked.after == day]
        for name, crossing in crossings.items():
            crossing.feed(day, between, span.share(mean[name][:, asked.pixel[between]], between))
            # As published: where the day was observed, the observation.
            crossing.feed(day, ended, span.end[ended])
        _tally(day, truth, mean, std, happened, True, found)
        if day in days:
            continue  # predicted without the image of the day, which the days beside it know
        gap = gap_of(clear, days, day)
        calm = quiet[gap, *np.indices(gap.shape)].ravel()
        if earlier is not None:
            before, last, actual, calm_before = earlier
            both = calm & calm_before
            steps = {name: image - last[name] for name, image in mean.items()}
            _count_false(steps, truth - actual, both, found)
            found.years += float(both.sum()) * (day - before) / YEAR
        earlier = day, mean, truth, calm
    for name, crossing in crossings.items():
        # The last image is followed by no day, but ends breaks all the same.
        last_day = days[-1]
        ended = everyone[asked.after == last_day]
        crossing.feed(last_day, ended, span.end[ended])
        found.errors[name] = crossing.day - span.crossed


def _count_false(steps: Images, actual: np.ndarray, where: np.ndarray, found: Found) -> None:
    """Count steps between two days (B, P) that the truth does not make."""
    truth = actual[:, where]
    for name, step in {**steps, TRUTH: actual}.items():
        made = step[:, where]
        other = made if name == TRUTH else made - truth
        for least in STEPS:
            found.false[name, least] += int(((np.abs(made) > least).any(axis=0) & (np.abs(other) > least).any(axis=0)).sum())


def _without_next(case: Case, line: Sequence[Entrant], parameters: Mapping[str, Any], happened: Events, found: Found) -> None:
    """Every day with the images until then only, which are screened as they were on that day."""
    block, days = case.block, case.block.fine_days
    raw = replace(block, fine=torch.from_numpy(case.archive.fine), fine_doubt=None)
    for index, (last, until) in enumerate(pairwise(days)):
        targets = range(last + 1, until + 1)
        if not any(_waiting(happened, day).any() for day in targets):
            continue
        kept = slice(0, index + 1)
        known = slice(0, sum(day <= until for day in block.coarse_days))
        then = replace(
            raw,
            fine=raw.fine[kept],
            fine_days=days[kept],
            fine_std=raw.fine_std[kept],
            fine_surface=None if raw.fine_surface is None else raw.fine_surface[kept],
            coarse=raw.coarse[known],
            coarse_std=raw.coarse_std[known],
            coarse_days=raw.coarse_days[known],
            coarse_layers={name: layer[known] for name, layer in raw.coarse_layers.items()},
        )
        with torch.inference_mode():
            then = applied(then, screen(then, BANDS, then.fine_surface))
        for day, mean, std in _predicted(then, line, parameters, targets):
            _tally(day, _flat(case.expected(day)), mean, std, happened, False, found)


def _waiting(happened: Events, day: int) -> np.ndarray:
    """Events that have happened by a day and that no clear observation has shown yet."""
    return (happened.day <= day) & (day < happened.after)


def _tally(day: int, truth: np.ndarray, mean: Images, std: Images, happened: Events, known: bool, found: Found) -> None:
    """Add the errors on event pixels of a day where every method says something."""
    waiting = _waiting(happened, day).nonzero()[0]
    said = np.logical_and.reduce([np.isfinite(image[:, happened.pixel[waiting]]).all(axis=0) for image in mean.values()])
    waiting = waiting[said]
    kinds, gap = happened.kind[waiting], (happened.after - happened.before)[waiting]
    groups = {ALL: kinds != "", IN_LONG: gap > LONG} | {str(kind): kinds == kind for kind in np.unique(kinds)}
    for name, image in mean.items():
        pixel = happened.pixel[waiting]
        error, sigma = image[:, pixel] - truth[:, pixel], std[name][:, pixel]
        for group, members in groups.items():
            found.tallies.setdefault((name, known, group), Tally()).add(error[:, members], sigma[:, members])


def together(found: Sequence[Found]) -> Found:
    """All places as one."""
    tallies: dict[tuple[str, bool, str], Tally] = {}
    for part in found:
        for key, tally in part.tallies.items():
            tallies.setdefault(key, Tally()).__iadd__(tally)
    return Found(
        title=f"all {len(found)} places",
        methods=found[0].methods,
        kinds=np.concatenate([part.kinds for part in found]),
        gaps=np.concatenate([part.gaps for part in found]),
        errors={name: np.concatenate([part.errors[name] for part in found]) for name in found[0].errors},
        tallies=tallies,
        false={key: sum(part.false[key] for part in found) for key in found[0].false},
        years=sum(part.years for part in found),
        events=sum(part.events for part in found),
    )


@dataclass(frozen=True)
class Dated:
    """How well break days are known: number, median error and median |error| [days], shares within `NEAR` days and without a day."""

    breaks: int
    late: float
    off: float
    near: float
    none: float


def dated(errors: np.ndarray) -> Dated:
    """Figures of break-day errors [days]; a break that is never crossed is in no median, but counts as not near."""
    known = errors[np.isfinite(errors)]
    if not len(errors):
        return Dated(0, *[float("nan")] * 4)
    middle = (float(np.median(known)), float(np.median(np.abs(known)))) if len(known) else (float("nan"), float("nan"))
    return Dated(len(errors), *middle, float((np.abs(known) <= NEAR).sum() / len(errors)), 1 - len(known) / len(errors))


def by_kind(found: Found) -> dict[str, dict[str, Dated]]:
    """Group of breaks → method → how well they are dated."""
    groups = {ALL: found.kinds != "", IN_LONG: found.gaps > LONG} | {str(kind): found.kinds == kind for kind in np.unique(found.kinds)}
    return {group: {name: dated(errors[members]) for name, errors in found.errors.items()} for group, members in groups.items()}


def groups_of(found: Found) -> list[str]:
    """Groups of event pixels, the general ones first."""
    named = {group for _, _, group in found.tallies}
    return [group for group in (ALL, IN_LONG) if group in named] + sorted(named - {ALL, IN_LONG})


def best_control(found: Found, known: bool, group: str) -> tuple[float, str]:
    """Least RMSE of the six controls, and which one reaches it."""
    return min((found.tallies[name, known, group].rmse, name) for name in found.errors if spec_of(name).control)


def markdown(found: Found) -> Iterator[str]:
    """Lines of the tables."""
    yield f"## {found.title[0].upper()}{found.title[1:]}\n"
    yield (
        f"{found.events} gaps of a pixel between two clear images hold an event. In {len(found.kinds)} it is the only one, changes the "
        f"truth by {CONTRAST:g} or more (RMS over bands), and brings {ABRUPT:.0%} of that in a day; their median gap is "
        f"{np.median(found.gaps) if len(found.gaps) else float('nan'):.0f} days.\n"
    )
    yield f"### The day of the break\n\n| break | method | breaks | median error | median size | within {NEAR} days % | no day % |"
    yield "|---|---|" + "---:|" * 5
    for group, methods in by_kind(found).items():
        for name in found.methods:
            figures = methods[name]
            cells = [f"{figures.breaks}", f"{figures.late:+.1f}", f"{figures.off:.1f}", f"{figures.near:.1%}", f"{figures.none:.1%}"]
            yield f"| {group} | {name} | {' | '.join(cells).replace('%', '')} |"
    yield "\n### RMSE on event pixels, from the event to the next clear image\n"
    yield "The next image is among the inputs, or no image later than the day is. To the best of six controls; within 1 σ 68 is right.\n"
    yield "| event | method | values | RMSE, next known | to control % | within 1 σ % | RMSE, not yet | to control % | within 1 σ % |"
    yield "|---|---|" + "---:|" * 7
    for group in groups_of(found):
        for name in found.methods:
            cells = [f"{found.tallies[name, True, group].values}"]
            for known in (True, False):
                tally = found.tallies[name, known, group]
                least, control = best_control(found, known, group)
                cells += [f"{tally.rmse:.4f}", f"{tally.rmse / least - 1:+.1%} {control}", f"{tally.covered:.1%}"]
            yield f"| {group} | {name} | {' | '.join(cells).replace('%', '')} |"
    yield (
        "\n### False breaks per pixel·year\n\nA band moves by more than so much from a day to the next, and by more than so much other "
        f"than the truth, where nothing happened between two clear images; over {found.years:.0f} pixel·years. "
        "Days with an image are left out.\n"
    )
    yield "| method | " + " | ".join(f"over {step:g}" for step in STEPS) + " |\n|---|" + "---:|" * len(STEPS)
    for name in (*found.methods, TRUTH):
        cells = [f"{found.false[name, step] / found.years:.4f}" for step in STEPS]
        yield f"| {name}{' (all its steps)' if name == TRUTH else ''} | {' | '.join(cells)} |"
    yield ""


def document(found: Found) -> dict[str, Any]:
    """The figures for machines."""
    return {
        "place": found.title,
        "gaps_with_event": found.events,
        "break_days": {group: {name: vars(figures) for name, figures in methods.items()} for group, methods in by_kind(found).items()},
        "event_pixels": [
            {
                "method": name,
                "next_image": known,
                "event": group,
                "values": tally.values,
                "rmse": tally.rmse,
                "within_1_sigma": tally.covered,
            }
            for (name, known, group), tally in found.tallies.items()
        ],
        "false_breaks_per_pixel_year": [
            {"method": name, "step": step, "rate": count / found.years} for (name, step), count in found.false.items()
        ],
        "pixel_years": found.years,
    }


if __name__ == "__main__":
    main()
