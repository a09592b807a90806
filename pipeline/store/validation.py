"""Validators of a staging: what must hold of days before anybody sees them. Blocks are read one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.grid import day_from_number, day_number
from pipeline.store.check import Check
from pipeline.store.chunks import ChunkCodec, chunk_path
from pipeline.store.documents import Document, members, read_file, root_document
from pipeline.store.encoding import FILL, SCALE, STD_FILL
from pipeline.store.layout import uncertainty_name
from pipeline.store.staging import Staged, chunks_present, open_staged, staged_documents
from pipeline.vocabulary import Provenance

LEAST_FINITE = 0.99
"""A day with a smaller share of pixels that hold a value is reported."""
MOST_OUTSIDE = 0.001
"""A day with a larger share of values outside of the valid range is an error."""
LARGEST_STEP = 0.1
"""A day whose blocks differ by more than this from the day before, in the mean over their pixels, is reported [reflectance]."""

_SAMPLE = 8  # every so many rows and columns are compared with the day before


@dataclass
class _Counts:
    """What was counted of one day over its blocks."""

    pixels: int = 0
    finite: int = 0
    values: int = 0
    outside: int = 0
    inconsistent: int = 0
    partial: int = 0
    unknown_codes: int = 0
    without_std: int = 0
    certain: int = 0
    steps: list[float] = field(default_factory=list)


def validate_staging(staging_path: Path | str, cube_path: Path | str | None = None) -> list[Check]:
    """Check everything that was staged.

    Parameters
    ----------
    staging_path : Path or str
        As `create_staging` returned it.
    cube_path : Path or str, optional
        The published cube: its structure is compared, and the first staged day with the day published before it.

    Returns
    -------
    list of Check
        ``structure``, ``complete``, ``not-empty``, ``finite``, ``range``, ``provenance``, ``bands-agree``, ``uncertainty``, ``step``.
    """
    staged = open_staged(staging_path)
    documents = staged_documents(staged)
    checks = [_structure(staged, documents, cube_path)]
    if not checks[0].passed:
        return checks
    present = {name: chunks_present(staged.path, name) for name in staged.layers}
    whole = set.intersection(*present.values())
    torn = set.union(*present.values()) - whole
    days = tuple(sorted({staged.days[index] for index, _, _ in torn}))
    checks.append(_check("complete", not torn, "error", f"{len(torn)} blocks of days lack the chunk of some layer", days))
    return checks + _judge(_count(staged, documents, whole, cube_path))


def _structure(staged: Staged, documents: Mapping[str, Document], cube_path: Path | str | None) -> Check:
    drift = [f"{name} is missing" for name in staged.layers if name not in documents]
    if cube_path is not None and not drift:
        expected = members(root_document(read_file(Path(cube_path)), str(cube_path)))
        for name, document in documents.items():
            for part in ("data_type", "chunk_grid", "fill_value", "codecs", "dimension_names"):
                if name not in expected or document[part] != expected[name][part]:
                    drift.append(f"{name}.{part} is not that of the cube")
    return _check("structure", not drift, "error", "; ".join(drift))


def _count(
    staged: Staged, documents: Mapping[str, Document], cells: set[tuple[int, int, int]], cube_path: Path | str | None
) -> dict[int, _Counts]:
    codecs = {name: ChunkCodec(document) for name, document in documents.items()}
    before = _Published(Path(cube_path), staged.bands, codecs) if cube_path else None
    by_block = defaultdict(list)
    for index, row, col in cells:
        by_block[row, col].append(index)
    counts: dict[int, _Counts] = {staged.days[index]: _Counts() for index, _, _ in cells}
    for (row, col), indices in sorted(by_block.items()):
        height, width = (min(staged.block, size - part * staged.block) for part, size in zip((row, col), staged.shape, strict=True))
        previous_day = staged.days[min(indices)] - 1
        previous = before.sample(previous_day, row, col) if before else None
        for index in sorted(indices):
            files = {name: chunk_path(staged.path, name, index, row, col) for name in codecs}
            chunk = {name: codec.decode(files[name].read_bytes())[:height, :width] for name, codec in codecs.items()}
            day = staged.days[index]
            sample = _sample([chunk[band] for band in staged.bands])
            step = _step(sample, previous) if previous is not None and previous_day == day - 1 else None
            if step is not None:
                counts[day].steps.append(step)
            previous, previous_day = sample, day
            _add(counts[day], chunk, staged.bands, documents)
    return counts


class _Published:
    """Samples of the days that stand in the cube."""

    def __init__(self, path: Path, bands: tuple[str, ...], codecs: Mapping[str, ChunkCodec]) -> None:
        root = root_document(read_file(path), str(path))
        self.first = day_number(date.fromisoformat(root["attributes"]["start"]))
        self.length = members(root)["time"]["shape"][0]
        self.shape = tuple(root["attributes"]["spatial:shape"])
        self.path, self.bands, self.codecs = path, bands, codecs

    def sample(self, day: int, row: int, col: int) -> np.ndarray | None:
        """The sample of a block of a day; None when it was not published."""
        index = day - self.first
        files = [chunk_path(self.path, band, index, row, col) for band in self.bands]
        if not 0 <= index < self.length or not all(file.is_file() for file in files):
            return None
        values = [self.codecs[band].decode(file.read_bytes()) for band, file in zip(self.bands, files, strict=True)]
        height, width = (min(size, whole - part * size) for size, whole, part in zip(values[0].shape, self.shape, (row, col), strict=True))
        return _sample([band[:height, :width] for band in values])


def _add(counts: _Counts, chunk: Mapping[str, Any], bands: tuple[str, ...], documents: Mapping[str, Document]) -> None:
    provenance = chunk["provenance"]
    missing = provenance == Provenance.MISSING
    observed = provenance == Provenance.OBSERVED
    held = np.zeros(provenance.shape, np.uint8)
    for band in bands:
        values, std = chunk[band], chunk[uncertainty_name(band)]
        finite = values != FILL
        held += finite
        attributes = documents[band]["attributes"]
        if "valid_min" in attributes:
            counts.outside += int(np.count_nonzero(finite & ((values < attributes["valid_min"]) | (values > attributes["valid_max"]))))
        counts.values += int(np.count_nonzero(finite))
        counts.without_std += int(np.count_nonzero(finite & (std == STD_FILL)))
        counts.certain += int(np.count_nonzero(finite & observed & (std == 0)))
    counts.pixels += provenance.size
    counts.finite += int(np.count_nonzero(held == len(bands)))
    counts.inconsistent += int(np.count_nonzero(missing != (held == 0)))
    counts.partial += int(np.count_nonzero((held > 0) & (held < len(bands))))
    counts.unknown_codes += int(np.count_nonzero(provenance > max(Provenance)))


def _sample(values: list[np.ndarray]) -> np.ndarray:
    return np.stack([band[::_SAMPLE, ::_SAMPLE] for band in values])


def _step(sample: np.ndarray, previous: np.ndarray) -> float | None:
    """Mean absolute difference [reflectance] of pixels that hold a value on both days; None when there are none."""
    both = (sample != FILL) & (previous != FILL)
    if not both.any():
        return None
    return float(np.abs(sample[both].astype(np.float32) - previous[both]).mean()) * SCALE


def _judge(counts: Mapping[int, _Counts]) -> list[Check]:
    def offenders(share: dict[int, float]) -> tuple[str, tuple[int, ...]]:
        days = tuple(sorted(share, key=lambda day: (-share[day], day)))
        return ", ".join(f"{day_from_number(day)}: {share[day]:.4g}" for day in days[:5]), tuple(sorted(days))

    def over(limit: float, measure: dict[int, float]) -> dict[int, float]:
        return {day: value for day, value in measure.items() if value > limit}

    def judged(name: str, severity: Literal["error", "warning"], what: str, found: dict[int, float]) -> Check:
        worst, days = offenders(found)
        return _check(name, not found, severity, f"{what} – {worst}", days)

    def share(part: str, whole: str) -> dict[int, float]:
        return {day: getattr(count, part) / max(getattr(count, whole), 1) for day, count in counts.items()}

    lacking = {day: 1 - value for day, value in share("finite", "pixels").items()}
    empty = {day: 1.0 for day, count in counts.items() if count.values == 0}
    outside = share("outside", "values")
    std = {day: float(count.without_std + count.certain) for day, count in counts.items()}
    return [
        _check("not-empty", bool(counts) and not empty, "error", f"{len(empty)} days hold no value at all", tuple(sorted(empty))),
        judged("finite", "warning", f"share of pixels without a value above {1 - LEAST_FINITE:.2g}", over(1 - LEAST_FINITE, lacking)),
        judged("range", "error", f"share of values outside of the valid range above {MOST_OUTSIDE}", over(MOST_OUTSIDE, outside)),
        judged(
            "provenance",
            "error",
            "pixels where provenance missing and values disagree, or with unknown codes",
            over(0, {day: float(count.inconsistent + count.unknown_codes) for day, count in counts.items()}),
        ),
        judged("bands-agree", "warning", "share of pixels with a value in some bands only", over(0, share("partial", "pixels"))),
        judged("uncertainty", "error", "values without an uncertainty, or observed with σ 0", over(0, std)),
        judged(
            "step",
            "warning",
            f"mean step of a block from the day before above {LARGEST_STEP}",
            over(LARGEST_STEP, {day: max(count.steps, default=0.0) for day, count in counts.items()}),
        ),
    ]


def _check(name: str, passed: bool, severity: Literal["error", "warning"], message: str, days: tuple[int, ...] = ()) -> Check:
    return Check(name, passed, severity, "" if passed else message, () if passed else days)
