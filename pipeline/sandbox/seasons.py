"""What grows on every parcel on a day: crop calendars, cutting, ploughing and clearing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.grid import day_from_number, day_number
from pipeline.sandbox.landscape import LandCover, Parcels
from pipeline.sandbox.noise import Array, gauss, key_of, uniform


class _Crop(NamedTuple):
    """The calendar of a crop: days of the year at 45° north in a mean year; days before 1 January are negative."""

    frequency: float
    emergence: float
    winter_cover: float
    growth: float
    growth_rate: float
    ripening: float
    ripening_rate: float
    peak: float
    harvest: float
    second_crop: float
    blossom: float
    grassiness: float


_CROPS = (
    # share  emerg  wint  grow rate  ripe rate  peak  harv  2nd  bloom grass
    _Crop(0.27, -80, 0.26, 96, 9, 172, 6, 0.94, 198, 0.35, 0, 0.15),  # winter wheat
    _Crop(0.10, -105, 0.42, 80, 8, 166, 7, 0.93, 190, 0.25, 118, 0.0),  # rapeseed
    _Crop(0.24, 128, 0.0, 160, 7, 250, 8, 0.95, 268, 0.0, 0, 0.1),  # maize
    _Crop(0.12, 135, 0.0, 170, 8, 244, 6, 0.90, 262, 0.0, 0, 0.3),  # soybean
    _Crop(0.09, 84, 0.0, 112, 7, 180, 5, 0.88, 206, 0.45, 0, 0.3),  # spring barley
    _Crop(0.09, 110, 0.0, 155, 10, 320, 12, 0.95, 286, 0.0, 0, 0.2),  # beet, harvested green
    _Crop(0.09, 96, 0.0, 118, 5, 200, 6, 0.85, 163, 1.0, 0, 0.5),  # vegetables, two crops
)
_GRASS = _Crop(0.0, -60, 0.45, 88, 11, 296, 14, 0.93, 400, 0.0, 0, 0.9)
_GRASS_SHARE = 0.24
_TABLE = np.array([*_CROPS, _GRASS], dtype=np.float32)
_GRASS_CODE = len(_CROPS)
_SLOTS = 2


@dataclass(frozen=True)
class ParcelTable:
    """The state of every parcel on one day; all arrays (n,) float32.

    A pixel's canopy is ``floor_and_growth``: from `start` it rises to `peak` along a logistic curve and
    falls to `floor` along another; `growth`, `ripening` are days since their middle divided by the
    rate, `growth_speed`, `ripening_speed` the inverse rates, so that a pixel can be late or early.

    Parameters
    ----------
    start, peak, floor : cover 0–1.
    growth, growth_speed, ripening, ripening_speed : phases and their change per day.
    kept : share of the canopy left after mowing.
    residue : cover of straw and litter, 0–1.
    blossom : cover of blossom, 0–1.
    grass, broadleaf, needle : share of the green cover that is grass (the rest is crop) or forest.
    wood : 1 where the ground between is litter and wood, 0 where it is soil.
    soil : brightness of the soil of the parcel, about −1 to 1.
    age : days since the last abrupt change, at most 999.
    """

    start: Array
    peak: Array
    floor: Array
    growth: Array
    growth_speed: Array
    ripening: Array
    ripening_speed: Array
    kept: Array
    residue: Array
    blossom: Array
    grass: Array
    broadleaf: Array
    needle: Array
    wood: Array
    soil: Array
    age: Array


@dataclass(frozen=True)
class _Year:
    """Growing seasons of one year; arrays (slot, n), days as day numbers, NaN = no such crop."""

    values: npt.NDArray[np.float32]
    harvest: npt.NDArray[np.float64]
    growth: npt.NDArray[np.float64]
    ripening: npt.NDArray[np.float64]
    emergence: npt.NDArray[np.float64]
    blossom: npt.NDArray[np.float64]


class Calendar:
    """Growth of the parcels of one landscape.

    Parameters
    ----------
    seed : int
    parcels : Parcels
    southern : bool
        Turns the seasons round by half a year.
    """

    def __init__(self, seed: int, parcels: Parcels, southern: bool) -> None:
        self._seed = seed
        self._parcels = parcels
        self._shift = 182 if southern else 0
        self._forest = parcels.kind != LandCover.FIELD
        parish_grass = uniform(key_of(seed, "parish grass"), parcels.parish)
        self._grass = ~self._forest & (uniform(key_of(seed, "grass"), parcels.name) < _GRASS_SHARE * 2 * parish_grass)
        self._pasture = self._grass & (uniform(key_of(seed, "pasture"), parcels.name) < 0.35)
        self._year = lru_cache(maxsize=4)(self._make_year)

    def _uniform(self, *names: object) -> Array:
        return uniform(key_of(self._seed, *names), self._parcels.name)

    def _gauss(self, *names: object) -> Array:
        return gauss(key_of(self._seed, *names), self._parcels.name)

    def _crop_codes(self, year: int) -> npt.NDArray[np.int64]:
        bounds = np.cumsum([crop.frequency for crop in _CROPS])
        # A parish prefers some crops: half of the draw is shared by all of its fields.
        parish = uniform(key_of(self._seed, "parish crop"), self._parcels.parish)
        own = self._uniform("crop", year)
        draw = np.where(self._uniform("crop alike", year) < 0.25, parish, own) * bounds[-1]
        codes = np.searchsorted(bounds, draw).clip(0, len(_CROPS) - 1)
        return np.where(self._grass, _GRASS_CODE, codes)

    def _make_year(self, year: int) -> _Year:
        names = self._parcels.name
        codes = self._crop_codes(year)
        first_day = day_number(date(year, 1, 1))
        crop_years = 6.0 * gauss(key_of(self._seed, "crop year", year), np.arange(len(_TABLE)))
        shift = (
            crop_years[codes]
            + 5.0 * self._gauss("field year", year)
            + 4.0 * gauss(key_of(self._seed, "parish year", year), self._parcels.parish)
        )
        main = _TABLE[codes]
        column = {name: main[:, number].astype(np.float64) for number, name in enumerate(_Crop._fields)}
        start = first_day + shift
        harvest = np.floor(start + column["harvest"] + 5 * self._gauss("harvest", year))
        stretch = 1 + 0.15 * self._gauss("length", year)
        ripening = start + column["growth"] + (column["ripening"] - column["growth"]) * np.clip(stretch, 0.75, 1.25)

        second = uniform(key_of(self._seed, "second crop", year), names) < column["second_crop"]
        lag = 9 + 10 * self._uniform("second lag", year)
        second_growth = harvest + lag + 20
        second_harvest = np.where(second, np.floor(second_growth + 62 + 8 * self._gauss("second harvest", year)), np.nan)
        values = np.empty((_SLOTS, 5, names.size), dtype=np.float32)
        # order: winter cover, growth rate, ripening rate, peak, grassiness
        for row, name in enumerate(("winter_cover", "growth_rate", "ripening_rate", "peak", "grassiness")):
            values[0, row] = column[name]
        values[0, 3] *= np.clip(1 - 0.12 * np.abs(self._gauss("yield", year)), 0.5, 1)
        values[1] = np.array([0.0, 5.5, 9.0, 0.85, 0.35], dtype=np.float32)[:, None]
        values[1, 3] *= np.clip(1 - 0.2 * np.abs(self._gauss("second yield", year)), 0.4, 1)
        return _Year(
            values=values,
            harvest=np.stack([harvest, second_harvest]),
            growth=np.stack([start + column["growth"], second_growth]),
            ripening=np.stack([ripening, second_growth + 70]),
            emergence=np.stack([start + column["emergence"], harvest + lag]),
            blossom=np.stack([np.where(column["blossom"] > 0, start + column["blossom"], np.nan), np.full(names.size, np.nan)]),
        )

    def table(self, day: date) -> ParcelTable:
        """The state of all parcels on a day."""
        today = day_number(day) + self._shift
        year = day_from_number(today).year
        years = [self._year(number) for number in (year - 1, year, year + 1)]
        everyone = np.arange(self._parcels.name.size)

        harvests = np.concatenate([part.harvest for part in years])
        ahead = np.where(harvests > today, harvests, np.inf)
        current = np.argmin(ahead, axis=0)
        past = np.where(harvests <= today, harvests, -np.inf)
        last_slot = np.argmax(past, axis=0)
        since_harvest = today - past[last_slot, everyone]

        def pick(name: str) -> npt.NDArray[np.float64]:
            return np.concatenate([getattr(part, name) for part in years])[current, everyone]

        values = np.concatenate([part.values for part in years])[current, :, everyone].T
        winter, growth_rate, ripening_rate, peak, grassiness = values
        emergence = 1 / (1 + np.exp(-np.clip((today - pick("emergence") - 6) / 5, -30, 30)))
        wobble = 0.10 * self._wobble(today)
        residue, age = self._residue(since_harvest)
        kept, since_mowing = self._mowing(today, year)
        blossom = pick("blossom")
        in_blossom = np.nan_to_num(np.exp(-(((today - blossom) / 9) ** 2)))
        age = np.where(self._grass, since_mowing, age)
        columns = {
            "start": np.where(self._grass, winter, winter * emergence) * (1 + wobble),
            "peak": np.clip(peak * (1 + wobble), 0, 1) * np.where(self._pasture, 0.82, 1),
            "floor": np.where(self._grass, winter, 0),
            "growth": (today - pick("growth")) / growth_rate,
            "growth_speed": 1 / growth_rate,
            "ripening": (today - pick("ripening")) / ripening_rate,
            "ripening_speed": 1 / ripening_rate,
            "kept": kept,
            "residue": np.where(self._grass, 0.08, residue),
            "blossom": 0.75 * in_blossom,
            "grass": np.clip(grassiness + 0.15 * self._gauss("hue", year), 0, 1),
            "broadleaf": np.zeros_like(peak),
            "needle": np.zeros_like(peak),
            "wood": np.zeros_like(peak),
            "soil": 0.9 * self._gauss("soil"),
            "age": age,
        }
        self._plant_forest(columns, today, year)
        return ParcelTable(**{name: np.minimum(column, 999).astype(np.float32) for name, column in columns.items()})

    def _wobble(self, today: int) -> Array:
        """Departure of a parcel from its curve: unit variance, correlated over about two weeks."""
        knot, fraction = divmod(today, 14)
        before, after = self._gauss("wobble", knot), self._gauss("wobble", knot + 1)
        weight = 0.5 - 0.5 * np.cos(np.pi * fraction / 14)
        return np.asarray(((1 - weight) * before + weight * after) / np.hypot(weight, 1 - weight), dtype=np.float32)

    def _residue(self, since_harvest: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Straw and litter after the harvest, until the plough; and days since the later of the two."""
        plough = np.floor(4 + 50 * self._uniform("plough") ** 1.5)
        straw = 0.25 + 0.55 * self._uniform("straw")
        ploughed = since_harvest >= plough
        residue = np.where(ploughed, 0.03, straw * np.exp(-since_harvest / 80))
        return residue, np.where(ploughed, since_harvest - plough, since_harvest)

    def _mowing(self, today: int, year: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Share of grass left by the last cut, and days since it."""
        since = np.full(self._parcels.name.size, 999.0)
        for cut, (day, deviation) in enumerate(((143, 9), (188, 9), (232, 10), (270, 8))):
            date_of_cut = np.floor(day_number(date(year, 1, 1)) + day + deviation * self._gauss("cut", cut, year))
            skipped = self._uniform("cut skipped", cut, year) < (0.15 if cut < 2 else 0.45)
            passed = today - date_of_cut
            since = np.where((passed >= 0) & ~skipped, np.minimum(since, passed), since)
        since = np.where(self._grass & ~self._pasture, since, 999.0)
        return 1 - 0.7 * np.exp(-since / 15), since

    def _plant_forest(self, columns: dict[str, npt.NDArray], today: int, year: int) -> None:
        """Replace the crop by trees in the stands of forest, and fell some."""
        kind = self._parcels.kind
        needle, broad = kind == LandCover.NEEDLE_FOREST, kind == LandCover.BROADLEAF_FOREST
        spring = day_number(date(year, 1, 1)) + 113 + 5 * self._gauss("leaves") + float(5 * gauss(key_of(self._seed, "spring", year))[0])
        autumn = day_number(date(year, 1, 1)) + 287 + 7 * self._gauss("leaves fall")
        vigour = 1 + 0.06 * self._gauss("stand")
        since_felling = np.full(kind.size, 999.0)
        for past_year in range(year - 2, year + 1):
            felled = self._uniform("felled", past_year) < 0.03
            when = day_number(date(past_year, 1, 1)) + np.floor(365 * self._uniform("felling day", past_year))
            since_felling = np.where(felled & (when <= today), np.minimum(since_felling, today - when), since_felling)
        standing = np.where(since_felling < 999, 0.05 + 0.25 * (1 - np.exp(-since_felling / 300)), 1.0)
        forest = {
            "start": np.where(needle, 0.86, 0.24) * standing * vigour,
            "peak": np.where(needle, 0.90, 0.95) * standing * vigour,
            "floor": np.where(needle, 0.86, 0.24) * standing * vigour,
            "growth": (today - spring) / 6.0,
            "growth_speed": np.full(kind.size, 1 / 6.0),
            "ripening": (today - autumn) / 8.0,
            "ripening_speed": np.full(kind.size, 1 / 8.0),
            "kept": np.ones(kind.size),
            "residue": np.where(standing < 1, 0.3, 0.0),
            "blossom": np.zeros(kind.size),
            "grass": np.zeros(kind.size),
            "broadleaf": broad.astype(float),
            "needle": needle.astype(float),
            "wood": np.ones(kind.size),
            "age": since_felling,
        }
        for name, column in forest.items():
            columns[name] = np.where(self._forest, column, columns[name])
