"""The displacement of a coarse product: found on real and simulated images, judged over dates, taken off when it is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from torch import Tensor

from pipeline.compute.coarse import restore_block
from pipeline.compute.job import Job, applied
from pipeline.compute.registration import learn_shifts, read_registered
from pipeline.config import load_area
from pipeline.grid import Block, Window, day_number
from pipeline.observations.location import observations_path
from pipeline.observations.working import WorkingStore
from pipeline.operators.resample import area_mean
from pipeline.restoration.registration import Shift, combine, estimate_shift, move, shift_margin
from pipeline.sandbox.landscape import Canvas
from pipeline.sandbox.world import Scenery
from pipeline.steps.estimate import wide_windows
from pipeline.steps.make import job_of, with_parameters
from pipeline.steps.recipe import read_parameters
from pipeline.steps.report import registration_table
from tests.observations.scenes import DAY, UTM33, make_scene, small_grid
from tests.region import LAST, run, write_area

DATA = Path(os.environ.get("LANDFUSE_SHARED", Path(__file__).resolve().parents[2] / ".." / "shared")).resolve() / "data"
BOREAS, CIA = DATA / "boreas-estarfm-30m", DATA / "cia-3date-50m"
BOREAS_DATES = ("20010524", "20010711", "20010812")

CELL = 240.0
FOOTPRINT = 700.0
PIXELS = 320
BESIDE = 60
"""Fine pixels of ground around the image that the simulated sensor sees."""

needs_boreas = pytest.mark.skipif(not BOREAS.is_dir(), reason=f"the shared data set {BOREAS} is not here")
needs_cia = pytest.mark.skipif(not CIA.is_dir(), reason=f"the shared data set {CIA} is not here")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads cost more than they give on images as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------------------------ real images


def real_pair(folder: Path, fine: str, coarse: str, scale: int) -> tuple[Tensor, Tensor]:
    images = []
    for name in (fine, coarse):
        with rasterio.open(folder / name) as source:
            images.append(torch.from_numpy(source.read().astype(np.float32) / 1e4))
    return images[0], area_mean(images[1], scale)[0]


def boreas_pair(day: str, scale: int = 8) -> tuple[Tensor, Tensor]:
    return real_pair(BOREAS, f"landsat7_{day}.tif", f"modis_{day}.tif", scale)


@pytest.fixture(scope="module")
def boreas() -> dict[str, Shift]:
    return {day: estimate_shift([boreas_pair(day)], 500.0, 8, 30.0) for day in BOREAS_DATES}


@needs_boreas
def test_the_displacement_of_boreas_is_found_on_every_date_and_applied(boreas: dict[str, Shift]) -> None:
    for shift in boreas.values():
        # The set's description: the MODIS images belong 8 rows down and 16 to 18 columns to the right.
        assert shift.determinable
        assert abs(shift.dy - 8 * 30) < CELL / 4
        assert abs(shift.dx - 17 * 30) < CELL / 4
        assert max(shift.std_y, shift.std_x) < CELL / 8
    together = combine(boreas, CELL)
    assert together["applied"]
    assert together["agreeing"] == list(BOREAS_DATES)
    assert (together["dy"], together["dx"]) == (pytest.approx(240, abs=20), pytest.approx(495, abs=20))
    json.dumps(together, allow_nan=False)


@needs_boreas
@pytest.mark.parametrize("scale", [8, 16])
def test_one_band_of_boreas_says_what_all_bands_say(boreas: dict[str, Shift], scale: int) -> None:
    fine, coarse = boreas_pair("20010812", scale)
    for band in range(3):
        shift = estimate_shift([(fine[band : band + 1], coarse[band : band + 1])], 500.0, scale, 30.0)
        assert abs(shift.dy - boreas["20010812"].dy) < CELL / 4
        assert abs(shift.dx - boreas["20010812"].dx) < CELL / 4


@needs_boreas
def test_what_changes_between_the_dates_of_boreas_is_displaced_as_the_images_are_and_moved_lies_closer(boreas: dict[str, Shift]) -> None:
    (fine, coarse), (later_fine, later_coarse) = boreas_pair("20010524"), boreas_pair("20010812")
    change, seen = later_fine - fine, later_coarse - coarse
    found, together = estimate_shift([(change, seen)], 500.0, 8, 30.0), combine(boreas, CELL)
    assert abs(found.dy - together["dy"]) < CELL / 4
    assert abs(found.dx - together["dx"]) < CELL / 4
    moved, _ = move(seen, seen, together["dy"] / CELL, together["dx"] / CELL)
    truth, inner = area_mean(change, 8)[0], (slice(None), slice(4, 46), slice(4, 46))
    before, after = (((image - truth)[inner].square().mean((1, 2))).sqrt() for image in (seen, moved))
    assert (after < 0.93 * before).all()


@needs_cia
def test_cia_lies_where_it_should_and_is_left_alone() -> None:
    days = ("20011008", "20011017", "20011102")
    shifts = {day: estimate_shift([real_pair(CIA, f"landsat7_{day}.tif", f"mod09ga_{day}.tif", 5)], FOOTPRINT, 5, 50.0) for day in days}
    # The fine image was made by picking one pixel of four: it may itself be 25 m off.
    assert all(shift.determinable and np.hypot(shift.dy, shift.dx) < 45 for shift in shifts.values())
    assert not combine(shifts, 250.0)["applied"]


# ------------------------------------------------------------------------------------------------------------- simulated images


@pytest.fixture(scope="module")
def ground() -> list[np.ndarray]:
    """The simulated ground a week apart, (6, y, x), with a margin."""
    edge = PIXELS + 2 * BESIDE
    scenery = Scenery(1, Canvas(538_000.0, 4_923_000.0, 30.0, edge, edge), 44.2)
    return [scenery.surface(day).reflectance for day in (date(2023, 6, 5), date(2023, 6, 12))]


def displaced_view(ground: np.ndarray, down: float, right: float, rng: np.random.Generator, noise: float = 0.004) -> Tensor:
    """What a sensor of its own making sees: an uneven Gaussian footprint, native cells of 463 m, gain, noise, nearest neighbour onto cells.

    Its image must be moved by `down` and `right` metres to lie on the ground.
    """
    native = 463.3
    blurred = gaussian_filter1d(gaussian_filter1d(ground, 175 / 30, axis=1), 210 / 30, axis=2)
    count = int(PIXELS * 30 / native) + 4
    origin = -1.5 * native + rng.uniform(0, native, 2)
    rows, cols = (first + np.arange(count) * native for first in origin)
    y, x = np.meshgrid(rows + down, cols + right, indexing="ij")
    places = [BESIDE + y / 30 - 0.5, BESIDE + x / 30 - 0.5]
    values = np.stack([map_coordinates(band, places, order=1, mode="nearest") for band in blurred])
    values = values * rng.uniform(0.95, 1.05, (len(values), 1, 1)) + rng.normal(0, noise, values.shape)
    parts = (np.arange(PIXELS // 2) + 0.5) * 60
    row, col = (np.rint((parts - first) / native).astype(int) for first in origin)
    image = values[:, row][:, :, col]
    return torch.from_numpy(image.reshape(len(image), PIXELS // 8, 4, PIXELS // 8, 4).mean((2, 4)).astype(np.float32))


def fine_view(ground: np.ndarray, cloud: float, rng: np.random.Generator) -> Tensor:
    image = ground[:, BESIDE:-BESIDE, BESIDE:-BESIDE] + rng.normal(0, 0.004, (len(ground), PIXELS, PIXELS))
    sky = gaussian_filter(rng.normal(size=image.shape[1:]), 12)
    image[:, sky > np.quantile(sky, 1 - cloud)] = np.nan
    return torch.from_numpy(image.astype(np.float32))


def faded(ground: list[np.ndarray], contrast: float) -> list[np.ndarray]:
    return [image.mean((1, 2), keepdims=True) * (1 - contrast) + contrast * image for image in ground]


@pytest.mark.parametrize(
    ("contrast", "cloud", "rmse"),
    [(1.0, 0.0, 20.0), (1.0, 0.3, 25.0), (1.0, 0.6, 50.0), (0.3, 0.0, 20.0), (0.1, 0.3, 60.0)],
)
def test_injected_shifts_are_found_with_the_error_that_is_stated(
    ground: list[np.ndarray], contrast: float, cloud: float, rmse: float
) -> None:
    rng = np.random.default_rng(7)
    before, after = faded(ground, contrast)
    errors, stated = [], []
    for _ in range(6):
        injected = rng.uniform(-CELL / 2, CELL / 2, 2)
        pair = fine_view(before, cloud, rng), displaced_view(after, *injected, rng)
        shift = estimate_shift([pair], FOOTPRINT, 8, 30.0)
        assert shift.determinable, shift.why
        errors.append([shift.dy - injected[0], shift.dx - injected[1]])
        stated.append([shift.std_y, shift.std_x])
    error, sigma = np.array(errors), np.array(stated)
    assert np.sqrt((error**2).mean()) < rmse
    assert 0.4 < np.sqrt(((error / sigma) ** 2).mean()) < 1.7
    assert (np.abs(error) < 4 * sigma).all()


def test_a_flat_scene_and_one_of_another_place_say_nothing(ground: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    flat, _ = faded(ground, 0.0)
    nothing = estimate_shift([(fine_view(flat, 0.0, rng), displaced_view(flat, 60, 60, rng))], FOOTPRINT, 8, 30.0)
    assert (nothing.determinable, nothing.why) == (False, "too little texture in common")
    elsewhere = displaced_view(ground[1][:, ::-1, ::-1].copy(), 0, 0, rng)
    assert not estimate_shift([(fine_view(ground[0], 0.0, rng), elsewhere)], FOOTPRINT, 8, 30.0).determinable
    assert not combine({"one": nothing, "two": nothing}, CELL)["applied"]


def test_a_bright_side_of_the_image_decides_nothing(ground: list[np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    slope = np.linspace(0, 0.3, PIXELS // 8, dtype=np.float32)
    fine, coarse = fine_view(ground[0], 0.0, rng), displaced_view(ground[1], 80, -60, rng)
    shift = estimate_shift([(fine, coarse + torch.from_numpy(slope))], FOOTPRINT, 8, 30.0)
    assert (shift.dy, shift.dx) == (pytest.approx(80, abs=40), pytest.approx(-60, abs=40))
    flat, _ = faded(ground, 0.0)
    bright = torch.from_numpy(np.linspace(0, 0.3, PIXELS, dtype=np.float32))
    image = fine_view(flat, 0.0, rng) + bright
    assert not estimate_shift([(image, displaced_view(flat, 0, 0, rng) + torch.from_numpy(slope))], FOOTPRINT, 8, 30.0).determinable


def test_texture_in_one_direction_is_not_enough() -> None:
    rng = np.random.default_rng(3)
    stripes = gaussian_filter1d(rng.normal(size=PIXELS + 2 * BESIDE), 8)[None, :, None] * np.ones((2, 1, PIXELS + 2 * BESIDE))
    fields = 0.2 + 0.2 * stripes
    shift = estimate_shift([(fine_view(fields, 0.0, rng), displaced_view(fields, 50, 50, rng))], FOOTPRINT, 8, 30.0)
    assert not shift.determinable


def test_too_little_clear_ground_is_said(ground: list[np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    shift = estimate_shift([(fine_view(ground[0], 0.97, rng), displaced_view(ground[1], 0, 0, rng))], FOOTPRINT, 8, 30.0)
    assert shift.why.startswith("only ")
    assert estimate_shift([], FOOTPRINT, 8, 30.0).why == "no clear fine image"


# ------------------------------------------------------------------------------------------------------------------- over dates


def said(dy: float, dx: float, std: float = 12.0) -> Shift:
    return Shift(dy, dx, std, std, 0.9, 1000, True)


UNKNOWN = Shift(0.0, 0.0, np.inf, np.inf, 0.1, 1000, False, "too little texture in common")


def test_dates_that_agree_are_averaged_and_those_that_say_nothing_are_listed() -> None:
    together = combine({"a": said(100, -60), "b": UNKNOWN, "c": said(110, -50), "d": said(95, -65)}, CELL)
    assert together["applied"]
    assert together["dy"] == pytest.approx(101.7, abs=0.1)
    assert together["dx"] == pytest.approx(-58.3, abs=0.1)
    assert together["std_y"] == pytest.approx(np.hypot(12, 15) / np.sqrt(3), abs=0.1)
    assert together["agreeing"] == ["a", "c", "d"]
    assert [(one["date"], one["dy"]) for one in together["dates"]] == [("a", 100), ("b", None), ("c", 110), ("d", 95)]


def test_one_outlier_among_many_dates_does_not_count() -> None:
    together = combine({"a": said(100, 0), "b": said(105, 5), "c": said(-150, 90), "d": said(98, -4)}, CELL)
    assert together["applied"]
    assert together["agreeing"] == ["a", "b", "d"]
    assert together["dy"] == pytest.approx(101, abs=1)


@pytest.mark.parametrize(
    ("shifts", "why"),
    [
        ({"a": said(100, 0), "b": said(-100, 0)}, "the dates contradict each other"),
        ({"a": said(150, 0), "b": said(150, 0), "c": said(-150, 90), "d": said(-20, -200)}, "the dates contradict each other"),
        ({"a": said(100, 0)}, "one date alone"),
        ({"a": said(20, 15), "b": said(25, -20)}, "not significant"),
        ({"a": said(26, 0, 1), "b": said(27, 0, 1), "c": said(26, 1, 1), "d": said(27, 1, 1)}, "below 0.125 of a cell"),
        ({"a": UNKNOWN}, "not determinable on any date"),
        ({}, "no clear fine image"),
    ],
)
def test_what_is_not_sure_is_not_applied(shifts: dict[str, Shift], why: str) -> None:
    together = combine(shifts, CELL)
    assert (together["applied"], together["why"]) == (False, why)
    assert applied({"modis": together}) == {}
    assert f"not applied: {why}" in registration_table({"modis": together})


# ------------------------------------------------------------------------------------------------------------------ application


def test_moving_is_bilinear_interpolation_as_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    values, std = torch.rand(3, 2, 9, 11, generator=generator), torch.rand(3, 2, 9, 11, generator=generator)
    down, right = 1.25, -0.6
    moved, error = move(values, std, down, right)
    rows, cols = np.meshgrid(np.arange(9) - down, np.arange(11) - right, indexing="ij")
    for before, after in ((values, moved), (std, error)):
        expected = map_coordinates(before[1, 0].double().numpy(), [rows, cols], order=1, mode="nearest")
        np.testing.assert_allclose(after[1, 0].numpy(), expected, atol=1e-6)


def test_whole_cells_are_moved_without_a_change_and_the_outermost_stand_for_what_lies_outside() -> None:
    values = torch.arange(12.0).reshape(1, 3, 4)
    moved, _ = move(values, values, 1.0, -1.0)
    assert moved[0].tolist() == [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]
    torch.testing.assert_close(move(values, values, 0.0, 0.0)[0], values)


def test_a_moved_cell_is_known_where_the_cell_that_covers_most_of_it_is() -> None:
    values = torch.full((1, 6, 6), 0.2)
    values[0, 2, 2] = torch.nan
    moved, error = move(values, torch.full_like(values, 0.01), 0.3, 0.3)
    assert torch.isnan(moved).nonzero().tolist() == [[0, 2, 2]]
    torch.testing.assert_close(moved.nan_to_num(0.2), torch.full_like(values, 0.2))
    torch.testing.assert_close(error.nan_to_num(0.01), torch.full_like(values, 0.01))


def test_no_bit_of_a_moved_cell_depends_on_the_window() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(4, 2, 20, 24, generator=generator)
    values[torch.rand(values.shape, generator=generator) < 0.2] = torch.nan
    shift = (1.4, -2.7)
    whole, spread = move(values, values / 10, *shift)
    margin = shift_margin(*shift)
    for window in (Window(0, 0, 5, 5), Window(8, 10, 4, 4), Window(15, 16, 5, 8)):
        wide = window.padded(margin).clipped(20, 24)
        part = (..., *window.relative_to(wide).slices)
        cut = values[(..., *wide.slices)]
        for one, other in zip(move(cut, cut / 10, *shift), (whole, spread), strict=True):
            torch.testing.assert_close(one[part], other[(..., *window.slices)], rtol=0, atol=0, equal_nan=True)


PRODUCTS = ("modis-43A4-061", "modis-09Q1-061")
FIRST = day_number(DAY)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job over the observations of 16 × 16 cells on six days, of two products, of which one is moved."""
    grid = small_grid(size=3840)
    store = WorkingStore.create(tmp_path / "o.zarr", grid, ("red", "nir08"), PRODUCTS, 64)
    rng = np.random.default_rng(0)
    for day in range(6):
        for product in PRODUCTS:
            scene = make_scene(
                f"{product}-{day}", {}, UTM33, (30.0, 0.0, grid.west, 0.0, -30.0, grid.north), (128, 128), DAY + timedelta(day), product
            )
            [row] = store.allocate([scene])
            values = rng.uniform(0.05, 0.5, (2, 16, 16)).astype(np.float32)
            values[:, rng.uniform(size=(16, 16)) < 0.2] = np.nan
            store.write_coarse(row, grid.window.coarse(8), values, values / 10, np.ones_like(values))
            store.complete(row, grid.window.coarse(8), 1.0)
    store.flush()
    restoration = {"window": 8, "tau": 4.0, "shifts": {PRODUCTS[0]: (150.0, -310.0)}}
    return Job(str(store.path), "", grid, ("red", "nir08"), "residual", restoration=restoration)


def test_what_is_applied_is_what_moving_by_hand_gives_and_other_products_stay(job: Job) -> None:
    store, cells = WorkingStore.open(job.observations), job.grid.window.coarse(8)
    raw = store.read_coarse(cells, FIRST, FIRST + 5)
    values, std, days = read_registered(job, store, cells, FIRST, FIRST + 5)
    assert days.tolist() == raw.days.tolist()
    for at, product in enumerate(raw.product):
        before = torch.from_numpy(raw.values[at]), torch.from_numpy(raw.std[at])
        expected = move(*before, 150 / CELL, -310 / CELL) if product == PRODUCTS[0] else before
        for one, other in zip((values[at], std[at]), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_blocks_of_any_size_restore_the_same_moved_series(job: Job) -> None:
    store, cells, days = WorkingStore.open(job.observations), job.grid.window.coarse(8), range(FIRST, FIRST + 6)
    restore_block(job, Block(0, 0, job.grid.window), days)
    whole = store.read_restored(cells, FIRST, FIRST + 5)
    store.write_restored(cells, FIRST, *(np.zeros_like(part) for part in whole))
    for block in job.grid.blocks(64):
        restore_block(job, block, days)
    for one, other in zip(store.read_restored(cells, FIRST, FIRST + 5), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    unmoved = replace(job, restoration={**job.restoration, "shifts": {}})
    restore_block(unmoved, Block(0, 0, job.grid.window), days)
    assert not np.array_equal(store.read_restored(cells, FIRST, FIRST + 5)[0], whole[0], equal_nan=True)


def test_without_footprints_nothing_is_looked_for_and_without_fine_images_it_is_said(job: Job) -> None:
    assert learn_shifts(job, [job.grid.window], {}, FIRST, FIRST + 5) == {}
    found = learn_shifts(job, [job.grid.window], {PRODUCTS[0]: FOOTPRINT}, FIRST, FIRST + 5)
    assert (found[PRODUCTS[0]]["applied"], found[PRODUCTS[0]]["why"]) == (False, "no clear fine image")


def test_the_windows_for_shifts_cover_a_small_area_and_do_not_overlap_in_a_large_one(tmp_path: Path) -> None:
    small = load_area(write_area(tmp_path, tmp_path))
    assert wide_windows(small) == [small.grid.window]
    west, south, _, _ = small.science.grid.bounds
    grid = small.science.grid.model_copy(update={"bounds": (west, south, west + 2400 * 30, south + 400 * 30)})
    large = small.model_copy(update={"science": small.science.model_copy(update={"grid": grid})})
    one, other = wide_windows(large)
    assert (one.height, one.width) == (other.height, other.width) == (large.grid.height, 512)
    assert 0 < one.col < one.col + one.width <= other.col < other.col + other.width < large.grid.width


# ------------------------------------------------------------------------------------------------------------------ the whole way


def displaced_sandbox(sandbox: Path, folder: Path, east: float) -> Path:
    """A copy of the simulated region whose MODIS images claim to lie `east` metres farther east than they do."""
    shutil.copytree(sandbox, folder)
    for path in (folder / "modis-43A4-061").rglob("MCD43A4.*.json"):
        item = json.loads(path.read_text(encoding="utf-8"))
        transform = item["properties"]["proj:transform"]
        transform[2] += east
        path.write_text(json.dumps(item), encoding="utf-8")
        for name in path.parent.glob("*.tif"):
            with rasterio.open(name, "r+") as image:
                image.transform = rasterio.Affine(*transform)
    return folder


@pytest.mark.slow
def test_a_region_with_a_displaced_coarse_product_is_put_right_and_says_so(sandbox: Path, published: Path, tmp_path: Path) -> None:
    path = write_area(tmp_path / "area", displaced_sandbox(sandbox, tmp_path / "displaced", -200.0))
    report = run(load_area(path))
    area = load_area(path)
    learnt = read_parameters(area)
    found = learnt["registration"]["modis-43A4-061"]
    assert found["applied"]
    assert len(found["agreeing"]) >= 4
    assert (found["dy"], found["dx"]) == (pytest.approx(0, abs=30), pytest.approx(200, abs=30))
    assert report.registration == learnt["registration"]
    folder = area.runtime.root / "runs" / report.run_id
    assert json.loads((folder / "report.json").read_text())["registration"] == learnt["registration"]
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "moved south [m]" in text
        assert "applied" in text

    in_place = read_parameters(load_area(published))["registration"]["modis-43A4-061"]
    assert not in_place["applied"]

    cells, day = area.grid.window.coarse(area.grid.scale), day_number(LAST)
    truth = WorkingStore.open(observations_path(load_area(published))).read_coarse(cells, day, day).values[0]
    store, inner = WorkingStore.open(observations_path(area)), (slice(None), slice(2, -2), slice(2, -2))
    raw = read_registered(job_of(area), store, cells, day, day)[0][0].numpy()
    moved = read_registered(with_parameters(job_of(area), learnt), store, cells, day, day)[0][0].numpy()
    off, left = (np.sqrt(np.nanmean((image - truth)[inner] ** 2, axis=(1, 2))) for image in (raw, moved))
    assert (left < 0.6 * off).all()
