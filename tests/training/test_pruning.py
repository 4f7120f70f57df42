"""Pruning ends in a smaller network that works, and says what it cost."""

import json
from typing import cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from equicalc import EquiCalculator
from equicalc.calculators import PropertyPredictor
from equicalc.checkpoint import load_checkpoint, save_checkpoint
from equicalc.data import PackedDataset, write_packed
from equicalc.models import (
    EquiTriton,
    EquiTritonConfig,
    Potential,
    PotentialConfig,
    pruned,
)
from equicalc.training.config import TrainerConfig
from equicalc.training.pruning import PruneSettings, prune

TRAINER = TrainerConfig(threads=1, progress=False, backend="torch")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.manual_seed(0)
    config = PotentialConfig(elements=(1, 8), channels=4, layers=2, cutoff=4.0)
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    return save_checkpoint(path, Potential(config), {"licence": "MIT"})


def test_pruning_trains_and_compares(whole, spring_set, tmp_path):
    settings = PruneSettings(max_time=3.0, lr=0.02, batch_size=4, trainer=TRAINER)
    result = prune(whole, spring_set, {2}, tmp_path, settings)
    rows = {row["network"]: row for row in result.rows}
    assert list(rows) == ["whole", "pruned", "fine-tuned"]
    assert [row["degrees"] for row in result.rows] == ["0 1 2", "0 1", "0 1"]
    assert rows["pruned"]["parameters"] < rows["whole"]["parameters"]
    error = "forces MAE_meV/Angstrom"
    assert rows["fine-tuned"][error] < rows["pruned"][error]
    assert all(row["time_ms/structure"] > 0 for row in result.rows)
    report = json.loads((tmp_path / "prune.json").read_text())
    assert report["networks"] == result.rows
    assert report["labels"] == "the data"
    model, card = load_checkpoint(result.checkpoint)
    assert cast(Potential, model).config.ls == (0, 1)
    assert card["licence"] == "MIT"
    assert card["dropped_degrees"] == [2]
    water = molecule("H2O")
    water.calc = EquiCalculator(result.checkpoint, device="cpu", backend="torch")
    assert np.isfinite(water.get_forces()).all()


def test_structures_without_labels_get_those_of_the_whole_network(whole, tmp_path):
    atoms = [molecule(name) for name in ("H2O", "H2O2", "H2", "O3")]
    records = [{"z": a.numbers, "pos": a.positions} for a in atoms]
    write_packed(tmp_path / "set", records)
    shares = {"train": 0.5, "valid": 0.25, "test": 0.25}
    settings = PruneSettings(max_time=0, fractions=shares, trainer=TRAINER)
    result = prune(whole, tmp_path / "set", {1, 2}, tmp_path / "out", settings)
    assert [row["network"] for row in result.rows] == ["whole", "pruned"]
    first, *_ = result.rows
    assert first["forces MAE_meV/Angstrom"] == pytest.approx(0, abs=1e-2)
    labels = PackedDataset(tmp_path / "out" / "labels")
    atoms[0].calc = EquiCalculator(whole, device="cpu", backend="torch")
    energy = atoms[0].get_potential_energy()
    assert labels.column("energy")[0] == pytest.approx(energy, abs=1e-4)
    expected = pruned(load_checkpoint(whole)[0], {1, 2}).state_dict()
    found = load_checkpoint(result.checkpoint)[0].state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    # another data set in the same folder gets labels of its own
    write_packed(tmp_path / "other", records[::-1])
    prune(whole, tmp_path / "other", {1, 2}, tmp_path / "out", settings)
    again = PackedDataset(tmp_path / "out" / "labels")
    assert again.column("energy")[-1] == pytest.approx(energy, abs=1e-4)


@pytest.fixture(scope="module")
def property_network(tmp_path_factory):
    torch.manual_seed(0)
    config = EquiTritonConfig(
        elements=(1, 8),
        targets=("U0", "gap"),
        references=((1.0, 15.0), (0.0, 0.0)),
        ls=(0, 1),
        channels=4,
        embedding=4,
        layers=2,
        cutoff=4.0,
    )
    path = tmp_path_factory.mktemp("whole") / "properties.safetensors"
    return save_checkpoint(path, EquiTriton(config, "torch"), {})


def test_a_pruned_network_of_properties_learns(property_network, spring_set, tmp_path):
    springs = PackedDataset(spring_set)
    records = (
        {"z": g["z"], "pos": g["pos"], "energy": g["energy"][0], "gap": len(g["z"])}
        for g in springs
    )
    write_packed(tmp_path / "set", records)
    settings = PruneSettings(max_time=3.0, lr=0.02, batch_size=4, trainer=TRAINER)
    result = prune(property_network, tmp_path / "set", {1}, tmp_path / "out", settings)
    rows = {row["network"]: row for row in result.rows}
    assert [row["degrees"] for row in result.rows] == ["0 1", "0", "0"]
    assert rows["pruned"]["parameters"] < rows["whole"]["parameters"]
    for error in ("U0 MAE_eV", "gap MAE_eV"):
        assert rows["fine-tuned"][error] < rows["pruned"][error]
    report = json.loads((tmp_path / "out" / "prune.json").read_text())
    assert report["labels"] == "the data"
    assert report["networks"] == result.rows
    predictor = PropertyPredictor.from_pretrained(result.checkpoint, device="cpu")
    assert predictor.model.config.references[0] == (1.0, 15.0)  # of the whole network
    assert np.isfinite(predictor.predict(molecule("H2O"))["gap"])


def test_properties_that_are_missing_come_from_the_whole_network(
    property_network, spring_set, tmp_path
):
    settings = PruneSettings(max_time=0, trainer=TRAINER)
    result = prune(property_network, spring_set, {1}, tmp_path / "out", settings)
    first, second = result.rows
    assert result.labels == "the whole network"
    assert first["gap MAE_eV"] == pytest.approx(0, abs=1e-5)
    assert second["gap MAE_eV"] > 1e-3
    labels = PackedDataset(tmp_path / "out" / "labels")
    predictor = PropertyPredictor.from_pretrained(property_network, device="cpu")
    graph = labels[7]
    atoms = Atoms(graph["z"].numpy(), graph["pos"].numpy())
    assert labels.column("gap")[7] == pytest.approx(predictor.predict(atoms)["gap"])


def test_too_few_structures_to_hold_any_back_are_refused(whole, tmp_path):
    water = molecule("H2O")
    write_packed(tmp_path / "set", [{"z": water.numbers, "pos": water.positions}] * 3)
    with pytest.raises(ValueError, match=r"has 3 structures.*for test"):
        prune(whole, tmp_path / "set", {2}, tmp_path / "out")
    assert not (tmp_path / "out" / "labels").exists()
