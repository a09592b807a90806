"""What a local worker does before its work: loaded by Dask as a preload."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Leave an interrupt from the keyboard, which reaches all processes of a terminal, to the command: it closes its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
