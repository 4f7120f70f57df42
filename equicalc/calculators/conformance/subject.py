"""A calculator under test, and the structures it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import BaseCalculator
from ase.cell import Cell

from equicalc.calculators.conformance.report import Skip
from equicalc.calculators.conformance.tolerances import Tolerances

SEED = 7


@dataclass(frozen=True)
class Subject:
    """A calculator with what it takes to test it.

    Attributes
    ----------
    calc : ASE calculator
        Under test; every structure is given to this one object.
    molecule : Atoms
        Without symmetry and without periodicity.
    crystal : Atoms or None
        Without symmetry, periodic in three directions; None if refused.
    refusal : str
        Why the calculator refused the crystal.
    tolerances : Tolerances
        What is allowed.
    """

    calc: BaseCalculator
    molecule: Atoms
    crystal: Atoms | None
    refusal: str
    tolerances: Tolerances

    def get(self, name: str, atoms: Atoms) -> Any:
        """Return a property of a copy of a structure; skip the check without it."""
        self.need(name)
        return self.calc.get_property(name, atoms.copy())

    def energy(self, atoms: Atoms) -> float:
        """Return the energy that the forces belong to, eV."""
        return float(self.get(self.consistent, atoms))

    def forces(self, atoms: Atoms) -> np.ndarray:
        """Return the forces (n_atoms, 3), eV/Angstrom."""
        return self.get("forces", atoms)

    @property
    def consistent(self) -> str:
        """Name of the energy that the forces belong to."""
        return "free_energy" if self.has("free_energy") else "energy"

    @property
    def periodic(self) -> Atoms:
        """The crystal; checks that need one are skipped without."""
        if self.crystal is None:
            raise Skip(f"takes no crystal ({self.refusal})")
        return self.crystal

    def has(self, *names: str) -> bool:
        """Tell whether the calculator declares all of these properties."""
        return set(names) <= set(self.calc.implemented_properties)

    def need(self, *names: str) -> None:
        """Skip the check unless the calculator declares all of these properties."""
        if missing := [name for name in names if not self.has(name)]:
            raise Skip(f"does not offer {', '.join(missing)}")

    def rng(self) -> np.random.Generator:
        """Return the same random numbers to every check."""
        return np.random.default_rng(SEED)


def default_molecule(calc: BaseCalculator) -> Atoms:
    """Return the first of some common structures that a calculator takes, distorted.

    Raises
    ------
    ValueError
        If it takes none of them; it says why.
    """
    formulas = ("CH3CH2OH", "CH4", "H2O", "H2", "N2", "CO")
    clusters = ("Cu", "Si", "Ar", "Fe", "Al")
    candidates = [molecule(name) for name in formulas]
    candidates += [Atoms(bulk(name, cubic=True), pbc=False) for name in clusters]
    atoms, reason = _first_taken(calc, (_distorted(atoms) for atoms in candidates))
    if atoms is None:
        raise ValueError(
            f"{shown(calc)} takes no test structure, give molecule=: {reason}"
        )
    return atoms


def default_crystal(calc: BaseCalculator, molecule: Atoms) -> tuple[Atoms | None, str]:
    """Pack a molecule into a skewed cell; None, with a reason, if that is refused."""
    packed = molecule.copy()
    size = np.ptp(packed.positions, axis=0) + 2.2
    packed.cell = Cell.fromcellpar([*size, 84.0, 96.0, 101.0])
    packed.pbc = True
    return _first_taken(calc, [packed])


def shown(calc: BaseCalculator) -> str:
    """Return how a calculator shows itself, or the name of its class."""
    text = repr(calc)
    return f"{type(calc).__name__}()" if text.startswith("<") else text


def error_of(call: Callable[[], Any]) -> Exception | None:
    """Return what a call raises, if anything."""
    try:
        call()
    except Exception as error:  # any calculator may raise anything
        return error
    return None


def largest(differences: np.ndarray | Collection[float]) -> float:
    """Return the largest absolute entry; not a number stays that."""
    return float(np.abs(np.asarray(differences)).max())


def _distorted(atoms: Atoms) -> Atoms:
    distorted = atoms.copy()
    distorted.positions += np.random.default_rng(SEED).normal(0, 0.03, (len(atoms), 3))
    distorted.calc = None
    return distorted


def _first_taken(
    calc: BaseCalculator, candidates: Iterable[Atoms]
) -> tuple[Atoms | None, str]:
    reason = ""
    for atoms in candidates:
        error = error_of(lambda atoms=atoms: calc.get_property("energy", atoms.copy()))
        if error is None:
            return atoms, ""
        reason = reason or f"{type(error).__name__}: {error}"
    return None, reason
