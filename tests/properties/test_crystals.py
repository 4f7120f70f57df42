"""Crystals: parameters, structures and files describe the same thing."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.geometry import find_mic
from ase.io import write
from hypothesis import assume, given
from hypothesis import strategies as st

from equicalc.crystals import CrystalError, MolecularCrystal
from equicalc.crystals.errors import AtomsOverlapError

# one of each crystal system that has few operations; the molecules are far apart then
CELLS = {
    1: (90, 90, 90), 2: (80, 85, 95), 4: (90, 100, 90), 14: (90, 95, 90),
    19: (90, 90, 90), 33: (90, 90, 90),
}  # fmt: skip


@st.composite
def parameters(draw):
    """A space group, and twelve numbers of a crystal in it."""
    group = draw(st.sampled_from(sorted(CELLS)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = random.uniform(8, 14, 3)
    place, turn = random.uniform(0, 1, 3), random.uniform(-3, 3, 3)
    return group, np.array([*lengths, *CELLS[group], *place, *turn])


def built(drawn):
    """The crystal, if its molecules keep apart as much as bonds are long."""
    crystal = MolecularCrystal.from_parameters(molecule("CH3CH2OH"), *drawn)
    assume(crystal.contact > 0.8)
    return crystal


def require_same(one: Atoms, other: Atoms, within: float):
    """Each atom of one is an atom of the other, up to a lattice vector."""
    assert sorted(one.numbers) == sorted(other.numbers)
    np.testing.assert_allclose(one.cell.cellpar(), other.cell.cellpar(), atol=within)
    between = (one.positions[:, None] - other.positions).reshape(-1, 3)
    _, distance = find_mic(between, one.cell, pbc=True)
    nearest = distance.reshape(len(one), len(other))
    assert (nearest.min(axis=1) < within).all()
    assert (one.numbers == other.numbers[nearest.argmin(axis=1)]).all()
    assert len(set(nearest.argmin(axis=1))) == len(one)


@given(parameters())
def test_structure_is_understood_as_it_was_built(drawn):
    crystal = built(drawn)
    again = MolecularCrystal.from_atoms(crystal.to_atoms())
    assert (again.spacegroup, again.n_molecules) == (drawn[0], crystal.n_molecules)
    assert abs(again.density / crystal.density - 1) < 1e-6
    require_same(again.to_atoms(), crystal.to_atoms(), 1e-3)


@given(parameters())
def test_parameters_describe_the_same_crystal(drawn):
    """In the standard setting, which may be another one: the distances stay."""
    crystal = built(drawn)
    found = crystal.parameters()
    again = MolecularCrystal.from_parameters(
        crystal.molecules[0], crystal.spacegroup, found
    )
    np.testing.assert_allclose(again.parameters()[:6], found[:6], atol=1e-4)
    assert abs(again.density / crystal.density - 1) < 1e-6
    shortest = [
        np.sort(np.linalg.norm(one.intermolecular_vectors(6.0)[2], axis=1))[:100]
        for one in (crystal, again)
    ]
    np.testing.assert_allclose(shortest[0], shortest[1], atol=1e-3)


@given(parameters(), st.sampled_from(["a.cif", "a.extxyz"]))
def test_files_keep_crystals(drawn, name):
    crystal = built(drawn)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, crystal.to_atoms())
        again = MolecularCrystal.from_file(path)
    assert (again.spacegroup, again.z_prime) == (drawn[0], 1)
    require_same(again.to_atoms(), crystal.to_atoms(), 1e-2)


@given(st.lists(st.sampled_from([1, 6, 8, 17, 55]), max_size=5), st.integers(0, 99))
def test_any_atoms_are_a_crystal_or_a_named_error(numbers, seed):
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(3, 12, 3))
    atoms = Atoms(numbers, scaled_positions=random.uniform(size=(len(numbers), 3)),
                  cell=cell, pbc=random.random(3) < 0.9)  # fmt: skip
    with contextlib.suppress(CrystalError):
        crystal = MolecularCrystal.from_atoms(atoms)
        assert len(crystal.to_atoms()) == len(atoms)


@given(parameters())
def test_overlapping_molecules_are_refused(drawn):
    crystal = MolecularCrystal.from_parameters(molecule("CH3CH2OH"), *drawn)
    twice = crystal.to_atoms()
    twice += twice[[0]]
    with pytest.raises(AtomsOverlapError):
        MolecularCrystal.from_atoms(twice)
