"""What the tests of the cluster run on workers: each leaves a trace in a folder, because no worker shares memory with the test.

Torch is imported where it is needed: most tests then start their workers in a second.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pipeline.compute.job import Job, Task, TaskRecord
from pipeline.errors import ReadError


def where() -> tuple[int, str]:
    """Process id and Dask name of the worker."""
    from distributed import get_worker

    time.sleep(0.02)
    return os.getpid(), str(get_worker().name)


def noted(folder: str, number: int) -> int:
    """Note the beginning and the end of a task."""
    (Path(folder) / f"{number}.begun").touch()
    time.sleep(0.02)
    (Path(folder) / f"{number}.ended").touch()
    return number


def bad_at_three(number: int) -> int:
    if number == 3:
        raise ReadError("the third block is broken", "mend it")
    return number


def killed_once(folder: str, job: Job, task: Task) -> TaskRecord:
    """`process_block` whose process is killed after its work the first time it runs."""
    from pipeline.compute.block import process_block

    mark = Path(folder) / "killed"
    record = process_block(job, task)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return record


def environment() -> dict[str, str]:
    return dict(os.environ)


def built(job: Job, task: Task) -> tuple[int, int]:
    """`process_block`, and how often its process has built a method by now."""
    from pipeline.compute import block

    block.process_block(job, task)
    return os.getpid(), block._method.cache_info().misses
