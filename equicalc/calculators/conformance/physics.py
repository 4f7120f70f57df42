"""Checks that a calculator obeys the symmetries of nature and of mathematics."""

# The first lines of the docstrings are the names of the checks.
# ruff: noqa: D401

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from ase.units import fs, kB

from equicalc.calculators.conformance.report import Failure, Measure
from equicalc.calculators.conformance.subject import Subject, largest

FORCE, ENERGY, STRESS = "eV/Angstrom", "eV/atom", "eV/Angstrom^3"


def forces_are_the_gradient(subject: Subject) -> Measure:
    """Forces are minus the derivative of the energy."""
    return _gradient(subject, subject.molecule)


def forces_are_the_gradient_in_a_crystal(subject: Subject) -> Measure:
    """Forces in a crystal are minus the derivative of the energy."""
    return _gradient(subject, subject.periodic)


def forces_are_the_gradient_in_a_slab(subject: Subject) -> Measure:
    """Forces with two periodic directions are minus the derivative of the energy."""
    slab = subject.periodic.copy()
    slab.pbc = (True, False, True)
    return _gradient(subject, slab)


def stress_is_the_strain_derivative(subject: Subject) -> Measure:
    """Stress is the derivative of the energy with respect to strain, per volume."""
    subject.need("stress")
    crystal = subject.periodic
    stress = voigt_6_to_full_3x3_stress(subject.get("stress", crystal))

    def strained(i: int, j: int) -> Callable[[float], float]:
        def energy(amount: float) -> float:
            strain = np.eye(3)
            strain[i, j] += amount / 2
            strain[j, i] += amount / 2
            atoms = crystal.copy()
            atoms.set_cell(crystal.cell.array @ strain, scale_atoms=True)
            return subject.energy(atoms)

        return energy

    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    h, volume = subject.tolerances.strain, crystal.get_volume()
    found = [_derivative(strained(i, j), h) / volume for i, j in pairs]
    given = [stress[pair] for pair in pairs]
    worst = int(np.argmax(np.abs(np.subtract(found, given))))
    note = f"component {pairs[worst]}: {given[worst]:.6f} against {found[worst]:.6f}"
    value = largest(np.subtract(found, given))
    return Measure(value, subject.tolerances.stress, STRESS, note)


def rotation(subject: Subject) -> Measure:
    """Energy stays and forces turn with the molecule."""
    return _transformed(subject, _rotation(subject))


def inversion(subject: Subject) -> Measure:
    """Energy stays and forces change sign in the mirror molecule."""
    return _transformed(subject, -np.eye(3))


def crystal_rotation(subject: Subject) -> Measure:
    """Energy stays, forces and stress turn with the crystal."""
    subject.need("stress")
    crystal, turn = subject.periodic, _rotation(subject)
    turned = crystal.copy()
    turned.set_cell(crystal.cell.array @ turn.T, scale_atoms=True)
    stress = voigt_6_to_full_3x3_stress(subject.get("stress", crystal))
    expected = full_3x3_to_voigt_6_stress(turn @ stress @ turn.T)
    _same_energy(subject, crystal, turned)
    _same_forces(subject, subject.forces(crystal) @ turn.T, turned)
    difference = largest(subject.get("stress", turned) - expected)
    return Measure(difference, subject.tolerances.stress, STRESS)


def translation(subject: Subject) -> Measure:
    """Moving everything changes nothing."""
    moved = subject.molecule.copy()
    moved.positions += (3.1, -2.7, 11.3)
    _same_energy(subject, subject.molecule, moved)
    return _same_forces(subject, subject.forces(subject.molecule), moved)


def far_from_the_origin(subject: Subject) -> Measure:
    """Nothing changes 100,000 Angstrom from the origin."""
    moved = subject.molecule.copy()
    moved.positions += 1e5
    _same_energy(subject, subject.molecule, moved)
    return _same_forces(subject, subject.forces(subject.molecule), moved)


def outside_the_cell(subject: Subject) -> Measure:
    """Moving atoms by lattice vectors changes nothing."""
    crystal = subject.periodic
    moved = crystal.copy()
    shifts = subject.rng().integers(-3, 4, (len(crystal), 3))
    moved.positions += shifts @ crystal.cell.array
    _same_energy(subject, crystal, moved)
    return _same_forces(subject, subject.forces(crystal), moved)


def permutation(subject: Subject) -> Measure:
    """The order of atoms does not matter."""
    order = subject.rng().permutation(len(subject.molecule))
    shuffled = subject.molecule[order]
    _same_energy(subject, subject.molecule, shuffled)
    return _same_forces(subject, subject.forces(subject.molecule)[order], shuffled)


def supercell(subject: Subject) -> Measure:
    """A supercell has the energy of its cells and the same forces."""
    crystal = subject.periodic
    repeated = crystal.repeat((2, 1, 2))
    _same_energy(subject, crystal, repeated)
    return _same_forces(subject, np.tile(subject.forces(crystal), (4, 1)), repeated)


def no_net_force(subject: Subject) -> Measure:
    """Forces and torques on a molecule add up to zero."""
    forces = subject.forces(subject.molecule)
    arms = subject.molecule.positions - subject.molecule.positions.mean(axis=0)
    total = np.concatenate([forces.sum(axis=0), np.cross(arms, forces).sum(axis=0)])
    tolerance = subject.tolerances.forces * len(forces)
    return Measure(largest(total), tolerance, "eV/Angstrom, eV")


def single_atom(subject: Subject) -> Measure:
    """A single atom has an energy and no force."""
    atom = subject.molecule[[0]]
    energy = subject.energy(atom)
    if not np.isfinite(energy):
        raise Failure(f"the energy of one {atom.symbols} is {energy}")
    return Measure(largest(subject.forces(atom)), subject.tolerances.forces, FORCE)


def isolated_molecules(subject: Subject) -> Measure:
    """Two molecules far apart have twice the energy of one."""
    far = _pair(subject.molecule, 60.0)
    difference = subject.energy(far) - 2 * subject.energy(subject.molecule)
    return Measure(abs(difference), subject.tolerances.isolation, "eV")


def smooth_path(subject: Subject) -> Measure:
    """The energy is smooth while two molecules part, through every cutoff.

    Over three neighbouring points Simpson's rule for the integral of the force gives
    the difference in energy up to the fifth power of the spacing; a jump in energy or
    force does not.
    """
    spacing = 0.08
    gaps = np.arange(2.5, 9.0, spacing)
    n_atoms = len(subject.molecule)
    slopes, energies = np.empty((2, len(gaps)))
    for k, gap in enumerate(gaps):
        pair = _pair(subject.molecule, gap)
        slopes[k] = -subject.forces(pair)[n_atoms:, 0].sum()
        energies[k] = subject.energy(pair)
    integral = spacing / 3 * (slopes[:-2] + 4 * slopes[1:-1] + slopes[2:])
    residual = np.abs(energies[2:] - energies[:-2] - integral)
    where = f"largest {gaps[int(np.argmax(residual)) + 1]:.2f} Angstrom apart"
    return Measure(largest(residual), subject.tolerances.smoothness, "eV", where)


def energy_conservation(subject: Subject) -> Measure:
    """Molecular dynamics without a thermostat keeps its total energy."""
    atoms = subject.molecule.copy()
    atoms.calc = subject.calc
    spread = np.sqrt(300 * kB * atoms.get_masses())[:, None]
    atoms.set_momenta(subject.rng().normal(0, spread, (len(atoms), 3)))
    totals: list[float] = []
    dynamics = VelocityVerlet(atoms, timestep=0.1 * fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.run(100)
    drift = largest(np.subtract(totals, totals[0])) / len(atoms)
    return Measure(drift, subject.tolerances.drift, ENERGY, "100 steps of 0.1 fs")


def dipole_rotation(subject: Subject) -> Measure:
    """The dipole moment turns with the molecule."""
    subject.need("dipole")
    turn = _rotation(subject)
    turned = _turned(subject.molecule, turn)
    expected = subject.get("dipole", subject.molecule) @ turn.T
    difference = largest(subject.get("dipole", turned) - expected)
    return Measure(difference, subject.tolerances.forces, "e Angstrom")


PHYSICS = (
    forces_are_the_gradient,
    forces_are_the_gradient_in_a_crystal,
    forces_are_the_gradient_in_a_slab,
    stress_is_the_strain_derivative,
    rotation,
    inversion,
    crystal_rotation,
    dipole_rotation,
    translation,
    far_from_the_origin,
    outside_the_cell,
    permutation,
    supercell,
    no_net_force,
    single_atom,
    isolated_molecules,
    smooth_path,
    energy_conservation,
)


def _gradient(subject: Subject, atoms: Atoms) -> Measure:
    """Compare up to six force components with numerical derivatives."""
    forces = subject.forces(atoms)
    chosen = subject.rng().permutation(forces.size)[:6]
    found = np.empty(len(chosen))
    for k, index in enumerate(chosen):
        direction = np.zeros(forces.size)
        direction[index] = 1.0

        def energy(amount: float, direction: np.ndarray = direction) -> float:
            moved = atoms.copy()
            moved.positions += amount * direction.reshape(-1, 3)
            return subject.energy(moved)

        found[k] = -_derivative(energy, subject.tolerances.step)
    given = forces.reshape(-1)[chosen]
    worst = int(np.argmax(np.abs(found - given)))
    i, axis = divmod(int(chosen[worst]), 3)
    note = (
        f"atom {i} along {'xyz'[axis]}: {given[worst]:.6f} against {found[worst]:.6f}"
    )
    return Measure(largest(found - given), subject.tolerances.gradient, FORCE, note)


def _derivative(function: Callable[[float], float], h: float) -> float:
    """Fourth-order central difference at zero."""
    near = function(h) - function(-h)
    far = function(2 * h) - function(-2 * h)
    return (8 * near - far) / (12 * h)


def _transformed(subject: Subject, matrix: np.ndarray) -> Measure:
    turned = _turned(subject.molecule, matrix)
    _same_energy(subject, subject.molecule, turned)
    expected = subject.forces(subject.molecule) @ matrix.T
    return _same_forces(subject, expected, turned)


def _same_energy(subject: Subject, first: Atoms, second: Atoms) -> None:
    """Fail unless two structures have the same energy per atom."""
    a = subject.energy(first) / len(first)
    b = subject.energy(second) / len(second)
    if not abs(a - b) <= subject.tolerances.energy:
        raise Failure(
            f"energies {a:.10f} and {b:.10f} eV/atom differ by {abs(a - b):.1e}, more "
            f"than {subject.tolerances.energy:.0e}"
        )


def _same_forces(subject: Subject, expected: np.ndarray, atoms: Atoms) -> Measure:
    difference = largest(subject.forces(atoms) - expected)
    return Measure(difference, subject.tolerances.forces, FORCE)


def _turned(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.T
    return turned


def _rotation(subject: Subject) -> np.ndarray:
    """Random rotation matrix (3, 3)."""
    matrix = np.linalg.qr(subject.rng().normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def _pair(molecule: Atoms, gap: float) -> Atoms:
    """Two copies with `gap` Angstrom between them along x."""
    other = molecule.copy()
    other.positions[:, 0] += np.ptp(molecule.positions[:, 0]) + gap
    return molecule + other
