"""What the networks cost on a processor: ways to run them, the size of tiles, and what surrounds them, as Markdown.

    python benchmarks/inference.py [--networks refiner edcstfn] [--ways eager onnxruntime] [--size 256] [--threads 1 2] [--json FILE]
    python benchmarks/inference.py --tiles [--size 736] [--networks refiner]
    python benchmarks/inference.py --share [--size 512]

Every network sees what its method gives it on a simulated block. Costs are seconds per megapixel and band of one day: CPU seconds with one
thread, seconds by the clock with more; the best of some rounds in which the ways take turns. Compare the ratios to `eager` of the same
run. ONNX Runtime and OpenVINO are measured against, not used: ``pip install -e ".[bench]"``.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import io
import json
import math
import multiprocessing
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from method_costs import FIRST, make_block
from torch import Tensor, nn

from pipeline.fusion import learned, pairnet
from pipeline.fusion.corrected import Corrected
from pipeline.fusion.evidence import contrast_of
from pipeline.fusion.networks import tiles
from pipeline.fusion.networks.refiner import Refiner
from pipeline.fusion.networks.restoration import Restoration
from pipeline.fusion.networks.weights import cards, into, shipped
from pipeline.fusion.options import CorrectedOptions, NetworkOptions, PairNetworkOptions
from pipeline.fusion.realfusion import RealFusion

METHODS: dict[str, Callable[[nn.Module | None], Any]] = {
    "realfusion": lambda network: RealFusion(NetworkOptions(), network),
    "corrected": lambda network: Corrected(CorrectedOptions(), network),
    "biastf": lambda network: pairnet.BiaStf(PairNetworkOptions(), network),
    "stfdcnn": lambda network: pairnet.Stfdcnn(PairNetworkOptions(), network),
    "edcstfn": lambda network: pairnet.Edcstfn(PairNetworkOptions(), network),
    "ganstfm": lambda network: pairnet.GanStfm(PairNetworkOptions(), network),
    "mlffgan": lambda network: pairnet.MlffGan(PairNetworkOptions(), network),
}
PARTS: dict[str, tuple[str, type[nn.Module]]] = {"refiner": ("realfusion", Refiner), "restoration": ("realfusion", Restoration)}
"""Networks that are part of a method; others are the whole of theirs."""

NETWORKS = (*PARTS, *(name for name in METHODS if name not in ("realfusion", "corrected")))

BANDS = 6
TARGETS = range(FIRST + 50, FIRST + 70)
_ROUND = 8.0
"""Seconds after which no further round is begun, unless fewer than three were made."""

Run = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True)
class Case:
    """A network and what it is called with for a day of a block.

    Parameters
    ----------
    network : Module
        In evaluation mode, without gradients.
    inputs : tuple of Tensor
        As they usually lie in memory.
    work : float
        Megapixels · bands of the result.
    unit : float
        What the first result is multiplied with to be reflectance.
    trained : bool
    """

    network: nn.Module
    inputs: tuple[Tensor, ...]
    work: float
    unit: float
    trained: bool


@dataclass(frozen=True)
class Figure:
    """A network, run in one way.

    Parameters
    ----------
    cost : float
        Seconds per megapixel · band.
    ratio : float
        How many times as fast as `eager`.
    peak : float
        Memory that was taken to load the network and to run it once [MB].
    largest, rms : float
        Difference of the first result to that of `eager` [reflectance].
    note : str
        Why it was left out.
    """

    network: str
    way: str
    threads: int
    cost: float = math.nan
    ratio: float = math.nan
    peak: float = math.nan
    largest: float = math.nan
    rms: float = math.nan
    trained: bool = True
    note: str = ""


class Missing(Exception):
    """What this machine lacks to go a way."""


def method_of(name: str) -> tuple[Any, bool]:
    """A method with its shipped weights, or random ones where there are none, and whether they are trained."""
    torch.manual_seed(5)
    network = METHODS[name](None).untrained()
    trained = name in cards()
    if trained:
        into(network, shipped(name))
    with torch.no_grad():
        for module in network.modules():
            head = getattr(module, "head", None)
            if isinstance(head, nn.Conv2d) and not bool(head.weight.any()):
                # Corrects nothing yet, and so shows no difference.
                head.weight.normal_(std=0.05)
                trained = False
    return METHODS[name](network.eval().requires_grad_(False)), trained


def case_of(name: str, size: int) -> Case:
    """A network with the inputs of its last call in a day of a block, uncut."""
    owner, part = PARTS.get(name, (name, nn.Module))
    method, trained = method_of(owner)
    block = make_block(size, BANDS, 2)
    contrast = contrast_of([block])
    calls: list[tuple[nn.Module, tuple[Tensor, ...]]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, part) and (name in PARTS or not calls):
            calls.append((module, tuple(value.clone(memory_format=torch.contiguous_format) for value in inputs)))

    with torch.no_grad(), nn.modules.module.register_module_forward_pre_hook(note), uncut():
        list(method.days(method.prepare(block, {"contrast": contrast}, torch.device("cpu")), [TARGETS[0]]))
    network, inputs = calls[-1]
    # Out of inference mode, which compilers do not know.
    inputs = tuple(torch.from_numpy(value.numpy().copy()) for value in inputs)
    cell = block.scale if name == "restoration" else 1
    bands = len(inputs[0]) if name in PARTS else BANDS
    work = bands * (inputs[-1].shape[-1] * cell) * (inputs[-1].shape[-2] * cell) / 1e6
    return Case(network, inputs, work, sum(contrast) / len(contrast) if name in PARTS else 1.0, trained)


@contextmanager
def uncut() -> Iterator[None]:
    """All of a block and of its bands in one call of a network."""
    with mock.patch.multiple(learned, _TILE=1 << 13, _BATCH=BANDS), mock.patch.object(pairnet, "_TILE", 1 << 13):
        yield


def eager(case: Case, threads: int) -> Run:
    return lambda: as_tuple(case.network(*case.inputs))


def channels_last(case: Case, threads: int) -> Run:
    network, inputs = deepcopy(case.network).to(memory_format=torch.channels_last), [last(value) for value in case.inputs]
    return lambda: as_tuple(network(*inputs))


def compiled(case: Case, threads: int) -> Run:
    if shutil.which("gcc") is None and shutil.which("g++") is None:
        raise Missing("no C++ compiler")
    network = torch.compile(deepcopy(case.network).to(memory_format=torch.channels_last), dynamic=False)
    inputs = [last(value) for value in case.inputs]
    return lambda: as_tuple(network(*inputs))


def bf16(case: Case, threads: int) -> Run:
    network = deepcopy(case.network).to(torch.bfloat16).to(memory_format=torch.channels_last)
    inputs = [last(value) for value in case.inputs]
    return lambda: as_tuple(network(*(value.bfloat16() for value in inputs)))


def onnxruntime(case: Case, threads: int) -> Run:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(exported(case), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    given = {f"input{place}": value.numpy() for place, value in enumerate(case.inputs) if f"input{place}" in wanted}
    return lambda: [torch.from_numpy(value) for value in session.run(None, given)]


def openvino_float32(case: Case, threads: int) -> Run:
    return _openvino(case, {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})


def openvino(case: Case, threads: int) -> Run:
    return _openvino(case, {"INFERENCE_NUM_THREADS": threads})


def _openvino(case: Case, settings: dict[str, Any]) -> Run:
    import openvino as runtime

    core = runtime.Core()
    network = core.compile_model(core.read_model(exported(case)), "CPU", settings)
    # A tensor of the network may have several names.
    given = {
        place: case.inputs[int(name.removeprefix("input"))].numpy()
        for place, value in enumerate(network.inputs)
        for name in value.names
        if name.startswith("input")
    }
    request = network.create_infer_request()

    def run() -> list[Tensor]:
        made = request.infer(given)
        return [torch.from_numpy(made[output]) for output in network.outputs]

    return run


WAYS: dict[str, tuple[Callable[[Case, int], Run], tuple[str, ...]]] = {
    "eager": (eager, ()),
    "channels-last": (channels_last, ()),
    "compile": (compiled, ()),
    "bf16": (bf16, ()),
    "onnxruntime": (onnxruntime, ("onnx", "onnxruntime")),
    "openvino-f32": (openvino_float32, ("onnx", "openvino")),
    "openvino": (openvino, ("onnx", "openvino")),
}
"""Ways to run a network, and the packages each needs; the first is what others are compared with."""


def exported(case: Case) -> bytes:
    """A network as ONNX, for inputs of exactly these shapes."""
    buffer, names = io.BytesIO(), [f"input{place}" for place in range(len(case.inputs))]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deepcopy(case.network), case.inputs, buffer, input_names=names, opset_version=18, dynamo=False, do_constant_folding=False
        )
    return buffer.getvalue()


def last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def as_tuple(made: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (made,) if isinstance(made, Tensor) else made


def seconds(threads: int) -> float:
    """Of this process, where it runs alone on its thread; otherwise of the clock."""
    return time.process_time() if threads == 1 else time.perf_counter()


def peak_of(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the memory that it took [MB] (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    made = call()
    return made, memory("VmHWM") - before


def memory(line: str) -> float:
    """A line of the memory of this process [MB]."""
    return next(int(text.split()[1]) for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(line)) / 1024


def compared(name: str, ways: Sequence[str], size: int, threads: int, rounds: int) -> list[Figure]:
    """Measure ways to run a network, in turns."""
    torch.set_num_threads(threads)
    case = case_of(name, size)
    runs: dict[str, Run] = {}
    figures = {}
    reference = None
    with torch.inference_mode():
        for way in dict.fromkeys(["eager", *ways]):
            make, packages = WAYS[way]
            figures[way] = Figure(name, way, threads, trained=case.trained)
            try:
                if absent := [package for package in packages if importlib.util.find_spec(package) is None]:
                    raise Missing(f"not installed: {', '.join(absent)}")
                for package in packages:
                    importlib.import_module(package)
                (run, made), peak = peak_of(lambda make=make: (run := make(case, threads), run()))
            except Exception as error:  # A way that fails is a result.
                figures[way] = replace(
                    figures[way], note=str(error) if isinstance(error, Missing) else f"fails: {str(error).splitlines()[0][:90]}"
                )
                continue
            runs[way] = run
            reference = made[0].clone() if reference is None else reference
            error = (made[0].float() - reference).double() * case.unit
            figures[way] = replace(figures[way], peak=peak, largest=float(error.abs().max()), rms=float(error.square().mean().sqrt()))
        best = dict.fromkeys(runs, math.inf)
        spent = 0.0
        for turn in range(rounds):
            if turn >= 3 and spent > _ROUND * len(runs):
                break
            for way, run in runs.items():
                start = seconds(threads)
                run()
                took = seconds(threads) - start
                best[way] = min(best[way], took)
                spent += took
    costs = {way: took / case.work for way, took in best.items()}
    return [
        replace(figure, cost=costs[way], ratio=costs["eager"] / costs[way]) if way in costs else figure for way, figure in figures.items()
    ]


def cut(name: str, cores: Sequence[int], batches: Sequence[int], size: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Measure tiles of a block: seconds per megapixel · band, memory, and pixels seen over pixels made."""
    torch.set_num_threads(threads)
    case = case_of(name, size)
    network = case.network.to(memory_format=torch.channels_last)
    found = []
    for tile, batch in product(cores, batches):
        if batch > len(case.inputs[0]):
            continue
        seen = []

        def call(*parts: Tensor, seen: list[int] = seen) -> Sequence[Tensor]:
            seen.append(len(parts[-1]) * parts[-1].shape[-1] * parts[-1].shape[-2])
            return as_tuple(network(*parts))

        def run(tile: int = tile, batch: int = batch, call: Callable[..., Any] = call) -> Any:
            return tiles.apply(call, case.inputs, reach=network.reach, multiple=network.multiple, tile=tile, batch=batch)

        _, peak = peak_of(run)
        share = sum(seen) / (len(case.inputs[-1]) * case.inputs[-1].shape[-1] * case.inputs[-1].shape[-2])
        best = math.inf
        for _ in range(rounds):
            start = seconds(threads)
            run()
            best = min(best, seconds(threads) - start)
        found.append(
            {"network": name, "threads": threads, "tile": tile, "batch": batch, "cost": best / case.work, "peak": peak, "seen": share}
        )
    return found


def shares(name: str, size: int) -> dict[str, Any]:
    """Where the CPU time of a method goes: its networks, the making of what they see, and the rest."""
    torch.set_num_threads(1)
    method, trained = method_of(name)
    block = make_block(size, BANDS, 2)
    spent: dict[str, float] = {}

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            made = call(*args, **kwargs)
            spent[what] = spent.get(what, 0.0) + time.process_time() - start
            return made

        return wrapped

    parameters = {"contrast": contrast_of([block])}
    with torch.inference_mode():
        list(method.days(method.prepare(make_block(64, BANDS, 2), parameters, torch.device("cpu")), TARGETS[:2]))
        names = {"evidence": "mosaics", "told_of_references": "told of references", "told_of_day": "told of the day"}
        patched = {attribute: timed(what, getattr(learned, attribute)) for attribute, what in names.items()}
        network = mock.patch.object(tiles, "_called", timed("network", tiles._called))
        with network, mock.patch.multiple(learned, **patched):
            method.first = timed("first prediction", method.first)
            start = time.process_time()
            state = method.prepare(block, parameters, torch.device("cpu"))
            spent["prepare"] = time.process_time() - start
            for _ in method.days(state, TARGETS):
                pass
            whole = time.process_time() - start
    spent["rest"] = whole - sum(spent.values())
    work = BANDS * size * size * len(TARGETS) / 1e6
    return {"method": name, "trained": trained, "cost": whole / work, "shares": {what: part / whole for what, part in spent.items()}}


def in_a_process(call: Callable[..., Any], *args: Any) -> Any:
    """Threads, compiled code and memory of one measurement do not meet those of the next."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def table_of_ways(figures: Sequence[Figure]) -> Iterator[str]:
    yield "| network | way | threads | s per Mpx·band | times as fast as `eager` | memory [MB] | largest difference | RMS |"
    yield "|---|---|" + "---:|" * 6
    for figure in figures:
        start = f"| {figure.network}{'' if figure.trained else '*'} | {figure.way} | {figure.threads} |"
        if figure.note:
            yield f"{start} {figure.note} | | | | |"
        else:
            yield f"{start} {figure.cost:.3f} | {figure.ratio:.2f} | {figure.peak:.0f} | {figure.largest:.1e} | {figure.rms:.1e} |"


def table_of_tiles(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| network | threads | core | tiles at once | s per Mpx·band | pixels seen ÷ made | memory [MB] |"
    yield "|---|" + "---:|" * 6
    for row in found:
        cells = [
            *(row[key] for key in ("network", "threads", "tile", "batch")),
            f"{row['cost']:.3f}",
            f"{row['seen']:.2f}",
            f"{row['peak']:.0f}",
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def table_of_shares(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| method | s per Mpx·band | shares of the CPU time |"
    yield "|---|---:|---|"
    for row in found:
        parts = sorted(row["shares"].items(), key=lambda item: -item[1])
        yield f"| {row['method']} | {row['cost']:.3f} | {', '.join(f'{what} {100 * part:.0f} %' for what, part in parts)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured; the best counts")
    parser.add_argument("--size", type=int, help="edge of the block [fine pixels]; 256, with --tiles 736, with --share 512")
    parser.add_argument("--tiles", action="store_true", help="measure tiles instead of ways")
    parser.add_argument("--cores", nargs="+", type=int, default=[128, 256, 384, 736], help="edges of tiles without their halo")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 6], help="tiles at once")
    parser.add_argument("--share", action="store_true", help="measure where the time of `realfusion` and `corrected` goes instead")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    if given.share:
        for name in ("realfusion", "corrected"):
            found.append(in_a_process(shares, name, given.size or 512))
        lines = table_of_shares(found)
    elif given.tiles:
        for name, threads in product(given.networks, given.threads):
            found += in_a_process(cut, name, given.cores, given.batches, given.size or 736, threads, given.rounds)
            print(f"{name}, {threads} threads: done", file=sys.stderr, flush=True)
        lines = table_of_tiles(found)
    else:
        figures: list[Figure] = []
        for name, threads in product(given.networks, given.threads):
            figures += in_a_process(compared, name, given.ways, given.size or 256, threads, given.rounds)
            print(f"{name}, {threads} threads: done", file=sys.stderr, flush=True)
        lines, found = table_of_ways(figures), [asdict(figure) for figure in figures]
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, load of the machine {load}\n")
    known = [f"{name} {card['sha256'][:8]}…" for name, card in cards().items() if name in METHODS]
    print(f"Weights that are shipped: {', '.join(known) or 'none'}. *: not trained; times hold, differences are those of random weights.\n")
    print("\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
