"""Training of networks of molecular properties: targets by name, in their units."""

import dataclasses
import json
from typing import cast

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from equicalc.checkpoint import load_checkpoint
from equicalc.data import write_packed
from equicalc.data.packed import PackedDataset
from equicalc.data.qm9 import TARGETS
from equicalc.models import EquiTriton, PropertyNetwork, build_model
from equicalc.training import (
    config_from_dict,
    evaluate_dataset,
    train,
)
from equicalc.training.logs import read_log
from equicalc.training.property_task import PropertyTask

pytestmark = pytest.mark.usefixtures("no_plots")

TWELVE = [name for name in TARGETS if name not in ("A", "B", "C")]
N = 24


def molecules():
    """Chains of hydrogen and oxygen whose properties follow from their distances."""
    rng = np.random.default_rng(0)
    for _ in range(N):
        n_atoms = int(rng.integers(2, 4))
        z = rng.choice([1, 8], n_atoms)
        gaps = rng.uniform(0.8, 1.5, n_atoms - 1)
        pos = np.zeros((n_atoms, 3))
        pos[1:, 0] = np.cumsum(gaps)
        values = {name: float(gaps.sum()) for name in TWELVE if name != "U0"}
        energy = 0.1 * gaps.sum() - 13.0 * (z == 1).sum() - 2042.0 * (z == 8).sum()
        yield {"z": z, "pos": pos, "energy": energy, **values}


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "chains"
    write_packed(folder, molecules())
    return folder


@pytest.fixture
def make_run(chains, tmp_path):
    def make(targets=("U0", "mu"), task="qm9net", **changes):
        content = {
            "task": task,
            "output": str(tmp_path / "run"),
            "data": {
                "train": str(chains),
                "fractions": {"train": 0.5, "valid": 0.25, "test": 0.25},
            },
            "properties": {"targets": list(targets)},
            "model": {
                "cutoff": 4.0,
                "n_radial": 8,
                "radial_hidden": [6],
                "embedding": 6,
                "multiplicities": [6, 2],
                "layers": 1,
            },
            "loss": {"kind": "mse"},
            "optimizer": {"batch_size": 6, "lr": 0.01, "warmup_steps": 2},
            "stop": {"max_steps": 60},
            "trainer": {"threads": 1, "val_every_steps": 30, "progress": False},
        }
        if "model" in changes:
            content["model"] = changes.pop("model")
        for section, values in changes.items():
            content[section] = content.get(section, {}) | values
        return config_from_dict(content)

    return make


@pytest.mark.parametrize("target", TWELVE)
def test_each_of_the_twelve_targets_has_a_loss(make_run, target):
    task = PropertyTask(make_run([target]))
    parts = task.load_parts()
    torch.manual_seed(0)
    model = build_model("qm9net", task.model_settings(parts["train"]))
    batch = task.batch(model, parts["train"], np.arange(4))
    loss, terms = task.loss(model, batch)
    loss.backward()
    assert loss > 0
    assert terms.keys() == {target}
    name = "energy" if target == "U0" else target
    expected = parts["train"].column(name)[:4]
    assert batch["targets"][:, 0].tolist() == expected.tolist()


def test_constants_come_from_the_training_set(make_run):
    task = PropertyTask(make_run(["U0", "mu"]))
    dataset = task.load_parts()["train"]
    settings = task.model_settings(dataset)
    n_atoms = dataset.column("n_atoms")
    assert settings["elements"] == (1, 8)
    atoms = settings["references"][0]
    assert atoms == pytest.approx([-0.500273 * 27.2114, -75.064579 * 27.2114], 1e-5)
    assert settings["references"][1] == (0.0, 0.0)
    per_atom = dataset.column("mu") / n_atoms
    assert settings["means"][1] == pytest.approx(per_atom.mean())
    assert settings["scales"][1] == pytest.approx(per_atom.std())


def test_fitted_references_leave_less(make_run):
    scales = []
    for references in ("atoms", "fit"):
        properties = {"targets": ["U0"], "references": references}
        task = PropertyTask(make_run(properties=properties))
        settings = task.model_settings(task.load_parts()["train"])
        scales.append(settings["scales"][0])
    assert scales[1] < scales[0]
    assert settings["references"][0] == pytest.approx([-13.0, -2042.0], abs=0.2)


def test_training_learns_and_reports_in_units(make_run):
    best = train(make_run(["U0", "mu"]))
    model, card = load_checkpoint(best)
    assert cast(PropertyNetwork, model).config.targets == ("U0", "mu")
    assert card["steps"] == 60
    errors = [float(row["mu_mae"]) for row in read_log(best.parent / "valid.csv")]
    metrics = json.loads((best.parent / "metrics.json").read_text())
    test = metrics["test"]
    assert test["units"] == {"U0": "eV", "mu": "Debye"}
    assert test["n_structures"] == N // 4
    again = evaluate_dataset(best, make_run().data.train)
    assert again["n_structures"] == N
    assert again["mu"]["mae"] < again["mu"]["rmse"]
    spread = PackedDataset(make_run().data.train).column("mu").std()
    assert errors[-1] < 0.6 * spread


def test_the_study_network_trains_on_molecules(make_run):
    model = {"ls": [0, 2], "channels": 4, "layers": 2, "n_radial": 5, "per_atom": False}
    run = make_run(["gap"], task="equitriton", model=model, stop={"max_steps": 2})
    best = train(run)
    network = cast(EquiTriton, load_checkpoint(best)[0])
    assert network.config.ls == (0, 2)


@pytest.mark.parametrize("task", ["qm9net", "equitriton"])
def test_what_was_learned_for_one_property_helps_with_another(make_run, tmp_path, task):
    shape = {"channels": 4, "ls": [0, 1], "layers": 1}
    models = {"model": shape} if task == "equitriton" else {}
    first = train(make_run(["mu", "gap"], task, stop={"max_steps": 2}, **models))
    run = make_run(
        ["U0"], task, model={}, stop={"max_steps": 1}, optimizer={"lr": 1e-12}
    )
    run = dataclasses.replace(run, output=str(tmp_path / "second"), init=str(first))
    before, after = (
        cast(PropertyNetwork, load_checkpoint(path)[0]) for path in (first, train(run))
    )
    assert after.config.targets == ("U0",)
    assert after.config.references[0][1] < -2000  # eV, of oxygen
    old = before.state_dict()
    for name, weight in after.state_dict().items():
        if not name.startswith(after.target_part):
            torch.testing.assert_close(weight, old[name])


@pytest.mark.parametrize(
    ("targets", "message"), [([], "name some of"), (["U1"], "name some of")]
)
def test_targets_are_named(make_run, targets, message):
    with pytest.raises(ValueError, match=message):
        PropertyTask(make_run(targets))


def test_a_missing_target_is_named(make_run, tmp_path):
    write_packed(
        tmp_path / "bare",
        ({"z": [1], "pos": [[0, 0, 0]], "energy": 1.0} for _ in range(9)),
    )
    run = make_run(["mu"], data={"train": str(tmp_path / "bare")})
    with pytest.raises(ValueError, match="have no 'mu'; they have"):
        PropertyTask(run).load_parts()


# files of atoms


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Return a function: names of properties to keep -> an extxyz file with them."""
    monkeypatch.setenv("EQUICALC_CACHE", str(tmp_path / "cache"))

    def save(*names, extra=None):
        listed = []
        for record in molecules():
            values = {**record, "U0": record["energy"]}
            kept = {name: values[name] for name in names}
            listed.append(Atoms(record["z"], record["pos"], info=kept))
        listed[-1].info.update(extra or {})
        write(tmp_path / "mine.extxyz", listed)
        return str(tmp_path / "mine.extxyz")

    return save


def test_properties_are_read_from_the_info_of_atoms(make_run, frames, chains):
    file = frames("U0", "mu", "gap")
    run = make_run(data={"train": file}, stop={"max_steps": 2})
    part = PropertyTask(run).load_parts()["train"]
    assert set(part.fields) == {"n_atoms", "z", "pos", "energy", "mu"}
    best = train(run)
    table, packed = (evaluate_dataset(best, data) for data in (file, chains))
    for target in ("U0", "mu"):
        assert table[target] == pytest.approx(packed[target], rel=1e-4)


def test_no_energy_is_needed_for_other_properties(make_run, frames):
    file = frames("gap")
    run = make_run(["gap"], data={"train": file}, stop={"max_steps": 1})
    assert evaluate_dataset(train(run), file)["units"] == {"gap": "eV"}


def test_missing_properties_name_the_users_file(make_run, frames):
    task = PropertyTask(make_run(["gap"], data={"train": frames("mu")}))
    with pytest.raises(ValueError, match=r"of \S*mine\.extxyz have no 'gap'; .* in eV"):
        task.load_parts()


def test_properties_that_are_no_numbers_are_named(make_run, frames):
    file = frames("gap", extra={"gap": "wide"})
    task = PropertyTask(make_run(["gap"], data={"train": file}))
    with pytest.raises(ValueError, match=r"mine\.extxyz .*gap of .* 'wide': one numbe"):
        task.load_parts()


def test_elements_without_free_atoms_are_named(make_run, tmp_path):
    record = {"z": [16, 1, 1], "pos": np.eye(3), "energy": -1.0, "mu": 1.0}
    write_packed(tmp_path / "sulphur", [record] * 8)
    task = PropertyTask(make_run(data={"train": str(tmp_path / "sulphur")}))
    with pytest.raises(
        ValueError, match=r"no U0 of the free atoms of \[16\]: give fit"
    ):
        task.model_settings(task.load_parts()["train"])
