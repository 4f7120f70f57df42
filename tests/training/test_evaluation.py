"""Errors of a stored model, and the pictures."""

import csv
import json

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from equicalc import EquiCalculator
from equicalc.checkpoint import save_checkpoint
from equicalc.data import PackedDataset, write_packed
from equicalc.models import build_model, evaluate
from equicalc.training import evaluate_dataset
from equicalc.training.logs import CsvLog, read_log
from equicalc.training.plots import plot_learning_curve


@pytest.fixture
def model():
    config = {"elements": [1, 8], "channels": 4, "layers": 1, "ls": [0, 1]}
    return build_model("potential", config, backend="torch").eval()


def test_evaluation_agrees_with_one_by_one(model, spring_set, tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", model, {})
    output = tmp_path / "report"
    table = evaluate_dataset(
        path, spring_set, output=output, batch_size=7, backend="torch"
    )
    dataset = PackedDataset(spring_set)
    energy, forces = [], []
    for index in range(len(dataset)):
        graph = dataset.batch([index], model.cutoff)
        out = evaluate(model, graph)
        energy.append((out["energy"] - graph.energy).item())
        forces.append((out["forces"] - graph.forces).numpy())
    assert table["energy"]["mae"] == pytest.approx(1000 * np.abs(energy).mean())
    residual = np.concatenate(forces)
    rmse = 1000 * np.sqrt(np.mean(residual**2))
    assert table["forces"]["rmse"] == pytest.approx(rmse, rel=1e-4)
    assert table["kinds"]["odd"]["n_structures"] == 20
    # what it leaves on disk
    assert json.loads((output / "metrics.json").read_text()) == table
    with (output / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["subset"] for row in rows} == {"all", "even", "odd", "Z=1", "Z=8"}
    assert (output / "parity.png").stat().st_size > 1000


def test_kinds_without_names_are_left_out(model, spring_set, tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", model, {})
    records = [
        {"z": g.z, "pos": g.pos, "energy": g.energy, "forces": g.forces, "kind": 1}
        for g in (PackedDataset(spring_set)[i] for i in range(2))
    ]
    write_packed(tmp_path / "few", records, {})
    assert "kinds" not in evaluate_dataset(path, tmp_path / "few", backend="torch")


def test_shipped_models_are_evaluated_by_name_on_any_device(tmp_path):
    water = molecule("H2O")
    water.calc = EquiCalculator("potential", device="cpu")
    record = {"z": water.numbers, "pos": water.positions}
    record |= {"energy": water.get_potential_energy() + 1.0}
    write_packed(tmp_path / "water", [record])
    table = evaluate_dataset("potential", tmp_path / "water", device="auto")
    assert table["energy"]["mae"] == pytest.approx(1000, abs=0.1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lattice", "LatticeNetwork"),
        ("symphony", "Symphony"),
        ("mo3enet", "Mo3ENet"),
    ],
)
def test_models_without_energies_are_refused(spring_set, name, kind):
    message = f"{name} is a {kind}, which has no energies of structures: name a"
    with pytest.raises(ValueError, match=message):
        evaluate_dataset(name, spring_set)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; give 1 or more"),
        ({"device": "foo"}, "device 'foo' is not known: give 'auto'"),
    ],
)
def test_senseless_settings_are_refused_before_anything_is_read(settings, message):
    with pytest.raises(ValueError, match=message):
        evaluate_dataset("no such model", "no such data", **settings)


def test_potentials_need_energies(tmp_path):
    file = tmp_path / "bare.extxyz"
    write(file, molecule("H2O"))
    with pytest.raises(ValueError, match=r"bare\.extxyz has 1 structures .* energies"):
        evaluate_dataset("potential", file)


def test_log_forgets_what_was_lost(tmp_path):
    path = tmp_path / "train.csv"
    log = CsvLog(path, step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    with path.open("a") as file:
        file.write("4")  # cut short
    assert [row["step"] for row in read_log(path)] == ["1", "2", "3"]
    log = CsvLog(path, step=2)
    log.write({"step": 3, "loss": 0.25})
    assert [row["loss"] for row in read_log(path)] == ["0.5", "0.5", "0.25"]


def test_learning_curve_needs_no_finished_run(tmp_path):
    assert plot_learning_curve(tmp_path).stat().st_size > 1000
    log = CsvLog(tmp_path / "train.csv", step=0)
    log.write({"step": 1, "loss": 0.5})
    assert plot_learning_curve(tmp_path).stat().st_size > 1000
