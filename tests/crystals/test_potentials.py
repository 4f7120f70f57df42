"""Pair potentials: slopes, forces, stress and electrostatics against references."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from equicalc.crystals import (
    ExpSix,
    LennardJones,
    MolecularCrystal,
    PaperSoft,
    errors,
    pair_energy,
)
from equicalc.crystals.pairwise import energy_per_molecule
from equicalc.crystals.symmetry import Operations
from equicalc.units import COULOMB

POSE = [5.03, 5.6, 6.1, 90, 98, 90, 0.21, 0.3, 0.17, 1.0, 0.2, -0.5]


def charged_methanol():
    atoms = molecule("CH3OH")
    atoms.set_initial_charges([0.1, -0.5, 0.05, 0.35, 0.0, 0.0])
    return atoms


@pytest.fixture
def crystal():
    return MolecularCrystal.from_parameters(charged_methanol(), 14, POSE)


@pytest.fixture(params=[LennardJones(), PaperSoft(), ExpSix()], ids=lambda p: str(p))
def potential(request):
    return request.param


def test_slopes_are_derivatives(potential):
    sites = potential.sites(charged_methanol())
    pair = potential.combine(sites[:, None], sites)
    squared = torch.linspace(0.8, 120, 36, dtype=torch.float64).reshape(6, 6)
    squared.requires_grad_()
    energy, slope = potential.terms(squared, pair)
    (expected,) = torch.autograd.grad(energy.sum(), squared)
    torch.testing.assert_close(slope.detach(), expected)


def test_energy_without_forces_is_the_same(crystal, potential):
    two = crystal.to_atoms()
    two.positions[:6] += [0.1, -0.2, 0.15]  # breaks the symmetry: independent molecules
    for one in (crystal, MolecularCrystal.from_atoms(two)):
        expected = pair_energy(one, potential).energy
        assert energy_per_molecule(one, potential) == pytest.approx(expected)
    assert len(one.molecules) == 4
    for row, independent in zip(one.rows, one.molecules, strict=True):
        there = one.unit_cell[0][row] - independent.positions
        shift = there[0] @ np.linalg.inv(one.cell)
        np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)
        np.testing.assert_allclose(there, there[:1].repeat(len(there), 0), atol=1e-9)


def test_energies_of_two_carbon_atoms():
    methane = molecule("CH4")
    four = torch.tensor([16.0], dtype=torch.float64)
    lj = 4 * LennardJones().epsilon * ((3.4 / 4) ** 12 - (3.4 / 4) ** 6)
    exp6 = 3832.147 * np.exp(-3.6 * 4) - 25.286949 / (4**6 + 1)
    soft = PaperSoft().epsilon * (0.2 * (3.4 / 4) ** 6 - 3.26 * np.exp(-4 / 3.4))
    for potential, expected in (
        (LennardJones(), lj),
        (ExpSix(), exp6),
        (PaperSoft(), soft),
    ):
        carbon = potential.sites(methane)[:1]
        energy, _ = potential.terms(four, potential.combine(carbon, carbon))
        assert energy.item() == pytest.approx(expected, rel=1e-6)


def moved(crystal, positions, cell):
    """Crystal of independent molecules at other positions."""
    one = Operations(np.eye(3)[None], np.zeros((1, 3)))
    pieces = []
    for place in positions.reshape(4, -1, 3):
        piece = charged_methanol()
        piece.positions = place
        pieces.append(piece)
    return MolecularCrystal(cell, 1, one, tuple(pieces))


def test_forces_and_stress_are_derivatives_of_the_energy(crystal, potential):
    result = pair_energy(crystal, potential)
    start, step = crystal.to_atoms().positions, 1e-5

    def energy(positions, cell):
        shifted = moved(crystal, positions, cell)
        constant = sum(potential.constant(m) for m in shifted.molecules)
        return 4 * pair_energy(shifted, potential).energy - constant

    for atom, axis in ((0, 0), (9, 1), (20, 2)):
        change = np.zeros_like(start)
        change[atom, axis] = step
        slope = energy(start + change, crystal.cell)
        slope -= energy(start - change, crystal.cell)
        assert result.forces[atom, axis] == pytest.approx(
            -slope / (2 * step), rel=1e-4, abs=1e-6
        )
    step = 3e-7  # no pair passes the sharp cutoff (nor is 2 a equal to it)
    for i, j in ((0, 0), (0, 2), (1, 2)):
        strain = np.zeros((3, 3))
        strain[i, j] = step
        grown, shrunk = np.eye(3) + strain, np.eye(3) - strain
        slope = energy(start @ grown, crystal.cell @ grown)
        slope -= energy(start @ shrunk, crystal.cell @ shrunk)
        assert result.stress[i, j] == pytest.approx(
            slope / (2 * step * crystal.volume), rel=1e-4, abs=1e-7
        )


def test_energy_does_not_depend_on_the_cell(crystal, potential):
    from ase.build import make_supercell

    large = make_supercell(crystal.to_atoms(), [[1, 0, 1], [0, 2, 0], [0, 0, 1]])
    large.set_initial_charges(np.tile(charged_methanol().get_initial_charges(), 8))
    energy = pair_energy(MolecularCrystal.from_atoms(large), potential).energy
    assert energy == pytest.approx(pair_energy(crystal, potential).energy)


def test_damped_coulomb_energy_is_that_of_the_whole_lattice(crystal):
    """Against the sum over neutral molecules in a large ball (no dipole in P21/c)."""

    def coulomb(potential):
        bare = MolecularCrystal.from_parameters(molecule("CH3OH"), 14, POSE)
        with_charges = pair_energy(crystal, potential).energy
        return with_charges - pair_energy(bare, potential).energy

    q = charged_methanol().get_initial_charges()
    positions = crystal.unit_cell[0]
    shifts = np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3), -1).reshape(-1, 3)
    total = 0.0
    for place in positions:
        images = place + (shifts @ crystal.cell)[:, None]
        far = np.linalg.norm(images.mean(axis=1) - positions[0].mean(axis=0), axis=1)
        images = images[(far > 1e-6) & (far < 60)]
        for i, site in enumerate(positions[0]):
            total += (q[i] * q / np.linalg.norm(images - site, axis=-1)).sum()
    assert coulomb(ExpSix()) == pytest.approx(0.5 * COULOMB * total, abs=0.02)


def test_paper_soft_has_its_minimum_at_contact():
    x = torch.linspace(0.7, 2, 1301, dtype=torch.float64)
    energy, _ = PaperSoft(epsilon=1.0).terms(x**2, (torch.ones_like(x),))
    assert x[energy.argmin()].item() == pytest.approx(1.0, abs=0.01)
    assert energy.min().item() == pytest.approx(-1.0, abs=0.01)


def test_elements_without_parameters_are_named():
    with pytest.raises(errors.UnknownElementError, match="H, C, N, O and Cl"):
        ExpSix().sites(molecule("SiH4"))
    with pytest.raises(errors.UnknownElementError, match="Fe"):
        LennardJones().sites(molecule("CO") + type(molecule("CO"))("Fe"))
