"""Model files: they come back bit for bit, and damaged ones are refused by name."""

import json
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.graph import make_graph
from equicalc.header import read_header
from equicalc.models import build_model, evaluate

CONFIG: dict[str, Any] = {
    "elements": [1, 8],
    "channels": 4,
    "layers": 2,
    "ls": [0, 1],
    "reference_energies": [-13.600000000000001, -2041.123456789],
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model("potential", CONFIG, backend="torch")


@pytest.fixture
def path(model, tmp_path):
    card = {"level_of_theory": "a guess", "elements": "filled in"}
    return save_checkpoint(tmp_path / "folder" / "model.safetensors", model, card)


def test_model_comes_back(model, path):
    loaded, card = load_checkpoint(path, backend="torch")
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not loaded.training
    assert card["level_of_theory"] == "a guess"
    assert card["elements"] == [1, 8]
    assert card["cutoff"] == 5.0
    assert card["units"]["energy"] == "eV"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_of_the_weights_not_of_the_references(path, dtype):
    loaded, _ = load_checkpoint(path, dtype=dtype, backend="torch")
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    number, energy = CONFIG["elements"][-1], CONFIG["reference_energies"][-1]
    atom = make_graph([number], [[0.0, 0.0, 0.0]], cutoff=5.0)
    assert evaluate(loaded, atom, ["energy"])["energy"].item() == energy


def test_half_precision_only_rounds_the_weights(model, tmp_path):
    half = save_checkpoint(tmp_path / "half.safetensors", model, {}, torch.float16)
    with safe_open(half, "pt") as file:
        stored = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    assert {tensor.dtype for tensor in stored} == {torch.float16}
    loaded, _ = load_checkpoint(half, backend="torch")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(
            loaded.state_dict()[name], tensor.half().float(), rtol=0, atol=0
        )


def test_header_is_json_that_others_can_read(path):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["model"])["name"] == "potential"
    assert len(json.loads(metadata["sha256"])) == 64
    assert read_header(path)["card"]["cutoff"] == 5.0


def test_writing_replaces_and_leaves_nothing_behind(model, path):
    save_checkpoint(path, model, {"level_of_theory": "another"})
    assert read_header(path)["card"]["level_of_theory"] == "another"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_failed_write_keeps_the_old_file(model, path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON"):
        save_checkpoint(path, model, {"licence": object()})
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        save_checkpoint(path, model, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Linear is not a registered model"):
        save_checkpoint(tmp_path / "model", torch.nn.Linear(1, 1), {})


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0, 5, 400, -10])
def test_truncated_file_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"model\.safetensors.*copy it again"):
        load_checkpoint(path)


def test_changed_weights_are_noticed(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="do not match their sha256"):
        load_checkpoint(path, backend="torch")


def test_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(1)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="not a model of equicalc"):
        load_checkpoint(path)


def test_unknown_model_is_named(path):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata["model"] = json.dumps({"name": "later", "config": {}})
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"'later'.*update equicalc"):
        load_checkpoint(path)
