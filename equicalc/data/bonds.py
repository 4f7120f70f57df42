"""Bonds of molecules, from distances and elements alone.

Two atoms are bonded if they are nearer than `BONDED` times the sum of their covalent
radii. Bond orders are assigned to such bonds by RDKit's implementation of xyz2mol.

Measures of the literature have rules of their own, which stand with these measures, in
`equicalc.generators.metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "BONDED",
    "MAX_ITERATIONS",
    "bond_matrix",
    "find_bonds",
    "molecule_with_bonds",
    "radius_sums",
    "unbonded_molecule",
]

#: Bonded atoms are nearer than this, in sums of covalent radii.
BONDED = 1.25
#: How many assignments of bond orders to try before giving up.
MAX_ITERATIONS = 100_000


def radius_sums(atoms: Atoms) -> NDArray[np.float64]:
    """Add covalent radii to (n_atoms, n_atoms), Angstrom: how long bonds would be."""
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    return radii[:, None] + radii


def bond_matrix(atoms: Atoms, tolerance: float = BONDED) -> NDArray[np.bool_]:
    """Tell which atoms are bonded, (n_atoms, n_atoms).

    Parameters
    ----------
    atoms
        Positions as they are; periodic images are not looked at.
    tolerance
        Factor on the sum of the covalent radii.
    """
    distances = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    bonded = distances < tolerance * radius_sums(atoms)
    np.fill_diagonal(bonded, False)
    return bonded


def find_bonds(atoms: Atoms, tolerance: float = BONDED) -> NDArray[np.int64]:
    """Pairs of atoms that are closer than their covalent radii allow strangers to be.

    Parameters
    ----------
    atoms, tolerance
        As for `bond_matrix`.

    Returns
    -------
    (n_bonds, 2)

    Examples
    --------
    >>> from ase.build import molecule
    >>> find_bonds(molecule("H2O")).tolist()
    [[0, 1], [0, 2]]
    """
    return np.argwhere(np.triu(bond_matrix(atoms, tolerance)))


def unbonded_molecule(atoms: Atoms) -> Any:
    """Return an editable molecule of RDKit: atoms at their positions, no bonds."""
    from rdkit import Chem

    molecule = Chem.RWMol()
    conformer = Chem.Conformer(len(atoms))
    for index, (number, place) in enumerate(zip(atoms.numbers, atoms.positions)):
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
        conformer.SetAtomPosition(index, place.tolist())
    molecule.AddConformer(conformer)
    return molecule


def molecule_with_bonds(atoms: Atoms, charged_fragments: bool = True) -> Any:
    """Return a neutral molecule as RDKit has it, with the bonds that it perceives.

    Parameters
    ----------
    atoms
        A molecule with its hydrogens.
    charged_fragments
        Give atoms of unusual valence charges; else they are radicals.

    Raises
    ------
    ValueError
        If no assignment of bond orders is found.

    Examples
    --------
    >>> from ase.build import molecule
    >>> molecule_with_bonds(molecule("C2H4")).GetBondBetweenAtoms(0, 1).GetBondType()
    rdkit.Chem.rdchem.BondType.DOUBLE
    """
    from rdkit import rdBase
    from rdkit.Chem import rdDetermineBonds

    molecule = unbonded_molecule(atoms)
    try:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineBonds(
                molecule,
                charge=0,
                allowChargedFragments=charged_fragments,
                maxIterations=MAX_ITERATIONS,
            )
    except RuntimeError as error:  # some of RDKit's own errors are these
        raise ValueError(str(error)) from error
    return molecule.GetMol()
