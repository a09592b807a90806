"""The daily flow on a real Prefect server: what it leaves, what it retries, and what a user sees of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import steps
from pipeline.config import load_area
from pipeline.errors import ConfigurationError
from pipeline.sandbox.server import serve
from pipeline.store.verify import verify_cube
from tests.integration.command import clean_environment, landfuse

STEPS = ("plan", "ingest", "make", "validate", "publish", "describe")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prefect server for this module, with a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        from prefect.settings import PREFECT_API_URL
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            yield PREFECT_API_URL.value()


def test_the_flow_publishes_leaves_a_report_and_hands_on_small_values(copied: Path, prefect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import daily

    handed_on: dict[str, Any] = {}

    def keep(task: Any, run: Any, state: Any) -> None:
        handed_on[task.name] = state.result()

    for name in STEPS:
        monkeypatch.setattr(daily, name, getattr(daily, name).with_options(on_completion=[keep]))
    area = load_area(copied)
    shutil.rmtree(area.cube_path)
    state = daily.daily(str(copied), first="2023-06-04", last="2023-06-04", return_state=True)
    assert (state.name, state.is_completed()) == ("Published", True)
    assert all(check.passed for check in verify_cube(area.cube_path))
    report = steps.load_report(area, state.result())
    assert report.counts == {"published": 1}

    runs = task_runs(state)
    assert tuple(runs) == STEPS
    assert {name: run.empirical_policy.retries or 0 for name, run in runs.items()} == dict.fromkeys(STEPS, 0) | {"plan": 3, "ingest": 3}
    assert {run.run_count for run in runs.values()} == {1}

    (artifact,) = [artifact for artifact in artifacts() if artifact.type == "markdown"]
    assert artifact.key == "landfuse-region"
    assert artifact.data.startswith("# region: published")
    assert "| 2023-06-04 | published |" in artifact.data

    assert tuple(handed_on) == STEPS
    assert all(len(json.dumps(value)) < 4000 for value in handed_on.values())


def test_a_second_run_of_the_flow_plans_and_ends(published: Path, prefect: str) -> None:
    from flows.daily import daily

    state = daily(str(published), return_state=True)
    assert state.name == "Unchanged"
    assert state.result() is None
    assert tuple(task_runs(state)) == ("plan",)


def test_a_catalog_that_is_down_for_a_moment_is_asked_again(copied: Path, sandbox: Path, prefect: str) -> None:
    from flows.daily import daily

    port = free_port()
    use_catalog(copied, f"http://127.0.0.1:{port}")
    done = threading.Event()

    def come_up() -> None:
        time.sleep(1.5)  # the first search gives up after its own second try, a second later than the first
        with serve(sandbox, port=port):
            done.wait(60)

    server = threading.Thread(target=come_up)
    server.start()
    try:
        state = daily(str(copied), return_state=True)
    finally:
        done.set()
        server.join()
    assert state.name == "Unchanged"
    plan = task_runs(state)["plan"]
    assert plan.run_count == 2
    assert plan.total_run_time.total_seconds() < (plan.end_time - plan.start_time).total_seconds() - 2, "it waits before it asks again"


def test_a_wrong_call_is_not_tried_again(published: Path, prefect: str) -> None:
    from flows.daily import daily

    state = daily(str(published), first="2020-01-01", last="2020-01-02", return_state=True)
    assert state.is_failed()
    with pytest.raises(ConfigurationError, match="2020-01-01"):
        state.result()
    assert task_runs(state)["plan"].run_count == 1


def test_nothing_is_cached() -> None:
    from prefect.cache_policies import NO_CACHE

    from flows import daily

    assert all(getattr(daily, name).cache_policy == NO_CACHE for name in STEPS)


@pytest.mark.slow
def test_a_user_of_the_command_sees_the_answer_and_the_stages_alone(copied: Path) -> None:
    area = load_area(copied)
    shutil.rmtree(area.cube_path)
    done = landfuse("run", copied, "--days", "2023-06-04")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("published region: 1 day published")
    stages = [line.split()[0] for line in done.stderr.splitlines()]
    assert stages == ["search", "prefect", "fuse", "validate", "publish", "describe"]
    assert (area.runtime.root / "work" / "prefect" / "prefect.db").is_file()
    assert not servers_of(area.runtime.root)


def test_an_error_under_prefect_is_shown_once_and_without_a_traceback(copied: Path, prefect: str) -> None:
    document = yaml.safe_load(copied.read_text())
    document["science"]["restoration"]["tau"] = 5.0
    copied.write_text(yaml.safe_dump(document))
    with steps.hold(load_area(copied), "the-first"):
        done = landfuse("run", copied, PREFECT_API_URL=prefect)
    assert done.returncode == 1
    assert done.stdout == ""
    *stages, message, remedy = done.stderr.splitlines()
    assert stages == ["search 1/1", "prefect 1/1"]
    assert "in use by run the-first" in message
    assert remedy.startswith("  → wait")


@pytest.mark.slow
def test_the_flow_reports_to_a_server_that_runs_elsewhere(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(load_area(copied).cube_path)
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    program = Path(sys.executable).with_name("prefect")
    server = subprocess.Popen(
        [program, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=clean_environment() | home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"{url}/health")
        done = landfuse("run", copied, "--days", "2023-06-04", PREFECT_API_URL=url)
        assert done.returncode == 0, done.stderr
        (run,) = ask(f"{url}/flow_runs/filter", {})
        assert (run["state"]["name"], run["state"]["type"]) == ("Published", "COMPLETED")
        (artifact,) = ask(f"{url}/artifacts/filter", {})
        assert artifact["data"].startswith("# region: published")
        logs = ask(f"{url}/logs/filter", {})
        assert not [entry for entry in logs if entry["level"] >= 40]
    finally:
        server.terminate()
        server.wait(30)
    assert not (copied.parent / "work" / "prefect").exists()


def task_runs(state: Any) -> dict[str, Any]:
    """The task runs of the flow run that ended in a state, by the name of the task, in order."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async def read() -> Any:
        async with get_client() as client:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
            return await client.read_task_runs(flow_run_filter=wanted)

    expected: list[Any] = []
    for _ in range(50):  # task runs reach the server as events, a moment after they end
        expected = asyncio.run(read())
        if expected and all(run.state and run.state.is_final() for run in expected):
            break
        time.sleep(0.2)
    return {run.name.rpartition("-")[0] or run.name: run for run in sorted(expected, key=lambda run: run.start_time)}


def artifacts() -> list[Any]:
    from prefect.client.orchestration import get_client

    async def read() -> Any:
        async with get_client() as client:
            return await client.read_artifacts()

    return asyncio.run(read())


def use_catalog(area_file: Path, url: str) -> None:
    document = yaml.safe_load(area_file.read_text())
    document["runtime"]["catalogs"]["default"]["url"] = url
    area_file.write_text(yaml.safe_dump(document))


def servers_of(root: Path) -> list[str]:
    """Command lines of processes that were started with a Prefect home below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"PREFECT_HOME={root}".encode() in environment:
            found.append(command)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def ask(url: str, question: dict) -> list[dict]:
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
