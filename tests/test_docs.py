"""Pages that are generated are those that would be generated now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_the_area_file_describes_the_models_as_they_are() -> None:
    script = "import sys; sys.path.insert(0, 'docs'); import generate_area_file; print(generate_area_file.text(), end='')"
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "docs" / "area-file.md").read_text(encoding="utf-8"), "run: python docs/generate_area_file.py"
