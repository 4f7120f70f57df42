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
        self._known: list[tuple[np.ndarray, float, list[str]]] = []

    def of(
        self, crystal: MolecularCrystal, gas: Atoms | None = None
    ) -> tuple[float, list[str]]:
        """Mean strain (kJ/mol) of the independent molecules, and what went wrong.

        Parameters
        ----------
        crystal
        gas
            The relaxed molecule, if it is known.
        """
        shares = np.array(crystal.multiplicities) / crystal.n_molecules
        found = [
            (self._energy(molecule) - self._energy(gas), list[str]())
            if gas is not None
            else self._one(molecule)
            for molecule in crystal.molecules
        ]
        notes = [note for _, more in found for note in more]
        energies = np.array([energy for energy, _ in found])
        return float(shares @ energies) / KJ_PER_MOL, notes

    def _one(self, molecule: Atoms) -> tuple[float, list[str]]:
        mark = _fingerprint(molecule)
        for known, energy, notes in self._known:
            if known.shape == mark.shape and np.abs(known - mark).max() < SAME:
                return energy, notes
        reference, notes = gas_phase([molecule], self.calculator)
        energy = self._energy(molecule) - reference
        self._known.append((mark, energy, notes))
        return energy, notes

    def _energy(self, molecule: Atoms) -> float:
        return energy_of_copy(molecule, self.calculator)


def _fingerprint(molecule: Atoms) -> np.ndarray:
    """Elements and all distances, in the order of the atoms."""
    apart = np.linalg.norm(molecule.positions[:, None] - molecule.positions, axis=-1)
    return np.concatenate([molecule.numbers, apart.ravel()])
