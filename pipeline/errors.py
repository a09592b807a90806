"""Errors a user can act on: each says what was found, what was expected and what to do."""

from __future__ import annotations


class LandfuseError(Exception):
    """Something the user can mend. The command line prints the message without a traceback.

    Parameters
    ----------
    message : str
        Names the offending value and what was expected.
    remedy : str, optional
        What to do next.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  → {remedy}" if remedy else message)


class ConfigurationError(LandfuseError):
    """The area file, or an option, is wrong."""


class CatalogError(LandfuseError):
    """A catalog cannot be reached, or answers with something that is not what it should be."""


class ReadError(LandfuseError):
    """An asset cannot be read as its item describes it."""


class StoreError(LandfuseError):
    """A store is not what it should be, or is in use."""


class RejectedError(LandfuseError):
    """Staged days did not pass validation; nothing was published."""


class WeightsError(LandfuseError):
    """A file of weights or a checkpoint is not what it should be."""
