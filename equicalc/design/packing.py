"""From molecules to crystals, and their lattice energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from .step import MissingError, Rejected, Step, noted

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["LatticeEnergy", "Pack"]


class Pack(Step):
    """Replace a molecule by random crystals of it.

    They know their ``spacegroup``, ``density`` (g/cm^3), ``packing`` (share of the
    volume that is filled), ``contact`` (closest one, in sums of van der Waals radii)
    and ``pair_energy`` (eV per molecule, of the potential that packed them).

    Attributes
    ----------
    spacegroups
        Numbers.
    n
        Crystals to try for in each of them.
    seed
        Of the packing.
    """

    expands = True
    chunk = 1

    spacegroups: tuple[Annotated[int, Field(ge=1, le=230)], ...] = (2, 14, 19)
    n: int = Field(default=2, ge=1)
    seed: int = 0

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Pack one molecule in all space groups."""
        from equicalc.crystals import random_crystals

        crystals = [
            noted(
                crystal.to_atoms(),
                **{
                    **atoms.info,
                    **crystal.info,
                    "spacegroup": group,
                    "density": crystal.density,
                    "branch": f"g{group}-{k}",
                },
            )
            for group in self.spacegroups
            for k, crystal in enumerate(
                random_crystals(atoms, group, self.n, self.seed)
            )
        ]
        if not crystals:
            raise Rejected("no packing found")
        return crystals


class LatticeEnergy(Step):
    """Note the ``lattice_energy`` of crystals, kJ/mol per molecule.

    Attributes
    ----------
    method
        ``network``, or ``network:NAME`` for another than the shipped one:
        `equicalc.crystals.LatticeEnergyPredictor`, which takes many crystals at once.
        Anything else as for `equicalc.crystals.named_method`: ``exp6``, ``gfn2-2b``...
    """

    chunk = 8

    method: str = "exp6"

    def check(self) -> None:
        """Build the method, or find the network."""
        from equicalc.crystals import LatticeEnergyPredictor, named_method

        kind, _, name = self.method.partition(":")
        if kind != "network":
            named_method(self.method)
        elif name:
            LatticeEnergyPredictor.from_pretrained(name)

    def many(self, structures: Sequence[Atoms]) -> list[list[Atoms] | Rejected]:
        """Evaluate crystals together where the method can.

        Raises
        ------
        MissingError
            If all are molecules.
        """
        if not any(atoms.pbc.any() for atoms in structures):
            raise MissingError("molecules are no crystals: an earlier step must pack")
        kind, _, name = self.method.partition(":")
        if kind != "network":
            return super().many(structures)
        from equicalc.crystals import LatticeEnergyPredictor

        predictor = LatticeEnergyPredictor.from_pretrained(name or None)
        return [
            [noted(atoms, lattice_energy=row["energy_kJ/mol"])]
            if row["status"] == "ok"
            else Rejected(str(row["message"]))
            for atoms, row in zip(structures, predictor.score(structures))
        ]

    def each(self, atoms: Atoms) -> list[Atoms]:
        """Evaluate one crystal, with a method that has seen no other."""
        from equicalc.crystals import MolecularCrystal, named_method

        crystal = MolecularCrystal.from_atoms(atoms)
        energy = named_method(self.method).evaluate(crystal, None).energy
        return [noted(atoms, lattice_energy=energy)]
