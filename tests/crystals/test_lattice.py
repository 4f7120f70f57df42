"""Lattice energies against direct sums, with any calculator."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import make_supercell, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii

from equicalc.crystals import (
    LennardJones,
    MolecularCrystal,
    assign_charges,
    lattice_energy,
    named_method,
    pair_energy,
    random_crystals,
    two_body_energy,
)
from equicalc.crystals.lattice import distinct_dimers
from equicalc.crystals.strain import Strain
from equicalc.graph import neighbor_list
from equicalc.units import KJ_PER_MOL

POSE = [5.2, 5.6, 6.1, 90, 98, 90, 0.21, 0.3, 0.17, 1.0, 0.2, -0.5]
METHANOL = molecule("CH3OH")


class Springs(Calculator):
    """Bonds as springs and a soft attraction between all other atoms: quick."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012
    cutoff = 7.0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        src, dst, shifts = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, self.cutoff
        )
        vectors = atoms.positions[src] + shifts @ atoms.cell.array
        vectors = vectors - atoms.positions[dst]
        r = np.linalg.norm(vectors, axis=1)
        rest = covalent_radii[atoms.numbers[src]] + covalent_radii[atoms.numbers[dst]]
        bonded = r < 1.25 * rest
        energy = np.where(bonded, 20 * (r - rest) ** 2, attraction(r))
        slope = np.where(bonded, 40 * (r - rest), 6 * r / (r**2 + 4) ** 4)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, dst, (slope / r)[:, None] * vectors)
        self.results = {"energy": 0.5 * energy.sum(), "forces": forces}


def attraction(r):
    return -1 / (r**2 + 4) ** 3


@pytest.fixture
def crystal():
    return MolecularCrystal.from_parameters(METHANOL, 14, POSE)


def interaction(crystal):
    """kJ/mol per molecule of the attraction between molecules, directly."""
    vectors = crystal.intermolecular_vectors(Springs.cutoff)[2]
    distances = np.linalg.norm(vectors, axis=1)
    return 0.5 * attraction(distances).sum() / crystal.n_molecules / KJ_PER_MOL


def test_interaction_is_that_between_molecules(crystal):
    result = lattice_energy(crystal, Springs())
    assert result.z == 4
    assert result.strain == 0.0
    assert result.interaction == pytest.approx(interaction(crystal))
    assert result.energy == result.interaction


class SelfEnergy(Calculator):
    """Squares of the initial charges, which have nothing to do with neighbours."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float((atoms.get_initial_charges() ** 2).sum())}


def test_crystals_and_dimers_have_the_charges_of_their_molecules(crystal):
    charged = assign_charges(crystal)
    whole = charged.to_atoms().get_initial_charges().reshape(4, -1)
    assert np.array_equal(whole[2], charged.molecules[0].get_initial_charges())
    assert lattice_energy(charged, SelfEnergy()).interaction == pytest.approx(0)
    pairs = two_body_energy(charged, SelfEnergy(), cutoff=3.0, gas=None)
    assert pairs.interaction == pytest.approx(0)


def test_pairs_of_molecules_add_up_for_pair_potentials(crystal):
    result = two_body_energy(crystal, Springs(), cutoff=Springs.cutoff, gas=None)
    assert result.interaction == pytest.approx(interaction(crystal))
    assert (result.strain, result.z, result.converged) == (0.0, 4, True)


def test_equal_dimers_are_calculated_once(crystal):
    dimers = distinct_dimers(crystal, 6.0)
    neighbours = crystal.neighbours(6.0)
    assert sum(weight for _, _, weight in dimers) == 4 * len(neighbours)
    assert len(dimers) <= 0.7 * len(neighbours)  # g and its inverse at least


def test_energy_per_molecule_does_not_depend_on_the_cell(crystal):
    large = make_supercell(crystal.to_atoms(), np.diag([2, 1, 1]))
    one = two_body_energy(crystal, Springs(), cutoff=4.0)
    two = two_body_energy(large, Springs(), cutoff=4.0)
    assert two.z == 8
    assert two.energy == pytest.approx(one.energy)


def test_strain_is_the_cost_of_the_conformation(crystal):
    stretched = METHANOL.copy()
    stretched.positions *= 1.03
    tense = MolecularCrystal.from_parameters(stretched, 14, POSE)
    result = lattice_energy(tense, Springs(), relax="molecule")
    assert result.converged
    assert result.strain > 0
    assert result.energy == pytest.approx(result.interaction + result.strain)
    both = two_body_energy(tense, Springs(), cutoff=Springs.cutoff)
    assert both.strain == pytest.approx(result.strain, abs=0.1)


def test_relaxing_the_crystal_lowers_its_energy(crystal):
    rigid = lattice_energy(crystal, Springs(), relax="molecule")
    relaxed = lattice_energy(crystal, Springs(), relax="both")
    assert relaxed.energy < rigid.energy + 1e-6
    assert any("no stress" in warning for warning in relaxed.warnings)


def test_doubtful_results_carry_warnings():
    far = MolecularCrystal.from_parameters(METHANOL, 1, [20.0] * 3 + [90] * 3 + [0] * 6)
    near = MolecularCrystal.from_parameters(
        METHANOL, 1, [3.0, 9, 9, 90, 90, 90, 0, 0, 0, 0, 0, 0]
    )
    assert lattice_energy(far, Springs()).warnings == ()
    assert "close contact" in " ".join(lattice_energy(near, Springs()).warnings)
    with pytest.raises(ValueError, match="relax is 'all'"):
        lattice_energy(far, Springs(), relax="all")  # type: ignore[arg-type]


def test_calculators_that_fail_give_no_energy(crystal):
    class Broken(Springs):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["energy"] = float("nan")

    with pytest.raises(RuntimeError, match="calculator failed"):
        lattice_energy(crystal, Broken())


def test_methods_by_name(crystal):
    energy = pair_energy(crystal, LennardJones()).energy / KJ_PER_MOL
    method = named_method("lj")
    assert method.evaluate(crystal, None).energy == pytest.approx(energy)
    assert method.version.startswith("equicalc ")
    with pytest.raises(ValueError, match="not known"):
        named_method("nothing-2b")


def test_gfn2_pairs_bind_and_charges_are_neutral():
    pytest.importorskip("tblite")
    from equicalc.calculators.named import named_calculator

    (packed,) = random_crystals(METHANOL, 1, n=1)
    result = two_body_energy(packed, named_calculator("gfn2"), cutoff=3.0, gas=None)
    assert -80 < result.energy < 0
    for charged in (
        assign_charges(packed, named_calculator("gfn2")),
        assign_charges(packed),
    ):
        charges = charged.molecules[0].get_initial_charges()
        assert charges.sum() == pytest.approx(0, abs=1e-6)
        assert charges[METHANOL.numbers == 8].item() < -0.2


def test_strains_are_against_the_same_molecule_in_all_methods(crystal):
    """The lowest of those that the independent molecules relax to, or what is given."""
    bent = METHANOL.copy()
    bent.set_dihedral(2, 0, 1, 3, bent.get_dihedral(2, 0, 1, 3) + 60, indices=[3])
    other = MolecularCrystal.from_parameters(bent, 14, POSE).molecules[0]
    other.positions += [0.5, 0.5, 0.5] @ crystal.cell
    two = replace(crystal, molecules=(*crystal.molecules, other))
    calculator = Springs()
    whole = lattice_energy(two, calculator, relax="molecule").strain
    assert two_body_energy(two, calculator, cutoff=3.0).strain == pytest.approx(whole)
    assert Strain(calculator).of(two)[0] == pytest.approx(whole)
    given = lattice_energy(two, calculator, gas=METHANOL).strain
    assert Strain(calculator).of(two, METHANOL)[0] == pytest.approx(given)
    assert given != pytest.approx(whole, abs=1e-3)
