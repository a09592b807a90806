"""The controls on real sets against figures that were measured with other code on the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.assessment.assess import ALL, assess
from pipeline.assessment.experiments import load_experiment
from tests.assessment.sets import DATA, needs_data

EXPERIMENTS = Path(__file__).resolve().parents[2] / "benchmarks" / "experiments"
NAMES = ("rmse", "mae", "cc", "ssim", "ssim_range", "sam", "ergas", "bias", "edge", "lbp")
ROUNDED = (5e-5, 5e-5, 5e-4, 5e-4, 5e-4, 5e-5, 1e-3, 5e-5, 5e-4, 5e-4)

KNOWN = {
    "boreas-two-pairs": {
        "delta2": (0.0082, 0.0059, 0.906, 0.978, 0.725, 0.0290, 0.778, 0.0027, -0.148, -0.020),
        "delta": (0.0090, 0.0066, 0.894, 0.976, 0.688, 0.0290, 0.768, 0.0030, -0.161, -0.002),
        "nearest": (0.0102, 0.0088, 0.935, 0.972, 0.696, 0.0325, 0.991, -0.0083, -0.164, -0.046),
        "linear": (0.0116, 0.0099, 0.928, 0.978, 0.732, 0.0350, 0.836, -0.0079, -0.149, -0.023),
        "coarse": (0.0188, 0.0139, 0.537, 0.873, 0.201, 0.0453, 1.412, 0.0021, -0.929, -0.523),
    },
    "cia-one-pair": {
        "delta": (0.0392, 0.0270, 0.770, 0.800, 0.606, 0.2092, 3.596, 0.0039, -0.212, 0.032),
        "nearest": (0.0422, 0.0264, 0.721, 0.822, 0.637, 0.1682, 3.975, 0.0012, -0.215, -0.022),
        "coarse": (0.0486, 0.0378, 0.622, 0.628, 0.181, 0.2491, 4.230, 0.0062, -0.899, -0.498),
    },
}


@needs_data
@pytest.mark.parametrize("name", ["cia-one-pair", pytest.param("boreas-two-pairs", marks=pytest.mark.slow)])
def test_the_controls_have_the_figures_that_others_measured(name: str, tmp_path: Path) -> None:
    answer = assess(load_experiment(EXPERIMENTS / f"{name}.yaml"), [], DATA, tmp_path, lambda *_: None)
    rows = {row.name: row for row in answer.rows if row.stratum == ALL}
    for control, figures in KNOWN[name].items():
        for figure, expected, half in zip(NAMES, figures, ROUNDED, strict=True):
            # Values are multiples of 0.0001, so neighbours often differ by the tolerance of LBP itself, and rounding decides.
            slack = 0.004 if figure == "lbp" else half
            assert getattr(rows[control], figure) == pytest.approx(expected, abs=1.02 * slack), f"{control} {figure}"
