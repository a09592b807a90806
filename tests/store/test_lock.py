from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.errors import StoreError
from pipeline.store.lock import StoreLock

HOLD = (
    "import sys, time; from pipeline.store.lock import StoreLock\n"
    "with StoreLock(sys.argv[1], 'run-of-another-process'):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def other(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "fused.zarr")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_told_who_holds_the_store(tmp_path, other):
    with (
        pytest.raises(StoreError, match=rf"in use by run-of-another-process \(process {other.pid} on "),
        StoreLock(tmp_path / "fused.zarr", "me"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_taken_over_at_once_and_logged(tmp_path, other, caplog):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with StoreLock(tmp_path / "fused.zarr", "me") as lock:
        lock.check()
    assert "taking over" in caplog.text
    assert "run-of-another-process" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_holder_on_another_machine_is_dead_only_without_a_heartbeat(tmp_path):
    path = tmp_path / "fused.zarr.lock"
    holder = {"owner": "far", "host": "elsewhere", "machine": "another", "pid": 1, "process": "1 1", "token": "t"}
    path.write_text(json.dumps({**holder, "heartbeat": time.time() - 100}))
    with pytest.raises(StoreError, match="far"), StoreLock(tmp_path / "fused.zarr", "me", ttl=300):
        pass
    with StoreLock(tmp_path / "fused.zarr", "me", ttl=50):
        assert json.loads(path.read_text())["owner"] == "me"


def test_a_lock_cut_off_by_a_crash_blocks_no_longer_than_its_time(tmp_path):
    path = tmp_path / "fused.zarr.lock"
    path.write_text('{"owner": "x')
    with pytest.raises(StoreError, match="unreadable lock"), StoreLock(tmp_path / "fused.zarr", "me"):
        pass
    os.utime(path, (0, 0))
    with StoreLock(tmp_path / "fused.zarr", "me"):
        pass


def test_the_heartbeat_moves_on_while_the_lock_is_held(tmp_path):
    with StoreLock(tmp_path / "fused.zarr", "me", heartbeat=0.02) as lock:
        first = json.loads(lock.path.read_text())["heartbeat"]
        for _ in range(100):
            time.sleep(0.02)
            if json.loads(lock.path.read_text())["heartbeat"] > first:
                break
        else:
            pytest.fail("no heartbeat in 2 s")
        lock.check()


def test_of_many_that_find_a_dead_holder_one_gets_the_lock(tmp_path):
    (tmp_path / "fused.zarr.lock").write_text(json.dumps({"owner": "dead", "heartbeat": 0}))
    start, won, lost = threading.Barrier(6), [], []
    done = threading.Event()

    def attempt(number: int) -> None:
        start.wait()
        try:
            with StoreLock(tmp_path / "fused.zarr", str(number)):
                won.append(number)
                done.wait(10)
        except StoreError:
            lost.append(number)
            if len(lost) == 5:
                done.set()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 5
