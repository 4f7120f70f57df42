"""Relaxation of many molecules together, and conformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.data.bonds import find_bonds

from .filters import smiles_of
from .properties import SIMPLE
from .step import Rejected, Step, noted

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.calculators import EquiCalculator

__all__ = ["Conformers", "Relax", "Relaxed", "relax_together"]

#: Notes beside texts that are true of all conformers.
OF_MOLECULES = {"seed", "molecule", "sa_score", "known_similarity", *SIMPLE}


@dataclass(frozen=True)
class Relaxed:
    """A structure at the end of its relaxation.

    Attributes
    ----------
    atoms
        Without a calculator.
    energy
        eV.
    converged
        Whether all forces fell under the threshold.
    """

    atoms: Atoms
    energy: float
    converged: bool


class Relax(Step):
    """Relax molecules; notes the ``potential_energy`` (eV) and ``converged``.

    Attributes
    ----------
    calculator
        As for `equicalc.calculators.named.named_calculator`. The potentials of this
        package move many molecules at once.
    fmax
        Largest force on an atom at the end, eV/Angstrom.
    steps
        Steps to give up after.
    keep_bonds
        Refuse molecules whose bonds change.
    """

    chunk = 16

    calculator: str = "equicalc"
    fmax: float = 0.05
    steps: int = 200
    keep_bonds: bool = True

    def check(self) -> None:
        """Build the calculator."""
        from equicalc.calculators.named import named_calculator

        named_calculator(self.calculator)

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Relax structures together; one by one if that fails for any of them."""
        from equicalc.calculators.named import named_calculator

        calculator: Any = named_calculator(self.calculator)
        if not hasattr(calculator, "compute"):
            return super().many(structures)
        try:
            results = relax_together(structures, calculator, self.fmax, self.steps)
        except (ValueError, RuntimeError):  # of one; the others need not suffer
            return super().many(structures)
        return [self._judged(old, new) for old, new in zip(structures, results)]

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Relax one structure, with a calculator that has seen no other."""
        from equicalc.calculators.named import named_calculator
        from equicalc.simulation import relax

        calculator = named_calculator(self.calculator)
        end = relax(atoms, calculator, fmax=self.fmax, steps=self.steps)
        outcome = self._judged(atoms, Relaxed(end.atoms, end.energy, end.converged))
        if isinstance(outcome, Rejected):
            raise outcome
        return outcome

    def _judged(self, before: Atoms, after: Relaxed) -> list[Atoms] | Rejected:
        if self.keep_bonds and not np.array_equal(
            find_bonds(before), find_bonds(after.atoms)
        ):
            return Rejected("bonds changed")
        return [
            noted(after.atoms, potential_energy=after.energy, converged=after.converged)
        ]


class Conformers(Step):
    """Replace a molecule by several of its conformers, from its ``smiles``.

    Of what earlier steps noted they keep what does not depend on the geometry.

    Attributes
    ----------
    n
        How many to try for.
    seed
        Of the embedding.
    """

    expands = True
    chunk = 16

    n: int = 5
    seed: int = 0

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Embed the molecule anew."""
        from equicalc.data.smiles import conformers

        found = conformers(smiles_of(atoms), self.n, self.seed)
        same = {
            name: value
            for name, value in atoms.info.items()
            if isinstance(value, str) or name in OF_MOLECULES
        }
        return [noted(one, **same, branch=f"c{k}") for k, one in enumerate(found)]


def relax_together(
    structures: Sequence[Atoms],
    calculator: EquiCalculator,
    fmax: float = 0.05,
    steps: int = 200,
) -> list[Relaxed]:
    """Relax many structures, each by its own L-BFGS, with common force calls.

    Parameters
    ----------
    structures
        Stay as they are.
    calculator
        Or another one with its ``compute``.
    fmax
        Largest force on an atom at the end, eV/Angstrom.
    steps
        Steps to give up after.

    Returns
    -------
    list of Relaxed
        In the order given.

    Raises
    ------
    CalculatorError
        If a structure cannot be calculated.
    """
    from ase import optimize
    from ase.calculators.singlepoint import SinglePointCalculator

    moving = [atoms.copy() for atoms in structures]
    method: Any = optimize.LBFGS
    optimizers = [method(atoms, logfile=None) for atoms in moving]
    energies, converged = np.zeros(len(moving)), np.zeros(len(moving), dtype=bool)
    left = list(range(len(moving)))
    for step in range(steps + 1):
        answers = calculator.compute([moving[k] for k in left], ["energy", "forces"])
        for k, answer in zip(left, answers):
            energies[k] = answer["energy"]
            moving[k].calc = SinglePointCalculator(moving[k], **answer)
            forces = moving[k].get_forces()  # none on atoms that are held
            converged[k] = np.linalg.norm(forces, axis=1).max() < fmax
            if not converged[k] and step < steps:
                optimizers[k].step()
        left = [k for k in left if not converged[k]]
        if not left:
            break
    for atoms in moving:
        atoms.calc = None
    return [
        Relaxed(*one) for one in zip(moving, map(float, energies), map(bool, converged))
    ]
