"""Model cards."""

from __future__ import annotations

import json
from datetime import date

import torch

from pipeline.fusion.networks.weights import load, save
from pipeline.training.card import card_of, to_markdown


def some_card():
    return card_of(
        method="some",
        source="Some et al. 2020",
        cost={"parameters": 12345, "multiply_adds": 6789},
        scores={"restoration": {"rmse": 0.012345678, "control": 0.02, "skill": 0.4}, "fusion": {"rmse": 0.03, "control": 0.04}},
        training={"steps": {"restoration": 10, "fusion": 20}, "seconds": 61, "machine": "a|b", "command": "landfuse train sandbox"},
        data={"train": ["sandbox seed 301", "sandbox seed 302"], "tune": ["sandbox seed 201"], "real_modis": "none"},
        licence="Apache-2.0; simulated",
        recipe={"samples": {"seed": 6}},
    )


def test_a_card_is_written_with_the_weights_and_says_their_hash_and_its_own_count(tmp_path):
    digest = save(tmp_path / "some.safetensors", {"weight": torch.zeros(3)}, some_card())
    read = load(tmp_path / "some.safetensors")
    assert read.digest == digest
    assert read.card == {**some_card(), "sha256": digest}
    assert read.card["parameters"] == 12345
    assert date.fromisoformat(read.card["created"])
    assert json.loads((tmp_path / "some.json").read_text())["scores"]["restoration"]["rmse"] == 0.0123457


def test_a_card_for_people_holds_every_fact():
    text = to_markdown({**some_card(), "sha256": "abc123"})
    for line in (
        "# Weights of `some`",
        "| source | Some et al. 2020 |",
        "| parameters | 12,345 |",
        "| multiply-adds | 6,789 for a fine pixel of all bands |",
        "| SHA-256 | abc123 |",
        "| train | sandbox seed 301, sandbox seed 302 |",
        "| real_modis | none |",
        "| stage | rmse | control | skill |",
        "| restoration | 0.01235 | 0.02 | 0.4 |",
        "| fusion | 0.03 | 0.04 | – |",
        "| steps | restoration: 10, fusion: 20 |",
        "| machine | a\\|b |",
        "| command | landfuse train sandbox |",
        '  "seed": 6',
    ):
        assert line in text.splitlines()
