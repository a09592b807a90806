"""Finish: what an interrupted run left half done – a publication, or the pictures and report of what it published."""

from __future__ import annotations

from pipeline.config import Area
from pipeline.steps.describe import describe
from pipeline.steps.runs import Progress, hold, silent
from pipeline.store.layout import journal_key, manifest_key


def finish(area: Area, progress: Progress = silent) -> list[str]:
    """Finish what interrupted runs left, so that a plan made now sees what they achieved.

    Where nothing was left this is a look at two folders. It is not part of a plan, which changes nothing.

    Returns
    -------
    list of str
        Ids of the runs that were finished.

    Raises
    ------
    StoreError
        If something is unfinished because another run is still at it.
    """
    if not (_journal_left(area) or _undescribed(area)):
        return []
    with hold(area, "that finishes an interrupted one"):
        left = _undescribed(area)  # a recovered publication is one more
        for run_id in left:
            describe(area, run_id, progress)
    return left


def _journal_left(area: Area) -> bool:
    return (area.cube_path.parent / journal_key(area.cube_path)).exists()


def _undescribed(area: Area) -> list[str]:
    """Runs that published something and did not come to their report."""
    root = area.runtime.root
    unreported = (plan.parent for plan in root.glob("runs/*/plan.json") if not (plan.parent / "report.json").exists())
    return sorted(folder.name for folder in unreported if (root / manifest_key(folder.name)).exists())
