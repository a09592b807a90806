"""What every set, date and sandbox seed may be used for: one committed file, read by whoever assesses, trains or tunes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline.errors import ConfigurationError

ROLES_FILE = Path(__file__).with_name("roles.yaml")

_Place = TypeVar("_Place", date, int)


class Role(StrEnum):
    """What data are for."""

    TRAIN = "train"
    TUNE = "tune"
    TEST = "test"


_MAY_USE: Mapping[Role, frozenset[Role]] = {
    Role.TRAIN: frozenset({Role.TRAIN}),
    Role.TUNE: frozenset({Role.TRAIN, Role.TUNE}),
    Role.TEST: frozenset({Role.TEST}),
}
"""What each purpose may look at. A score on data that something was learnt from or chosen on is none."""


@dataclass(frozen=True)
class Roles:
    """The roles of sets by day, and of sandbox seeds.

    Parameters
    ----------
    sets : mapping
        Set → spans (first day, last day, role), which do not overlap.
    seeds : tuple
        Spans (first seed, last seed, role).
    """

    sets: Mapping[str, tuple[tuple[date, date, Role], ...]]
    seeds: tuple[tuple[int, int, Role], ...]

    def of_day(self, name: str, day: date) -> Role:
        """The role of the images of a set on a day.

        Raises
        ------
        ConfigurationError
            If the set or the day has none.
        """
        if name not in self.sets:
            raise ConfigurationError(f"set {name!r} has no role", f"give it one in {ROLES_FILE.name}; it knows {', '.join(self.sets)}")
        return _within(self.sets[name], day, f"{name} on {day}")

    def of_seed(self, seed: int) -> Role:
        """The role of the sandbox of a seed."""
        return _within(self.seeds, seed, f"sandbox seed {seed}")

    def hides(self, purpose: Role, name: str, day: date) -> bool:
        """An image that a purpose must not see at all. Who tests may see every other image: an operator has them too."""
        return purpose is not Role.TEST and self.of_day(name, day) not in _MAY_USE[purpose]

    def allow(self, purpose: Role, name: str, days: Iterable[date]) -> None:
        """Refuse days of a set that a purpose may not look at.

        Raises
        ------
        ConfigurationError
            If one of them has no role, or another than the purpose allows.
        """
        for day in days:
            _refuse(purpose, self.of_day(name, day), f"{name} on {day}")

    def allow_seed(self, purpose: Role, seed: int) -> None:
        """Refuse a sandbox that a purpose may not look at."""
        _refuse(purpose, self.of_seed(seed), f"sandbox seed {seed}")


@cache
def roles(path: Path = ROLES_FILE) -> Roles:
    """Read the roles.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, a role is unknown, or a day or seed has two.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("version") != 1 or not {"sets", "sandbox"} <= set(document):
        raise ConfigurationError(f"{path} is no file of roles", "it has version: 1, sets and sandbox")
    sets = {name: _spans(given, date.fromisoformat, (date.min, date.max), f"set {name}") for name, given in document["sets"].items()}
    return Roles(sets, _spans(document["sandbox"], int, (0, 2**63), "sandbox"))


def _spans(
    given: Mapping[str, Any], parse: Callable[[str], _Place], everything: tuple[_Place, _Place], what: str
) -> tuple[tuple[_Place, _Place, Role], ...]:
    found: list[tuple[_Place, _Place, Role]] = []
    for word, spans in given.items():
        if word not in set(Role):
            raise ConfigurationError(f"{what}: {word!r} is no role", f"roles are {', '.join(Role)}")
        for span in ["all"] if spans == "all" else spans:
            first, _, last = str(span).partition("..")
            start, end = everything if span == "all" else (parse(first), parse(last or first))
            found.append((start, end, Role(word)))
    found.sort()
    for (_, end, one), (start, _, other) in pairwise(found):
        if start <= end:
            raise ConfigurationError(f"{what}: {start} is for {one} and for {other}", "give every day and seed one role")
    return tuple(found)


def _within(spans: Iterable[tuple[_Place, _Place, Role]], place: _Place, what: str) -> Role:
    for first, last, role in spans:
        if first <= place <= last:
            return role
    raise ConfigurationError(f"{what} has no role", f"give it one in {ROLES_FILE.name}")


def _refuse(purpose: Role, role: Role, what: str) -> None:
    if role not in _MAY_USE[purpose]:
        allowed = " or ".join(sorted(_MAY_USE[purpose]))
        raise ConfigurationError(f"{what} is for {role}, and this is to {purpose}", f"choose what {ROLES_FILE.name} keeps for {allowed}")
