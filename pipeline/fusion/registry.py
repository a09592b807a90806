"""The methods by name: what can be known of them without importing torch, and how one is built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from pipeline.errors import ConfigurationError
from pipeline.fusion.interface import Method, MethodSpec
from pipeline.fusion.options import (
    ControlOptions,
    CorrectedOptions,
    EfastOptions,
    EstarfmOptions,
    FitFcOptions,
    FsdafOptions,
    HarmonicOptions,
    NetworkOptions,
    ObjectOptions,
    PairNetworkOptions,
    ResidualOptions,
    RobotOptions,
    SmootherOptions,
    StackOptions,
    StarfmOptions,
    VsdfOptions,
)

ENTRY_POINTS = "landfuse.methods"
"""Group of entry points of methods that others write: each names a `MethodSpec`."""

_FINE = frozenset({"references"})
_COARSE = frozenset({"coarse"})
_LEARNED = _FINE | _COARSE | {"training"}
_CONTROLS = "pipeline.fusion.controls"

_BUILT_IN = (
    MethodSpec(
        name="residual",
        title="residuals against the lifted coarse, smoothed in time per pixel, added back to the coarse of the day",
        source="Gaussian process with a level and an Ornstein–Uhlenbeck term (Rasmussen & Williams 2006, eq. 2.25–2.26)",
        target="pipeline.fusion.residual:Residual",
        options=ResidualOptions,
    ),
    MethodSpec(
        name="smoother",
        title="every day of a pixel from all its observations at once: coarse anomaly with a gain, level, season and a process in time",
        source="Gaussian process with explicit basis functions (Rasmussen & Williams 2006, eq. 2.39–2.42)",
        target="pipeline.fusion.smoother:Smoother",
        options=SmootherOptions,
    ),
    MethodSpec(
        name="starfm",
        title="mean of similar neighbours moved by the coarse change, one pair or two",
        source="Gao, Masek, Schwaller & Hall 2006, TGRS 44, 2207–2218",
        target="pipeline.fusion.starfm:Starfm",
        options=StarfmOptions,
    ),
    MethodSpec(
        name="estarfm",
        title="coarse change of similar neighbours by a conversion coefficient, from both sides",
        source="Zhu, Chen, Gao, Chen & Masek 2010, RSE 114, 2610–2623",
        target="pipeline.fusion.estarfm:Estarfm",
        options=EstarfmOptions,
    ),
    MethodSpec(
        name="fitfc",
        title="lines between coarse images, applied to the nearest fine image and smoothed over similar neighbours",
        source="Wang & Atkinson 2018, RSE 204, 31–42",
        target="pipeline.fusion.fitfc:FitFc",
        options=FitFcOptions,
    ),
    MethodSpec(
        name="efast",
        title="all fine images moved by the coarse change, weighted by time and distance to clouds",
        source="Senty, Guzinski, Grogan, Buitenwerf et al. 2024, Remote Sensing 16, 1833",
        target="pipeline.fusion.efast:Efast",
        options=EfastOptions,
    ),
    MethodSpec(
        name="fsdaf",
        title="coarse change by classes of the fine image, the rest shared out by how even the place is, one pair",
        source="Zhu, Helmer, Gao, Liu, Chen & Lefsky 2016, RSE 172, 165–177",
        target="pipeline.fusion.fsdaf:Fsdaf",
        options=FsdafOptions,
    ),
    MethodSpec(
        name="stack",
        title="several methods, each weighted by its own variance",
        source="inverse-variance mean (Aitken 1935) with the correlation of errors at withheld images",
        target="pipeline.fusion.stack:Stack",
        options=StackOptions,
    ),
    MethodSpec(
        name="robot",
        title="the sum of images that gives the coarse image of the day and its fine neighbours in time",
        source="Chen, Wang & Gong 2023, RSE 294, 113616; Guo et al. 2025, JAG 144, 104964",
        target="pipeline.fusion.robot:Robot",
        options=RobotOptions,
    ),
    MethodSpec(
        name="olstarfm",
        title="every segment moved by the median coarse change, and the rest of the cells, interpolated",
        source="Guo, Shi, Zhang & Hao 2022, TGRS 60, 4414811",
        target="pipeline.fusion.olhstfm:OlStarfm",
        options=ObjectOptions,
    ),
    MethodSpec(
        name="olfitfc",
        title="the line of every segment from the coarse of the pair to that of the day, applied to its pixels",
        source="Guo, Shi, Zhang & Hao 2022, TGRS 60, 4414811",
        target="pipeline.fusion.olhstfm:OlFitFc",
        options=ObjectOptions,
    ),
    MethodSpec(
        name="olhstfm",
        title="olfitfc, with olstarfm on edges that it would flatten",
        source="Guo & Shi 2023, IEEE JSTARS, doi:10.1109/JSTARS.2023.3310195",
        target="pipeline.fusion.olhstfm:OlHstfm",
        options=ObjectOptions,
    ),
    MethodSpec(
        name="vsdf",
        title="coarse change unmixed into classes that look alike and vary alike",
        source="after Xu, Du, Fan, Yan et al. 2022, RSE 283, 113309",
        target="pipeline.fusion.vsdf:Vsdf",
        options=VsdfOptions,
    ),
    MethodSpec(
        name="realfusion",
        title="a network restores the coarse series, another puts the detail of possibly clouded images on it",
        source="after Guo, Li, Gao, Gao et al. 2025, RSE 321, 114689",
        target="pipeline.fusion.realfusion:RealFusion",
        options=NetworkOptions,
        needs=_LEARNED | {"ndvi_median", "coarse_layers"},
    ),
    MethodSpec(
        name="corrected",
        title="the smoother, corrected by a network",
        source="residual learning (He, Zhang, Ren & Sun 2016) on the smoother",
        target="pipeline.fusion.corrected:Corrected",
        options=CorrectedOptions,
        needs=_LEARNED | {"ndvi_median"},
    ),
    MethodSpec(
        name="biastf",
        title="coarse change and the bias between the sensors, a network for each",
        source="Li, Li, He, Chen & Plaza 2020, Sci. China Inf. Sci. 63, 140302",
        target="pipeline.fusion.pairnet:BiaStf",
        options=PairNetworkOptions,
        needs=_LEARNED,
    ),
    MethodSpec(
        name="stfdcnn",
        title="a network from coarse to averaged fine, a second for resolution, and the detail of the pairs",
        source="Song, Liu, Wang, Hang & Huang 2018, IEEE JSTARS 11, 821–829",
        target="pipeline.fusion.pairnet:Stfdcnn",
        options=PairNetworkOptions,
        needs=_LEARNED,
    ),
    MethodSpec(
        name="edcstfn",
        title="encoders of the fine image and of the coarse change, one decoder",
        source="Tan, Di, Zhang, Guo & Gao 2019, Remote Sensing 11, 2898",
        target="pipeline.fusion.pairnet:Edcstfn",
        options=PairNetworkOptions,
        needs=_LEARNED,
    ),
    MethodSpec(
        name="ganstfm",
        title="any fine image and the coarse of the day, through paired residual blocks",
        source="Tan, Gao, Li & Jiang 2022, TGRS 60, 5601413",
        target="pipeline.fusion.pairnet:GanStfm",
        options=PairNetworkOptions,
        needs=_LEARNED,
    ),
    MethodSpec(
        name="mlffgan",
        title="features of the fine image in the style of the coarse one, at five levels",
        source="Song, Liu, Li, Wang, Zhang, He, Chen & Liu 2022, TGRS 60, 4410816",
        target="pipeline.fusion.pairnet:MlffGan",
        options=PairNetworkOptions,
        needs=_LEARNED,
    ),
    MethodSpec("nearest", "the nearest clear observation", "control", f"{_CONTROLS}:Nearest", ControlOptions, _FINE, True),
    MethodSpec("linear", "linear in time between clear observations", "control", f"{_CONTROLS}:Linear", ControlOptions, _FINE, True),
    MethodSpec("harmonic", "annual harmonics, shrunk to the mean", "control", f"{_CONTROLS}:Harmonic", HarmonicOptions, _FINE, True),
    MethodSpec("coarse", "the lifted restored coarse", "control", f"{_CONTROLS}:Coarse", ControlOptions, _COARSE, True),
    MethodSpec("delta", "nearest clear observation + lifted coarse change", "control", f"{_CONTROLS}:Delta", ControlOptions, control=True),
    MethodSpec(
        "delta2", "delta from both sides, weighted linearly in time", "control", f"{_CONTROLS}:Delta2", ControlOptions, control=True
    ),
)


@cache
def specs() -> dict[str, MethodSpec]:
    """All methods by name: the built-in ones, then those of installed packages.

    Raises
    ------
    ConfigurationError
        If an entry point cannot be loaded, is no `MethodSpec`, or takes a name that is already taken.
    """
    found = {spec.name: spec for spec in _BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            spec = point.load()
        except Exception as error:
            raise ConfigurationError(
                f"method {point.name!r} of entry point {point.value!r} cannot be loaded: {error}", "mend or uninstall that package"
            ) from error
        if not isinstance(spec, MethodSpec):
            raise ConfigurationError(f"entry point {point.value!r} is a {type(spec).__name__}, expected a MethodSpec")
        if spec.name in found:
            raise ConfigurationError(f"method {spec.name!r} of entry point {point.value!r} already exists", "give it another name")
        found[spec.name] = spec
    return found


def spec_of(name: str) -> MethodSpec:
    """The spec of a method.

    Raises
    ------
    ConfigurationError
        If there is no method of that name.
    """
    known = specs()
    if name not in known:
        raise ConfigurationError(f"no method {name!r}", f"known methods: {', '.join(known)}")
    return known[name]


def options_of(name: str, options: Mapping[str, Any]) -> Any:
    """The checked options of a method.

    Raises
    ------
    ConfigurationError
        If the method is unknown, or a key or value is wrong; the allowed keys are listed.
    """
    spec = spec_of(name)
    try:
        return spec.options.model_validate(dict(options))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'options'}: {problem['msg']} (found {problem['input']!r})"
            for problem in error.errors(include_url=False)
        )
        allowed = ", ".join(f"{key} ({field.description})" for key, field in spec.options.model_fields.items()) or "none"
        raise ConfigurationError(f"options of method {name!r}: {problems}", f"allowed keys: {allowed}") from None


def build(name: str, options: Mapping[str, Any]) -> Method:
    """Build a method; this imports torch.

    Raises
    ------
    ConfigurationError
        As `options_of`.
    """
    checked = options_of(name, options)
    return class_of(name)(checked)


def class_of(name: str) -> Any:
    """The class of a method; this imports torch.

    Raises
    ------
    ConfigurationError
        If there is no method of that name.
    """
    module, _, attribute = spec_of(name).target.partition(":")
    return getattr(import_module(module), attribute)
