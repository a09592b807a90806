"""What must be made: digests of days, maturity, and the plan. Array arithmetic; reads and writes nothing.

The digest of a day and block is a sum of 64-bit hashes (modulo 2⁶⁴): one of the recipe
(science, method, parameters) and one of every scene that the day may look at. A sum
does not depend on order, so all days and blocks follow from two membership matrices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from pipeline.grid import Grid, Window, day_from_number, day_number
from pipeline.vocabulary import Maturity, Outcome


@dataclass(frozen=True)
class Reach:
    """How far a day looks.

    Parameters
    ----------
    before, after : int
        Support of the method [days].
    window : int
        Days around a coarse day whose values its restoration uses.
    halo : int
        Fine pixels around a block.
    screening : int
        Days before and after a fine image that its verdicts depend on.
    spikes : int
        Days around a coarse value that tell whether it is a spike.
    """

    before: int
    after: int
    window: int
    halo: int
    screening: int = 0
    spikes: int = 0

    @property
    def fine_before(self) -> int:
        return self.before + self.screening

    @property
    def fine_after(self) -> int:
        return self.after + self.screening

    @property
    def coarse_before(self) -> int:
        return self.fine_before + self.window + self.spikes

    @property
    def coarse_after(self) -> int:
        return self.fine_after + self.window + self.spikes


@dataclass(frozen=True)
class Input:
    """A scene as planning sees it.

    Parameters
    ----------
    id, identity : str
        Of the scene.
    role : str
        ``fine`` or ``coarse``.
    day : int
        Day number of the value; of a composite, the centre of weight rounded.
    window : Window
        Fine pixels of the area that it covers.
    spread : int
        Days by which its values can lie off `day`.
    """

    id: str
    identity: str
    role: str
    day: int
    window: Window
    spread: int = 0


@dataclass(frozen=True)
class DayPlan:
    """What will be done about one day, and why."""

    day: date
    status: str
    reason: str = ""
    blocks: tuple[tuple[int, int], ...] = ()
    maturity: Maturity = Maturity.NONE

    def to_dict(self) -> dict[str, Any]:
        record = asdict(self)
        return {**record, "day": self.day.isoformat(), "maturity": self.maturity.name.lower(), "blocks": [list(b) for b in self.blocks]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> DayPlan:
        return cls(
            day=date.fromisoformat(record["day"]),
            status=record["status"],
            reason=record["reason"],
            blocks=tuple((row, col) for row, col in record["blocks"]),
            maturity=Maturity[record["maturity"].upper()],
        )


MAKE = "make"
"""Status of a day that will be made; every other status is an `Outcome` word."""

WAITING_DAYS = 30
"""A day without any input is waited for so many days (`deferred`), then it is `expected-empty`."""


def text_hash(text: str) -> np.uint64:
    """A stable 64-bit hash (BLAKE2b) of a text."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"))


def recipe_hash(recipe: Mapping[str, Any]) -> np.uint64:
    """A stable 64-bit hash of a JSON-ready mapping."""
    return text_hash(json.dumps(recipe, sort_keys=True))


def day_digests(days: np.ndarray, windows: Sequence[Window], inputs: Sequence[Input], reach: Reach, recipe: np.uint64) -> np.ndarray:
    """Digests of days and blocks.

    Parameters
    ----------
    days : ndarray of int, (T,)
        Day numbers.
    windows : sequence of Window, (N,)
        Blocks, without halo.
    inputs : sequence of Input, (S,)
        Every scene that may be used.
    reach : Reach
    recipe : uint64
        Hash of everything else that changes a pixel.

    Returns
    -------
    ndarray of uint64, (T, N)
    """
    in_time, in_space, hashes = _memberships(days, windows, inputs, reach)
    with np.errstate(over="ignore"):
        sums = recipe + np.einsum("ts,sn->tn", in_time * hashes[None, :], in_space)
    return np.maximum(sums, 1)  # 0 stands for "never published"


def inputs_of(days: np.ndarray, windows: Sequence[Window], inputs: Sequence[Input], reach: Reach) -> np.ndarray:
    """Which scenes which day may look at, over all blocks: bool, (T, S)."""
    in_time, in_space, _ = _memberships(days, windows, inputs, reach)
    return (in_time > 0) & (in_space.sum(1) > 0)[None, :]


def maturities(days: np.ndarray, windows: Sequence[Window], inputs: Sequence[Input], reach: Reach, as_of: date) -> np.ndarray:
    """Maturity of days and blocks: uint8, (T, N).

    A day is `nrt` until a later fine scene of the block is in, `interim` until the coarse
    window behind it is complete, then `final`. When its whole support has passed nothing
    better can come, and it is `final` as it is.
    """
    days = np.asarray(days)
    result = np.full((len(days), len(windows)), Maturity.NRT, np.uint8)
    last_coarse = max((item.day for item in inputs if item.role == "coarse"), default=None)
    complete = np.zeros(len(days), bool) if last_coarse is None else days + reach.window // 2 <= last_coarse
    for column, window in enumerate(windows):
        fine = np.array([item.day for item in inputs if item.role == "fine" and item.window.intersects(window)], int)
        later = ((fine[None, :] > days[:, None]) & (fine[None, :] <= days[:, None] + reach.after)).any(1)
        result[later, column] = Maturity.INTERIM
        result[later & complete, column] = Maturity.FINAL
    result[days + max(reach.fine_after, reach.window) < day_number(as_of)] = Maturity.FINAL
    return result


def plan_days(
    days: Sequence[date],
    grid: Grid,
    block: int,
    inputs: Sequence[Input],
    fresh: Iterable[str],
    reach: Reach,
    recipe: np.uint64,
    published: tuple[np.ndarray, np.ndarray],
    as_of: date,
    earlier: Mapping[str, np.uint64] | None = None,
) -> list[DayPlan]:
    """Compare what could be made with what is published.

    Parameters
    ----------
    days : sequence of date
    grid : Grid
    block : int
        Edge of a block, fine pixels.
    inputs : sequence of Input
    fresh : iterable of str
        Ids of the scenes that are not in the working store yet: they explain why a day is stale.
    reach, recipe
        See `day_digests`.
    published : (ndarray of uint64, ndarray of uint8), both (T, block rows, block columns)
        Digest and maturity of the same days as published, 0 where nothing is.
    as_of : date
        The day the plan is made for: what is later is not waited for.
    earlier : mapping, optional
        What changed since days were made by another recipe, in words → hash of that recipe: they explain why a day is stale.
    """
    numbers = np.array([day_number(day) for day in days])
    blocks = list(grid.blocks(block))
    windows = [item.window for item in blocks]
    fresh = set(fresh)
    digests = day_digests(numbers, windows, inputs, reach, recipe)
    before_fresh = day_digests(numbers, windows, [item for item in inputs if item.id not in fresh], reach, recipe)
    with np.errstate(over="ignore"):
        # A digest is a sum: that by another recipe is as far off as the recipe.
        before = {why: before_fresh + (each - recipe) for why, each in {"": recipe, **(earlier or {})}.items()}
    ripeness = maturities(numbers, windows, inputs, reach, as_of)
    looked_at = inputs_of(numbers, windows, inputs, reach)
    # What only speaks for or against an image gives a day no value.
    fed = np.asarray(inputs_of(numbers, windows, inputs, replace(reach, screening=0, spikes=0)).any(axis=1))
    old_digests, old_maturity = (array.reshape(len(days), -1) for array in published)
    plans = []
    for index, day in enumerate(days):
        old = old_maturity[index]
        maturity = Maturity(int(ripeness[index].min()))
        stale = (digests[index] != old_digests[index]) | (old == Maturity.NONE)
        better = ripeness[index] > old
        if not fed[index]:
            status = Outcome.DEFERRED if numbers[index] + WAITING_DAYS > day_number(as_of) else Outcome.EXPECTED_EMPTY
            plans.append(DayPlan(day, status, "no scene of any source lies in its support", (), Maturity.NONE))
        elif (stale & (ripeness[index] < old)).all():
            plans.append(DayPlan(day, Outcome.UNCHANGED, "published with better maturity than could be made now", (), maturity))
        elif stale.any() or better.any():
            todo = tuple((blocks[n].row, blocks[n].col) for n in np.flatnonzero(stale | better))
            used = [item for item, looks in zip(inputs, looked_at[index], strict=True) if looks]
            since = next((why for why, sums in before.items() if (sums[index] == old_digests[index])[stale].all()), None)
            why = _why(day, old, since, used, fresh, stale)
            plans.append(DayPlan(day, MAKE, why, todo, maturity))
        else:
            plans.append(DayPlan(day, Outcome.UNCHANGED, "", (), maturity))
    return plans


def _why(day: date, old: np.ndarray, since: str | None, used: list[Input], fresh: set[str], stale: np.ndarray) -> str:
    """Why a day is made; `since` says what changed beside new scenes, None when that is not known."""
    if (old == Maturity.NONE).all():
        return "not published yet"
    if not stale.any():
        return "its support is complete now: maturity improves"
    new = [item for item in used if item.id in fresh]
    if since or (since is not None and new):
        listed = ", ".join(f"{item.id} ({item.day - day_number(day):+d} d)" for item in new[:3])
        scenes = f"new in its support: {listed}" + (f" and {len(new) - 3} more" if len(new) > 3 else "") if new else ""
        return "; ".join(filter(None, (since, scenes)))
    if (old == Maturity.NONE).any():
        return "some blocks are not published yet"
    return "the science part, the parameters or the scenes in its support changed since it was made"


def _memberships(
    days: np.ndarray, windows: Sequence[Window], inputs: Sequence[Input], reach: Reach
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, S) uint64 in the support, (S, N) uint64 over the block with halo, (S,) uint64 hashes."""
    when = np.array([item.day for item in inputs], int)
    coarse = np.array([item.role == "coarse" for item in inputs], bool)
    spread = np.array([item.spread for item in inputs], int)
    before = np.where(coarse, reach.coarse_before, reach.fine_before) + spread
    after = np.where(coarse, reach.coarse_after, reach.fine_after) + spread
    offset = when[None, :] - np.asarray(days)[:, None]
    in_time = ((offset >= -before) & (offset <= after)).astype(np.uint64)
    padded = [window.padded(reach.halo) for window in windows]
    in_space = np.array([[item.window.intersects(window) for window in padded] for item in inputs], np.uint64).reshape(
        len(inputs), len(windows)
    )
    hashes = np.array([text_hash(item.identity) for item in inputs], np.uint64)
    return in_time, in_space, hashes


def summary(plans: Sequence[DayPlan]) -> dict[str, int]:
    """Days per status, in the order of first appearance."""
    counts: dict[str, int] = {}
    for plan in plans:
        counts[str(plan.status)] = counts.get(str(plan.status), 0) + 1
    return counts


def spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Consecutive runs of increasing days as (first, last)."""
    runs: list[tuple[int, int]] = []
    for number in map(day_number, days):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return [(day_from_number(first), day_from_number(last)) for first, last in runs]
