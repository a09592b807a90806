"""What was learnt about an area: versions that never change, one of them pinned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError
from pipeline.steps.parameters import LEVELS, NDVI, UNITS, Versions, digest_of, unit_of, values_of

LEARNT: dict[str, Any] = {
    "registration": {"modis": {"dy": 3.0, "why": "", "dates": [{"date": "2023-06-01", "dy": 2.5, "correlation": 0.9}]}},
    "restoration": {"gain": [1.0, 1.1], "offset": [0.0, 0.01]},
    "method": {"tau": 45.0, "of_its_own": 2.0},
    "rescue": {"pixels": 0, "digest": ""},
    "recipe": {"method": "smoother"},
    "trained_from": "2023-05-01",
    "trained_to": "2023-07-01",
}
OTHER = {**LEARNT, "method": {"tau": 30.0, "of_its_own": 2.0}}


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "parameters")


def test_a_version_is_never_written_again(versions: Versions) -> None:
    assert versions.save(LEARNT)["version"] == 1
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in versions.folder.iterdir()}
    assert versions.save(OTHER)["version"] == 2
    assert versions.save(LEARNT)["version"] == 1, "nothing else was learnt"
    assert versions.save(versions.read(1))["version"] == 1
    assert versions.save(OTHER)["version"] == 2
    assert versions.numbers == [1, 2]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert sorted(path.name for path in versions.folder.iterdir()) == ["v0001.json", "v0002.json"]


def test_a_file_that_came_meanwhile_is_left_alone(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.save(LEARNT)
    monkeypatch.setattr(Versions, "_next", 1)
    with pytest.raises(FileExistsError):
        versions.save(OTHER)
    assert versions.read(1)["method"] == LEARNT["method"]


def test_the_same_learnt_twice_is_the_same_file(tmp_path: Path) -> None:
    one, other = Versions(tmp_path / "one"), Versions(tmp_path / "other")
    for place in (one, other):
        place.save(LEARNT)
    assert (one.folder / "v0001.json").read_bytes() == (other.folder / "v0001.json").read_bytes()


def test_what_is_read_is_what_was_learnt_whatever_its_keys(versions: Versions) -> None:
    saved = versions.save({**LEARNT, "method": {"classes": {2: (0.1, 0.2), 10: [0.3]}}})
    assert saved["method"] == {"classes": {"2": [0.1, 0.2], "10": [0.3]}}
    assert versions.read(1) == saved
    assert versions.save({**saved, "rescue": {"pixels": 0, "digest": "other"}})["version"] == 2


def test_the_digest_follows_from_what_changes_a_pixel_and_from_nothing_else(versions: Versions) -> None:
    first = versions.save(LEARNT)
    assert digest_of(first) == first["digest"]
    assert digest_of({**LEARNT, "trained_to": "2023-08-01", "version": 7}) == first["digest"]
    for part in ("registration", "restoration", "method", "rescue", "recipe"):
        assert digest_of({**LEARNT, part: {}}) != first["digest"], part


def test_nothing_is_pinned_before_somebody_pins_it_and_an_earlier_version_can_be_pinned_again(versions: Versions) -> None:
    assert versions.pinned is None
    versions.save(LEARNT)
    assert versions.pinned is None
    versions.pin(1)
    versions.save(OTHER)
    assert versions.pinned == 1
    assert versions.pin(2)["method"]["tau"] == 30.0
    assert versions.pinned == 2
    assert versions.pin(1)["method"]["tau"] == 45.0
    assert versions.pinned == 1


def test_an_unknown_version_is_refused_by_name_and_the_pinned_one_stays(versions: Versions) -> None:
    with pytest.raises(StoreError, match=r"no version 1 .* there is none"):
        versions.pin(1)
    versions.save(LEARNT)
    versions.save(OTHER)
    versions.pin(2)
    with pytest.raises(StoreError, match=r"no version 7 .* there is 1, 2"):
        versions.pin(7)
    assert versions.pinned == 2


def test_a_version_whose_file_was_changed_is_refused(versions: Versions) -> None:
    versions.save(LEARNT)
    path = versions.folder / "v0001.json"
    document = json.loads(path.read_text())
    document["method"]["tau"] = 46.0
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"v0001\.json was changed"):
        versions.pin(1)
    assert versions.pinned is None


def test_every_version_has_levels_of_its_own(versions: Versions) -> None:
    found = {**LEARNT, "rescue": {"pixels": 5, "digest": "a"}}

    def levels(text: str) -> None:
        versions.next_layer(LEVELS).mkdir(parents=True)
        (versions.next_layer(LEVELS) / "c").write_text(text)

    levels("first")
    first = versions.save(found)
    levels("second")
    second = versions.save({**LEARNT, "rescue": {"pixels": 5, "digest": "b"}})
    assert [(Path(each["levels"]) / "c").read_text() for each in (first, second)] == ["first", "second"]
    levels("first")
    assert versions.save(found)["levels"] == first["levels"]
    assert not versions.next_layer(LEVELS).exists(), "what was learnt again leaves nothing"
    levels("none")
    assert versions.save(LEARNT)["levels"] == ""
    assert len(list(versions.folder.glob("*-levels.zarr"))) == 2


def test_the_median_ndvi_of_a_version_is_its_own_and_counts_in_its_digest(versions: Versions) -> None:
    plain = versions.save(LEARNT)
    assert plain[NDVI] == ""
    for number, digest in enumerate("ab", start=2):
        versions.next_layer(NDVI).mkdir(parents=True)
        found = versions.save({**LEARNT, "ndvi": {"pixels": 5, "digest": digest}})
        assert found["version"] == number, "another median is another version"
        assert found[NDVI] == str(versions.folder / f"v{number:04d}-ndvi.zarr")
        assert versions.read(number) == found
    versions.next_layer(NDVI).mkdir(parents=True)
    assert versions.save(LEARNT)["version"] == 1
    assert sorted(path.name for path in versions.folder.glob("*.zarr")) == ["v0002-ndvi.zarr", "v0003-ndvi.zarr"]


def test_parameters_have_units_in_one_place_and_in_the_file(versions: Versions) -> None:
    versions.save(LEARNT)
    stored = json.loads((versions.folder / "v0001.json").read_text())["units"]
    assert stored == {
        "registration.*.d[yx]": "m",
        "registration.*.correlation": "1",
        "restoration.gain": "1",
        "restoration.offset": "1",
        "rescue.pixels": "1",
        "method.tau": "d",
    }
    assert (unit_of("method.tau"), unit_of("registration.modis-09GA-061.dx"), unit_of("method.of_its_own")) == ("d", "m", "")
    cf_units = pytest.importorskip("cf_units", reason="cf_units tells whether UDUNITS knows a unit")
    assert all(cf_units.Unit(unit) != cf_units.Unit("unknown") for unit in UNITS.values())


def test_values_are_named_by_their_place(versions: Versions) -> None:
    values = values_of(versions.save(LEARNT))
    assert values["method.tau"] == 45.0
    assert values["restoration.gain"] == [1.0, 1.1]
    assert values["registration.modis.dates"] == LEARNT["registration"]["modis"]["dates"]
    assert not [name for name in values if name.startswith(("recipe", "units", "trained", "version"))]
