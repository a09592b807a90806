"""Where tasks run: a local Dask cluster of processes, or a scheduler somebody runs; GPU workers honoured; back-pressure."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, as_completed
from distributed.comm import get_address_host_port

from pipeline.errors import ConfigurationError, LandfuseError

PATIENCE = 15
"""Seconds in which a scheduler must answer."""

_CONFIGURATION = {
    # The memory of torch and Zarr is not Dask's to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.comm.timeouts.connect": f"{PATIENCE}s",
    # Dask makes the allocator of its workers hand memory back at once; made anew for every tensor, it doubles the time of a block.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}


@dataclass(frozen=True)
class Cluster:
    """A connected Dask client and what its workers offer.

    Parameters
    ----------
    client : Client
    workers : int
        Worker processes that may take a task.
    gpu : bool
        Tasks run on workers that hold a ``GPU`` resource.
    """

    client: Client
    workers: int
    gpu: bool

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], in_flight: int = 2) -> Iterator[tuple[int, Any]]:
        """Run ``function(*call)`` for every call, at most `in_flight` per worker at a time.

        A task that raises is tried once more, one whose worker was lost as often as Dask's
        ``distributed.scheduler.allowed-failures`` says.

        Yields
        ------
        (int, result or Exception)
            Position of the call and its result, in the order of completion. An exception
            is yielded, not raised, so that one bad block does not take the day with it.

        Raises
        ------
        LandfuseError
            If the scheduler is lost.
        """
        waiting = iter(enumerate(calls))
        positions: dict[Any, int] = {}
        resources = {"GPU": 1} if self.gpu else None

        def submit(count: int) -> list[Future]:
            futures = []
            for _, (position, call) in zip(range(count), waiting, strict=False):
                future = self.client.submit(function, *call, pure=False, retries=1, resources=resources)
                positions[future.key] = position
                futures.append(future)
            return futures

        queue = as_completed(submit(in_flight * self.workers), loop=self.client.loop)
        for future in queue:
            if future.cancelled():
                raise LandfuseError(
                    f"the Dask scheduler was lost with {len(positions)} tasks under way", "look at its log, start it, and run again"
                )
            error = future.exception()
            result = future.result() if error is None else error
            future.release()
            queue.update(submit(1))
            yield positions.pop(future.key), result


@contextmanager
def open_cluster(
    scheduler: str | None, workers: int, threads: int, memory_limit: str, gpu: Literal["auto", "never", "require"]
) -> Iterator[Cluster]:
    """A cluster for the time of a run.

    Parameters
    ----------
    scheduler : str or None
        Address of a running scheduler; None starts local worker processes on the loopback interface.
    workers, threads, memory_limit
        Of the local cluster: processes, torch threads of each, memory of each.
    gpu
        ``auto`` uses GPU workers when there are any, ``require`` fails when there are none.

    Raises
    ------
    ConfigurationError
        If `gpu` is ``require`` and no worker holds a GPU.
    LandfuseError
        If the scheduler does not answer, or has no worker.
    """
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with dask.config.set(_CONFIGURATION), ExitStack() as stack:
        local = None if scheduler else stack.enter_context(_local(workers, threads, memory_limit, gpu))
        try:
            if scheduler:
                # A client that was never answered waits once more when it is collected.
                socket.create_connection(get_address_host_port(scheduler), timeout=PATIENCE).close()
            client = stack.enter_context(Client(local or scheduler, timeout=PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=2 * PATIENCE)
        except (OSError, ValueError) as error:  # a time-out is an OSError, an address that is none a ValueError
            raise LandfuseError(
                f"no Dask scheduler with a worker answers at {scheduler or 'the local cluster'}: {error}",
                "check runtime.compute.scheduler and its workers, or leave it out to start local ones",
            ) from error
        held = [info["resources"].get("GPU", 0) > 0 for info in client.scheduler_info(n_workers=-1)["workers"].values()]
        if gpu == "require" and not any(held):
            raise ConfigurationError(
                "runtime.compute.gpu is 'require' but no worker holds a GPU resource",
                "start workers with --resources GPU=1, or set gpu: auto",
            )
        use_gpu = gpu != "never" and any(held)
        yield Cluster(client, sum(held) if use_gpu else len(held), use_gpu)


def _local(workers: int, threads: int, memory_limit: str, gpu: str) -> SpecCluster:
    """Worker processes on the loopback interface: one per visible GPU, otherwise `workers` of them."""
    devices = _visible_gpus() if gpu != "never" else []
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

    def worker(**special: Any) -> dict[str, Any]:
        options = {"nthreads": 1, "memory_limit": memory_limit, "host": "127.0.0.1", "silence_logs": logging.ERROR, "dashboard": False}
        return {"cls": Nanny, "options": {**options, "env": environment, "preload": ["pipeline.compute.local_worker"], **special}}

    if devices:
        found = [worker(resources={"GPU": 1}, env={**environment, "CUDA_VISIBLE_DEVICES": device}) for device in devices]
    else:
        found = [worker() for _ in range(workers)]
    # Port 0: two runs on one machine do not dispute the default one.
    head = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    return SpecCluster(scheduler=head, workers=dict(enumerate(found)), silence_logs=logging.ERROR)


def _visible_gpus() -> list[str]:
    """Ids of the CUDA devices this process may use. torch is asked only where a driver is loaded."""
    if not Path("/dev/nvidiactl").exists():
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",") if listed else [str(index) for index in range(torch.cuda.device_count())]
