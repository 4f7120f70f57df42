"""Checks that a calculator refuses what it cannot calculate, and says why."""

# The first lines of the docstrings are the names of the checks.
# ruff: noqa: D401

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from equicalc.calculators.conformance.report import Failure, Skip
from equicalc.calculators.conformance.subject import Subject, error_of

#: No method has parameters for it.
FOREIGN = "Og"


def not_a_number(subject: Subject) -> str:
    """A position that is not a number is refused."""
    atoms = subject.molecule.copy()
    atoms.positions[0, 1] = np.nan
    return _refused(subject, atoms)


def infinite(subject: Subject) -> str:
    """An infinite position is refused."""
    atoms = subject.molecule.copy()
    atoms.positions[0, 1] = np.inf
    return _refused(subject, atoms)


def no_cell(subject: Subject) -> str:
    """Periodicity without a cell is refused."""
    atoms = subject.molecule.copy()
    atoms.set_cell(np.zeros((3, 3)))
    atoms.pbc = True
    return _refused(subject, atoms)


def no_atoms(subject: Subject) -> str:
    """A structure without atoms is refused."""
    return _refused(subject, Atoms())


def overlap(subject: Subject) -> str:
    """Two atoms at the same place are refused."""
    atoms = subject.molecule.copy()
    if len(atoms) < 2:
        raise Skip("the test structure has one atom")
    atoms.positions[1] = atoms.positions[0]
    return _refused(subject, atoms)


def unknown_element(subject: Subject) -> str:
    """An unknown element is refused by its name."""
    atoms = subject.molecule.copy()
    atoms.symbols[0] = FOREIGN
    error = error_of(lambda: subject.energy(atoms))
    if error is None:
        raise Skip(f"takes any element, even {FOREIGN}")
    names = (FOREIGN, str(atomic_numbers[FOREIGN]))
    if not any(name in str(error) for name in names):
        raise Failure(f"{type(error).__name__}: {error} does not name {FOREIGN}")
    return f"{type(error).__name__}: {error}"


def recovery(subject: Subject) -> str:
    """A refused structure does not spoil the next one."""
    expected = subject.energy(subject.molecule)
    broken = subject.molecule.copy()
    broken.positions[0, 0] = np.nan
    error_of(lambda: subject.energy(broken))
    energy = subject.energy(subject.molecule)
    if not abs(energy - expected) <= subject.tolerances.energy * len(broken):
        raise Failure(f"{energy} eV after it, {expected} eV before")
    return ""


MISTAKES = (
    not_a_number,
    infinite,
    no_cell,
    no_atoms,
    overlap,
    unknown_element,
    recovery,
)


def _refused(subject: Subject, atoms: Atoms) -> str:
    """Return the error that a structure gives; having an energy is a failure."""
    energies: list[float] = []
    error = error_of(lambda: energies.append(subject.energy(atoms)))
    if error is None:
        raise Failure(f"has an energy of {energies[0]:.6g} eV instead")
    return f"{type(error).__name__}: {error}"
