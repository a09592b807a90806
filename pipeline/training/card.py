"""The model card of a training: what the weights are, what they have seen, and what they reached.

After Mitchell et al. 2019, Model cards for model reporting, Proc. FAT*, 220–229, doi 10.1145/3287560.3287596.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def card_of(
    *,
    method: str,
    source: str,
    cost: Mapping[str, int],
    scores: Mapping[str, Mapping[str, float]],
    training: Mapping[str, Any],
    data: Mapping[str, Any],
    licence: str,
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    """The card as JSON holds it; `weights.save` adds the hash.

    Parameters
    ----------
    method, source : str
        Registry name, and the paper.
    cost : mapping
        ``parameters``, and ``multiply_adds`` for a fine pixel of all bands.
    scores : mapping
        Stage → figures on tune data: ``rmse``, ``control`` (its RMSE), ``skill`` = 1 − rmse / control. Never on test data.
    training : mapping
        ``steps``, ``seconds``, ``machine``, ``command``; whatever says how it went.
    data : mapping
        Split (``train``, ``tune``) → names of the places; ``real_modis`` says how much of it was real MODIS.
    licence : str
        Of the weights, and what it follows from.
    recipe : mapping
        What repeats the training, seeds included.
    """
    return {
        "method": method,
        "source": source,
        **cost,
        "licence": licence,
        "data": dict(data),
        "scores": {stage: {name: float(f"{value:.6g}") for name, value in figures.items()} for stage, figures in scores.items()},
        "training": dict(training),
        "recipe": dict(recipe),
        "created": datetime.now(UTC).date().isoformat(),
    }


def to_markdown(card: Mapping[str, Any]) -> str:
    """A card, as `weights.load` gives it, for people."""
    columns = list(dict.fromkeys(name for figures in card["scores"].values() for name in figures))
    scores = [
        [stage, *(f"{figures[name]:.4g}" if name in figures else "–" for name in columns)] for stage, figures in card["scores"].items()
    ]
    facts = {
        "source": card["source"],
        "parameters": f"{card['parameters']:,}",
        "multiply-adds": f"{card['multiply_adds']:,} for a fine pixel of all bands",
        "licence": card["licence"],
        "created": card["created"],
        "SHA-256": card["sha256"],
    }
    parts = [
        f"# Weights of `{card['method']}`",
        _table(["", ""], [[name, value] for name, value in facts.items()]),
        "## What they have seen",
        _table(["split", "data"], [[split, _said(places)] for split, places in card["data"].items()]),
        "## What they reached on tune data",
        "Weights were chosen by these figures, so they flatter. `control` is the error of the control, `skill` is 1 − rmse / control.",
        _table(["stage", *columns], scores),
        "## The training",
        _table(["", ""], [[name, _said(value)] for name, value in card["training"].items()]),
        "What repeats it:",
        f"```json\n{json.dumps(card['recipe'], indent=1, ensure_ascii=False)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_said(inner)}" for name, inner in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, list | tuple) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
