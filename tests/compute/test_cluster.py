"""Where tasks run: any number of workers makes the same bytes, resources are honoured, nothing is lost with a worker."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.compute.block import process_block
from pipeline.compute.cluster import Cluster, open_cluster
from pipeline.errors import ConfigurationError, LandfuseError, ReadError
from tests.compute.conftest import MakeJob, staged_bytes, tasks_of
from tests.compute.functions import bad_at_three, built, environment, killed_once, noted, where


def local(workers: int, threads: int = 1):  # type: ignore[no-untyped-def]
    return open_cluster(None, workers, threads, "4GiB", "auto")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Cluster]:
    with local(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def one_piece(make_job: MakeJob) -> dict[str, bytes]:
    """What this process alone makes of the shared region."""
    job = make_job()
    for task in tasks_of(job, days_per_task=3):
        process_block(job, task)
    return staged_bytes(job)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_any_number_of_workers_makes_the_same_bytes(workers: int, make_job: MakeJob, one_piece: dict[str, bytes]) -> None:
    job = make_job()
    tasks = tasks_of(job, days_per_task=3)
    with local(workers) as cluster:
        made = dict(cluster.map(built, [(job, task) for task in tasks]))
        assert cluster.workers == workers
    assert sorted(made) == list(range(len(tasks)))
    assert not [result for result in made.values() if isinstance(result, Exception)]
    processes = {process for process, _ in made.values()}
    assert os.getpid() not in processes
    assert len(processes) <= workers
    # The method is built once in each of them, however many tasks it runs.
    assert {misses for _, misses in made.values()} == {1}
    assert staged_bytes(job) == one_piece


def test_a_worker_that_is_killed_costs_its_task_only_time(
    make_job: MakeJob, one_piece: dict[str, bytes], two_workers: Cluster, tmp_path: Path
) -> None:
    job = make_job()
    results = dict(two_workers.map(killed_once, [(str(tmp_path), job, task) for task in tasks_of(job, days_per_task=3)]))
    assert (tmp_path / "killed").exists()
    assert not [result for result in results.values() if isinstance(result, Exception)]
    assert staged_bytes(job) == one_piece


def test_no_more_tasks_are_under_way_than_may_be(two_workers: Cluster, tmp_path: Path) -> None:
    seen = []
    for done, (_, number) in enumerate(two_workers.map(noted, [(str(tmp_path), n) for n in range(24)], in_flight=2), start=1):
        seen.append(number)
        # While the caller is busy with a result, workers go on only with what was submitted.
        time.sleep(0.05)
        assert len(list(tmp_path.glob("*.begun"))) <= done + 2 * 2
    assert sorted(seen) == list(range(24))


def test_a_failing_task_is_handed_over_and_stops_no_other(two_workers: Cluster) -> None:
    results = dict(two_workers.map(bad_at_three, [(n,) for n in range(8)]))
    error = results.pop(3)
    assert isinstance(error, ReadError)
    assert "third block" in str(error)
    assert "mend it" in str(error)
    assert results == {n: n for n in range(8) if n != 3}


def test_nothing_to_do_is_done_at_once(two_workers: Cluster) -> None:
    assert list(two_workers.map(where, [])) == []


def test_a_caller_that_stops_listening_leaves_the_cluster_usable(two_workers: Cluster) -> None:
    for _ in two_workers.map(where, [()] * 20):
        break
    assert dict(two_workers.map(bad_at_three, [(1,)])) == {0: 1}


def test_threads_are_fixed_and_memory_is_left_to_the_allocator() -> None:
    with local(1, threads=3) as cluster:
        ((_, variables),) = cluster.map(environment, [()])
    assert {variables[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert "MALLOC_TRIM_THRESHOLD_" not in variables


def test_every_port_is_on_the_loopback_interface(two_workers: Cluster) -> None:
    info = two_workers.client.scheduler_info(n_workers=-1)
    addresses = [info["address"], *info["workers"], *(worker["nanny"] for worker in info["workers"].values())]
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
    ports = [port for part in (info, *info["workers"].values()) for port in part["services"].values()]
    assert ports
    for port in ports:
        with socket.socket() as other:
            # An address of this machine that is not the loopback one is free at that port.
            other.bind(("127.0.0.2", port))


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler somebody else runs, with one worker that holds a GPU and one that does not."""
    folder = tmp_path_factory.mktemp("cluster")
    running = [_start(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")]
    try:
        address = _said(folder / "scheduler.log", r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        common = ("--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        running.append(_start(folder, "worker", address, "--name", "plain", *common))
        running.append(_start(folder, "worker", address, "--name", "labelled", "--resources", "GPU=1", *common))
        _wait_for_workers(address, 2)
        yield address
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)


def test_tasks_go_to_the_workers_that_hold_a_gpu(scheduler: str) -> None:
    with open_cluster(scheduler, 9, 1, "1GiB", "auto") as cluster:
        assert (cluster.workers, cluster.device) == (1, "cuda")
        assert {name for _, (_, name) in cluster.map(where, [()] * 12)} == {"labelled"}
    with open_cluster(scheduler, 9, 1, "1GiB", "require") as cluster:
        assert cluster.gpu


def test_no_gpu_is_used_when_none_is_wanted(scheduler: str) -> None:
    with open_cluster(scheduler, 9, 1, "1GiB", "never") as cluster:
        assert (cluster.workers, cluster.device) == (2, "cpu")
        assert {name for _, (_, name) in cluster.map(where, [()] * 12)} == {"labelled", "plain"}


def test_a_required_gpu_that_nobody_holds_is_an_error_that_says_how_to_mend_it() -> None:
    with pytest.raises(ConfigurationError, match=r"'require'.*\n.*--resources GPU=1"), open_cluster(None, 1, 1, "1GiB", "require"):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{free}", "127.0.0.1", "nonsense://127.0.0.1:{free}"])
def test_a_scheduler_that_does_not_answer_is_an_error_within_seconds(address: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = address.format(free=held.getsockname()[1])
        started = time.monotonic()
        with (
            pytest.raises(LandfuseError, match=rf"{re.escape(address)}(.|\n)*runtime\.compute\.scheduler"),
            open_cluster(address, 1, 1, "1GiB", "auto"),
        ):
            pass
    assert time.monotonic() - started < 5


def test_a_scheduler_that_is_lost_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    head = _start(tmp_path, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    address = _said(tmp_path / "scheduler.log", r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
    worker = _start(tmp_path, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def killed_under_way() -> None:
        with open_cluster(address, 1, 1, "1GiB", "auto") as cluster:
            for _ in cluster.map(where, [()] * 100):
                head.kill()

    try:
        with pytest.raises(LandfuseError, match=r"scheduler was lost(.|\n)*run again"):
            killed_under_way()
    finally:
        for process in (worker, head):
            process.kill()
            process.wait(20)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{arguments[0]}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]], stdout=log, stderr=log)


def _said(log: Path, pattern: str) -> str:
    """What a process printed, as soon as it has."""
    for _ in range(600):
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise TimeoutError(log.read_text())


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=30)
