"""Stability: bond orders from a table of distances, and what valences they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["lookup_stability"]

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


def _limits() -> NDArray[np.float64]:
    """Longest bond of every order and pair of elements, Angstrom; 0: none."""
    limits = np.zeros((3, 10, 10))
    for order, (lengths, margin) in enumerate(zip(LENGTHS, MARGINS)):
        for (a, b), length in lengths.items():
            i, j = _SYMBOLS[a], _SYMBOLS[b]
            limits[order, i, j] = limits[order, j, i] = (length + margin) / 100
    return limits


LIMITS = _limits()


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
    z, pos = atoms.numbers, atoms.positions
    if unknown := set(z.tolist()) - VALENCES.keys():
        raise ValueError(f"no bond lengths for atomic numbers {sorted(unknown)}")
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    single, double, triple = (distance < LIMITS[:, z[:, None], z]).astype(int)
    order = single * (1 + double * (1 + triple))
    np.fill_diagonal(order, 0)
    return order.sum(1) == [VALENCES[int(number)] for number in z]
