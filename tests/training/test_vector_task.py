"""Pre-training on vectors: what is learned turns with the molecule, and is of use."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError

from equicalc.calculators import PropertyPredictor
from equicalc.checkpoint import load_checkpoint
from equicalc.data import PackedDataset, write_packed
from equicalc.graph import make_graph
from equicalc.models import PropertyNetwork, build_model
from equicalc.o3 import rand_matrix
from equicalc.training import train
from equicalc.training.logs import read_log
from equicalc.training.property_task import PropertyTask
from equicalc.training.pruning import prune
from equicalc.training.tasks import task_of
from equicalc.training.vector_task import VectorTask, centred_noise

pytestmark = pytest.mark.usefixtures("no_plots")

FULL = {"multiplicities": [6, 4], "embedding": 6, "n_radial": 6, "radial_hidden": [8]}
FUSED = {
    "convolution": "fused",
    "chiral": False,
    "multiplicities": [6, 6],
    "embedding": 6,
    "basis": "bessel",
    "n_radial": 6,
    "output_hidden": [6],
}
TRITON = {"ls": [2, 0, 1], "channels": 4, "embedding": 4}
NETWORKS = {
    "qm9net": ("qm9net", FULL),
    "fused": ("qm9net", FUSED),
    "equitriton": ("equitriton", TRITON),
}


@pytest.fixture(scope="module")
def crosses(tmp_path_factory):
    """Rigid molecules without labels but a dipole moment, turned at random."""
    folder = tmp_path_factory.mktemp("data") / "crosses"
    rng = np.random.default_rng(0)
    rest = molecule("H2O2")
    charges = np.where(rest.numbers == 1, 0.3, -0.3)

    def record():
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        pos = rest.positions @ turn.T
        return {"z": rest.numbers, "pos": pos, "dipole": charges @ pos}

    write_packed(folder, (record() for _ in range(40)))
    return folder


@pytest.fixture
def make_run(make_config, crosses, tmp_path):
    def make(target="noise", network="fused", **changes):
        task, shape = NETWORKS[network]
        content: dict[str, Any] = {
            "properties": {"targets": [target], "sigma": 0.1},
            "data": {"train": str(crosses)},
            "loss": {"kind": "mse"},
            "optimizer": {"batch_size": 10, "lr": 0.02, "schedule": "constant"},
            "stop": {"max_steps": 60},
            "trainer": {"val_every_steps": 20},
        } | changes
        model = {"layers": 2, "cutoff": 4.0} | shape | content.pop("model", {})
        run = make_config(output=str(tmp_path / target), **content)
        return dataclasses.replace(run, task=task, model=model)

    return make


def ready(run):
    """The task of a run, its training set and a network with random weights."""
    task = cast(PropertyTask, task_of(run))
    dataset = task.load_parts()["train"]
    torch.manual_seed(0)
    settings = task.model_settings(dataset)
    return task, dataset, build_model(run.task, settings, "torch")


@pytest.mark.parametrize(("target", "nothing"), [("noise", 0.75), ("dipole", 1.0)])
def test_training_learns_more_than_nothing(make_run, target, nothing):
    """Of the noise a quarter is taken out with the centres of four atoms."""
    best = train(make_run(target))
    losses = [float(row["loss"]) for row in read_log(best.parent / "valid.csv")]
    assert losses[-1] < 0.8 * nothing
    assert losses[-1] < losses[0]
    network, card = load_checkpoint(best)
    assert cast(PropertyNetwork, network).config.targets == (target,)
    unit = {"noise": "Angstrom", "dipole": "e Angstrom"}[target]
    assert card["metrics"]["valid"]["units"] == {target: unit}
    assert card["metrics"]["valid"]["n_structures"] == 8  # not atoms


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("target", ["noise", "dipole"])
def test_predictions_turn_with_the_molecule(make_run, network, target):
    _, _, model = ready(make_run(target, network))
    model = model.double()
    turn = rand_matrix(dtype=torch.float64)
    if network != "qm9net":  # which tells mirror images apart
        turn = -turn
    atoms = molecule("H2O2")
    before, after = (
        model(make_graph(atoms.numbers, pos, cutoff=4.0))["values"]
        for pos in (atoms.positions, atoms.positions @ turn.numpy().T + 2.0)
    )
    assert before.shape == ((4, 3, 1) if target == "noise" else (1, 3, 1))
    assert before.abs().max() > 1e-4
    torch.testing.assert_close(after, turn @ before, rtol=1e-6, atol=1e-8)


def test_noise_is_what_moves_the_atoms(make_run):
    task, dataset, model = ready(make_run())
    batch = task.batch(model, dataset, np.arange(6))
    moved = batch["pos"] - dataset.batch(np.arange(6))["pos"]
    torch.testing.assert_close(moved.double(), batch["targets"].squeeze(2))
    again = task.batch(model, dataset, np.arange(6))
    assert torch.equal(again["pos"], batch["pos"])
    assert not torch.equal(task.batch(model, dataset, np.arange(1, 7))["pos"], moved)
    src, dst = batch["edge_index"]
    distance = (batch["pos"][dst] - batch["pos"][src]).norm(dim=1)
    assert distance.max() < 4.0
    assert len(distance) == 6 * 12  # all pairs of four atoms


def test_noise_leaves_centres_and_has_its_size(crosses):
    dataset = PackedDataset(crosses)
    graph = dataset.batch(np.arange(len(dataset)))
    noise = centred_noise(graph, 0.1, np.random.default_rng(0))
    centres = noise.unflatten(0, (-1, 4)).mean(1)
    torch.testing.assert_close(centres, torch.zeros_like(centres))
    assert noise.std().item() == pytest.approx(0.1 * np.sqrt(3 / 4), rel=0.1)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_with_a_property_begins_with_the_weights(
    make_run, make_config, tmp_path, network
):
    first = train(make_run("noise", network, stop={"max_steps": 2}))
    run = make_config(
        output=str(tmp_path / "U0"),
        properties={"targets": ["U0"], "references": "fit"},
        stop={"max_steps": 1},
        optimizer={"lr": 1e-12},
        init=str(first),
    )
    run = dataclasses.replace(run, task=NETWORKS[network][0], model={})
    before, after = (
        cast(PropertyNetwork, load_checkpoint(path)[0]) for path in (first, train(run))
    )
    assert after.config.targets == ("U0",)
    assert after.config.kind == "scalar"
    assert after.config.scales != before.config.scales
    old = before.state_dict()
    same = [n for n in after.state_dict() if not n.startswith(after.target_part)]
    assert len(same) > 4
    for name in same:
        torch.testing.assert_close(after.state_dict()[name], old[name])


def test_what_is_wrong_is_said(make_run, make_config, spring_set, tmp_path):
    with pytest.raises(ValueError, match=r"features of degree 1.*degrees \[0, 2\]"):
        ready(make_run(network="equitriton", model={"ls": [0, 2]}))
    with pytest.raises(ValueError, match=r"features of degree 1.*degrees \[0\]"):
        ready(make_run(network="qm9net", model={"multiplicities": [6]}))
    for wrong in ({"kind": "scalar"}, {"targets": ["dipole"]}):
        with pytest.raises(ValueError, match="leave them out of model"):
            ready(make_run(network="equitriton", model={"ls": [0, 1], **wrong}))
    with pytest.raises(ValueError, match="learned by itself"):
        task_of(make_run(properties={"targets": ["noise", "U0"]}))
    with pytest.raises(ValueError, match="no 'dipole'"):
        ready(make_run("dipole", data={"train": str(spring_set)}))
    with pytest.raises(ValueError, match=r"properties\.sigma"):
        make_config(properties={"sigma": 0.0})
    best = train(make_run(network="equitriton", stop={"max_steps": 1}))
    with pytest.raises(CalculatorSetupError, match="begin another run"):
        PropertyPredictor.from_pretrained(best)
    with pytest.raises(ValueError, match="features of degree 1"):
        prune(best, spring_set, {1}, tmp_path / "out")
    with pytest.raises(ValueError, match="name what that run leads to"):
        prune(best, spring_set, {2}, tmp_path / "out")


def test_only_vectors_are_another_task(make_run):
    assert isinstance(task_of(make_run()), VectorTask)
    assert not isinstance(task_of(make_run("U0")), VectorTask)
