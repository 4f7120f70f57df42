"""Validity: whether there is an assignment of bond orders for given positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from equicalc.data.bonds import MAX_ITERATIONS, unbonded_molecule

if TYPE_CHECKING:
    from ase import Atoms
    from rdkit.Chem import Mol

__all__ = [
    "RADII_2023",
    "plain_smiles",
    "stereo_smiles",
    "strictly_valid",
    "valid_molecule",
]

#: Covalent radii of RDKit 2023.03, Angstrom; later versions have others, with which
#: fewer molecules of QM9 itself count as valid.
RADII_2023 = {1: 0.23, 6: 0.68, 7: 0.68, 8: 0.68, 9: 0.64}
#: Atoms are bonded within this times the sum of their radii.
REACH = 1.3


def valid_molecule(atoms: Atoms) -> Mol | None:
    """Return the molecule with bond orders of total charge 0, None if there is none.

    Bonds join atoms within 1.3 times the sum of their radii of 2023, and bond orders
    come from RDKit's implementation of xyz2mol: the validity of the literature
    whatever the installed version.

    Parameters
    ----------
    atoms
        A molecule of H, C, N, O, F.

    References
    ----------
    .. [1] Kim, Kim, "Universal structure conversion method for organic molecules",
       Bull. Korean Chem. Soc. 36, 1769 (2015).

    Examples
    --------
    >>> from ase.build import molecule
    >>> from rdkit import Chem
    >>> Chem.MolToSmiles(Chem.RemoveHs(valid_molecule(molecule("CH3CH2OH"))))
    'CCO'
    >>> valid_molecule(molecule("CH3")) is None  # a radical
    True
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    numbers, pos = atoms.numbers, atoms.positions
    if unknown := set(numbers.tolist()) - RADII_2023.keys():
        raise ValueError(f"no radius for atomic numbers {sorted(unknown)}")
    molecule = unbonded_molecule(atoms)
    radii = np.array([RADII_2023[int(number)] for number in numbers])
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    near = distance <= REACH * (radii[:, None] + radii)
    for i, j in np.argwhere(np.tril(near, -1)):
        molecule.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    whole = molecule.GetMol()
    try:
        with rdBase.BlockLogs():
            rdDetermineBonds.DetermineBondOrders(
                whole, charge=0, maxIterations=MAX_ITERATIONS
            )
    except (ValueError, RuntimeError):  # no assignment; RDKit's own errors are these
        return None
    return cast("Mol", whole)


def strictly_valid(molecule: Mol | None) -> bool:
    """Return whether a molecule is one piece without radicals and formal charges.

    Parameters
    ----------
    molecule
        See `valid_molecule`.
    """
    from rdkit import Chem

    if molecule is None or len(Chem.GetMolFrags(molecule)) != 1:
        return False
    return all(
        atom.GetNumRadicalElectrons() == 0 and atom.GetFormalCharge() == 0
        for atom in molecule.GetAtoms()
    )


def plain_smiles(molecule: Mol) -> str:
    """Return the canonical SMILES without hydrogens and stereochemistry."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolToSmiles(Chem.RemoveHs(molecule), isomericSmiles=False)


def stereo_smiles(molecule: Mol) -> str:
    """Return the canonical SMILES without hydrogens, with the stereo of the positions.

    Mirror images differ.
    """
    from rdkit import Chem, rdBase

    own = Chem.Mol(molecule)
    with rdBase.BlockLogs():
        Chem.AssignStereochemistryFrom3D(own)
        return Chem.MolToSmiles(Chem.RemoveHs(own))
