"""Screening refuses what is contaminated, respects what has changed, and says the same whatever else is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.fusion.interface import FusionInput
from pipeline.screening.options import ScreeningOptions
from pipeline.screening.screen import Screened, applied, screen
from pipeline.vocabulary import BANDS, Cause, Surface, Verdict
from tests.screening.places import CHAR, CLOUD, FIELD, SNOW, SOIL, WATER, banded, first, hidden, painted, place, shaded

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]
CORNER = (slice(48, 64), slice(56, 72))


def share(screened: Screened, index: int, verdict: Verdict, where: tuple[slice, slice] = FIELD) -> float:
    return float((screened.verdict[index][where] == verdict).float().mean())


def total(screened: Screened, verdict: Verdict) -> int:
    return int((screened.verdict == verdict).sum())


@pytest.mark.parametrize("opacity", [0.15, 0.5, 1.0])
def test_a_missed_cloud_is_refused_and_nothing_else_is(opacity: float) -> None:
    found = screen(painted(place(), 3, CLOUD, opacity), BANDS)
    assert share(found, 3, Verdict.REFUSED) > 0.98
    assert total(found, Verdict.REFUSED) <= 24 * 24 + 20
    assert (found.cause[3][FIELD][found.verdict[3][FIELD] == Verdict.REFUSED] == Cause.CLOUD).all()


def test_clear_images_stay_clear() -> None:
    found = screen(place(), BANDS)
    assert total(found, Verdict.CLEAR) / found.verdict.numel() > 0.999
    assert float(found.doubt.mean()) < 1.05


@pytest.mark.parametrize("spectrum", [SOIL * 1.2, CHAR, WATER], ids=["harvest", "fire", "flood"])
@pytest.mark.parametrize("known", ["coarse sees it", "coarse does not"])
def test_a_change_that_lasts_is_never_contamination(spectrum: torch.Tensor, known: str) -> None:
    block = place(changes={20: spectrum})
    if known == "coarse does not":
        block = replace(block, coarse=place().coarse)
    found = screen(block, BANDS)
    assert total(found, Verdict.REFUSED) == 0
    assert share(found, 3, Verdict.CLEAR) > 0.99


def test_a_deviation_with_nothing_after_it_is_suspect_until_the_next_scene_decides() -> None:
    cloud = painted(place(), 3, CLOUD, 0.3)
    burnt = hidden(place(changes={20: CHAR}), 3, CORNER)
    burnt = replace(burnt, coarse=place().coarse)
    for block, later in ((cloud, Verdict.REFUSED), (burnt, Verdict.CLEAR)):
        alone = screen(first(block, 4, until=24), BANDS)
        assert share(alone, 3, Verdict.REFUSED) == 0
        followed = screen(first(block, 5, until=32), BANDS)
        assert share(followed, 3, later) > 0.98
    alone = screen(first(cloud, 4, until=24), BANDS)
    assert share(alone, 3, Verdict.SUSPECT) > 0.98
    assert float(alone.doubt[3][FIELD].min()) > 3


def test_later_coarse_decides_over_a_wide_cloud_that_has_no_later_image() -> None:
    wide = (slice(8, 72), slice(8, 72))
    block = first(painted(place(), 3, CLOUD, 0.5, wide), 4)
    found = screen(block, BANDS)
    assert share(found, 3, Verdict.REFUSED, wide) > 0.9
    # When the coarse brightens too, it was none.
    coarse = block.coarse.clone()
    coarse[[day > 30 for day in block.coarse_days]] += 0.4
    kept = screen(replace(block, coarse=coarse), BANDS)
    assert share(kept, 3, Verdict.REFUSED, wide) == 0


def test_a_shadow_is_refused_near_a_cloud_only() -> None:
    beside = hidden(shaded(place(), 3), 3, CORNER)
    found = screen(beside, BANDS)
    assert share(found, 3, Verdict.REFUSED) > 0.98
    assert (found.cause[3][FIELD] == Cause.SHADOW).float().mean() > 0.98
    assert share(screen(shaded(place(), 3), BANDS), 3, Verdict.REFUSED) == 0


def test_a_flood_that_one_image_saw_is_no_shadow() -> None:
    found = screen(hidden(painted(place(), 3, WATER), 3, CORNER), BANDS)
    assert share(found, 3, Verdict.REFUSED) == 0


@pytest.mark.parametrize("flagged", [True, False])
def test_snow_that_one_image_saw_is_no_cloud(flagged: bool) -> None:
    block = painted(place(), 3, SNOW)
    surface = None
    if flagged:
        surface = torch.zeros((7, 96, 96), dtype=torch.uint8)
        surface[3][FIELD] = Surface.SNOW
    assert share(screen(block, BANDS, surface), 3, Verdict.REFUSED) == 0


def test_a_cloud_over_snow_is_refused_by_its_short_wave_infrared() -> None:
    everywhere = (slice(None), slice(None))
    block = place()
    for index in range(7):
        block = painted(block, index, SNOW, 0.9, everywhere)
    surface = torch.full((7, 96, 96), int(Surface.SNOW), dtype=torch.uint8)
    found = screen(painted(block, 3, CLOUD, 0.5), BANDS, surface)
    assert share(found, 3, Verdict.REFUSED) > 0.98
    assert total(found, Verdict.REFUSED) < 24 * 24 + 20


def test_a_smooth_offset_of_an_image_raises_doubt_and_refuses_nothing() -> None:
    block = place()
    fine = block.fine.clone()
    fine[3] += torch.tensor([0.018, 0.010, 0.006, 0.002, 0.001, 0.0])[:, None, None]
    found = screen(replace(block, fine=fine), BANDS)
    assert total(found, Verdict.REFUSED) == 0
    assert float(found.doubt[3].mean()) > 1.3
    assert float(found.doubt[[0, 6]].mean()) < 1.1


def test_a_contaminated_neighbour_does_not_speak_for_an_image() -> None:
    two = painted(painted(place(), 3, CLOUD, 0.6), 5, CLOUD, 0.6, (slice(16, 28), slice(24, 48)))
    found = screen(two, BANDS)
    assert share(found, 3, Verdict.REFUSED) > 0.98
    assert share(found, 5, Verdict.REFUSED, (slice(16, 28), slice(24, 48))) > 0.98
    assert share(found, 4, Verdict.CLEAR) > 0.98


def messy() -> FusionInput:
    """Long, with clouds, missed ones, shadows, gaps in the coarse and changes."""
    block = place(count=14, size=128, seed=3, changes={30: CHAR, 60: SOIL})
    rng = torch.Generator().manual_seed(5)
    for index in range(14):
        row, col = (int(value) for value in torch.randint(0, 90, (2,), generator=rng))
        where = (slice(row, row + 30), slice(col, col + 40))
        block = (painted(block, index, CLOUD, 0.4, where), shaded(block, index, where), hidden(block, index, where))[index % 3]
    coarse = block.coarse.clone()
    coarse[60:66, :, 2:9, 3:12] = torch.nan
    return replace(block, coarse=coarse)


def test_a_tile_with_its_halo_says_what_the_whole_image_says() -> None:
    block, options = messy(), ScreeningOptions(reach=240.0)
    whole = screen(block, BANDS, None, options)
    assert total(whole, Verdict.REFUSED) > 500
    halo = round(options.halo(8, 30.0) / 240)
    for row, col in ((0, 0), (5, 7), (12, 4)):
        cells = [slice(max(start - halo, 0), min(start + 4 + halo, 16)) for start in (row, col)]
        pixels = [slice(part.start * 8, part.stop * 8) for part in cells]
        part = replace(block, fine=block.fine[:, :, *pixels], coarse=block.coarse[:, :, *cells], coarse_std=block.coarse_std[:, :, *cells])
        found = screen(part, BANDS, None, options)
        inner = [slice((start - part.start) * 8, (start - part.start + 4) * 8) for start, part in zip((row, col), cells, strict=True)]
        outer = [slice(start * 8, start * 8 + 32) for start in (row, col)]
        assert torch.equal(found.verdict[:, *inner], whole.verdict[:, *outer])
        assert torch.equal(found.cause[:, *inner], whole.cause[:, *outer])
        torch.testing.assert_close(found.doubt[:, *inner], whole.doubt[:, *outer], rtol=1e-4, atol=1e-4)


def test_images_outside_the_support_change_nothing() -> None:
    block, options = messy(), ScreeningOptions(days=16)
    whole = screen(block, BANDS, None, options)
    before, after = options.support()
    for index in (0, 7, 13):
        day = block.fine_days[index]
        kept = [other for other, taken in enumerate(block.fine_days) if day - before <= taken <= day + after]
        days = [place for place, number in enumerate(block.coarse_days) if day - before <= number <= day + after]
        part = replace(
            block,
            fine=block.fine[kept],
            fine_days=tuple(block.fine_days[other] for other in kept),
            fine_std=block.fine_std[kept],
            coarse=block.coarse[days],
            coarse_std=block.coarse_std[days],
            coarse_days=tuple(block.coarse_days[number] for number in days),
        )
        found = screen(part, BANDS, None, options)
        assert torch.equal(found.verdict[kept.index(index)], whole.verdict[index])
        assert torch.equal(found.doubt[kept.index(index)], whole.doubt[index])


def test_without_coarse_images_are_compared_as_they_are() -> None:
    block = painted(place(), 3, CLOUD, 0.5)
    unknown = replace(block, coarse=torch.full_like(block.coarse, torch.nan), coarse_std=torch.full_like(block.coarse, torch.nan))
    none = replace(block, coarse=block.coarse[:0], coarse_std=block.coarse_std[:0], coarse_days=())
    for poor in (unknown, none):
        found = screen(poor, BANDS)
        assert share(found, 3, Verdict.REFUSED) > 0.98
        assert bool(torch.isfinite(found.doubt).all())


def test_little_or_nothing_to_screen_has_an_answer() -> None:
    block = place()
    for count in (0, 1):
        found = screen(first(block, count), BANDS)
        assert found.verdict.shape == (count, 96, 96)
        assert total(found, Verdict.CLEAR) == found.verdict.numel()
    blind = screen(replace(block, fine=torch.full_like(block.fine, torch.nan)), BANDS)
    assert total(blind, Verdict.CLEAR) == blind.verdict.numel()
    assert bool((blind.doubt == 1).all())
    everywhere = (slice(None), slice(None))
    overcast = block
    for index in range(7):
        overcast = painted(overcast, index, CLOUD, 1.0, everywhere)
    assert total(screen(overcast, BANDS), Verdict.REFUSED) == 0


@pytest.mark.parametrize("bands", [("green", "red", "nir08"), ("red", "nir08"), ("blue",), ("nir08",), ("nir08", "swir16", "swir22")])
def test_any_bands_tell_a_thick_cloud(bands: tuple[str, ...]) -> None:
    found = screen(banded(painted(place(), 3, CLOUD), bands), bands)
    assert share(found, 3, Verdict.REFUSED) > 0.6
    assert total(found, Verdict.REFUSED) < 24 * 24 + 40


def test_an_index_that_falls_and_recovers_at_once_was_contaminated() -> None:
    rng = torch.Generator().manual_seed(1)
    full = place()
    fine = 0.7 + 0.01 * torch.randn((7, 1, 96, 96), generator=rng)
    fine[4:, 0][:, *CORNER] = 0.2
    fine[3][:, *FIELD] = 0.15
    block = replace(full, fine=fine, fine_std=full.fine_std[:, :1], coarse=0 * full.coarse[:, :1] + 0.7, coarse_std=full.coarse_std[:, :1])
    found = screen(block, ("ndvi",))
    assert share(found, 3, Verdict.REFUSED) > 0.98
    assert share(found, 4, Verdict.CLEAR, CORNER) > 0.98
    assert total(found, Verdict.REFUSED) < 24 * 24 + 20


def test_what_is_refused_is_hidden_in_all_bands_and_doubts_multiply() -> None:
    block = painted(place(), 3, CLOUD, 0.5)
    block = replace(block, fine_doubt=torch.full((7, 96, 96), 2.0))
    found = screen(block, BANDS)
    left = applied(block, found)
    assert bool(torch.isnan(left.fine[3][:, *FIELD]).float().mean() > 0.98)
    assert torch.equal(left.fine[[0, 6]].isnan(), (found.verdict[[0, 6]] == Verdict.REFUSED)[:, None].expand(2, 6, 96, 96))
    assert left.fine_doubt is not None
    assert torch.equal(left.fine_doubt, 2 * found.doubt)
    assert bool(torch.isfinite(block.fine).all()), "the block itself is left alone"


@pytest.mark.parametrize("device", DEVICES)
def test_screening_is_deterministic(device: str) -> None:
    block = messy()
    moved = replace(block, **{name: getattr(block, name).to(device) for name in ("fine", "fine_std", "coarse", "coarse_std")})
    one, two = screen(moved, BANDS), screen(moved, BANDS)
    assert torch.equal(one.verdict, two.verdict)
    assert torch.equal(one.doubt, two.doubt)
    assert float((one.verdict.cpu() != screen(block, BANDS).verdict).float().mean()) < 1e-4
