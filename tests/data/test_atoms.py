"""ASE atoms to graphs: labels that belong to them, and only those."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from equicalc.data import atoms_to_graph, atoms_to_record
from equicalc.data.atoms import atoms_labels
from equicalc.graph import edge_vectors


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    voigt = np.arange(6.0)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0, forces=np.ones((4, 3)), stress=voigt
    )
    return atoms


def test_labels_of_the_calculator_reach_the_graph(copper):
    graph = atoms_to_graph(copper, cutoff=3.0)
    assert graph.energy.item() == -3.0
    assert graph.forces.shape == (4, 3)
    expected = torch.tensor([[0.0, 5, 4], [5, 1, 3], [4, 3, 2]]).double()
    torch.testing.assert_close(graph.stress, expected[None])
    lengths = edge_vectors(graph).norm(dim=1)
    assert lengths.max() < 3.0
    assert len(lengths) == 48


def test_precision_is_chosen_but_energies_are_double(copper):
    graph = atoms_to_graph(copper, cutoff=3.0, dtype=torch.float32)
    assert graph["pos"].dtype == graph.cell.dtype == graph.forces.dtype == torch.float32
    assert graph.energy.dtype == torch.float64


def test_results_of_other_positions_are_left_out(copper):
    copper.positions += 0.1
    assert atoms_labels(copper) == {}


def test_nothing_is_ever_calculated():
    atoms = molecule("H2O")
    atoms.calc = EMT()
    assert atoms_labels(atoms) == {}
    energy = atoms.get_potential_energy()
    assert atoms_labels(atoms)["energy"] == energy


def test_labels_by_other_names():
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = -1.0
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    keys = {"energy": "REF_energy", "forces": "REF_forces"}
    assert set(atoms_labels(atoms, keys)) == {"energy", "forces"}
    with pytest.raises(ValueError, match="no 'E' for the energy of H2O; its info has"):
        atoms_labels(atoms, {"energy": "E"})


def test_cells_of_molecules_are_not_recorded():
    atoms = molecule("H2O", vacuum=5.0)
    assert atoms.cell.rank == 3
    assert "cell" not in atoms_to_record(atoms)
    assert "cell" in atoms_to_record(bulk("Cu"))


def test_text_under_the_names_of_groups_and_kinds_is_left_out():
    info = {"group": "P21/c", "kind": np.int64(2)}
    record = atoms_to_record(Atoms("H", info=info))
    assert "group" not in record
    assert record["kind"] == 2


def test_input_is_not_changed(copper):
    before = copper.copy()
    atoms_to_graph(copper, cutoff=3.0)["pos"].add_(1.0)
    assert before == copper


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "no atoms"),
        (Atoms("CX"), "atom 1 is a dummy, 'X'"),
        (Atoms("H", positions=[[np.nan, 0, 0]]), "positions is not finite"),
        (Atoms("H", pbc=True), "set a cell, or set pbc to False"),
    ],
)
def test_bad_atoms_are_named(atoms, message):
    with pytest.raises(ValueError, match=message):
        atoms_to_graph(atoms, cutoff=3.0)
