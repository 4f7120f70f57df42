"""Bond orders from a table of distances: stability, and the molecules they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from rdkit.Chem import Mol

__all__ = [
    "VALENCES",
    "bond_limits",
    "lookup_bond_orders",
    "lookup_molecule",
    "lookup_stability",
]

_SYMBOLS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
#: Valence of a stable atom.
VALENCES = {1: 1, 6: 4, 7: 3, 8: 2, 9: 1}
#: Typical lengths of single, double and triple bonds, pm.
LENGTHS = (
    {
        "HH": 74,
        "HC": 109,
        "HN": 101,
        "HO": 96,
        "HF": 92,
        "CC": 154,
        "CN": 147,
        "CO": 143,
        "CF": 135,
        "NN": 145,
        "NO": 140,
        "NF": 136,
        "OO": 148,
        "OF": 142,
        "FF": 142,
    },
    {"CC": 134, "CN": 129, "CO": 120, "NN": 125, "NO": 121, "OO": 121},
    {"CC": 120, "CN": 116, "CO": 113, "NN": 110},
)
#: How much longer a bond may be, pm.
MARGINS = (10, 5, 3)


def bond_limits(margins: Sequence[float] = MARGINS) -> NDArray[np.float64]:
    """Return the longest bond of every order and pair of elements, Angstrom; 0: none.

    Parameters
    ----------
    margins
        How much longer than usual a single, double and triple bond may be, pm.

    Returns
    -------
    (3, 10, 10)
        By order - 1 and atomic numbers.
    """
    limits = np.zeros((3, 10, 10))
    for order, (lengths, margin) in enumerate(zip(LENGTHS, margins)):
        for (a, b), length in lengths.items():
            i, j = _SYMBOLS[a], _SYMBOLS[b]
            limits[order, i, j] = limits[order, j, i] = (length + margin) / 100
    return limits


LIMITS = bond_limits()


def lookup_bond_orders(atoms: Atoms) -> NDArray[np.int64]:
    """Return the bond order of every pair of atoms by their distance, (n, n).

    Parameters
    ----------
    atoms
        A molecule of H, C, N, O, F.

    Examples
    --------
    >>> from ase.build import molecule
    >>> lookup_bond_orders(molecule("C2H4"))[0, :3].tolist()
    [0, 2, 1]
    """
    z, pos = atoms.numbers, atoms.positions
    if unknown := set(z.tolist()) - VALENCES.keys():
        raise ValueError(f"no bond lengths for atomic numbers {sorted(unknown)}")
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    single, double, triple = (distance < LIMITS[:, z[:, None], z]).astype(int)
    order = single * (1 + double * (1 + triple))
    np.fill_diagonal(order, 0)
    return order


def lookup_stability(atoms: Atoms) -> NDArray[np.bool_]:
    """Return for every atom whether its bond orders add up to its valence, (n_atoms,).

    A molecule is stable if all its atoms are.

    Parameters
    ----------
    atoms
        A molecule of H, C, N, O, F.

    References
    ----------
    .. [1] Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D",
       ICML 2022.

    Examples
    --------
    >>> from ase.build import molecule
    >>> lookup_stability(molecule("H2CO")).tolist()
    [True, True, True, True]
    >>> lookup_stability(molecule("CH3")).tolist()
    [False, True, True, True]
    """
    valence = [VALENCES.get(int(number)) for number in atoms.numbers]
    return lookup_bond_orders(atoms).sum(1) == valence


def lookup_molecule(atoms: Atoms) -> Mol | None:
    """Return the molecule of these bond orders, None if an atom has too many bonds.

    An atom with too few is completed by RDKit's implicit hydrogens, as in the
    published protocol: this validity is milder than `lookup_stability`.

    Examples
    --------
    >>> from ase.build import molecule
    >>> lookup_molecule(molecule("CH3")) is None
    False
    """
    from rdkit import Chem, rdBase

    order = lookup_bond_orders(atoms)
    kinds = (
        Chem.BondType.SINGLE,
        Chem.BondType.DOUBLE,
        Chem.BondType.TRIPLE,
    )
    molecule = Chem.RWMol()
    for number in atoms.numbers:
        molecule.AddAtom(Chem.Atom(int(number)))
    for i, j in np.argwhere(np.tril(order)):
        molecule.AddBond(int(i), int(j), kinds[order[i, j] - 1])
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(molecule)
    except ValueError:  # RDKit's own errors are these
        return None
    return cast("Mol", molecule.GetMol())
