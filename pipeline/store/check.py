"""The result of one check of a staging or of a cube."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name : str
        Of the check.
    passed : bool
    severity : str
        ``"error"``: nothing of it may be published (or the cube is damaged); ``"warning"``: someone should look.
    message : str
        What was found, and where.
    days : tuple of int
        Day numbers that did not pass.
    """

    name: str
    passed: bool
    severity: Literal["error", "warning"]
    message: str
    days: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def failures(checks: list[Check]) -> list[Check]:
    """The checks of severity error that did not pass."""
    return [check for check in checks if check.severity == "error" and not check.passed]
