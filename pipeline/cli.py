"""The `landfuse` command. Answers go to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline import __version__
from pipeline.config import Area, load_area
from pipeline.errors import ConfigurationError, LandfuseError, RejectedError
from pipeline.grid import day_from_number, day_number, runs_of
from pipeline.vocabulary import Outcome

if TYPE_CHECKING:
    from pipeline.steps import Plan, Report
    from pipeline.steps.check import Preflight
    from pipeline.steps.inventory import Inventory
    from pipeline.steps.refit import Refit
    from pipeline.training.loop import Learnt

app = typer.Typer(
    name="landfuse",
    help="Daily seamless Landsat-like images: search, read, restore, fuse, publish.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
catalog_app = typer.Typer(help="Look at catalogs, or make one from a folder of GeoTIFFs.", no_args_is_help=True)
app.add_typer(catalog_app, name="catalog")

_WIDE = 140
"""Columns of a pipe or a log, which have no width of their own."""

_MOST_MONTHS = 36
"""Rows of a source in the table of a check; longer periods are told by year."""
_MOST_NAMED = 10
"""Items of a kind that a check names."""

_INTERRUPTED = 130
_INTERRUPTED_MESSAGE = "interrupted; the next run takes up where this one stopped"
_GRACE = 5.0
"""Seconds that an interrupted run has to let go of its stores and workers."""

out = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
err = Console(width=None if sys.stderr.isatty() else _WIDE, highlight=False, stderr=True)

AreaFile = Annotated[Path, typer.Argument(help="The area file (YAML).", show_default=False)]
Days = Annotated[str | None, typer.Option("--days", help="YYYY-MM-DD or FIRST..LAST; all days of the area when left out.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Plan as if today were this day (YYYY-MM-DD).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"landfuse {__version__}")
        raise typer.Exit


@app.command(epilog="Example: `landfuse init field.yaml --crs EPSG:32633 --bounds 500000 4900000 530000 4930000 --start 2024-01-01`")
def init(
    path: Annotated[Path, typer.Argument(help="The area file to write.")],
    crs: Annotated[str, typer.Option(help="Projected CRS, such as the UTM zone of the area.")] = "EPSG:32633",
    bounds: Annotated[tuple[float, float, float, float], typer.Option(help="west south east north in metres of that CRS.")] = (
        500000,
        4900000,
        530720,
        4930720,
    ),
    start: Annotated[str, typer.Option(help="First day of the cube (YYYY-MM-DD).")] = "2024-01-01",
) -> None:
    """Write a commented area file to start from."""
    from pipeline.starter import starter_area

    text = starter_area(path.stem, crs, bounds, _day(start))
    if path.exists():
        raise ConfigurationError(f"{path} exists already", "give another name, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        load_area(path)
    except LandfuseError:
        path.unlink()
        raise
    _say(f"wrote {path}; next: landfuse plan {path}")


@app.command(epilog="Example: `landfuse plan area.yaml --days 2024-06-01..2024-06-30`")
def plan(area_file: AreaFile, days: Days = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Say what a run would make and why, without making it."""
    area, made = _planned(area_file, days, as_of)
    if as_json:
        _print_json({key: value for key, value in made.to_dict().items() if key != "scenes"} | {"scenes": len(made.scenes)})
        return
    _show_plan(area, made)


@app.command(epilog="Example: `landfuse run area.yaml --days 2024-06-01..2024-06-30 --json`")
def run(
    area_file: AreaFile,
    days: Days = None,
    as_of: AsOf = None,
    no_prefect: Annotated[bool, typer.Option("--no-prefect", help="Run the same steps as plain functions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make and publish every stale day. A run of unchanged days costs a plan and nothing else.

    Exit codes: 0 published, unchanged or expected-empty · 1 failed · 2 usage · 3 deferred · 4 degraded · 5 rejected.
    """
    from pipeline import steps

    area = load_area(area_file)
    first, last = _days(days)
    with _progress() as progress:
        steps.finish(area, progress)
        made = steps.plan(area, first, last, _day(as_of) if as_of else None, progress)
        report = _make(area, area_file, made, no_prefect, progress)
    if as_json:
        _print_json(report.to_dict())
    else:
        _show_report(area, report)
    raise typer.Exit(report.outcome.exit_code)


@app.command(epilog="Example: `landfuse status area.yaml --json`")
def status(area_file: AreaFile, as_json: AsJson = False) -> None:
    """Say what is published: days, maturity, holes, the last run. Searches no catalog."""
    from pipeline import steps

    area = load_area(area_file)
    found = steps.status(area)
    if as_json:
        _print_json(found)
        return
    if not found["published"]:
        _say(f"{area.name}: nothing is published at {area.cube_path}; next: landfuse run {area_file}")
        return
    missing = [date.fromisoformat(day) for day in found["missing"]]
    _say(f"{area.name} · {found['cube']}")
    _say(f"  published   {_count(found['published'], 'day')}, {found['first']}..{found['last']}")
    _say(f"  missing     {_count(len(missing), 'day') + ': ' + ', '.join(_spans(missing)) if missing else 'none'}")
    _say(f"  maturity    {', '.join(f'{count} {name}' for name, count in found['maturity'].items())}")
    _say(f"  generation  {found['generation']}{' (days are being replaced)' if found['generation'] % 2 else ''}")
    if learnt := found["parameters"]:
        _say(f"  parameters  {_version_told(learnt)}, of {_count(len(learnt['versions']), 'version')}")
    _say(f"  last run    {found['last_run'] or 'none'}")


@app.command(epilog="Example: `landfuse score area.yaml --json`")
def score(area_file: AreaFile, as_json: AsJson = False) -> None:
    """Score the days that the area withholds, beside the six controls."""
    from pipeline.steps.score import score_withheld

    area = load_area(area_file)
    with _progress() as progress:
        found = score_withheld(area, progress)
    if as_json:
        _print_json(found.to_dict())
        return
    out.print(found.table())
    _tell(found.verdict)


@app.command(epilog="Examples: `landfuse refit area.yaml` · `landfuse refit area.yaml --pin 2` · `landfuse refit area.yaml --json`")
def refit(
    area_file: AreaFile,
    pin: Annotated[
        int | None, typer.Option("--pin", min=1, help="Learn nothing; runs use this version from now on, a newer or an earlier one.")
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Learn the parameters anew from all that was read; say which days they change and by how much. Runs keep the pinned version.

    The change is measured on sample windows of up to twelve days, made with both versions exactly as a run makes them.
    Nothing is published; once a version is pinned, the next run makes the days again.

    Exit codes: 0 a new version, none because nothing else was learnt, or pinned · 1 failed · 2 usage.
    """
    from pipeline.steps import refit as step

    area = load_area(area_file)
    if pin is not None:
        before, pinned = step.pin(area, pin)
        if as_json:
            _print_json({"before": before, "pinned": pinned})
        elif before == pin:
            _say(f"{area.name}: {_version_told(pinned)} is pinned already")
        else:
            _say(f"{area.name}: {_version_told(pinned)} is pinned, in place of version {before}; next: landfuse plan {area_file}")
        return
    with _progress() as progress:
        found = step.refit(area, _day(as_of) if as_of else None, progress)
    if as_json:
        _print_json(found.to_dict())
    else:
        _show_refit(found, area_file)


@app.command(epilog="Example: `landfuse agreement area.yaml --json`")
def agreement(area_file: AreaFile, as_json: AsJson = False) -> None:
    """Measure what each normalisation step leaves between observations that should be alike.

    Compared are fine images of adjacent paths, or of two sensors, a few days apart, and fine against coarse of the same day.
    """
    from pipeline.steps.agreement import agreement, to_records

    area = load_area(area_file)
    with _progress() as progress:
        records = to_records(agreement(area, progress))
    if as_json:
        _print_json(records)
        return
    if not records:
        _say("no pair of observations says anything about a step: none within a few days, or the steps change nothing here")
        return
    for (pairs, count, step), rows in groupby(records, key=lambda record: (record["pairs"], record["count"], record["step"])):
        table = Table("band", "cells", "median difference", "", "slope", "", "RMSE", "", title=f"{pairs} ({count}): {step}")
        for row in rows:
            pair = [f"{row[name]:.4f}" for what in ("median", "slope", "rmse") for name in (f"{what}_before", f"{what}_after")]
            table.add_row(row["band"], str(row["cells"]), *pair)
        out.print(table)
    _say("of two figures the first is without the step, the second with it")


@app.command(epilog="Examples: `landfuse methods` · `landfuse methods starfm` · `landfuse methods --json`")
def methods(
    name: Annotated[str | None, typer.Argument(help="One method in full; all of them when left out.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the fusion methods: what they are and need, how far they look, what they cost, and how they stand against the controls."""
    from pipeline.assessment.listing import all_methods, described, one_method
    from pipeline.fusion.registry import specs

    if as_json:
        _print_json(described(name) if name else [described(each) for each in specs()])
    elif name:
        out.print(one_method(name))
    else:
        out.print(all_methods())
        _say(" One method in full: landfuse methods NAME")


@app.command(epilog="Example: `landfuse assess benchmarks/experiments/cia-*.yaml --methods starfm,residual --data ../shared/data`")
def assess(
    experiments: Annotated[list[Path], typer.Argument(help="Files that declare what is withheld from where.", show_default=False)],
    methods: Annotated[str | None, typer.Option(help="Names, separated by commas; every method when left out.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the sets that experiments name; a sandbox needs none.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where tables, figures, index.html and what may be used again go.")] = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Predict images that were withheld from everything, and score every method beside the six controls."""
    from pipeline.assessment.assess import ALL
    from pipeline.assessment.assess import assess as answer_of
    from pipeline.assessment.experiments import load_experiment
    from pipeline.assessment.page import page, write
    from pipeline.assessment.tables import rich_table
    from pipeline.fusion.registry import specs

    wanted = methods.split(",") if methods else [name for name, spec in specs().items() if not spec.control]
    declared = [load_experiment(path) for path in experiments]
    sections, said = [], []
    with _progress() as progress:
        for experiment in declared:
            answer = answer_of(experiment, wanted, data, folder / "cache", progress)
            sections.append((experiment.name, experiment.title, write(answer, folder / experiment.name, folder / "cache", progress)))
            # After each one, so that a long list can be looked at while it runs.
            (folder / "index.html").write_text(page(sections), encoding="utf-8")
            said.append((experiment, answer.rows, answer.verdicts(), answer.failed))
            del answer  # its images: hundreds of megabytes, of no use to the next experiment
    if as_json:
        _print_json({experiment.name: {"rows": [asdict(row) for row in rows], "failed": failed} for experiment, rows, _, failed in said})
    else:
        for experiment, rows, verdicts, failed in said:
            out.print(rich_table([row for row in rows if row.stratum == ALL], experiment.title))
            for sentence in verdicts:
                _tell(sentence)
            for label, why in failed.items():
                _note(f"{label} failed: {why}")
        _say(f"tables, figures and strata: {folder / 'index.html'}")
    raise typer.Exit(Outcome.FAILED.exit_code if any(failed for *_, failed in said) else 0)


@app.command(epilog="Examples: `landfuse train sandbox --method realfusion` · `landfuse train area.yaml --adapt --budget 5m`")
def train(
    source: Annotated[str, typer.Argument(help="`sandbox` (the recipe of the shipped weights), another recipe, or an area file.")],
    method: Annotated[str, typer.Option(help="The method whose network learns.")] = "realfusion",
    budget: Annotated[str | None, typer.Option(help="Time to learn, such as 30m; for fewer steps than the recipe says.")] = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Start from the shipped weights; kept only if they become better.")] = False,
    adversarial: Annotated[bool, typer.Option("--adversarial", help="Beside the discriminator of the method, where it has one.")] = False,
    folder: Annotated[Path, typer.Option("--out", help="Where weights, card, curves and checkpoints go.")] = Path("trained"),
    as_json: AsJson = False,
) -> None:
    """Train the network of a method; an interrupted training goes on from its last checkpoint."""
    from pipeline.training.recipe import SHIPPED_RECIPE, load_recipe
    from pipeline.training.train import train_on_sandboxes

    seconds = None if budget is None else _span(budget)
    path = SHIPPED_RECIPE if source == "sandbox" else Path(source)
    area = load_area(path) if path != SHIPPED_RECIPE and _is_area(path) else None
    if adapt and area is None:
        raise ConfigurationError(f"{source} is no area file, expected one with --adapt", "weights are adapted to the images of an area")
    if adversarial and area is not None:
        raise ConfigurationError("--adversarial with an area file, expected `sandbox` or a recipe", "leave --adversarial out")
    with _progress() as progress:
        if area is None:
            made, adapted = (
                train_on_sandboxes(method, load_recipe(path), folder / method, folder / "cache", seconds, progress, adversarial),
                None,
            )
        else:
            from pipeline.steps.train import train_on_area

            adapted = train_on_area(area, method, adapt, folder / method, seconds, progress)
            made = adapted.trained
    kept = not (adapt and adapted and not adapted.better)
    if as_json:
        _print_json(
            {
                "method": method,
                "weights": str(made.path) if kept else None,
                "stages": {name: _stage_told(part) for name, part in made.stages.items()},
            }
        )
    else:
        for stage, learnt in made.stages.items():
            _tell(
                f"{stage}: {learnt.steps} steps in {learnt.seconds:.0f} s; RMSE on tune data {learnt.start:.4f} → {learnt.rmse:.4f}, "
                f"control {learnt.control:.4f} (skill {learnt.skill:+.1%})"
            )
        if kept:
            _say(f"weights: {made.path} ({made.digest[:16]}…)")
            _tell(f"to use them: science.method: {{name: {method}, options: {{weights: {made.path.resolve()}}}}}")
        else:
            _note("the adapted weights are not better than those they began with, and were not kept")
    raise typer.Exit(0 if kept else Outcome.REJECTED.exit_code)


@app.command(epilog="Example: `landfuse demo demo --size 512 --days 10`")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo is made.")] = Path("demo"),
    size: Annotated[int, typer.Option(min=64, help="Edge of the area, fine pixels.")] = 1024,
    days: Annotated[int, typer.Option(min=1, help="Days to publish.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the simulated region.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Dask worker processes.")] = 2,
    no_prefect: Annotated[bool, typer.Option("--no-prefect", help="Run the same steps as plain functions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a region, publish a month of it, and score it against the known truth beside the six controls."""
    from pipeline import demo as demonstration
    from pipeline import steps

    with _progress() as progress:
        area_file = demonstration.prepare(folder, size, days, seed, workers, progress)
        area = load_area(area_file)
        steps.finish(area, progress)
        made = steps.plan(area, progress=progress)
        report = _make(area, area_file, made, no_prefect, progress)
        score = demonstration.score(area, progress)
    if as_json:
        _print_json({"report": report.to_dict(), "score": score.to_dict()})
    else:
        _show_report(area, report)
        out.print(score.table())
        _tell(score.verdict)
        for line in demonstration.next_steps(area, area_file):
            _say(line)
    raise typer.Exit(report.outcome.exit_code)


@catalog_app.command("search", epilog="Example: `landfuse catalog search area.yaml --days 2024-06-01..2024-06-30`")
def catalog_search(area_file: AreaFile, days: Days = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the scenes a run of these days would look at."""
    made = _planned(area_file, days, as_of)[1]
    if as_json:
        _print_json({"scenes": [scene.to_dict() for scene in made.scenes], "skipped": [list(pair) for pair in made.skipped]})
        return
    table = Table("day", "product", "scene", "support", "platform")
    for scene in made.scenes:
        table.add_row(str(scene.day), scene.product, scene.id, f"{scene.first_day}..{scene.last_day}", scene.platform)
    out.print(table)
    _note_skipped(made.skipped)


@catalog_app.command(
    "check",
    epilog="Examples: `landfuse catalog check area.yaml` · `landfuse catalog check area.yaml --days 2023-01-01..2023-12-31 --no-headers`",
)
def catalog_check(
    area_file: AreaFile,
    days: Days = None,
    as_of: AsOf = None,
    headers: Annotated[bool, typer.Option(help="Open one file of each scene and compare it with its item.")] = True,
    as_json: AsJson = False,
) -> None:
    """Look before a run: scenes by source and month, what is missing, twice or unusable, how fresh, and whether files open.

    Draws a calendar to check/ beside the stores. Days may lie outside of the area's.

    Exit codes: 0 nothing is wrong · 1 a catalog cannot be searched · 2 usage · 4 some files are not what their items say ·
    5 a source holds nothing that can be used, or no scene has a band of the area.
    """
    from pipeline.steps.check import check

    area = load_area(area_file)
    first, last = _days(days)
    with _progress() as progress:
        found = check(area, first, last, _day(as_of) if as_of else None, headers, progress)
    if as_json:
        _print_json(found.to_dict())
    else:
        _show_check(found)
    raise typer.Exit(found.exit_code)


@catalog_app.command(
    "build", epilog="Example: `landfuse catalog build data --template 'LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif' --crs EPSG:32649`"
)
def catalog_build(
    folder: Annotated[Path, typer.Argument(help="Folder of GeoTIFFs.")],
    template: Annotated[
        str | None,
        typer.Option(
            help="Form of the file names: {date:%Y%j}, {asset}, {name}, {name:width}, {*}. "
            "Left out for unpacked Landsat products: their *_MTL.txt or *_MTL.json describes them, and of the options below only "
            "--out and --collection count."
        ),
    ] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder of the catalog; the folder itself when left out.")] = None,
    collection: Annotated[str | None, typer.Option(help="Collection id; the name of the folder, or landsat-c2-l2, when left out.")] = None,
    crs: Annotated[str | None, typer.Option(help="Local grid that files without a CRS are assigned.")] = None,
    resolution: Annotated[float | None, typer.Option(help="Pixel size of files without one [m].")] = None,
    origin: Annotated[tuple[float, float], typer.Option(help="West and north of the corner of files without one [m].")] = (0.0, 0.0),
    asset: Annotated[str, typer.Option(help="Asset key when the template has no {asset}.")] = "data",
    bands: Annotated[list[str] | None, typer.Option("--band", help="Asset key of each band of multi-band files, in order.")] = None,
    first: Annotated[str | None, typer.Option(help="Day of the first band of a time series (YYYY-MM-DD).")] = None,
    step: Annotated[int | None, typer.Option(help="Days between the bands of a time series.")] = None,
    window: Annotated[int | None, typer.Option(help="Days that went into a value, from its date on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a folder of plain GeoTIFFs into a STAC catalog. Pixels are never moved; an assigned georeference is said aloud."""
    from pipeline.catalog.build import build_catalog, build_landsat_catalog

    if template is None:
        built = build_landsat_catalog(folder, out_folder, collection)
    else:
        built = build_catalog(
            folder,
            template,
            out_folder,
            collection=collection,
            crs=crs,
            resolution=resolution,
            origin=origin,
            asset=asset,
            bands=bands or (),
            first=_day(first) if first else None,
            step=step,
            window=window,
        )
    if as_json:
        _print_json(asdict(built))
        return
    _say(f"{_count(built.items, 'item')} of {_count(built.files, 'file')} in collection {built.collection}: {built.catalog}")
    for note in built.notes:
        _say(f"  note: {note}")
    for name in built.unmatched:
        _note(f"  not described: {name}")


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            err.print(_INTERRUPTED_MESSAGE)
        sys.exit(code)
    except (LandfuseError, OSError) as error:
        err.print("[red]landfuse:[/red]", escape(str(error)), soft_wrap=True)
        sys.exit((Outcome.REJECTED if isinstance(error, RejectedError) else Outcome.FAILED).exit_code)
    except Exception as error:  # click's own errors carry an exit code and know how to show themselves
        if not hasattr(error, "exit_code"):
            raise
        if hasattr(error, "show"):
            error.show()
        sys.exit(error.exit_code)


def _make(area: Area, area_file: Path, made: Plan, no_prefect: bool, progress: Callable[[str, int, int], None]) -> Report:
    """Run what a plan holds. Prefect is started only when something is stale."""
    from pipeline import steps

    if not made.to_make:
        return steps.nothing_to_make(made)
    run_id = steps.start_run(area, made)
    if no_prefect:
        return steps.run(area, run_id, progress)
    progress("prefect", 0, 1)
    _embed_prefect(area)
    from flows.daily import run_embedded

    with _leave_soon_when_interrupted():
        run_embedded(area_file.resolve(), run_id, progress)
    return steps.load_report(area, run_id)


def _embed_prefect(area: Area) -> None:
    """Settings for a run in this process: an own home and a temporary server, unless an API is given. Nothing calls home."""
    if area.runtime.prefect.api_url:
        os.environ.setdefault("PREFECT_API_URL", area.runtime.prefect.api_url)
    if "PREFECT_API_URL" not in os.environ:
        home = area.runtime.root / "work" / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("PREFECT_HOME", str(home))
        os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
        os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")


@contextmanager
def _leave_soon_when_interrupted() -> Iterator[None]:
    """An interrupt from the keyboard ends the temporary Prefect server as well, which Prefect would then ask again and again."""

    def leave() -> None:
        err.print(_INTERRUPTED_MESSAGE)
        os._exit(_INTERRUPTED)

    def interrupt(*_: object) -> None:
        last = threading.Timer(_GRACE, leave)
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback that draws bars on standard error, or writes a line per finished stage where no terminal is."""
    if not err.is_terminal:
        yield _line
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=err) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _line(stage: str, done: int, total: int) -> None:
    if done == total:
        err.print(f"{stage} {done}/{total}")


def _show_plan(area: Area, made: Plan) -> None:
    table = Table("days", "status", "maturity", "why", title=f"{area.name} as of {made.as_of}", title_justify="left")
    for (status, maturity, reason), days in groupby(made.days, lambda day: (day.status, day.maturity, day.reason)):
        table.add_row(*_spans(day.day for day in days), status, maturity.name.lower(), reason)
    out.print(table)
    _say(
        f"{len(made.to_make)} of {_count(len(made.days), 'day')} to make; {_count(len(made.scenes), 'scene')}, {len(made.unread)} to read"
        + (f"; {_count(len(made.failed), 'scene')} unreadable" if made.failed else "")
        + (f"; {_count(len(made.skipped), 'catalog item')} skipped" if made.skipped else "")
    )
    for scene, error in made.failed.items():
        _note(f"unreadable {scene}: {error}")
    _note_skipped(made.skipped)


def _show_check(found: Preflight) -> None:
    months = found.months
    periods = months if len(months) <= _MOST_MONTHS else sorted({month[:4] for month in months})
    table = Table("", "found", "expected", "missing", "superseded", "duplicate", "skipped", "unreadable", "cloud", title_justify="left")
    table.title = f"{found.area}: {found.first}..{found.last} as of {found.as_of}"
    for column in table.columns[1:]:
        column.justify = "right"
    for source in found.sources:
        table.add_row(*_check_row(source.name, source, ""), style="bold")
        for period in periods:
            table.add_row(*_check_row(f"  {period}", source, period), end_section=period == periods[-1])
    out.print(table)
    for source in found.sources:
        _show_source(source, found.as_of)
    for problem in found.problems:
        _tell(f"{problem.outcome}: {problem.text}")
    _say(f"  calendar {found.picture}")


def _check_row(label: str, source: Inventory, period: str) -> list[str]:
    sums = source.sums(period)
    names = ("superseded", "duplicates", "skipped", "failed")
    missing = "–" if sums["missing_share"] is None else f"{sums['missing']} ({sums['missing_share']:.0%})" if sums["missing"] else ""
    cloud = "–" if sums["cloud_cover"] is None else f"{sums['cloud_cover']:.0f} %"
    expected = "–" if sums["expected"] is None else str(sums["expected"])
    return [label, str(sums["found"]), expected, missing, *(str(sums[name] or "") for name in names), cloud]


def _show_source(source: Inventory, as_of: date) -> None:
    """What does not fit into columns: freshness, bands that are not everywhere, platforms without a scene, what was skipped and why."""
    from pipeline.products.calendar import Found

    facts = []
    if source.newest:
        facts.append(f"newest {source.newest}, {_count((as_of - source.newest).days, 'day')} ago")
    if source.latency is not None:
        facts.append(f"items made {source.latency:.1f} days after (median)")
    facts += [f"band {band} in {share:.0%} of the scenes" for band, share in (source.bands or {}).items() if share < 1]
    if source.absent:
        facts.append(f"nothing of {', '.join(source.absent)}")
    _say(f"  {source.name}: {' · '.join(facts) or 'nothing'}")
    for kind in (Found.SKIPPED, Found.FAILED):
        entries = source.of(kind)
        for entry in entries[:_MOST_NAMED]:
            _note(f"    {kind} {entry.id}: {entry.note}")
        if len(entries) > _MOST_NAMED:
            _note(f"    and {len(entries) - _MOST_NAMED} more {kind}; all of them with --json")


def _show_report(area: Area, report: Report) -> None:
    colour = "red" if report.outcome is Outcome.FAILED else "yellow" if report.outcome.exit_code else "green"
    counts = ", ".join(f"{_count(count, 'day')} {name}" for name, count in report.counts.items())
    _say(Text.assemble((str(report.outcome), colour), f" {area.name}: {counts}"))
    if report.message:
        _tell(report.message)
    for (outcome, reason), days in groupby(report.days, lambda day: day[1:]):
        if outcome.exit_code:
            _say(f"  {', '.join(_spans(day for day, *_ in days))} {outcome}: {reason}")
    if report.seconds:
        stages = {name: seconds for name, seconds in report.seconds.items() if "." not in name}
        inside = {name.partition(".")[2]: seconds for name, seconds in report.seconds.items() if "." in name}
        _say(f"  {_seconds(stages)}")
        if inside:
            _say(f"  summed over workers: {_seconds(inside)}")
    if report.run_id:
        _say(f"  run {report.run_id}")
        _say(f"  cube {area.cube_path}")


def _show_refit(found: Refit, area_file: Path) -> None:
    if found.unread:
        _note(f"{_count(found.unread, 'scene')} not read yet: nothing was learnt from what the next run reads")
    if found.equal:
        _say(f"{found.area}: what is learnt now is what is pinned, {_version_told(found.pinned)}; no new version")
        return
    old, new = found.pinned["version"], found.candidate["version"]
    changed = [parameter for parameter in found.parameters if parameter.before != parameter.after]
    table = Table("parameter", "unit", f"version {old}, pinned", f"version {new}", title=found.area, title_justify="left")
    for parameter in changed:
        table.add_row(parameter.name, parameter.unit, _value(parameter.before), _value(parameter.after))
    out.print(table)
    _say(f"  {_count(len(found.parameters) - len(changed), 'other')} the same")
    for version in (found.pinned, found.candidate):
        _say(f"  {_version_told(version)}")
    if not found.days:
        _say("  no published day would be made again")
    else:
        stale = f", {found.stale} of them by the next run anyway" if found.stale else ""
        _say(f"  {_count(len(found.days), 'published day')} would be made again, {found.days[0]}..{found.days[-1]}{stale}")
        table = Table("band", "mean |Δ|", "RMS Δ", "99 %", "largest", f"σ of version {old}", f"σ of version {new}", title_justify="left")
        table.title = f"change of reflectance, sample windows of {_count(len(found.sample), 'day')}"
        for band in found.bands:
            figures = (band.mean, band.rms, band.p99, band.largest, band.std_before, band.std_after)
            table.add_row(band.band, *(f"{figure:.4f}" for figure in figures))
        out.print(table)
        if alone := sum(band.alone for band in found.bands):
            _say(f"  {alone} values known to one version only")
    kept = "saved" if found.new else "known already"
    _say(f"  version {new} is {kept}; runs use version {old}. To change over: landfuse refit {area_file} --pin {new}")


def _version_told(version: Mapping[str, Any]) -> str:
    return f"version {version['version']} (learnt from {version['trained_from']}..{version['trained_to']})"


def _value(value: Any) -> str:
    """A parameter in a table: numbers with four digits, longer things by their number."""
    if isinstance(value, list):
        return " ".join(map(_value, value)) if not any(isinstance(part, list | dict) for part in value) else _count(len(value), "value")
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _seconds(parts: Mapping[str, float]) -> str:
    return " · ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())


def _planned(area_file: Path, days: str | None, as_of: str | None) -> tuple[Area, Plan]:
    """The area and the plan of what a command was asked for."""
    from pipeline import steps

    area = load_area(area_file)
    first, last = _days(days)
    with _progress() as progress:
        return area, steps.plan(area, first, last, _day(as_of) if as_of else None, progress)


def _spans(days: Iterable[date]) -> list[str]:
    """Days in order as single days and as FIRST..LAST of consecutive ones."""
    spans = [tuple(map(day_from_number, run)) for run in runs_of(map(day_number, days))]
    return [str(first) if first == last else f"{first}..{last}" for first, last in spans]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _note_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    for item, reason in skipped:
        _note(f"skipped {item}: {reason}")


def _say(text: str | Text) -> None:
    """A line of the answer. It is never broken, so that paths can be copied and lines be searched for."""
    out.print(text, markup=False, soft_wrap=True)


def _tell(text: str) -> None:
    """A sentence of the answer, broken between words."""
    out.print(Padding(Text(text), (0, 0, 0, 2)))


def _note(text: str) -> None:
    """A line beside the answer."""
    err.print(text, markup=False, soft_wrap=True)


def _days(text: str | None) -> tuple[date | None, date | None]:
    if text is None:
        return None, None
    first, dots, last = text.partition("..")
    begin, end = _day(first), _day(last if dots else first)
    if end < begin:
        raise typer.BadParameter(f"{text!r} ends before it begins; write ranges as FIRST..LAST")
    return begin, end


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write days as YYYY-MM-DD, ranges as FIRST..LAST") from None


def _stage_told(learnt: Learnt) -> dict[str, Any]:
    """A stage of a training without its weights."""
    return {key: value for key, value in asdict(learnt).items() if key != "state"}


def _span(text: str) -> float:
    """Seconds from 90s, 30m or 2h.

    Raises
    ------
    ConfigurationError
        If it is nothing of the kind.
    """
    number, unit = text[:-1], {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    if unit is None or not number.replace(".", "", 1).isdigit() or float(number) <= 0:
        raise ConfigurationError(f"budget {text!r} is no time, expected a number with s, m or h", "for example --budget 30m")
    return float(number) * unit


def _is_area(path: Path) -> bool:
    """Whether a file says what an area file says, rather than a recipe of a training."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return False
    return isinstance(document, dict) and "science" in document


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(_finite(document), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    """A document with null for figures that are not defined: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
