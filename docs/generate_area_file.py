"""Write docs/area-file.md from the models of `pipeline.config`: run this after changing a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.config import Area

HEAD = """# The area file

One YAML file describes one published cube. Unknown keys are refused. A change under `science` changes pixels, so the days it touches
are made again; a change under `runtime` never does. `landfuse init` writes a commented one to start from. Generated from the models by
`docs/generate_area_file.py`.
"""

_WORDS = {"tuple": "list of", "dict": "mapping of", "str": "text", "bool": "true/false", "Literal": "one of"}


def sections(model: type[BaseModel], place: str, done: set[type[BaseModel]]) -> Iterator[str]:
    """A section for a model, then one for every model below it."""
    done.add(model)
    below: list[tuple[type[BaseModel], str]] = []
    summary = (model.__doc__ or "").strip().splitlines()[0]
    lines = [f"\n## {place or 'top level'}\n", f"{summary}\n", "| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        lines.append(f"| `{name}` | {_type(field.annotation)} | {default} | {field.description or ''} |")
        below += [(part, f"{place}.{name}".strip(".")) for part in _models(field.annotation)]
    yield "\n".join(lines) + "\n"
    for part, where in below:
        if part not in done:
            yield from sections(part, where, done)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type(part) for part in get_args(annotation))
    if annotation is type(None):
        return "null"
    inner = [part for part in get_args(annotation) if part is not Ellipsis]
    parts = [_type(part) if isinstance(part, type) or get_args(part) else repr(part) for part in inner]
    origin = get_origin(annotation) or annotation
    plain = getattr(origin, "__name__", str(origin))
    name = _WORDS.get(plain, plain.removesuffix("Part").lower())
    return f"{name} {', '.join(parts)}" if parts else name


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def text() -> str:
    """The whole page."""
    return HEAD + "".join(sections(Area, "", set()))


if __name__ == "__main__":
    Path(__file__).with_name("area-file.md").write_text(text(), encoding="utf-8")
