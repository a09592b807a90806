"""Figures of an experiment: error maps, scatter, reliability, series at points, and the diagram of all-round performance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.assessment.assess import ALL, Answer
from pipeline.assessment.cases import Case
from pipeline.assessment.charts import GREY, PALETTE, Chart, frame, legend, ticks
from pipeline.assessment.predicting import Entrant, Predicted, predict
from pipeline.fusion.interface import FusionInput
from pipeline.grid import Window, day_from_number
from pipeline.products.drawing import INK, PAPER, text

_PANEL = 230
_GAP, _TITLE = 10, 20
_COLUMNS = 5

_SAMPLE = 60_000
_BINS = 10
_CROP = 10
"""Coarse cells on either side of a point whose series is drawn: what lies farther decides little."""

_EVERY, _AROUND = 4, 40
"""Days between the points of a series, and days that it shows on either side of a target."""

_RIM = 2.0
"""RMSE at the rim of the diagram of all-round performance, at most, over the smallest: beyond it nothing needs to be told apart."""

_COURSES = 5
"""So many of the best methods are drawn as series."""


def colours(answer: Answer) -> dict[str, str]:
    """A colour for each image: methods in theirs, the same in all experiments of a page, controls grey but for the best one."""
    methods = [entrant.label for entrant in answer.line if not entrant.control]
    made = {label: PALETTE[number % len(PALETTE)] for number, label in enumerate(methods)}
    return {**made, **dict.fromkeys(answer.controls, GREY), answer.best_control: "#000000"}


def shown_band(answer: Answer) -> int:
    """Near infrared where there is one, else the first: of all bands it changes most."""
    bands = answer.archive.bands
    return bands.index("nir08") if "nir08" in bands else 0


def error_maps(answer: Answer, target: int) -> Image.Image:
    """Truth and the error of every image on one day, in one band: blue = too dark, red = too bright, black = no truth."""
    case, said = _case_of(answer, target)
    band = shown_band(answer)
    truth = case.expected(target)[band]
    order = [*answer.methods, *[row.name for row in answer.rows if row.stratum == ALL and row.control]]
    errors = {label: said[label].mean[target][band] - truth for label in order}
    # One scale for all: three times what the best image is off.
    limit = 3 * max(float(np.sqrt(np.nanmean(errors[order[0]] ** 2))), 1e-4)
    low, high = np.nanpercentile(truth, (2, 98))
    panels = [("truth, " + answer.archive.bands[band], _grey(truth, float(low), float(high)))]
    for label, error in errors.items():
        panels.append((f"{label}  {math.sqrt(float(np.nanmean(error**2))):.4f}", diverging(error, limit)))
    note = f"{day_from_number(target)}: error of {answer.archive.bands[band]}, blue -{limit:.3f} to red +{limit:.3f}; RMSE of this band"
    return _sheet(panels, note)


def scatter(answer: Answer) -> Image.Image:
    """Predicted against true values of all bands and targets: the brighter, the more pixels."""
    labels = [*answer.methods, answer.best_control]
    pairs = {label: _pairs(answer, label)[:2] for label in labels}
    every = np.concatenate([truth for truth, _ in pairs.values()])
    low, high = (float(end) for end in np.percentile(every, (0.5, 99.5)))
    panels = []
    for label, (truth, prediction) in pairs.items():
        count, _, _ = np.histogram2d(prediction, truth, bins=120, range=((low, high), (low, high)))
        shade = np.log1p(count[::-1]) / max(np.log1p(count.max()), 1e-9)
        picture = (255 - np.stack([shade * 215, shade * 160, shade * 90], axis=-1)).astype(np.uint8)
        index = np.arange(120)
        picture[119 - index, index] = (200, 70, 60)
        panels.append((label, picture))
    return _sheet(panels, f"predicted (up) against true (right), {low:.2f} to {high:.2f}; on the line they are equal")


def reliability(answer: Answer) -> str:
    """RMSE of the pixels whose stated 1 σ lies in one of ten equally full bins: on the diagonal the σ is honest, below it too large.

    A method that states the same σ everywhere has one point.
    """
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for label in [*answer.methods, answer.best_control]:
        truth, prediction, std = _pairs(answer, label)
        known = np.isfinite(std) & (std > 0)
        truth, prediction, std = truth[known], prediction[known], std[known]
        if not std.size:
            continue
        # Bounds that coincide fall together: of equal σ no part is surer than another.
        bounds = np.unique(np.quantile(std, np.linspace(0, 1, _BINS + 1)[1:-1]))
        of_bin = np.searchsorted(bounds, std)
        parts = [of_bin == number for number in np.unique(of_bin)]
        stated = [float(np.sqrt(np.mean(std[part] ** 2))) for part in parts]
        found = [float(np.sqrt(np.mean((prediction - truth)[part] ** 2))) for part in parts]
        lines[label] = stated, found
    end = 1.05 * max((value for line in lines.values() for part in line for value in part), default=1.0)
    chart = Chart((0, end), (0, end), ("stated 1 σ", "RMSE"))
    chart.line((0, end), (0, end), GREY, dashed=True)
    for label, (stated, found) in lines.items():
        chart.line(stated, found, colours(answer)[label])
        chart.dots(stated, found, colours(answer)[label], title=label)
    return chart.svg()


def performance(answer: Answer) -> str:
    """All-round performance after Zhu et al. 2022: distance = RMSE, angle = EDGE (upright 0, left smoothed, right over-sharp).

    Colour: AD (blue too dark, red too bright); ring: LBP, the wider the farther from 0. *Fair*: nearer than the better of the two inputs,
    the nearest fine image and the coarse one, and not smoother than the coarse. *Good*: nearer than every control, and no farther from the
    sharpness of the truth than the nearest fine image is. What errs more than twice as much as the best lies on the rim, with its RMSE.
    """
    rows = {row.name: row for row in answer.rows if row.stratum == ALL}
    width, height, radius = 720, 360, 280.0
    centre = (radius + 30, height - 42.0)
    errors = [row.rmse for row in rows.values()]
    far = max(min(1.1 * max(errors), _RIM * min(errors)), 1e-9)

    def at(rmse: float, edge: float) -> tuple[float, float]:
        angle, reach = math.pi / 2 * (1 - max(-1.0, min(1.0, edge))), radius * min(rmse / far, 1.0)
        return centre[0] + reach * math.cos(angle), centre[1] - reach * math.sin(angle)

    def sector(rmse: float, edge: float, colour: str) -> str:
        rim = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(rmse, -edge + 2 * edge * step / 40) for step in range(41)))
        return f'<polygon points="{centre[0]:.1f},{centre[1]:.1f} {rim}" fill="{colour}"/>'

    inputs = min(rows["nearest"].rmse, rows["coarse"].rmse)
    sharp = abs(rows["nearest"].edge)
    parts = [sector(inputs, abs(rows["coarse"].edge), "#eef3e6"), sector(rows[answer.best_control].rmse, sharp, "#d3e5bd")]
    for rmse in [*ticks(0.0, far, 4)[1:], far]:
        reach = radius * rmse / far
        start, end = centre[0] - reach, centre[0] + reach
        arc = f"M{start:.1f},{centre[1]:.1f} A{reach:.1f},{reach:.1f} 0 0 1 {end:.1f},{centre[1]:.1f}"
        parts.append(f'<path d="{arc}" fill="none" stroke="#d6d6d2"/>')
        if rmse < far:
            parts.append(f'<text x="{end:.1f}" y="{centre[1] + 14:.1f}" font-size="11" text-anchor="middle">{rmse:g}</text>')
    for edge in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x, y = at(far, edge)
        parts.append(f'<line x1="{centre[0]}" y1="{centre[1]}" x2="{x:.1f}" y2="{y:.1f}" stroke="#d6d6d2"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 5:.1f}" font-size="11" text-anchor="middle">{edge:+g}</text>')
    parts.append(f'<text x="{centre[0]}" y="{height - 8}" font-size="12" text-anchor="middle">distance: RMSE, angle: EDGE</text>')
    bias = max(abs(row.bias) for row in rows.values()) or 1.0
    placed = sorted((at(row.rmse, row.edge)[::-1], name) for name, row in rows.items() if math.isfinite(row.edge))
    # Names stand in a column beside the points, in their order, so that none hides another.
    column, step = centre[0] + radius + 26, 15.0
    middle = sum(y for (y, _), _ in placed) / max(len(placed), 1)
    line = max(16.0, min(middle - step * len(placed) / 2, centre[1] - step * len(placed)))
    for number, ((y, x), name) in enumerate(placed):
        row = rows[name]
        red, green, blue = diverging(np.array([[row.bias]]), bias)[0, 0]
        ring = 1 + 8 * min(abs(row.lbp), 1.0) if math.isfinite(row.lbp) else 1
        shape = f"RMSE {row.rmse:.4f}, EDGE {row.edge:+.3f}, AD {row.bias:+.4f}, LBP {row.lbp:+.3f}"
        said = f"{name} {row.rmse:.4f}" if row.rmse > far else name
        rim, ink = (GREY, "#6c6e74") if row.control else ("#202124", "#202124")
        free = line + step * number
        leader = f'x1="{x + 6:.1f}" y1="{y:.1f}" x2="{column - 4:.1f}" y2="{free - 4:.1f}"'
        parts.append(f'<line {leader} stroke="{rim}" stroke-width="0.6" stroke-opacity="0.6"/>')
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="rgb({red},{green},{blue})" stroke="{rim}" stroke-width="{ring:.1f}">'
            f"<title>{escape(name)}: {shape}</title></circle>"
        )
        parts.append(f'<text x="{column:.1f}" y="{free:.1f}" font-size="11" fill="{ink}">{escape(said)}</text>')
    return frame((width, height), parts)


def key(answer: Answer) -> str:
    """Which colour is whose."""
    names = {label: label for label in answer.methods} | {answer.best_control: f"{answer.best_control} (best control)"}
    return legend([(name, colours(answer)[label]) for label, name in names.items()])


def series(answer: Answer, cache: Path) -> list[tuple[str, str]]:
    """Predicted courses at three points: where the straight line errs most, where it errs as usual, and where it errs least.

    Drawn where the coarse series is daily. What was observed is a dot, what was withheld a ring, the truth of a sandbox a broad line.

    Returns
    -------
    list of (str, str)
        What the point is, and its chart as SVG.
    """
    if not answer.archive.restoration:
        return []
    case, said = answer.cases[0], answer.predicted[0]
    target = case.targets[len(case.targets) // 2]
    truth, linear = case.expected(target), said["linear"].mean[target]
    off = np.where(np.isfinite(truth) & np.isfinite(linear), np.abs(truth - linear), np.nan).mean(axis=0)
    ranks = {"linear errs most": 99.9, "linear errs as usual": 50.0, "linear errs least": 1.0}
    made = []
    for name, rank in ranks.items():
        level = np.nanpercentile(off, rank)
        row, col = np.unravel_index(int(np.nanargmin(np.abs(off - level))), off.shape)
        said_of = f"Where {name} (row {row}, column {col}). Dot: observed; ring: withheld."
        made.append((said_of, _course(answer, case, target, int(row), int(col), cache)))
    return made


def diverging(values: np.ndarray, limit: float) -> np.ndarray:
    """Blue over white to red, (..., 3) uint8; NaN is black."""
    share = np.clip(np.nan_to_num(values) / limit, -1, 1)[..., None]
    red, blue, white = np.array([178.0, 24, 43]), np.array([33.0, 102, 172]), np.array([250.0, 250, 248])
    mixed = np.where(share > 0, white + (red - white) * share, white - (blue - white) * share)
    return np.where(np.isfinite(values)[..., None], np.rint(mixed), 0).astype(np.uint8)


def _course(answer: Answer, case: Case, target: int, row: int, col: int, cache: Path) -> str:
    band = shown_band(answer)
    block, at = _cropped(case, row, col)
    first, last = target - _AROUND, target + _AROUND
    days = list(range(first, last + 1, _EVERY))  # the target is one of them
    lines: dict[str, list[float]] = {}
    for entrant in _drawn(answer):
        learnt = answer.predicted[0][entrant.label].parameters
        mean = predict(entrant, block, days, cache / "predictions", learnt).mean
        lines[entrant.label] = [float(mean[day][band, at[0], at[1]]) for day in days]
    images = zip(case.archive.fine_days, case.archive.fine, strict=True)
    observed = [(day, float(image[band, row, col])) for day, image in images if first <= day <= last]
    held = [(day, float(case.expected(day)[band, row, col])) for day in case.targets if first <= day <= last]
    if case.archive.truth:
        lines["truth"] = [float(case.expected(day)[band, row, col]) for day in days]
    values = [value for line in [*lines.values(), [value for _, value in observed + held]] for value in line if math.isfinite(value)]
    pad = 0.06 * (max(values) - min(values)) if values else 0.1
    labels = (f"days from {day_from_number(first)}", answer.archive.bands[band])
    chart = Chart((0, last - first), (min(values) - pad, max(values) + pad), labels, (620, 300))
    shade = colours(answer) | {"truth": "#c0c0bc"}
    for label, line in reversed(lines.items()):
        chart.line([day - first for day in days], line, shade[label], 4.0 if label == "truth" else 1.5)
    chart.dots([day - first for day, _ in observed], [value for _, value in observed], "#202124")
    chart.dots([day - first for day, _ in held], [value for _, value in held], "#202124", 5, "withheld", ring=True)
    return chart.svg()


def _drawn(answer: Answer) -> Sequence[Entrant]:
    wanted = {*answer.methods[:_COURSES], answer.best_control}
    return [entrant for entrant in answer.line if entrant.label in wanted]


def _cropped(case: Case, row: int, col: int) -> tuple[FusionInput, tuple[int, int]]:
    """The block around a pixel, and where the pixel lies in it."""
    block, scale = case.block, case.block.scale
    height, width = block.coarse.shape[-2:]
    cells = Window(row // scale - _CROP, col // scale - _CROP, 2 * _CROP + 1, 2 * _CROP + 1).clipped(height, width)
    pixels = cells.fine(scale)
    return block.window(cells), (row - pixels.row, col - pixels.col)


def _pairs(answer: Answer, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and predicted values and the 1 σ of their difference on a fixed sample of pixels of all targets and bands."""
    rng = np.random.default_rng(0)
    columns = []
    for case, said in zip(answer.cases, answer.predicted, strict=True):
        for target in case.targets:
            truth, mean = case.expected(target), said[label].mean[target]
            std = case.error_std(target, said[label].std[target])
            known = np.flatnonzero(np.isfinite(truth).all(axis=0) & np.isfinite(mean).all(axis=0))
            chosen = rng.choice(known, min(_SAMPLE, known.size), replace=False)
            columns.append(np.stack([image.reshape(len(image), -1)[:, chosen].ravel() for image in (truth, mean, std)]))
    truth, mean, std = np.concatenate(columns, axis=1)
    return truth, mean, std


def _case_of(answer: Answer, target: int) -> tuple[Case, Mapping[str, Predicted]]:
    return next((case, said) for case, said in zip(answer.cases, answer.predicted, strict=True) if target in case.targets)


def _grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    bright = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.where(np.isfinite(values)[..., None], np.rint(bright)[..., None].repeat(3, -1), 0).astype(np.uint8)


def _sheet(panels: Sequence[tuple[str, np.ndarray]], note: str) -> Image.Image:
    """Pictures side by side under their names, all in one size."""
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    height, width = panels[0][1].shape[:2]
    tall = round(_PANEL * height / width)
    sheet = Image.new("RGB", (columns * (_PANEL + _GAP) + _GAP, rows * (tall + _TITLE + _GAP) + _GAP + _TITLE), PAPER)
    draw = ImageDraw.Draw(sheet)
    text(draw, (_GAP, _GAP // 2), note, 13)
    for number, (name, picture) in enumerate(panels):
        left = _GAP + number % columns * (_PANEL + _GAP)
        top = _GAP + _TITLE + number // columns * (tall + _TITLE + _GAP)
        text(draw, (left, top), name, 13, INK)
        sheet.paste(Image.fromarray(picture).resize((_PANEL, tall), Image.Resampling.BILINEAR), (left, top + _TITLE - 2))
    return sheet
