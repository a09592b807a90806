"""Every set, date and seed has one role; who may not look is refused; the file is true to what the images show."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipeline.assessment.likeness import SAME_PLACE, area_average, likeness
from pipeline.assessment.roles import Role, roles
from pipeline.errors import ConfigurationError
from tests.assessment.sets import DATA, needs_data, red_images

ALWAYS = date(2001, 1, 1)


def test_the_withheld_day_of_a_set_is_for_testing_and_the_others_for_tuning() -> None:
    made = roles()
    assert made.of_day("ifsdaf-ndvi-2015", date(2015, 10, 14)) is Role.TEST
    assert made.of_day("ifsdaf-ndvi-2015", date(2015, 12, 10)) is Role.TUNE


def test_who_trains_or_tunes_is_refused_the_test_images_and_who_tests_all_others() -> None:
    made = roles()
    for purpose in (Role.TRAIN, Role.TUNE):
        with pytest.raises(ConfigurationError, match=f"cia-3date-50m on 2001-10-17 is for test, and this is to {purpose}"):
            made.allow(purpose, "cia-3date-50m", [date(2001, 10, 17)])
    with pytest.raises(ConfigurationError, match="is for train, and this is to test"):
        made.allow(Role.TEST, "xlandsat-l2sp", [ALWAYS])
    made.allow(Role.TUNE, "xlandsat-l2sp", [ALWAYS])
    made.allow(Role.TEST, "cia-3date-50m", [date(2001, 10, 17)])


def test_a_seed_that_demonstrations_looked_at_is_not_for_testing() -> None:
    roles().allow_seed(Role.TEST, 101)
    with pytest.raises(ConfigurationError, match="sandbox seed 7 is for tune"):
        roles().allow_seed(Role.TEST, 7)
    with pytest.raises(ConfigurationError, match="sandbox seed 101 is for test"):
        roles().allow_seed(Role.TRAIN, 101)


def test_what_has_no_role_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"set 'unheard-of' has no role(?s:.*)boreas-estarfm-30m"):
        roles().of_day("unheard-of", ALWAYS)
    with pytest.raises(ConfigurationError, match="landsat-line-series on 2031-01-01 has no role"):
        roles().of_day("landsat-line-series", date(2031, 1, 1))


def test_a_day_with_two_roles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text("version: 1\nsandbox: {}\nsets:\n  a: {train: [2001-01-01..2001-12-31], test: [2001-06-01]}\n")
    with pytest.raises(ConfigurationError, match="set a: 2001-06-01 is for train and for test"):
        roles(path)
    path.write_text("version: 1\nsets: {}\nsandbox: {exam: [1]}\n")
    with pytest.raises(ConfigurationError, match="'exam' is no role"):
        roles(path.rename(tmp_path / "other.yaml"))


@needs_data
def test_every_shared_set_has_a_role() -> None:
    assert {path.name for path in DATA.iterdir() if path.is_dir()} <= set(roles().sets)


def test_averages_over_pixels_that_are_not_whole_are_exact() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((10, 15))
    np.testing.assert_allclose(area_average(image, 5), image.reshape(2, 5, 3, 5).mean((1, 3)))
    doubled = image.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(area_average(doubled, 2.5), area_average(image, 1.25))


def test_a_piece_of_an_image_is_found_in_another_unit_and_pixel_size_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    field = rng.integers(0, 60, (40, 40)).repeat(6, 0).repeat(6, 1) / 60
    assert likeness(area_average(field[24:204, 36:216], 2) * 0.3 + 7, 60, field, 30) > 0.9
    assert likeness(rng.random((90, 90)), 60, field, 30) < SAME_PLACE


@needs_data
def test_the_wider_boreas_set_shows_the_place_of_the_narrow_one() -> None:
    (narrow, resolution), *_ = red_images("boreas-estarfm-30m")
    for wide, wide_resolution in red_images("boreas-fine-60m")[:2]:
        assert likeness(narrow, resolution, wide, wide_resolution) > 0.75
    assert roles().sets["boreas-fine-60m"] == roles().sets["boreas-estarfm-30m"]


@pytest.mark.slow
@needs_data
def test_no_training_tile_shows_the_place_of_a_test_image() -> None:
    by_role = {role: [name for name, spans in roles().sets.items() if role in {span[2] for span in spans}] for role in Role}
    compared = 0
    for train in by_role[Role.TRAIN]:
        for tile, resolution in red_images(train):
            for test in by_role[Role.TEST]:
                for image, other_resolution in red_images(test)[:1]:
                    found = likeness(tile, resolution, image, other_resolution)
                    assert found < SAME_PLACE, f"{train} shows the place of {test}: correlation {found:.2f}"
                    compared += 1
    assert compared >= 30
