"""The measured figures of each method: one committed file, written by `benchmarks/record.py`. Imports neither torch nor numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

_FILE = "record.json"


@dataclass(frozen=True)
class Cost:
    """What a method takes.

    Parameters
    ----------
    one, thirty : float
        CPU seconds per predicted megapixel and band, with all work on references: for one target day, and for thirty that share references.
    peak_mb : float
        Largest memory [MB].
    size : str
        What it was measured on.
    """

    one: float
    thirty: float
    peak_mb: float
    size: str


@dataclass(frozen=True)
class Score:
    """What a method reached in an experiment, on all pixels.

    Parameters
    ----------
    experiment, label, method : str
        A label other than the method's name is a variant with options of its own.
    options : mapping
    control : str
        The control with the smallest RMSE.
    control_rmse, rmse : float
        NaN is not possible: an experiment without common pixels has no scores.
    low, high : float
        95 % interval of the RMSE.
    less_low, less_high : float, optional
        95 % interval of the paired difference to the RMSE of the control; None for controls.
    dates : int
        With one date the intervals say nothing of another.
    source : str
        Digest of the code that the method consisted of.
    measured : str
        Day (YYYY-MM-DD).
    """

    experiment: str
    label: str
    method: str
    options: Mapping[str, Any]
    control: str
    control_rmse: float
    rmse: float
    low: float
    high: float
    less_low: float | None
    less_high: float | None
    dates: int
    source: str
    measured: str

    @property
    def change(self) -> float:
        """Relative difference of the RMSE to that of the best control: negative = better."""
        return self.rmse / self.control_rmse - 1

    @property
    def decided(self) -> bool:
        """Zero lies outside the interval of the paired difference."""
        return self.less_low is not None and self.less_high is not None and (self.less_low > 0 or self.less_high < 0)

    @property
    def loses(self) -> bool:
        """A control does at least as well."""
        return self.label != self.control and self.rmse >= self.control_rmse


@dataclass(frozen=True)
class Record:
    """All figures.

    Parameters
    ----------
    machine : str
        What costs were measured on, with the release of torch and the day.
    costs : mapping of str to Cost
        By method.
    titles : mapping of str to str
        Of the experiments.
    scores : tuple of Score
    failed : mapping of str to mapping
        By experiment, why labels have no score.
    """

    machine: str = ""
    costs: Mapping[str, Cost] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    failed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, method: str) -> list[Score]:
        """Scores of a method and its variants."""
        return [score for score in self.scores if score.method == method]

    def text(self) -> str:
        """As JSON, the same for the same figures."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@cache
def record() -> Record:
    """The committed figures."""
    return read_record((files("pipeline.assessment") / _FILE).read_text(encoding="utf-8"))


def read_record(text: str) -> Record:
    """A record from its JSON."""
    document = json.loads(text)
    return Record(
        machine=document["machine"],
        costs={name: Cost(**cost) for name, cost in document["costs"].items()},
        titles=document["titles"],
        scores=tuple(Score(**score) for score in document["scores"]),
        failed=document["failed"],
    )


def record_path() -> Path:
    """Where the committed figures lie in a checkout."""
    return Path(__file__).with_name(_FILE)
