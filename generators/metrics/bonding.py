"""Bonds, local environments and rings of valid molecules, by the literature's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rdkit.Chem import Atom, Mol

__all__ = ["bond_lengths", "environment", "local_environments", "ring_sizes"]


def bond_lengths(molecule: Mol) -> Iterator[tuple[str, float]]:
    """Yield kind, such as ``C-H: 1.0`` or ``C-N: 1.5``, and length of every bond.

    Parameters
    ----------
    molecule
        With bonds and positions, see `equicalc.generators.metrics.valid_molecule`.

    Yields
    ------
    kind, length
        In Angstrom.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.generators.metrics import valid_molecule
    >>> bonds = bond_lengths(valid_molecule(molecule("HCN")))
    >>> [(kind, round(length, 2)) for kind, length in bonds]
    [('C-N: 3.0', 1.18), ('C-H: 1.0', 1.07)]
    """
    pos = molecule.GetConformer().GetPositions()
    for bond in molecule.GetBonds():
        a, b = bond.GetBeginAtom(), bond.GetEndAtom()
        first, second = sorted((a.GetSymbol(), b.GetSymbol()), key=_hydrogen_last)
        length = np.linalg.norm(pos[a.GetIdx()] - pos[b.GetIdx()])
        yield f"{first}-{second}: {bond.GetBondTypeAsDouble()}", float(length)


def local_environments(molecule: Mol) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield kind, such as ``C: C2,H2``, and neighbours of atoms that have two or more.

    Parameters
    ----------
    molecule
        With bonds and positions.

    Yields
    ------
    kind, vectors
        Vectors (n_neighbours, 3) from the atom to its bonded neighbours, Angstrom.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.generators.metrics import valid_molecule
    >>> ethanol = valid_molecule(molecule("CH3CH2OH"))
    >>> [kind for kind, _ in local_environments(ethanol)]
    ['C: C1,H3', 'C: C1,H2,O1', 'O: C1,H1']
    """
    pos = molecule.GetConformer().GetPositions()
    for atom in molecule.GetAtoms():
        around = atom.GetNeighbors()
        if len(around) > 1:
            places = pos[[other.GetIdx() for other in around]]
            yield environment(atom), places - pos[atom.GetIdx()]


def ring_sizes(molecule: Mol) -> list[int]:
    """Return the number of atoms of every ring (of a smallest set of them).

    Examples
    --------
    >>> from ase.build import molecule
    >>> from equicalc.generators.metrics import valid_molecule
    >>> ring_sizes(valid_molecule(molecule("C6H6")))
    [6]
    """
    return [len(ring) for ring in molecule.GetRingInfo().AtomRings()]


def environment(atom: Atom) -> str:
    """Return the kind of an atom: its element, and what its neighbours are."""
    around = Counter(other.GetSymbol() for other in atom.GetNeighbors())
    names = ",".join(f"{symbol}{n}" for symbol, n in sorted(around.items()))
    return f"{atom.GetSymbol()}: {names}"


def _hydrogen_last(symbol: str) -> tuple[bool, str]:
    return symbol == "H", symbol
