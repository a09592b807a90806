"""Learning curves: event files that TensorBoard reads, and the same figures as `curve.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter

from pipeline.fusion.networks.weights import replace_file

_COLUMNS = ("step", "name", "value")


class Log:
    """The log of a training in a folder; a context manager.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    start : int
        Steps that were done when the training began or went on: what the folder says of later steps will be done again, so it is dropped.
        With 0 everything is.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        path = folder / "curve.csv"
        replace_file(path, _lines([_COLUMNS, *_until(path, start)]).encode())
        self._curve = path.open("a", encoding="utf-8", newline="")
        # An event that tells TensorBoard to forget what other files here say from this step on.
        # The names of files hold no more of the time than the second, so the step makes them differ.
        self._events = SummaryWriter(str(folder), purge_step=start + 1 if start else 0, filename_suffix=f".{start}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add figures of a step."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._curve.write(_lines([(str(step), name, repr(float(value))) for name, value in values.items()]))
        self._curve.flush()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._curve.close()
        self._events.close()


def _until(path: Path, step: int) -> list[list[str]]:
    """The rows of the steps up to one; a line that a kill cut short is none."""
    if not step or not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if len(row) == len(_COLUMNS) and row[0].isdecimal() and int(row[0]) <= step]


def _lines(rows: list[tuple[str, ...] | list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
