"""The steps of a run as plain functions: plan → ingest → make (estimate, restore, screen, fuse) → validate → publish → describe.

They run without Prefect; the flows only schedule, retry and report them. What one step
leaves for the next lies in the run's folder, so a step can be repeated and a run can be
read afterwards. Besides `cli`, this is the only room that sees the whole area file.
"""

from pipeline.config import Area
from pipeline.steps.describe import describe
from pipeline.steps.finish import finish
from pipeline.steps.ingest import ingest
from pipeline.steps.make import make
from pipeline.steps.plan import Plan, plan, start_run
from pipeline.steps.publish import publish, validate
from pipeline.steps.report import Report, load_report, nothing_to_make, status
from pipeline.steps.runs import Progress, hold, silent

__all__ = [
    "Plan",
    "Progress",
    "Report",
    "describe",
    "finish",
    "hold",
    "ingest",
    "load_report",
    "make",
    "nothing_to_make",
    "plan",
    "publish",
    "run",
    "silent",
    "start_run",
    "status",
    "validate",
]


def run(area: Area, run_id: str, progress: Progress = silent) -> Report:
    """All steps after the plan, one after the other, without Prefect."""
    with hold(area, run_id):
        ingest(area, run_id, progress)
        if make(area, run_id, progress)["days"]:
            validate(area, run_id, progress)
            publish(area, run_id, progress)
        describe(area, run_id, progress)
    return load_report(area, run_id)
