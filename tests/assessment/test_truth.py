"""A cube made from a simulated world is scored against that world, split by what the day's scenes saw."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.assessment.contenders import line_up
from pipeline.assessment.scoring import score
from pipeline.assessment.tables import verdict
from pipeline.assessment.truth import CLEAR, CLOUDED, PUBLISHED, STRATA, UNSEEN, read_published, scene_cover, world_samples, world_truth
from pipeline.assessment.withheld import WITHHELD, withheld_samples
from pipeline.catalog.scene import Scene
from pipeline.compute.block import process_block
from pipeline.compute.job import Job, Task
from pipeline.errors import ConfigurationError
from pipeline.grid import Grid, Window, day_number
from pipeline.observations.working import WorkingStore
from pipeline.sandbox.world import World
from pipeline.store.encoding import encode_reflectance
from pipeline.store.publish import Entry, Publisher
from pipeline.store.staging import create_staging
from pipeline.store.template import create_cube
from pipeline.vocabulary import Maturity, Provenance, Reason

BANDS = ("red", "nir08")
FIRST = date(2023, 6, 1)
DAYS = tuple(day_number(FIRST) + offset for offset in range(6))
CLOUDY = FIRST + timedelta(days=2)
NOISE = 0.004


def scene(grid: Grid, day: date) -> Scene:
    return Scene(
        id=f"scene-{day.isoformat()}",
        collection="landsat-c2-l2",
        product="landsat-c2-l2",
        role="fine",
        acquisition=f"L8/190/029/{day.isoformat()}",
        datetime=datetime(day.year, day.month, day.day, 10, tzinfo=UTC),
        day=day,
        first_day=day,
        last_day=day,
        centre=0.0,
        platform="landsat-8",
        stamp="1",
        tier=1,
        row=29,
        crs=grid.crs,
        transform=grid.transform,
        shape=grid.shape,
        bounds=grid.lonlat_bounds,
        assets={},
        properties={},
    )


@pytest.fixture(scope="module")
def world() -> World:
    grid = Grid.from_bounds("EPSG:32633", (500_175, 4_900_815, 503_055, 4_903_695))
    return World(3, grid, FIRST, FIRST + timedelta(days=30))


@pytest.fixture(scope="module")
def job(world: World, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Observations every eighth day, the middle one clouded in its western half, and a coarse series without error."""
    folder = tmp_path_factory.mktemp("area")
    grid, rng = world.grid, np.random.default_rng(0)
    truth = world_truth(world, BANDS)
    store = WorkingStore.create(folder / "observations.zarr", grid, BANDS, ["mcd43a4"], 64)
    observed = [CLOUDY + timedelta(days=8 * step) for step in range(-3, 4)]
    for row in store.allocate([scene(grid, day) for day in observed]):
        values = truth(day_number(row.scene.day), grid.window)
        values = values + rng.normal(0, NOISE, values.shape).astype(np.float32)
        reasons = np.zeros(grid.shape, np.uint16)
        if row.scene.day == CLOUDY:
            reasons[:, : grid.width // 2] = Reason.CLOUD
            reasons[:16] = Reason.FILL
        store.write_fine(row, grid.window, encode_reflectance(values), reasons)
        store.complete(row, grid.window, 1.0, (NOISE,) * len(BANDS))
    store.flush()
    span = range(DAYS[0] - 70, DAYS[-1] + 71)
    rows, cols = grid.coarse_shape
    coarse = np.stack([truth(day, grid.window).reshape(2, rows, 8, cols, 8).mean((2, 4)) for day in span])
    store.write_restored(grid.window.coarse(8), span[0], coarse, np.full_like(coarse, 0.005), np.ones((len(span), rows, cols), np.float32))
    cube = create_cube(folder / "fused.zarr", grid, BANDS, FIRST, 64)
    staging = create_staging(cube, "test", DAYS)
    job = Job(str(folder / "observations.zarr"), str(staging), grid, BANDS, "residual")
    for block in grid.blocks(64):
        process_block(job, Task(block, DAYS, tuple(range(len(DAYS)))))
    entries = [Entry(day, block.row, block.col, 1, Maturity.FINAL) for day in DAYS for block in grid.blocks(64)]
    Publisher(cube).publish(staging, entries, method="residual")
    return job


@pytest.fixture(scope="module")
def cube(job: Job) -> Path:
    return Path(job.observations).parent / "fused.zarr"


def test_a_cube_and_every_contender_are_scored_in_every_stratum(world: World, job: Job, cube: Path) -> None:
    contenders = line_up("residual", {}, {})
    controls = frozenset(contender.name for contender in contenders if contender.control)
    samples = world_samples(cube, world_truth(world, BANDS), job, contenders, DAYS, list(job.grid.blocks(64)))
    rows = score(samples, job.grid.scale, controls)
    names = {PUBLISHED, *(contender.name for contender in contenders)}
    assert {(row.stratum, row.name) for row in rows} == {(stratum, name) for stratum in STRATA for name in names}
    pixels = {stratum: {row.pixels for row in rows if row.stratum == stratum} for stratum in STRATA}
    height, width = job.grid.shape
    assert pixels[CLEAR] == {(height - 16) * width // 2}
    assert pixels[CLOUDED] == {(height - 16) * width // 2}
    assert pixels[UNSEEN] == {height * width * 5 + 16 * width}
    by_key = {(row.stratum, row.name): row for row in rows}
    assert by_key[CLEAR, PUBLISHED].rmse == pytest.approx(NOISE, rel=0.1)
    assert by_key[UNSEEN, PUBLISHED].rmse == pytest.approx(by_key[UNSEEN, "residual"].rmse, rel=0.02)
    assert by_key[UNSEEN, "residual"].rmse < by_key[UNSEEN, "coarse"].rmse
    assert all(row.control == (row.name not in (PUBLISHED, "residual")) for row in rows)
    assert verdict(rows, "residual", sorted(controls), CLOUDED).startswith("On clouded pixels residual")


def test_a_withheld_image_is_scored_where_it_is_clear(job: Job, cube: Path, tmp_path: Path) -> None:
    day = FIRST + timedelta(days=4)
    images = WorkingStore.create(tmp_path / "withheld.zarr", job.grid, BANDS, (), 64)
    (row,) = images.allocate([scene(job.grid, day)])
    reasons = np.zeros(job.grid.shape, np.uint16)
    reasons[:, :10] = Reason.CLOUD
    images.write_fine(row, job.grid.window, encode_reflectance(np.full((2, *job.grid.shape), 0.2, np.float32)), reasons)
    images.complete(row, job.grid.window, 1.0, (NOISE,) * len(BANDS))
    images.flush()
    contenders = line_up("residual", {}, {})
    samples = withheld_samples(cube, images, job, contenders, [day_number(day), day_number(day) + 1], list(job.grid.blocks(64)))
    rows = score(samples, job.grid.scale)
    assert {row.name for row in rows} == {PUBLISHED, *(contender.name for contender in contenders)}
    assert {row.pixels for row in rows} == {job.grid.height * (job.grid.width - 10)}
    assert {row.stratum for row in rows} == {WITHHELD}


def test_the_published_day_is_read_window_by_window(job: Job, cube: Path) -> None:
    values, provenance = read_published(cube, day_number(CLOUDY), BANDS, Window(40, 40, 20, 30))
    assert values.shape == (2, 20, 30)
    assert np.isfinite(values).all()
    assert (provenance[:, 8:] == Provenance.OBSERVED).all()
    assert (provenance[:, :8] != Provenance.OBSERVED).all()


def test_a_day_the_cube_does_not_hold_is_refused(cube: Path) -> None:
    with pytest.raises(ValueError, match="holds 6 days"):
        read_published(cube, DAYS[-1] + 1, BANDS, Window(0, 0, 8, 8))


def test_a_scene_covers_its_clouds_but_not_its_fill(job: Job) -> None:
    store = WorkingStore.open(job.observations)
    cover = scene_cover(store, Window(8, 0, 16, 16), day_number(CLOUDY))
    assert not cover[:8].any()
    assert cover[8:].all()
    assert not scene_cover(store, job.grid.window, day_number(CLOUDY) + 1).any()


def test_the_truth_of_a_window_is_the_part_of_the_whole(world: World) -> None:
    truth = world_truth(world, BANDS)
    whole, part = truth(DAYS[0], world.grid.window), truth(DAYS[0], Window(16, 24, 40, 32))
    np.testing.assert_array_equal(part, whole[:, 16:56, 24:56])
    np.testing.assert_array_equal(whole[0], world.truth(FIRST)[2])


def test_a_world_has_no_truth_of_an_index(world: World) -> None:
    with pytest.raises(ConfigurationError, match="ndvi"):
        world_truth(world, ("ndvi",))
