"""Bonds follow from distances and elements alone."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import natural_cutoffs, neighbor_list

from equicalc.data.bonds import BONDED, bond_matrix, find_bonds, molecule_with_bonds


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "SiH4", "C4H4NH", "H2"])
def test_bonds_are_those_of_ase(name):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=1)
    reach = [BONDED * radius for radius in natural_cutoffs(atoms)]
    i, j = neighbor_list("ij", atoms, reach)
    wanted = np.zeros((len(atoms), len(atoms)), dtype=bool)
    wanted[i, j] = True
    assert (bond_matrix(atoms) == wanted).all()
    assert find_bonds(atoms).tolist() == np.argwhere(np.triu(wanted)).tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_without_others_there_are_no_bonds(n):
    assert find_bonds(Atoms("H" * n, np.zeros((n, 3)))).shape == (0, 2)


def test_nothing_is_added_where_a_bond_is_missing():
    """RDKit would fill an open valence with hydrogens that are not there."""
    radical = molecule_with_bonds(molecule("CH3"), charged_fragments=False)
    assert radical.GetNumAtoms() == 4
    assert sum(atom.GetTotalNumHs() for atom in radical.GetAtoms()) == 0


def test_no_assignment_is_an_error():
    overlapping = Atoms("H3O", np.zeros((4, 3)))
    with pytest.raises(ValueError):
        molecule_with_bonds(overlapping)
