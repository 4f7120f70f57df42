"""A molecular crystal: asymmetric molecules, a cell and symmetry operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equicalc.data.damage import reason
from equicalc.data.frames import read_frames

from . import errors
from .fragments import (
    find_fragments,
    require_crystal,
    require_neutral,
    require_one_neutral_species,
)
from .neighbours import AtomPairs, Neighbour, closest_contact, neighbours_of
from .pose import inside, parameters_of, place
from .rows import starts
from .shape import vdw_radii, vdw_volume
from .symmetry import Operations, distinct_images, find_symmetry, operations

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MolecularCrystal", "as_crystal"]

GRAM_PER_CM3 = 1.66053906660  # amu/Angstrom^3


@dataclass(frozen=True, eq=False)
class MolecularCrystal:
    """A crystal of one kind of neutral molecule.

    Parameters
    ----------
    cell : (3, 3), Angstrom
        Rows are lattice vectors.
    spacegroup
        Number, 1 to 230.
    operations
        All symmetry operations in the basis of the cell.
    molecules
        The molecules that symmetry does not relate, each in one piece and not
        periodic.
    info
        Whatever belongs to the crystal; goes into `Atoms.info`.
    symprec : Angstrom
        Deviation from symmetry that was tolerated.

    Examples
    --------
    >>> from ase.build import molecule
    >>> pose = [6, 6, 7, 90, 100, 90, 0.2, 0.3, 0.1, 0.5, -0.4, 1.0]
    >>> crystal = MolecularCrystal.from_parameters(molecule("H2O"), 14, pose)
    >>> crystal.z, crystal.z_prime, len(crystal.to_atoms())
    (4, 1.0, 12)
    >>> again = MolecularCrystal.from_atoms(crystal.to_atoms())
    >>> again.spacegroup, bool(np.allclose(again.parameters()[:6], pose[:6]))
    (14, True)
    """

    cell: NDArray[np.float64]
    spacegroup: int
    operations: Operations
    molecules: tuple[Atoms, ...]
    info: dict[str, Any] = field(default_factory=dict)
    symprec: float = 0.01

    @classmethod
    def from_atoms(cls, atoms: Atoms, symprec: float = 0.01) -> Self:
        """Find molecules and symmetry of a periodic structure.

        Parameters
        ----------
        atoms
            In any cell and setting, molecules may be cut by the boundaries.
        symprec : Angstrom
            Deviation from symmetry that is tolerated.

        Raises
        ------
        CrystalError
            One of its kinds, see `equicalc.crystals.errors`.
        """
        from ase import Atoms

        require_crystal(atoms)
        require_neutral(atoms)
        fragments = find_fragments(atoms)
        require_one_neutral_species(fragments)
        found = find_symmetry(
            atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers, symprec
        )
        charges = atoms.get_initial_charges()
        first: dict[int, Atoms] = {}
        for fragment in fragments:
            orbit = int(found.orbits[fragment.indices].min())
            if orbit not in first:
                piece = Atoms(fragment.numbers, fragment.positions)
                piece.set_initial_charges(charges[fragment.indices])
                first[orbit] = inside(piece, atoms.cell.array)
        crystal = cls(
            cell=atoms.cell.array.copy(),
            spacegroup=found.number,
            operations=found.operations,
            molecules=tuple(first.values()),
            symprec=symprec,
        )
        crystal._require_molecules(len(fragments))
        return crystal

    @classmethod
    def from_file(cls, path: str | Path, index: int | str = -1) -> Self:
        """Read a crystal from a file in any format of ASE, CIF for instance.

        Raises
        ------
        UnreadableFileError
            If there is no structure in it.
        CrystalError
            As `from_atoms`.
        """
        try:
            frames = list(read_frames(path, index))
            if len(frames) != 1:
                raise ValueError(f"{index} selects {len(frames)} structures, not one")
            return cls.from_atoms(frames[0])
        except errors.CrystalError as error:
            raise type(error)(f"{path}: {error}") from error
        except Exception as error:  # every format has its own
            raise errors.UnreadableFileError(
                f"cannot read {path}: {reason(error)}"
            ) from error

    @classmethod
    def from_parameters(
        cls, molecule: Atoms, spacegroup: int, parameters: ArrayLike
    ) -> Self:
        """Build a crystal with one molecule in the asymmetric unit.

        Parameters
        ----------
        molecule
            In any orientation.
        spacegroup
            Number; in the standard setting.
        parameters : (12,)
            As of `parameters`.

        Raises
        ------
        ValueError
            If there are not 12 numbers, or no such cell or group.
        """
        cell, posed = place(molecule, parameters)
        return cls(cell, spacegroup, operations(spacegroup), (posed,))

    def to_atoms(self) -> Atoms:
        """All atoms of the cell, molecule by molecule, each in one piece.

        With the initial charges of `molecules`, if they have any.
        """
        from ase import Atoms

        positions, numbers = self.unit_cell
        atoms = Atoms(
            numbers.ravel(),
            positions=positions.reshape(-1, 3),
            cell=self.cell,
            pbc=True,
            info=dict(self.info),
        )
        charges = [molecule.get_initial_charges() for molecule in self.molecules]
        if any(one.any() for one in charges):
            copies = zip(charges, self.multiplicities)
            atoms.set_initial_charges(np.concatenate([np.tile(*one) for one in copies]))
        return atoms

    @cached_property
    def unit_cell(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Positions (n_molecules, n, 3) and elements (n_molecules, n) in the cell.

        A molecule on a special position is there once.
        """
        numbers = [
            np.tile(molecule.numbers, (len(images), 1))
            for molecule, (images, _) in zip(self.molecules, self._images)
        ]
        positions = np.concatenate([images for images, _ in self._images])
        return positions, np.concatenate(numbers).astype(np.int64)

    @cached_property
    def multiplicities(self) -> tuple[int, ...]:
        """How often each of `molecules` is in the cell."""
        return tuple(len(images) for images, _ in self._images)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of `unit_cell` that `molecules` are, their images after each."""
        return starts(self.multiplicities)

    @cached_property
    def turns(self) -> NDArray[np.float64]:
        """Matrices (n_molecules, 3, 3) that turn molecules, as rows, into their images.

        In the order of `unit_cell`; proper rotations or not.
        """
        rows = np.concatenate([kept for _, kept in self._images])
        rotations = self.operations.rotations[rows].transpose(0, 2, 1)
        return np.linalg.inv(self.cell) @ rotations @ self.cell

    @property
    def n_molecules(self) -> int:
        """Molecules in the cell."""
        return len(self.unit_cell[0])

    @property
    def z_prime(self) -> float:
        """Molecules per asymmetric unit; 0.5 for one on a center of inversion."""
        return self.n_molecules / len(self.operations)

    @property
    def z(self) -> int:
        """Molecules in the conventional cell."""
        return round(self.z_prime * len(operations(self.spacegroup)))

    @property
    def volume(self) -> float:
        """Of the cell, Angstrom^3."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def density(self) -> float:
        """g/cm^3."""
        mass = self.molecules[0].get_masses().sum() * self.n_molecules
        return float(GRAM_PER_CM3 * mass / self.volume)

    @cached_property
    def packing(self) -> float:
        """Share of the volume that the van der Waals spheres fill."""
        filled = sum(
            n * vdw_volume(molecule)
            for n, molecule in zip(self.multiplicities, self.molecules)
        )
        return filled / self.volume

    @cached_property
    def contact(self) -> float:
        """Closest contact of two molecules, in sums of their van der Waals radii."""
        positions, numbers = self.unit_cell
        return closest_contact(positions, self.cell, vdw_radii(numbers), self.rows)

    def parameters(self) -> NDArray[np.float64]:
        """Describe a crystal with one molecule in the asymmetric unit by 12 numbers.

        Returns
        -------
        (12,)
            a, b, c (Angstrom), alpha, beta, gamma (degrees) of the standard setting;
            fractional centroid of the molecule; rotation vector (radians) from its
            `standard_orientation`.

        Raises
        ------
        ValueError
            If several molecules are independent.
        """
        self.require_one_molecule()
        standard = self.standardised()
        return parameters_of(standard.cell, standard.molecules[0])

    def require_one_molecule(self) -> None:
        """Raise ParametersError if several molecules are independent."""
        if len(self.molecules) > 1:
            raise errors.ParametersError(
                f"{len(self.molecules)} molecules are independent; 12 numbers describe "
                "a crystal with one"
            )

    def standardised(self) -> Self:
        """Return the same crystal in the standard setting, a along x, b in x and y."""
        from ase.geometry import cell_to_cellpar, cellpar_to_cell

        atoms = self.to_atoms()
        found = find_symmetry(
            self.cell, atoms.get_scaled_positions(), atoms.numbers, self.symprec
        )
        old = np.linalg.inv(found.transformation).T @ self.cell
        cell = cellpar_to_cell(cell_to_cellpar(old))
        turn = np.linalg.solve(old, cell)
        molecules = []
        for molecule in self.molecules:
            moved = molecule.copy()
            moved.positions = (moved.positions + found.origin_shift @ old) @ turn
            molecules.append(inside(moved, cell))
        standard = type(self)(
            cell,
            found.number,
            operations(found.number),
            tuple(molecules),
            dict(self.info),
            self.symprec,
        )
        standard._require_molecules(self.n_molecules * standard.volume / self.volume)
        return standard

    def _require_molecules(self, expected: float) -> None:
        """Raise CrystalError if symmetry has made more or fewer molecules."""
        if abs(self.n_molecules - expected) > 0.01 * expected:
            raise errors.CrystalError(
                f"symmetry within {self.symprec} Angstrom makes {self.n_molecules} of "
                f"{expected:.0f} molecules; give another symprec"
            )

    def intermolecular_vectors(
        self, cutoff: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Pairs of atoms of different molecules nearer than a cutoff.

        Returns
        -------
        dst, src : (n_pairs,)
            Atoms of `to_atoms`; both directions are listed.
        vectors : (n_pairs, 3), Angstrom
            From dst to src.
        """
        pairs = AtomPairs.within(self.unit_cell[0], self.cell, cutoff)
        return pairs.dst, pairs.src, pairs.vectors

    def neighbours(self, cutoff: float) -> list[Neighbour]:
        """Neighbours of each of `molecules`: those with an atom within the cutoff.

        Parameters
        ----------
        cutoff : Angstrom

        Returns
        -------
        list of Neighbour
            Sorted by center, then by distance.
        """
        size = self.unit_cell[1].shape[1]
        pairs = AtomPairs.within(self.unit_cell[0], self.cell, cutoff)
        distances = np.linalg.norm(pairs.vectors, axis=1)
        rows = np.column_stack([pairs.dst // size, pairs.src // size, pairs.shifts])
        return neighbours_of(set(self.rows.tolist()), rows, distances)

    def cluster(self, cutoff: float, center: int = 0) -> Atoms:
        """Molecule with all whole molecules that have an atom within the cutoff.

        Parameters
        ----------
        cutoff : Angstrom
        center
            Which of `molecules`.

        Returns
        -------
        Atoms
            Not periodic, the center first; the array ``molecule`` numbers them.
        """
        from ase import Atoms

        positions, numbers = self.unit_cell
        row = int(self.rows[center])
        near = [one for one in self.neighbours(cutoff) if one.center == row]
        blocks = [positions[row]]
        blocks += [positions[one.molecule] + one.shift @ self.cell for one in near]
        order = [row, *(one.molecule for one in near)]
        cluster = Atoms(numbers[order].ravel(), positions=np.concatenate(blocks))
        cluster.set_array("molecule", np.repeat(np.arange(len(order)), len(blocks[0])))
        return cluster

    @cached_property
    def _images(self) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Distinct images (m, n, 3) of each molecule, and their operations.

        Centroids are inside of the cell.
        """
        inverse = np.linalg.inv(self.cell)
        found = []
        for molecule in self.molecules:
            fractional = (molecule.positions @ inverse).astype(np.float64)
            found.append(distinct_images(self.operations.apply(fractional), self.cell))
        return found


def as_crystal(atoms: Atoms | MolecularCrystal) -> MolecularCrystal:
    """Analyse a structure, unless it is a crystal already."""
    if isinstance(atoms, MolecularCrystal):
        return atoms
    return MolecularCrystal.from_atoms(atoms)
