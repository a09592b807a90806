"""Methods by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from pipeline.errors import ConfigurationError
from pipeline.fusion import registry
from pipeline.fusion.interface import MethodSpec
from pipeline.fusion.options import ControlOptions

CONTROLS = {"nearest", "linear", "harmonic", "coarse", "delta", "delta2"}


def test_the_registry_and_the_interface_import_no_torch():
    code = (
        "import sys, pipeline.fusion.registry as registry, pipeline.fusion.interface\n"
        "registry.specs(); registry.options_of('residual', {})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_six_controls_and_the_method_are_known():
    specs = registry.specs()
    assert {name for name, spec in specs.items() if spec.control} >= CONTROLS
    assert not specs["residual"].control


@pytest.mark.parametrize("name", list(registry.specs()))
def test_every_method_builds_with_its_defaults_and_says_what_it_looks_at(name):
    method = registry.build(name, {})
    before, after = method.options.support()
    assert before > 0
    assert after > 0
    assert method.options.halo() >= 0


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"no method 'magic'[\s\S]*residual"):
        registry.build("magic", {})


def test_a_wrong_option_is_refused_with_the_allowed_keys():
    with pytest.raises(ConfigurationError, match=r"tau[\s\S]*allowed keys: days"):
        registry.build("residual", {"tau": 3})
    with pytest.raises(ConfigurationError, match=r"days: [\s\S]*found -1"):
        registry.build("linear", {"days": -1})


@pytest.fixture
def installed(monkeypatch):
    """Methods of other packages, as their entry points name them."""

    def install(*values: str) -> None:
        points = EntryPoints(EntryPoint(value.split(":")[1], value, registry.ENTRY_POINTS) for value in values)
        monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
        registry.specs.cache_clear()

    yield install
    registry.specs.cache_clear()


GUEST = MethodSpec("guest", "a guest", "here", "pipeline.fusion.controls:Nearest", ControlOptions)
THIEF = MethodSpec("residual", "takes a name", "here", "pipeline.fusion.controls:Nearest", ControlOptions)


def test_methods_of_other_packages_come_in_by_entry_point(installed):
    installed(f"{__name__}:GUEST")
    assert registry.build("guest", {"days": 5}).options.support() == (5, 5)


@pytest.mark.parametrize(
    ("value", "message"), [("THIEF", "already exists"), ("CONTROLS", "expected a MethodSpec"), ("absent", "cannot be loaded")]
)
def test_broken_entry_points_are_named(installed, value, message):
    installed(f"{__name__}:{value}")
    with pytest.raises(ConfigurationError, match=message):
        registry.specs()
