"""The `landfuse` command. Answers go to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipeline import __version__
from pipeline.config import Area, load_area
from pipeline.errors import LandfuseError, RejectedError
from pipeline.vocabulary import Outcome

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

_WIDTH = None if sys.stdout.isatty() else 140  # a pipe or a log has no width of its own, and tables need some
out = Console(width=_WIDTH)
err = Console(stderr=True, width=_WIDTH)

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
    bounds: Annotated[
        tuple[float, float, float, float], typer.Option(help="west south east north in metres of that CRS.")
    ] = (500000, 4900000, 530720, 4930720),
    start: Annotated[str, typer.Option(help="First day of the cube (YYYY-MM-DD).")] = "2024-01-01",
) -> None:
    """Write a commented area file to start from."""
    from pipeline.starter import starter_area

    if path.exists():
        raise LandfuseError(f"{path} exists already", "give another name, or remove it first")
    path.write_text(starter_area(path.stem, crs, bounds, date.fromisoformat(start)), encoding="utf-8")
    load_area(path)
    out.print(f"wrote {path}; next: landfuse plan {path}")


@app.command(epilog="Example: `landfuse plan area.yaml --days 2024-06-01..2024-06-30`")
def plan(area_file: AreaFile, days: Days = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Say what a run would make and why, without making it."""
    from pipeline import steps

    area = load_area(area_file)
    first, last = _days(days)
    with _progress(as_json) as progress:
        made = steps.plan(area, first, last, _day(as_of), progress)
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
    with _progress(as_json) as progress:
        made = steps.plan(area, first, last, _day(as_of), progress)
        if made.to_make:
            run_id = steps.start_run(area, made)
            if no_prefect:
                report = steps.run(area, run_id, progress)
            else:
                _embed_prefect(area)
                from flows.daily import run_embedded

                run_embedded(area_file.resolve(), run_id, progress)
                report = steps.load_report(area, run_id)
        else:
            report = steps.nothing_to_make(made)
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
        out.print(f"{area.name}: nothing is published at {area.cube_path}; next: landfuse run {area_file}")
        return
    table = Table("", "", title=f"{area.name} · {area.cube_path}", show_header=False)
    for key in ("first", "last", "published", "missing", "generation", "last_run"):
        table.add_row(key.replace("_", " "), str(found[key]))
    for name, count in found["maturity"].items():
        table.add_row(f"maturity {name}", f"{count} days")
    out.print(table)


@app.command(epilog="Example: `landfuse score area.yaml --json`")
def score(area_file: AreaFile, as_json: AsJson = False) -> None:
    """Score the days that the area withholds, beside the six controls."""
    from pipeline.steps.score import score_withheld

    area = load_area(area_file)
    with _progress(as_json) as progress:
        found = score_withheld(area, progress)
    if as_json:
        _print_json(found.to_dict())
        return
    out.print(found.table())
    out.print(found.verdict)


@app.command(epilog="Example: `landfuse methods --json`")
def methods(as_json: AsJson = False) -> None:
    """List the fusion methods: what they are, what they need, how far they look."""
    from pipeline.fusion.registry import specs

    rows: list[dict[str, Any]] = []
    for name, spec in specs().items():
        options = spec.options()
        before, after = options.support()
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "source": spec.source,
                "needs": sorted(spec.needs),
                "control": spec.control,
                "support_days": [before, after],
                "halo_m": options.halo(),
                "options": {key: field.default for key, field in spec.options.model_fields.items()},
            }
        )
    if as_json:
        _print_json(rows)
        return
    table = Table("method", "what it does", "source", "needs", "support [d]", "halo [m]")
    for row in rows:
        support = f"−{row['support_days'][0]} +{row['support_days'][1]}"
        name = f"{row['name']} (control)" if row["control"] else f"[bold]{row['name']}[/bold]"
        table.add_row(name, row["title"], row["source"], ", ".join(row["needs"]), support, f"{row['halo_m']:.0f}")
    out.print(table)


@app.command(epilog="Example: `landfuse demo demo --size 512 --days 10`")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo is made.")] = Path("demo"),
    size: Annotated[int, typer.Option(help="Edge of the area, fine pixels.")] = 1024,
    days: Annotated[int, typer.Option(help="Days to publish.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the simulated region.")] = 7,
    workers: Annotated[int, typer.Option(help="Dask worker processes.")] = 2,
    no_prefect: Annotated[bool, typer.Option("--no-prefect", help="Run the same steps as plain functions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a region, publish a month of it, and score it against the known truth beside the six controls."""
    from pipeline import demo as demonstration
    from pipeline import steps

    with _progress(as_json) as progress:
        area_file = demonstration.prepare(folder, size, days, seed, workers, progress)
        area = load_area(area_file)
        made = steps.plan(area, progress=progress)
        if not made.to_make:
            report = steps.nothing_to_make(made)
        else:
            run_id = steps.start_run(area, made)
            if no_prefect:
                report = steps.run(area, run_id, progress)
            else:
                _embed_prefect(area)
                from flows.daily import run_embedded

                run_embedded(area_file, run_id, progress)
                report = steps.load_report(area, run_id)
        score = demonstration.score(area, progress)
    if as_json:
        _print_json({"report": report.to_dict(), "score": score.to_dict()})
    else:
        _show_report(area, report)
        out.print(score.table())
        out.print(score.verdict)
        for line in demonstration.next_steps(area, area_file):
            out.print(line)
    raise typer.Exit(report.outcome.exit_code)


@catalog_app.command("search", epilog="Example: `landfuse catalog search area.yaml --days 2024-06-01..2024-06-30`")
def catalog_search(area_file: AreaFile, days: Days = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the scenes a run of these days would look at."""
    from pipeline import steps

    area = load_area(area_file)
    first, last = _days(days)
    with _progress(as_json) as progress:
        made = steps.plan(area, first, last, _day(as_of), progress)
    if as_json:
        _print_json({"scenes": [scene.to_dict() for scene in made.scenes], "skipped": [list(pair) for pair in made.skipped]})
        return
    table = Table("day", "product", "scene", "support", "platform")
    for scene in made.scenes:
        table.add_row(str(scene.day), scene.product, scene.id, f"{scene.first_day}..{scene.last_day}", scene.platform)
    out.print(table)
    for item, reason in made.skipped:
        err.print(f"skipped {item}: {reason}", highlight=False, markup=False)


@catalog_app.command(
    "build", epilog="Example: `landfuse catalog build data --template 'LC8{path:3}{row:3}{date:%Y%j}LGN00_{asset}.tif' --crs EPSG:32649`"
)
def catalog_build(
    folder: Annotated[Path, typer.Argument(help="Folder of GeoTIFFs.")],
    template: Annotated[str, typer.Option(help="Form of the file names: {date:%Y%j}, {asset}, {name}, {name:width}, {*}.")],
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder of the catalog; the folder itself when left out.")] = None,
    collection: Annotated[str | None, typer.Option(help="Collection id; the name of the folder when left out.")] = None,
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
    from pipeline.catalog.build import build_catalog

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
        first=_day(first),
        step=step,
        window=window,
    )
    if as_json:
        _print_json(asdict(built))
        return
    out.print(f"{built.items} items of {built.files} files in collection {built.collection}: {built.catalog}", soft_wrap=True)
    for note in built.notes:
        out.print(f"  note: {note}", soft_wrap=True, markup=False)
    for name in built.unmatched:
        err.print(f"  not described by the template: {name}", markup=False)


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    try:
        app(standalone_mode=False)
    except LandfuseError as error:
        err.print("[red]landfuse:[/red]", escape(str(error)), highlight=False, soft_wrap=True)
        sys.exit((Outcome.REJECTED if isinstance(error, RejectedError) else Outcome.FAILED).exit_code)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:  # click's own errors carry an exit code and know how to show themselves
        if not hasattr(error, "exit_code"):
            raise
        if hasattr(error, "show"):
            error.show()
        sys.exit(error.exit_code)


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
def _progress(as_json: bool) -> Iterator[Any]:
    """A progress callback drawn on standard error; silent for machines and where nobody watches a terminal."""
    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=as_json,
    )
    tasks: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    with bars:
        yield show


def _show_plan(area: Area, made: Any) -> None:
    table = Table("days", "status", "maturity", "why", title=f"{area.name}: {made.first}..{made.last} as of {made.as_of}")
    for days in _alike(made.days):
        span = str(days[0].day) if len(days) == 1 else f"{days[0].day}..{days[-1].day}"
        table.add_row(span, days[0].status, days[0].maturity.name.lower(), days[0].reason)
    out.print(table)
    out.print(
        f"{len(made.to_make)} of {len(made.days)} days to make; {len(made.scenes)} scenes, {len(made.unread)} to read"
        + (f", {len(made.failed)} unreadable" if made.failed else "")
        + (f"; {len(made.skipped)} catalog items skipped" if made.skipped else "")
    )
    for scene, error in made.failed.items():
        err.print(f"unreadable {scene}: {error}", highlight=False, markup=False)
    for item, reason in made.skipped[:10]:
        err.print(f"skipped {item}: {reason}", highlight=False, markup=False)


def _alike(days: Any) -> Iterator[list[Any]]:
    """Runs of consecutive days with the same status, maturity and reason."""
    group: list[Any] = []
    for day in days:
        if group and (day.status, day.maturity, day.reason) != (group[0].status, group[0].maturity, group[0].reason):
            yield group
            group = []
        group.append(day)
    if group:
        yield group


def _show_report(area: Area, report: Any) -> None:
    colour = {Outcome.PUBLISHED: "green", Outcome.UNCHANGED: "green"}.get(report.outcome, "yellow" if report.outcome.exit_code else "green")
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    out.print(f"[{colour}]{report.outcome}[/{colour}] {area.name}: {counts} days" + (f" · {report.message}" if report.message else ""))
    if report.seconds:
        out.print("  " + " · ".join(f"{name} {seconds:.1f} s" for name, seconds in report.seconds.items()))
    if report.run_id:
        out.print(f"  run {report.run_id} · cube {area.cube_path}", soft_wrap=True)


def _days(text: str | None) -> tuple[date | None, date | None]:
    if text is None:
        return None, None
    first, _, last = text.partition("..")
    begin = _day(first)
    return begin, _day(last) if last else begin


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LandfuseError(f"{text!r} is not a day", "write days as YYYY-MM-DD, ranges as FIRST..LAST") from None


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


