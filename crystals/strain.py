"""Strain of molecules in crystals, by the potential that relaxes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.units import KJ_PER_MOL

from .lattice import energy_of_copy, gas_phase

if TYPE_CHECKING:
    from ase import Atoms

    from .crystal import MolecularCrystal

__all__ = ["Strain"]

SAME = 1e-3  # Angstrom


class Strain:
    """Energies of molecules as they are in crystals, against relaxed ones.

    Rigid copies of a molecule, as in packings of one conformer, are relaxed once.

    Parameters
    ----------
    calculator
        Of single molecules; by default the shipped potential.
    """

    def __init__(self, calculator: Any = None) -> None:
        if calculator is None:
            from equicalc.calculators import EquiCalculator

            calculator = EquiCalculator(device="cpu")
        self.calculator = calculator
        self._known: list[tuple[np.ndarray, tuple[float, float, list[str]]]] = []

    def of(
        self, crystal: MolecularCrystal, gas: Atoms | None = None
    ) -> tuple[float, list[str]]:
        """Mean strain (kJ/mol) of the independent molecules, and what went wrong.

        Parameters
        ----------
        crystal
        gas
            The molecule of the gas phase; by default the lowest one that the
            independent molecules relax to.
        """
        shares = np.array(crystal.multiplicities) / crystal.n_molecules
        if gas is None:
            posed, relaxed, notes = zip(*map(self._one, crystal.molecules))
            reference = min(relaxed)
        else:
            posed = [self._energy(molecule) for molecule in crystal.molecules]
            reference, notes = self._energy(gas), ()
        strain = float(shares @ np.array(posed)) - reference
        return strain / KJ_PER_MOL, [note for some in notes for note in some]

    def _one(self, molecule: Atoms) -> tuple[float, float, list[str]]:
        """Energies as it is and relaxed, eV, and what went wrong."""
        mark = _fingerprint(molecule)
        for known, found in self._known:
            if known.shape == mark.shape and np.abs(known - mark).max() < SAME:
                return found
        found = self._energy(molecule), *gas_phase([molecule], self.calculator)
        self._known.append((mark, found))
        return found

    def _energy(self, molecule: Atoms) -> float:
        return energy_of_copy(molecule, self.calculator)


def _fingerprint(molecule: Atoms) -> np.ndarray:
    """Elements and all distances, in the order of the atoms."""
    apart = np.linalg.norm(molecule.positions[:, None] - molecule.positions, axis=-1)
    return np.concatenate([molecule.numbers, apart.ravel()])
