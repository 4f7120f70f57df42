"""Training of generators: batches of growing molecules and their loss."""

import json

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.checkpoint import load_checkpoint
from equicalc.kernels.cpp import find_compiler
from equicalc.models import Symphony, SymphonyConfig, SymphonyPaper
from equicalc.training import fit
from equicalc.training.growth import growth_batch, growth_of
from equicalc.training.growth_loss import (
    focus_divergence,
    growth_log_prob,
    growth_loss,
)
from equicalc.training.logs import read_log

pytestmark = pytest.mark.usefixtures("no_plots")

SHAPE = {
    "channels": 4,
    "layers": 1,
    "ls": [0, 1],
    "position_ls": [0, 1, 2],
    "position_channels": 4,
    "densities": 2,
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = SymphonyConfig(elements=(1, 6, 8), **SHAPE)
    return Symphony(config, backend="torch")


@pytest.fixture
def make_config(configure):
    def make(task="symphony", model=SHAPE, **changes):
        return configure(task, model, **changes)

    return make


def test_a_batch_has_every_step_of_every_molecule(molecules, network):
    batch = growth_batch(
        molecules, np.arange(len(molecules)), network.config, 0.0, seed=0
    )
    n_atoms = molecules.column("n_atoms")
    assert len(batch) == n_atoms.sum()
    assert len(batch.vectors) == (n_atoms - 1).sum()
    totals = torch.zeros(len(batch)).index_add(
        0, batch.fragments.pair_fragment, batch.counts.sum(1)
    )
    assert int((totals == 0).sum()) == len(molecules)  # each stops once
    lengths = batch.vectors.norm(dim=1)
    assert lengths.min() > 0.9
    assert lengths.max() < 1.6


def test_a_batch_is_a_function_of_seed_and_molecules(molecules, network):

    def vectors(indices, seed):
        batch = growth_batch(molecules, np.array(indices), network.config, 0.02, seed)
        return batch.vectors

    torch.testing.assert_close(vectors([0, 3], 1), vectors([0, 3], 1), rtol=0, atol=0)
    assert not torch.allclose(vectors([0, 3], 1), vectors([0, 3], 2))


def test_the_right_answer_has_no_divergence():
    counts = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    fragment = torch.tensor([0, 0, 1])
    logits = counts.log().clamp(min=-40) + 30  # stopping is unlikely
    logits[2] = -40  # and here it is certain
    torch.testing.assert_close(
        focus_divergence(logits, counts, fragment, 2), torch.zeros(2), atol=1e-5, rtol=0
    )
    assert (focus_divergence(logits.flip(1), counts, fragment, 2)[0] > 0.1).all()


def test_every_weight_learns(molecules, network):
    batch = growth_batch(
        molecules, np.arange(len(molecules)), network.config, 0.02, seed=0
    )
    loss, terms = growth_loss(network, batch)
    loss.backward()
    assert set(terms) == {"focus", "radial", "angular"}
    still = [n for n, p in network.named_parameters() if not p.grad.abs().max() > 0]
    network.zero_grad()
    # a hydrogen has no features of its own: nothing embeds it
    assert not [name for name in still if "embedding" not in name]


@pytest.mark.skipif(find_compiler() is None, reason="torch's loops break graphs")
def test_the_loss_is_one_program_for_any_number_of_fragments(molecules, network):
    """Of graphs that break, or hold for one batch only, no training gets faster."""
    programs = []

    def keep(graph, inputs):
        del inputs
        programs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(growth_loss, backend=keep, dynamic=True, fullgraph=True)
    network = Symphony(network.config)
    for k in range(5):
        rows = np.arange(len(molecules))[k % 3 :: 2]
        batch = growth_batch(molecules, rows, network.config, 0.02, seed=k)
        loss, _ = compiled(network, batch)
        torch.testing.assert_close(loss, growth_loss(network, batch)[0])
    assert len(programs) <= 3  # two more for numbers that happened to be equal


def test_probability_adds_up_over_steps(network):
    """Of water: oxygen, hydrogen, hydrogen, stop; both orders are the same."""
    atoms = molecule("H2O")
    z, pos = atoms.numbers[None].astype(np.int64), atoms.positions[None]
    values = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            batch = growth_of(z, pos, network.config, 0.0, rng)
            values.append(float(growth_log_prob(network, batch)))
    assert np.isfinite(values).all()
    assert max(values) - min(values) < 0.05


def test_hydrogens_alone_are_refused(network):
    with pytest.raises(ValueError, match="hydrogens only"):
        growth_of(
            np.array([[1, 1]]),
            np.zeros((1, 2, 3)),
            network.config,
            0.0,
            np.random.default_rng(0),
        )


def test_hydrogens_may_be_left_out(network):
    """Of ethanol: three skeletons, the last of which tells where hydrogens begin."""
    atoms = molecule("CH3CH2OH")
    z, pos = atoms.numbers[None].astype(np.int64), atoms.positions[None]
    found = {}
    for share in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(0)
        batch = growth_of(z, pos, network.config, 0.0, rng, hydrogen_share=share)
        found[share] = batch.fragments.n_hydrogen.tolist()
        heavy = batch.fragments.n_heavy.tolist()
        assert heavy[:3] == [1, 2, 3]
        assert set(heavy[3:]) <= {3}
        assert len(batch.queries.species) == len(batch) - (6 in found[share])
    assert found[0.0] == [0, 0, 0]
    assert found[1.0] == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert 3 < len(found[0.5]) < 9


@pytest.mark.slow  # compiling
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.timeout(1200)  # minutes where nothing is compiled yet
def test_compiled_training_takes_the_same_steps(make_config):
    rows = {}
    for compiled in (False, True):
        config = make_config(
            stop={"max_steps": 4}, trainer={"compile": compiled, "log_every": 1}
        )
        config.output += f"-{compiled}"
        rows[compiled] = read_log(fit.train(config).parent / "train.csv")
    for eager, fused in zip(rows[False], rows[True], strict=True):
        assert float(fused["loss"]) == pytest.approx(float(eager["loss"]), abs=1e-3)


def test_training_learns_and_leaves_a_model(make_config):
    best = fit.train(make_config(stop={"max_steps": 30}))
    rows = read_log(best.parent / "train.csv")
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.5
    assert {"focus", "radial", "angular"} <= rows[0].keys()
    valid = read_log(best.parent / "valid.csv")
    assert float(valid[-1]["angular"]) < float(valid[0]["angular"])
    model, card = load_checkpoint(best, backend="torch")
    assert isinstance(model, Symphony)
    assert model.config.elements == (1, 6, 8)
    assert model.config.start[0] == 0
    assert sum(model.config.start) == pytest.approx(1, abs=1e-5)
    assert card["metrics"]["valid"]["loss"] == pytest.approx(
        min(float(row["loss"]) for row in valid)
    )
    assert "valid" in json.loads((best.parent / "metrics.json").read_text())


def test_a_resumed_run_is_the_same_run(make_config, tmp_path):
    whole = fit.train(make_config(output=str(tmp_path / "whole")))
    fit.train(make_config(stop={"max_steps": 3}))
    best = fit.train(make_config())
    a, b = (load_checkpoint(path, backend="torch")[0] for path in (whole, best))
    for p, q in zip(a.parameters(), b.parameters()):
        torch.testing.assert_close(p, q)


def test_validity_is_checked_during_training(make_config):
    """Beside the loss of the validation; the model is the running average."""
    seen = []

    def check(model):
        seen.append(type(model))
        return {"validity": 12.5}

    folder = fit.train(make_config(), check=check).parent
    rows = read_log(folder / "valid.csv")
    assert [float(row["validity"]) for row in rows] == [12.5] * 3
    assert seen == [Symphony] * 3


def test_the_published_objective_trains(make_config):
    shape = {
        "focus_channels": 4,
        "focus_layers": 1,
        "focus_ls": [0, 1],
        "position_channels": 4,
        "position_layers": 1,
        "position_ls": [0, 1, 2],
        "shells": 16,
        "n_theta": 6,
    }
    config = make_config(task="symphony-paper", model=shape)
    best = fit.train(config)
    model, _ = load_checkpoint(best)
    assert isinstance(model, SymphonyPaper)
    assert model.config.start == (1.0, 0.0, 0.0)
    rows = read_log(best.parent / "valid.csv")
    assert float(rows[-1]["position"]) < float(rows[0]["position"])
    assert json.loads((best.parent / "metrics.json").read_text())["valid"]["focus"] > 0


def test_all_that_might_come_is_known(molecules):
    """Of methane's carbon, all four hydrogens; the one that comes is among them."""
    z, pos = np.array([[6, 1, 1, 1, 1]]), molecule("CH4").positions[None]
    config = SymphonyConfig(elements=(1, 6))
    rng = np.random.default_rng(0)
    for apart in (True, False):
        batch = growth_of(z, pos, config, 0.0, rng, apart)
        assert batch.alternatives.norm(dim=1).allclose(torch.tensor(1.09), atol=0.01)
        found = (batch.vectors[batch.alternative_query] - batch.alternatives).norm(
            dim=1
        ) < 1e-5
        n_queries = len(batch.vectors)
        assert (
            torch.bincount(batch.alternative_query[found]).tolist() == [1] * n_queries
        )
    # heavy first: carbon, then 4, 3, 2, 1 hydrogens are left
    batch = growth_of(z, pos, config, 0.0, rng)
    assert torch.bincount(batch.alternative_query).tolist() == [4, 3, 2, 1]
