"""A potential differentiated by hand is the potential differentiated by autograd."""

import copy
import pickle

import pytest
import torch

from equicalc.graph import collate
from equicalc.kernels import cpp
from equicalc.models import AnalyticPotential, evaluate
from equicalc.models.analytic import readout, steps

OUTPUTS = ("energy", "energies", "forces", "embedding")
SHAPES = {
    "one layer": {"layers": 1},
    "scalars and vectors": {"ls": (0, 1)},
    "gates that kept their width": {"ls": (0, 1), "gate_widths": (12, 7)},
    "hidden radial layer and a gap": {"ls": (0, 1, 3), "radial_hidden": (6,)},
    "bare": {"dipole": False, "repulsion": False, "reference_energies": ()},
}


pytestmark = pytest.mark.skipif(
    cpp.find_compiler() is None, reason="there is no C++ compiler"
)


def compiled(model):
    engine = AnalyticPotential.build(model)
    assert engine is not None
    return engine


def assert_same(model, graph, outputs=OUTPUTS, tolerance=1e-8):
    plain = evaluate(model, graph, outputs)
    analytic = evaluate(compiled(model), graph, outputs)
    for name in outputs:
        torch.testing.assert_close(
            analytic[name], plain[name], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_same_as_autograd(potential, cluster, shape):
    assert_same(potential(**shape), cluster(9))


def test_nothing_is_compiled_where_torch_is_asked_for(potential):
    assert AnalyticPotential.build(potential("torch")) is None


def test_nothing_is_compiled_without_a_compiler(potential, monkeypatch):
    monkeypatch.setattr(readout, "load_library", lambda source: None)
    assert AnalyticPotential.build(potential()) is None


def test_edges_that_are_not_sorted_are_refused(potential, cluster):
    graph = cluster(4)
    graph["edge_index"] = graph["edge_index"].flip(1)
    with pytest.raises(ValueError, match="not sorted by receiver"):
        evaluate(compiled(potential()), graph)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_give_the_same(potential, cluster, again):
    engine, graph = compiled(potential()), cluster(5)
    other = again(engine)
    assert isinstance(other, AnalyticPotential)
    for name, value in evaluate(engine, graph, OUTPUTS).items():
        assert torch.equal(evaluate(other, graph, OUTPUTS)[name], value)


def test_same_charges_and_dipole(potential, cluster):
    batch = collate([cluster(7), cluster(4)])
    assert_same(potential(), batch, (*OUTPUTS, "charges", "dipole"))


def test_same_stress_in_a_small_cell(potential, cluster):
    crystal = cluster(6, cell=3.5 * torch.eye(3), pbc=[True] * 3)
    assert_same(potential(), crystal, (*OUTPUTS, "stress"))


def test_same_where_atoms_repel_each_other(potential, cluster):
    assert_same(potential(), cluster(5, spacing=0.7))


def test_a_repeated_step_is_a_first_step_to_the_last_bit(potential, cluster):
    """The same atoms elsewhere, a few edges more or less, other elements."""
    model = potential(repulsion=True)
    used = compiled(model)
    for n_atoms, spacing in [(9, 1.3), (9, 1.35), (9, 0.7), (9, 9.0), (8, 1.3)]:
        graph = cluster(n_atoms, spacing)
        again = evaluate(used, graph, OUTPUTS)
        first = evaluate(compiled(model), graph, OUTPUTS)
        assert all(torch.equal(again[name], first[name]) for name in OUTPUTS)


def test_a_step_leaves_the_results_of_the_last_one(potential, cluster):
    engine, graph = compiled(potential()), cluster(5)
    outputs = (*OUTPUTS, "charges", "dipole")
    kept = evaluate(engine, graph, outputs)
    copies = {name: value.clone() for name, value in kept.items()}
    evaluate(engine, graph.clone().update({"pos": 1.1 * graph["pos"]}), outputs)
    assert all(torch.equal(kept[name], copies[name]) for name in outputs)


def test_a_large_step_is_not_recorded_and_the_same(potential, cluster, monkeypatch):
    monkeypatch.setattr(steps, "FEW_EDGES", 10)
    assert_same(potential(), cluster(9))


@pytest.mark.parametrize("n_atoms", [0, 1])
def test_without_edges(potential, cluster, n_atoms):
    assert_same(potential(), cluster(n_atoms))


def test_close_to_the_plain_model_in_single_precision(potential, cluster):
    """The bound that is stated: 1e-6 of the energy, 1e-5 eV/Angstrom."""
    model, graph = potential(dtype=torch.float32, channels=16), cluster(20)
    plain, found = evaluate(model, graph), evaluate(compiled(model), graph)
    torch.testing.assert_close(found["energy"], plain["energy"], rtol=1e-6, atol=0)
    torch.testing.assert_close(found["forces"], plain["forces"], rtol=0, atol=1e-5)
