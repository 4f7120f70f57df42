"""Molecules beside each other: pairs of their atoms, put together by molecule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from equicalc.graph import neighbor_list

__all__ = ["AtomPairs", "Neighbour", "neighbours_of"]


@dataclass(frozen=True)
class AtomPairs:
    """Pairs of atoms of different molecules; both directions are listed.

    Attributes
    ----------
    dst, src : (n_pairs,)
        Atoms, molecule by molecule.
    shifts : (n_pairs, 3)
        Lattice vectors from src to its image.
    vectors : (n_pairs, 3), Angstrom
        From dst to the image of src.
    """

    dst: NDArray[np.int64]
    src: NDArray[np.int64]
    shifts: NDArray[np.int64]
    vectors: NDArray[np.float64]

    @classmethod
    def within(
        cls, molecules: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
    ) -> Self:
        """Find the pairs nearer than a cutoff.

        Parameters
        ----------
        molecules : (n_molecules, n, 3), Angstrom
            Positions, each molecule in one piece.
        cell : (3, 3), Angstrom
            Rows are lattice vectors.
        cutoff : Angstrom
        """
        size, flat = molecules.shape[1], molecules.reshape(-1, 3)
        src, dst, shifts = neighbor_list(flat, cell, (True,) * 3, cutoff)
        between = (src // size != dst // size) | shifts.any(axis=1)
        dst, src, shifts = dst[between], src[between], shifts[between]
        return cls(dst, src, shifts, flat[src] + shifts @ cell - flat[dst])


@dataclass(frozen=True)
class Neighbour:
    """A molecule beside another one.

    Attributes
    ----------
    center
        The molecule in the middle, as a row of `MolecularCrystal.unit_cell`.
    molecule
        The neighbour, likewise.
    shift : (3,)
        Lattice vectors from that row to the neighbour.
    distance
        Between the nearest atoms, Angstrom.
    """

    center: int
    molecule: int
    shift: tuple[int, int, int]
    distance: float


def neighbours_of(
    centers: Collection[int],
    pairs: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> list[Neighbour]:
    """Collect pairs of atoms into pairs of molecules.

    Parameters
    ----------
    centers
        Molecules whose neighbours are wanted.
    pairs : (n_pairs, 5)
        Center, molecule and three lattice shifts of every pair of atoms.
    distances : (n_pairs,), Angstrom
        Between the two atoms.

    Returns
    -------
    list of Neighbour
        Sorted by center, then by distance.

    Examples
    --------
    >>> pairs = np.array([[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    >>> neighbours_of([0], pairs, np.array([3.0, 2.5, 2.5]))
    [Neighbour(center=0, molecule=1, shift=(0, 0, 0), distance=2.5)]
    """
    keys, owner = np.unique(pairs, axis=0, return_inverse=True)
    nearest = np.full(len(keys), np.inf)
    np.minimum.at(nearest, owner.ravel(), distances)
    found = [
        Neighbour(int(key[0]), int(key[1]), tuple(key[2:].tolist()), float(d))
        for key, d in zip(keys, nearest)
        if int(key[0]) in centers
    ]
    return sorted(found, key=lambda one: (one.center, one.distance))
