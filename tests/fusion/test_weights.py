"""Weights as files: hashes, damage, what is shipped."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from pipeline.errors import WeightsError
from pipeline.fusion.networks import weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def saved(tmp_path, network):
    path = tmp_path / "some.safetensors"
    weights.save(path, network.state_dict(), {"method": "some"})
    return path


def test_weights_come_back_with_their_card_and_hash(saved, network):
    read = weights.load(saved)
    assert all(torch.equal(read.state[name], tensor) for name, tensor in network.state_dict().items())
    assert read.card == {"method": "some", "sha256": read.digest, "parameters": 2 * 4 * 9 + 4 + 4 * 4}
    assert not list(saved.parent.glob("*.partial"))


def test_the_same_weights_are_the_same_bytes(saved, network):
    other = saved.with_name("other.safetensors")
    # Strides in memory are no part of what is kept.
    weights.save(other, network.to(memory_format=torch.channels_last).state_dict(), {})
    assert other.read_bytes() == saved.read_bytes()


def test_tensors_that_share_memory_are_kept_one_by_one(tmp_path):
    whole = torch.arange(6.0)
    weights.save(tmp_path / "a.safetensors", {"whole": whole, "part": whole[2:4]}, {})
    assert weights.load(tmp_path / "a.safetensors").state["part"].tolist() == [2.0, 3.0]


def test_one_flipped_bit_is_refused_with_both_hashes(saved):
    expected = json.loads(saved.with_suffix(".json").read_text())["sha256"]
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        weights.load(saved)
    said = str(caught.value)
    assert str(saved) in said
    assert hashlib.sha256(data).hexdigest() in said
    assert expected in said
    assert "→" in said


def test_a_truncated_file_is_refused_with_both_hashes(saved):
    saved.write_bytes(saved.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"\(100 bytes\) has the hash \w{64}, its card some.json expects \w{64}"):
        weights.load(saved)


class _Trap:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_a_pickle_with_a_card_of_its_own_is_refused_and_never_run(saved):
    data = pickle.dumps(_Trap())
    saved.write_bytes(data)
    saved.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(data).hexdigest()}))
    with pytest.raises(WeightsError, match="no safetensors file"):
        weights.load(saved)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"sha256": 3}', "\x00"])
def test_a_card_without_a_hash_is_refused(saved, card):
    saved.with_suffix(".json").write_text(card)
    with pytest.raises(WeightsError, match=r"model card .*some\.json"):
        weights.load(saved)


def test_a_missing_file_is_named(saved):
    saved.unlink()
    with pytest.raises(WeightsError, match=r"some\.safetensors cannot be read"):
        weights.load(saved)


def test_weights_of_another_network_are_refused_by_tensor_and_change_nothing(saved):
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        weights.into(other, weights.load(saved))
    said = str(caught.value)
    assert "missing: 2.weight, 2.bias" in said
    assert "unexpected: 1.bias, 1.num_batches_tracked, 1.running_mean, 1.running_var, 1.weight" in said
    assert "of another shape: 0.weight (4, 2, 3, 3) instead of (4, 3, 3, 3)" in said
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_weights_go_into_the_network_they_are_of(saved, network):
    other = weights.into(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), weights.load(saved))
    assert torch.equal(other[0].weight, network[0].weight)


def test_shipped_weights_are_read_once_and_unknown_ones_are_named(saved, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", saved.parent)
    assert weights.shipped("some") is weights.shipped("some")
    assert weights.digest_of("some") == weights.shipped("some").digest
    for name in ("other", "../some", ""):
        with pytest.raises(WeightsError, match="there are some"):
            weights.digest_of(name)
    weights.shipped.cache_clear()


def test_all_shipped_weights_are_what_their_cards_say():
    for card in weights.SHIPPED.glob("*.json"):
        assert weights.load(card.with_suffix(".safetensors")).digest == weights.digest_of(card.stem)


def test_a_digest_costs_no_torch():
    code = "import sys; from pipeline.fusion.networks.weights import digest_of; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
