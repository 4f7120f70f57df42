"""Distorted geometries."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from equicalc.labelling.geometry import (
    cluster,
    gaussian_noise,
    join,
    model_hessian,
    random_rotation,
    stretch_bond,
    thermal_modes,
)

MOLECULES = ["H2", "CO2", "H2O", "C6H6", "CH3CH2OH"]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", MOLECULES)
def test_rigid_motions_cost_nothing(name):
    atoms = molecule(name)
    hessian = model_hessian(atoms)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    assert np.linalg.eigvalsh(hessian).min() > -1e-9
    shift = np.array([1.0, 2.0, 3.0])
    turn = np.cross([0.3, -0.2, 0.9], atoms.positions) + shift
    np.testing.assert_allclose(hessian @ turn.ravel(), 0, atol=1e-9)


@pytest.mark.parametrize("name", MOLECULES)
def test_thermal_modes_neither_move_nor_turn(name):
    atoms = molecule(name)
    moved = thermal_modes(atoms, 500.0, rng()).positions - atoms.positions
    centered = atoms.positions - atoms.positions.mean(axis=0)
    np.testing.assert_allclose(moved.sum(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cross(centered, moved).sum(axis=0), 0, atol=1e-10)
    assert abs(moved).max() > 1e-3


def test_thermal_modes_of_hydrogen_have_the_classical_variance():
    atoms, generator = molecule("H2"), rng()
    length = atoms.get_distance(0, 1)
    change = [
        thermal_modes(atoms, 300.0, generator).get_distance(0, 1) - length
        for _ in range(2000)
    ]
    stiffness = model_hessian(atoms)[2, 2]
    assert np.var(change) == pytest.approx(units.kB * 300.0 / stiffness, rel=0.1)


def test_overlapping_atoms_are_named():
    with pytest.raises(ValueError, match=r"atoms 0 \(O\) and 2 \(H\) .* overlap"):
        thermal_modes(Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 0, 0]]), 300.0, rng())


def test_one_atom_has_no_modes():
    atoms = Atoms("C", positions=[[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(
        thermal_modes(atoms, 900.0, rng()).positions, atoms.positions
    )


def test_inputs_are_left_alone():
    atoms = molecule("CH3CH2OH")
    before = atoms.positions.copy()
    thermal_modes(atoms, 900.0, rng())
    gaussian_noise(atoms, 0.1, rng())
    stretch_bond(atoms, 2.0, rng())
    join(atoms, atoms, 2.0, rng())
    np.testing.assert_array_equal(atoms.positions, before)


def test_only_one_bond_is_stretched():
    atoms = molecule("CH3CH2OH")
    bonded = atoms.get_all_distances() < 1.25 * 1.3
    for seed in range(8):
        ratio = stretch_bond(atoms, 1.4, rng(seed)).get_all_distances()
        with np.errstate(invalid="ignore"):
            ratio = ratio / atoms.get_all_distances()
        pairs = np.argwhere(np.triu(bonded & (abs(ratio - 1) > 1e-6), 1))
        near = [p for p in pairs if ratio[tuple(p)] == pytest.approx(1.4)]
        assert len(near) == 1


def test_ring_without_open_bonds_is_scaled():
    ring = Atoms("C3", positions=[[0, 0, 0], [1.5, 0, 0], [0.75, 1.3, 0]])
    scaled = stretch_bond(ring, 8.0, rng())
    np.testing.assert_allclose(
        scaled.get_all_distances(), 2 * ring.get_all_distances(), atol=1e-12
    )


@pytest.mark.parametrize("contact", [1.2, 2.0, 6.0])
def test_joined_molecules_touch_at_the_contact(contact):
    first, second = molecule("C6H6"), molecule("H2O")
    for seed in range(5):
        joined = join(first, second, contact, rng(seed))
        between = joined.get_all_distances()[:12, 12:]
        assert between.min() == pytest.approx(contact)
        np.testing.assert_allclose(
            joined[12:].get_all_distances(), second.get_all_distances(), atol=1e-12
        )


def test_hydrogen_bonds_are_found():
    water, closest = molecule("H2O"), []
    for seed in range(10):
        joined = join(water, water, 1.9, rng(seed), hydrogen_bond=True)
        between = joined.get_all_distances()[:3, 3:]
        i, j = np.unravel_index(between.argmin(), between.shape)
        closest.append({int(water.numbers[i]), int(water.numbers[j])})
    assert closest.count({1, 8}) >= 9


def test_cluster_members_stay_apart():
    water = molecule("H2O")
    grown = cluster([water] * 4, [2.0, 2.2, 2.4], rng())
    assert len(grown) == 12
    distances = grown.get_all_distances()
    apart = np.arange(12)[:, None] // 3 != np.arange(12) // 3
    assert distances[apart].min() >= 2.0 - 1e-9


def test_rotations_are_proper():
    for seed in range(20):
        turn = random_rotation(rng(seed))
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
