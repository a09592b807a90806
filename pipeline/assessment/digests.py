"""What decides whether something must be made again: digests of values and of the code that made them."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits of JSON-ready values, arrays and tensors, in order."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.numpy()
        if isinstance(part, np.ndarray):
            made.update(f"{part.dtype.str}{part.shape}".encode())
            made.update(np.ascontiguousarray(part).view(np.uint8).data)
        else:
            made.update(json.dumps(part, sort_keys=True, default=str).encode())
    return made.hexdigest()[:16]


@cache
def code_digest(module: str, but: frozenset[str] = frozenset()) -> str:
    """Digest of the source of a module and of every module of its package that it imports, near or far.

    A change of code that a module cannot reach leaves its digest as it is. Modules outside its package count by name only.

    Parameters
    ----------
    module : str
    but : frozenset of str
        Modules that are left out, with what only they import.
    """
    return digest({name: hashlib.sha256(source).hexdigest() for name, source in sources(module, but).items()})


def sources(module: str, but: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """Source of a module and of what it imports of its own package, by name; an import by string is not followed."""
    package = module.partition(".")[0]
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in but:
            continue
        path = _source(name)
        if path is None:
            continue
        found[name] = path.read_bytes()
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names if alias.name.partition(".")[0] == package]
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == package:
                # What is imported may be a module itself, or something inside one.
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _source(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
