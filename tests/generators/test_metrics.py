"""Validity, stability and the rest on molecules that are known to be right or wrong."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from equicalc.generators.metrics import (
    evaluate_molecules,
    lookup_stability,
    strictly_valid,
    valid_molecule,
)

GOOD = ("CH4", "H2O", "NH3", "C2H4", "C2H2", "CH3CH2OH", "C6H6", "H2CO", "HCN")


@pytest.mark.parametrize("name", GOOD)
def test_molecules_are_valid(name):
    assert strictly_valid(valid_molecule(molecule(name)))


@pytest.mark.parametrize("name", ["CH4", "H2O", "NH3", "C2H4", "CH3CH2OH", "H2CO"])
def test_molecules_are_stable(name):
    assert lookup_stability(molecule(name)).all()


@pytest.mark.parametrize("name", ["CH4", "CH3CH2OH", "C6H6"])
def test_a_missing_hydrogen_is_noticed(name):
    atoms = molecule(name)
    del atoms[-1]
    assert not strictly_valid(valid_molecule(atoms))
    assert not lookup_stability(atoms).all()


def test_pieces_are_valid_but_not_strictly():
    two = molecule("CH4")
    other = molecule("H2O")
    other.translate([8, 0, 0])
    assert valid_molecule(two + other) is not None
    assert not strictly_valid(valid_molecule(two + other))


def test_table_of_a_set():
    molecules = [molecule(name) for name in ("CH4", "CH4", "C2H4", "CH3")]
    table = evaluate_molecules(molecules, known={"C"})
    assert table["validity"] == 75
    assert table["uniqueness"] == pytest.approx(200 / 3)
    assert table["novelty"] == 50
    assert table["molecule_stability"] == 75
    assert "2023.03" in table["protocol"]


def test_mirror_images_differ_but_are_one_constitution():
    """As published: SMILES of DetermineBonds have stereochemistry."""
    one = molecule("CH3CH2OH")
    one.symbols[4] = "F"  # instead of a hydrogen next to the oxygen
    one.set_distance(1, 4, 1.37, fix=0)
    other = one.copy()
    other.positions[:, 2] *= -1
    table = evaluate_molecules([one, other, one])
    assert table["uniqueness"] == pytest.approx(200 / 3)
    assert table["constitutions"] == pytest.approx(100 / 3)


def test_nothing_cannot_be_evaluated():
    with pytest.raises(ValueError, match="no molecules"):
        evaluate_molecules([])


def test_crystals_and_lost_atoms_cannot_be_evaluated():
    lost, periodic = molecule("CH4"), molecule("CH4", vacuum=3.0, pbc=True)
    lost.positions[0] = np.nan
    with pytest.raises(ValueError, match="structure 1 has a position"):
        evaluate_molecules([molecule("CH4"), lost])
    with pytest.raises(ValueError, match="structure 1 has no atoms"):
        evaluate_molecules([molecule("CH4"), Atoms()])
    with pytest.raises(ValueError, match="structure 0 is periodic"):
        evaluate_molecules([periodic])


def test_other_elements_are_refused():
    with pytest.raises(ValueError, match="14"):
        valid_molecule(molecule("SiH4"))
