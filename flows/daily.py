"""The daily flow: the steps of `pipeline.steps` as Prefect tasks, scheduled, retried and reported.

Tasks pass the path of the area file and the id of the run; the steps leave everything
else in the run's folder. Only the network steps are retried. Nothing is cached:
whether work is needed is read from the store, never from Prefect.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from pipeline import steps
from pipeline.config import load_area
from pipeline.errors import CatalogError, ReadError
from pipeline.vocabulary import Outcome

watcher: ContextVar[steps.Progress | None] = ContextVar("watcher", default=None)
"""Who watches the progress of a flow that runs in this thread; the log of the run when nobody does.

A callback can be no parameter of a flow: Prefect writes parameters down.
"""


def _worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """A catalog or a network may come back; a wrong area file stays wrong, and so does a mistake in the code."""
    return isinstance(state.result(raise_on_failure=False), (CatalogError, ReadError, OSError))


network: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _worth_retrying,
}
local: dict[str, Any] = {"cache_policy": NO_CACHE}


@task(name="plan", **network)
def plan(area: str, first: str | None, last: str | None, as_of: str | None) -> dict[str, str | None]:
    """Finish what an interrupted run left, and plan a run: the id of the ``run``, or None and the ``outcome`` when nothing is stale."""
    loaded = load_area(area)
    steps.finish(loaded, progress=_progress())
    made = steps.plan(loaded, _day(first), _day(last), _day(as_of), progress=_progress())
    if made.to_make:
        return {"run": steps.start_run(loaded, made), "outcome": None}
    return {"run": None, "outcome": str(steps.nothing_to_make(made).outcome)}


@task(name="ingest", **network)
def ingest(area: str, run_id: str) -> dict[str, int]:
    """Read what the working store does not hold yet."""
    return steps.ingest(load_area(area), run_id, progress=_progress())


@task(name="make", **local)
def make(area: str, run_id: str) -> dict[str, Any]:
    """Estimate, restore and fuse on a Dask cluster that lives for this task."""
    return steps.make(load_area(area), run_id, progress=_progress())


@task(name="validate", **local)
def validate(area: str, run_id: str) -> list[dict[str, Any]]:
    """Check what was staged."""
    return steps.validate(load_area(area), run_id, progress=_progress())


@task(name="publish", **local)
def publish(area: str, run_id: str) -> dict[str, Any]:
    """Publish under the lock, with journal and generation."""
    return steps.publish(load_area(area), run_id, progress=_progress())


@task(name="describe", **local)
def describe(area: str, run_id: str) -> str:
    """Pictures and report of a run. The report is left as an artifact; what became of the run is returned."""
    loaded = load_area(area)
    markdown = steps.describe(loaded, run_id, progress=_progress())
    create_markdown_artifact(markdown=markdown, key=f"landfuse-{loaded.name.replace('_', '-')}", description=f"run {run_id}")
    return str(steps.load_report(loaded, run_id).outcome)


@flow(name="landfuse-daily", flow_run_name="{area}")
def daily(area: str, first: str | None = None, last: str | None = None, as_of: str | None = None, run_id: str | None = None) -> State[Any]:
    """Make and publish every stale day of an area.

    Parameters
    ----------
    area : str
        Path of the area file.
    first, last : str, optional
        Days asked for (YYYY-MM-DD); all days of the area otherwise.
    as_of : str, optional
        The day the run is made for, so that a repeated run does the same; today otherwise.
    run_id : str, optional
        A run that was planned already.

    Returns
    -------
    State
        Its name is the outcome, its result the id of the run, or None when nothing was stale.
    """
    if (shown := watcher.get()) is not None:
        shown("prefect", 1, 1)
    loaded = load_area(area)
    # The delays belong with the number of retries: Prefect works them out for the number it is given them with.
    patient: dict[str, Any] = {"retries": loaded.runtime.prefect.retries, "retry_delay_seconds": exponential_backoff(backoff_factor=5)}
    if run_id is None:
        planned = plan.with_options(**patient)(area, first, last, as_of)
        if planned["run"] is None:
            return _ended(str(planned["outcome"]), None)
        run_id = planned["run"]
    with steps.hold(loaded, run_id):
        ingest.with_options(**patient)(area, run_id)
        if make(area, run_id)["days"]:
            validate(area, run_id)
            publish(area, run_id)
        outcome = describe(area, run_id)
    return _ended(outcome, run_id)


def run_embedded(area: Path, run_id: str, progress: steps.Progress = steps.silent) -> None:
    """Run the flow in this process for a run that was planned already, showing progress.

    What became of the run lies in its folder. The logs of flow and tasks go to the Prefect server only: an error is
    raised here, and the caller shows it.

    Raises
    ------
    LandfuseError
        As the steps raise it.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.INFO)
    watched = watcher.set(progress)
    try:
        state = daily(str(area), run_id=run_id, return_state=True)
    finally:
        watcher.reset(watched)
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result


def _ended(outcome: str, run_id: str | None) -> State[Any]:
    """The final state of the flow: failed when the run is, so that automations see it."""
    make_state = Failed if Outcome(outcome) is Outcome.FAILED else Completed
    return make_state(name=outcome.capitalize(), message=f"run {run_id}: {outcome}" if run_id else outcome, data=run_id)


def _progress() -> steps.Progress:
    """Progress for whoever watches, or a line in the log of this task when a stage is done."""
    if (shown := watcher.get()) is not None:
        return shown
    logger = get_run_logger()

    def log(stage: str, done: int, total: int) -> None:
        if done == total:
            logger.info("%s: %d of %d", stage, done, total)

    return log


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
