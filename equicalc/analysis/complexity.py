"""How complex a molecule is: the spacial score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from equicalc.data.bonds import molecule_with_bonds

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["nsps", "nsps_of_all", "smiles_of"]


def nsps(atoms: Atoms) -> float:
    r"""Return the normalised spacial score of a molecule.

    .. math:: \frac{1}{N} \sum_n h_n s_n r_n b_n^2

    over the N heavy atoms: hybridisation (1 to 3 for sp to sp3), stereo (2 for a centre
    or double bond that has isomers), rings (2 outside of aromatic rings and in rings
    that are not aromatic), number of heavy neighbours.

    Parameters
    ----------
    atoms
        One molecule; ``info["smiles"]`` goes before bonds perceived from distances.

    Raises
    ------
    ValueError
        If the bonds are not recognised.

    References
    ----------
    .. [1] Krzyzanowski et al., "Spacial score: a comprehensive topological indicator
       for small-molecule complexity", J. Med. Chem. 66, 12739 (2023).

    Examples
    --------
    >>> from ase.build import molecule
    >>> nsps(molecule("C6H6"))  # 2 (sp2) * 1 * 1 (aromatic) * 2^2
    8.0
    """
    from rdkit.Chem import SpacialScore

    return float(SpacialScore.SPS(_molecule(atoms), normalize=True))


def nsps_of_all(structures: Iterable[Atoms]) -> NDArray[np.float64]:
    """Return the score of every structure, NaN where there are no clear bonds."""
    scores = []
    for atoms in structures:
        try:
            scores.append(nsps(atoms))
        except ValueError:
            scores.append(np.nan)
    return np.array(scores)


def smiles_of(atoms: Atoms) -> str:
    """Return the canonical SMILES of a molecule, its identity.

    Raises
    ------
    ValueError
        If the bonds are not recognised.

    Examples
    --------
    >>> from ase.build import molecule
    >>> smiles_of(molecule("CH3CH2OH"))
    'CCO'
    """
    from rdkit import Chem

    return Chem.MolToSmiles(_molecule(atoms))


def _molecule(atoms: Atoms) -> Any:
    """Heavy atoms and bonds of a molecule, as RDKit has them."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        if "smiles" in atoms.info:
            molecule = Chem.MolFromSmiles(str(atoms.info["smiles"]))
        elif atoms.pbc.any():
            molecule = None
        else:
            try:
                molecule = Chem.RemoveHs(molecule_with_bonds(atoms))
            except ValueError:
                molecule = None
    if molecule is None or not molecule.GetNumHeavyAtoms():
        raise ValueError(
            f"no bonds are recognised in {atoms.get_chemical_formula()}: give a "
            'molecule with heavy atoms, or its SMILES in atoms.info["smiles"]'
        )
    return molecule
