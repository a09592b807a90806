"""The daily flow: the steps of `pipeline.steps` as Prefect tasks, scheduled, retried and reported.

Tasks pass the path of the area file and the id of the run; the steps leave everything
else in the run's folder. Only the network steps are retried. Nothing is cached:
whether work is needed is read from the store, never from Prefect.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from pipeline import steps
from pipeline.config import load_area
from pipeline.errors import ConfigurationError


def _worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """A wrong area file stays wrong; a network may come back."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, ConfigurationError)


network: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _worth_retrying,
}
local: dict[str, Any] = {"cache_policy": NO_CACHE}


@task(name="plan", **network)
def plan(area: str, first: str | None, last: str | None, as_of: str | None) -> str | None:
    """Plan a run; the id of the run, or None when nothing is stale."""
    loaded = load_area(area)
    made = steps.plan(loaded, _day(first), _day(last), _day(as_of), progress=_log)
    return steps.start_run(loaded, made) if made.to_make else None


@task(name="ingest", **network)
def ingest(area: str, run_id: str) -> dict[str, int]:
    """Read what the working store does not hold yet."""
    return steps.ingest(load_area(area), run_id, progress=_log)


@task(name="make", **local)
def make(area: str, run_id: str) -> dict[str, Any]:
    """Estimate, restore and fuse on a Dask cluster that lives for this task."""
    return steps.make(load_area(area), run_id, progress=_log)


@task(name="validate", **local)
def validate(area: str, run_id: str) -> list[dict[str, Any]]:
    """Check what was staged."""
    return steps.validate(load_area(area), run_id, progress=_log)


@task(name="publish", **local)
def publish(area: str, run_id: str) -> dict[str, Any]:
    """Publish under the lock, with journal and generation."""
    return steps.publish(load_area(area), run_id, progress=_log)


@task(name="describe", **local)
def describe(area: str, run_id: str) -> str:
    """Pictures and report of the run; the report is left as an artifact."""
    loaded = load_area(area)
    markdown = steps.describe(loaded, run_id, progress=_log)
    create_markdown_artifact(markdown=markdown, key=f"landfuse-{loaded.name.replace('_', '-')}", description=f"run {run_id}")
    return markdown


@flow(name="landfuse-daily", flow_run_name="{area}")
def daily(area: str, first: str | None = None, last: str | None = None, as_of: str | None = None, run_id: str | None = None) -> str | None:
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
    str or None
        Id of the run; None when nothing was stale.
    """
    retries = load_area(area).runtime.prefect.retries
    run_id = run_id or plan.with_options(retries=retries)(area, first, last, as_of)
    if run_id is None:
        get_run_logger().info("every day is published and unchanged")
        return None
    with steps.hold(load_area(area), run_id):
        ingest.with_options(retries=retries)(area, run_id)
        if make(area, run_id)["days"]:
            validate(area, run_id)
            publish(area, run_id)
        describe(area, run_id)
    return run_id


_shown: Any = steps.silent


def _log(stage: str, done: int, total: int) -> None:
    """Progress of a step, handed to whoever runs the flow in this process."""
    _shown(stage, done, total)


def run_embedded(area: Path, run_id: str, progress: steps.Progress = steps.silent) -> str | None:
    """Run the flow in this process for a run that was planned already, showing progress."""
    global _shown
    _shown = progress
    return daily(str(area), run_id=run_id)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
