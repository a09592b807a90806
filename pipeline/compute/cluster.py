"""Where tasks run: a local Dask cluster of processes, or a scheduler somebody runs; GPU workers honoured; back-pressure."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, as_completed

from pipeline.errors import ConfigurationError, LandfuseError


_SETTINGS = {
    # Memory of torch and GDAL cannot be spilled.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Dask's default hands every freed array back to the system at once; getting it again took 2.3 × the time of fusing a block.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 268435456,
    "distributed.comm.timeouts.connect": "20s",
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

        Yields
        ------
        (int, result or Exception)
            Position of the call and its result, in the order of completion. A task whose
            worker was lost is tried once more; an exception is yielded, not raised, so that
            one bad block does not take the day with it.
        """
        waiting = iter(enumerate(calls))
        positions: dict[Any, int] = {}

        def submit_next() -> Any:
            following = next(waiting, None)
            if following is None:
                return None
            position, call = following
            resources = {"GPU": 1} if self.gpu else None
            future = self.client.submit(function, *call, pure=False, retries=1, resources=resources)
            positions[future.key] = position
            return future

        first = [future for _ in range(in_flight * self.workers) if (future := submit_next()) is not None]
        queue = as_completed(first, loop=self.client.loop)
        for future in queue:
            error = future.exception()
            yield positions.pop(future.key), error if error is not None else future.result()
            future.release()
            if (following := submit_next()) is not None:
                queue.add(following)


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
        If the scheduler does not answer.
    """
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with dask.config.set(_SETTINGS):
        local = None if scheduler else _local(workers, threads, memory_limit, gpu)
        try:
            client = Client(local if local is not None else scheduler, timeout=30, set_as_default=False)
        except OSError as error:
            raise LandfuseError(
                f"no Dask scheduler answers at {scheduler}: {error}",
                "check runtime.compute.scheduler, or leave it out to start local workers",
            ) from error
        try:
            client.wait_for_workers(1, timeout=60)
            held = [info.get("resources", {}).get("GPU", 0) > 0 for info in client.scheduler_info(n_workers=-1)["workers"].values()]
            use_gpu = gpu != "never" and any(held)
            if gpu == "require" and not use_gpu:
                raise ConfigurationError(
                    "runtime.compute.gpu is 'require' but no worker holds a GPU resource",
                    "start workers with --resources GPU=1, or set gpu: auto",
                )
            yield Cluster(client, sum(held) if use_gpu else max(len(held), 1), use_gpu)
        finally:
            client.close()
            if local is not None:
                local.close()


def _local(workers: int, threads: int, memory_limit: str, gpu: str) -> SpecCluster:
    """Worker processes on the loopback interface: one per visible GPU, otherwise `workers` of them."""
    devices = _visible_gpus() if gpu != "never" else []
    common = {"nthreads": 1, "memory_limit": memory_limit, "host": "127.0.0.1", "silence_logs": logging.ERROR, "dashboard": False}
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    if devices:
        specification = {
            index: {
                "cls": Nanny,
                "options": {**common, "resources": {"GPU": 1}, "env": {**environment, "CUDA_VISIBLE_DEVICES": device}},
            }
            for index, device in enumerate(devices)
        }
    else:
        specification = {index: {"cls": Nanny, "options": {**common, "env": environment}} for index in range(workers)}
    head = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    return SpecCluster(scheduler=head, workers=specification, silence_logs=logging.ERROR)


def _visible_gpus() -> list[str]:
    """Ids of the CUDA devices this process may use. torch is asked only where a driver is loaded."""
    if not Path("/dev/nvidiactl").exists():
        return []
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    if listed:
        return [device for device in listed.split(",") if device]
    return [str(index) for index in range(torch.cuda.device_count())]
