"""What is said of each built-in method in words, from `notes.yaml`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class Notes:
    """A method in words.

    Parameters
    ----------
    idea : str
        A sentence or two.
    equation : str
        A line or two, as plain text.
    ours : str
        What is decided here because the paper is silent, or otherwise than in the paper; empty for controls, as are the next two.
    clouds : str
        How clouded references are dealt with.
    limits : str
        What it cannot do.
    """

    idea: str
    equation: str
    ours: str = ""
    clouds: str = ""
    limits: str = ""


@cache
def notes() -> Mapping[str, Notes]:
    """Notes by the name of the method; methods of other packages have none."""
    document = yaml.safe_load((files("pipeline.fusion") / "notes.yaml").read_text(encoding="utf-8"))
    return {name: Notes(**entry) for name, entry in document.items()}
