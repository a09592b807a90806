"""Pages that are generated are those that would be generated now; examples can be read and name what exists."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.catalog.search import product_of
from pipeline.config import load_area
from pipeline.fusion.registry import options_of, spec_of
from pipeline.sensors import builtin_products

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/area.yaml"))
PROVIDERS = ("planetary-computer", "usgs-landsatlook", "earth-search", "lpcloud")


@pytest.mark.parametrize(
    ("script", "page"), [("generate_area_file", "area-file.md"), ("generate_sensors", "sensors.md"), ("generate_methods", "methods.md")]
)
def test_a_generated_page_says_what_the_code_says_now(script: str, page: str) -> None:
    program = f"import sys; sys.path.insert(0, 'docs'); import {script}; print({script}.text(), end='')"
    made = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "docs" / page).read_text(encoding="utf-8"), f"run: python docs/{script}.py"


def test_the_page_of_the_sensors_names_every_product_band_and_quality_layer() -> None:
    page = (ROOT / "docs" / "sensors.md").read_text(encoding="utf-8")
    for name, product in builtin_products().items():
        _, _, section = page.partition(f"\n## {name}\n")
        section = section.partition("\n## ")[0]
        assert section, name
        assets = [band.asset for band in product.bands.values()] + [layer.asset for layer in product.layers]
        assert [asset for asset in assets if f"`{asset}`" not in section] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_area_file_of_an_example_is_accepted_and_names_what_exists(name: str) -> None:
    area = load_area(ROOT / "examples" / name / "area.yaml")
    assert area.name == name
    sources = (*area.science.fine, *area.science.coarse)
    assert {source.catalog for source in sources} == set(area.runtime.catalogs)
    for role, named in (("fine", area.science.fine), ("coarse", area.science.coarse)):
        for source in named:
            product = area.products[product_of(source, area.products)]
            assert product.role == role
            assert set(product.bands) & set(area.science.bands)
    options_of(area.science.method.name, area.science.method.options)
    assert area.science.coarse or "coarse" not in spec_of(area.science.method.name).needs


def test_there_is_an_example_of_every_provider_that_says_what_it_needs_costs_and_that_it_was_not_run() -> None:
    for name in PROVIDERS:
        readme = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
        assert len(readme.splitlines()) <= 25
        assert "**Needs**" in readme
        assert "**Traffic" in readme or "**Costs" in readme
        assert "*Not run here*" in readme
        for command in ("landfuse catalog check", "landfuse plan", "landfuse run"):
            assert command in readme
        area = load_area(ROOT / "examples" / name / "area.yaml")
        assert all(product_of(source, builtin_products()) for source in (*area.science.fine, *area.science.coarse))
