"""Dropout and sparsity of irreps do what they say, and the same after a stop."""

import dataclasses

import pytest
import torch

from equicalc.checkpoint import load_checkpoint
from equicalc.graph import make_graph
from equicalc.models import (
    Potential,
    PotentialConfig,
    PropertyNetwork,
    evaluate,
    pruned,
    taps_of,
)
from equicalc.training import train
from equicalc.training.regularise import irrep_dropout, irrep_sparsity

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture
def network():
    config = PotentialConfig(elements=(1, 8), channels=4, layers=2)
    return Potential(config, "torch").double()


@pytest.fixture
def graph():
    water = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    return make_graph([8, 1, 1], water, cutoff=5.0)


def test_a_silent_irrep_is_a_pruned_one(network, graph):
    taps = taps_of(network)
    energies = []
    for seed in range(12):
        with irrep_dropout(taps, 0.5, seed):
            energies.append(evaluate(network, graph, ["energy"])["energy"].item())
    choices = [network, *(pruned(network, drop) for drop in ([1], [2], [1, 2]))]
    expected = [evaluate(m, graph, ["energy"])["energy"].item() for m in choices]
    found = {min(expected, key=lambda x: abs(x - energy)) for energy in energies}
    assert all(min(abs(x - e) for x in expected) < 1e-9 for e in energies)
    assert len(found) == 4  # in twelve draws, all of them


def test_no_chance_is_no_change(network, graph):
    with irrep_dropout(taps_of(network), 0.0, seed=0):
        found = evaluate(network, graph, ["energy"])["energy"]
    assert torch.equal(found, evaluate(network, graph, ["energy"])["energy"])


def test_sparsity_is_the_size_of_channels(network, graph):
    taps = taps_of(network)
    with taps.recorded() as outputs:
        taps.run(graph)
    found = irrep_sparsity(taps, outputs)
    features = [tap.split(x) for tap, x in zip(taps.features, outputs)]
    sizes = [
        features[layer][name][:, u].square().mean().sqrt()
        for layer, name in ((0, "1o"), (0, "2e"), (1, "1o"))
        for u in range(4)
    ]
    torch.testing.assert_close(found, torch.stack(sizes).mean(), rtol=1e-4, atol=1e-6)
    with taps.scaled({"1o": 0.0, "2e": 0.0}), taps.recorded() as silent:
        taps.run(graph)
    assert irrep_sparsity(taps, silent) < 1e-5


@pytest.mark.parametrize(
    "remedy",
    [{"irrep_dropout": 0.5}, {"irrep_sparsity": 0.1}],
    ids=lambda r: next(iter(r)),
)
def test_a_resumed_run_is_the_same_run(make_config, tmp_path, remedy):
    def run(name, steps):
        return train(
            make_config(
                output=str(tmp_path / name),
                regularise=remedy,
                stop={"max_steps": steps},
                optimizer={"schedule": "constant"},
            )
        )

    run("parts", 4)
    parts, whole = run("parts", 8), run("whole", 8)
    a, b = (load_checkpoint(path)[0].state_dict() for path in (parts, whole))
    assert all(torch.equal(a[name], b[name]) for name in a)
    log = (tmp_path / "whole" / "train.csv").read_text()
    assert "sparsity" in log


@pytest.mark.parametrize(
    "model",
    [
        {"task": "equitriton", "ls": [0, 2], "channels": 4, "embedding": 4},
        {"task": "qm9net", "multiplicities": [4, 4], "embedding": 4, "n_radial": 4},
    ],
    ids=lambda m: m["task"],
)
def test_networks_of_properties_have_remedies_too(make_config, tmp_path, model):
    shape = {"layers": 2, "cutoff": 4.0} | model
    task = shape.pop("task")

    def run(name, regularise):
        config = make_config(
            output=str(tmp_path / name),
            properties={"targets": ["U0"], "references": "fit"},
            regularise=regularise,
            stop={"max_steps": 4},
        )
        return train(dataclasses.replace(config, task=task, model=shape))

    run("plain", None)
    remedied = run("remedied", {"irrep_dropout": 0.5, "irrep_sparsity": 0.1})
    rows = [
        (tmp_path / name / "train.csv").read_text().splitlines()
        for name in ("plain", "remedied")
    ]
    assert "sparsity" in rows[1][0]
    assert rows[0][1].split(",")[4] != rows[1][1].split(",")[4]  # the loss
    network, _ = load_checkpoint(remedied)
    assert isinstance(network, PropertyNetwork)
    assert network.config.targets == ("U0",)


def test_remedies_need_something_that_turns(make_config):
    config = make_config(regularise={"irrep_sparsity": 0.1}, model={"ls": [0]})
    with pytest.raises(ValueError, match="this network has none"):
        train(config)


def test_impossible_remedies_are_refused(make_config):
    config = make_config(regularise={"irrep_dropout": 0.1})
    with pytest.raises(ValueError, match="not for 'symphony', only for equitriton"):
        train(dataclasses.replace(config, task="symphony"))
    with pytest.raises(ValueError, match="irrep_dropout"):
        make_config(regularise={"irrep_dropout": 1.0})
    with pytest.raises(ValueError, match="did you mean 'irrep_dropout'"):
        make_config(regularise={"irrep_dropot": 0.1})
