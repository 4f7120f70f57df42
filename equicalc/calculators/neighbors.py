"""Neighbour list with a skin, reused while no atom has moved by half of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

from equicalc.graph import neighbor_list


class Neighbors(NamedTuple):
    """All pairs within the cutoff, both directions.

    Attributes
    ----------
    src, dst : (n_edges,) int
        Neighbour and centre; sorted as in `equicalc.graph.neighbor_list`.
    shifts : (n_edges, 3) float64
        Lattice translations of the neighbour.
    distances : (n_edges,), Angstrom
        From centre to neighbour.
    """

    src: np.ndarray
    dst: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray


class VerletList:
    """Neighbour list that is rebuilt only when it has to be.

    1. Search all pairs within cutoff + skin.
    2. While the cell stays and no atom has moved by more than skin / 2, every pair
       within the cutoff is among them: keep these, drop the others.

    The pairs are therefore always exactly those within the cutoff, in the same order:
    energies and forces do not depend on when the list was built, to the last bit.

    Parameters
    ----------
    cutoff : float
        Angstrom.
    skin : float
        Angstrom; 0 searches anew at every call.

    Attributes
    ----------
    builds : int
        Searches done so far.

    Raises
    ------
    ValueError
        If the skin is negative.

    References
    ----------
    .. [1] L. Verlet, Phys. Rev. 159, 98 (1967).

    Examples
    --------
    >>> water = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> neighbors = VerletList(cutoff=5.0, skin=0.5)
    >>> len(neighbors(water).src)
    6
    >>> water.positions[0, 2] += 0.1
    >>> neighbors(water).distances.max() < 5.0, neighbors.builds
    (np.True_, 1)
    """

    def __init__(self, cutoff: float, skin: float = 0.0) -> None:
        if not skin >= 0:
            raise ValueError(f"the skin is {skin} Angstrom; it must not be negative")
        self.cutoff = cutoff
        self.skin = skin
        self.builds = 0
        self._built_for: tuple[np.ndarray, ...] = ()  # positions, cell, pbc
        self._pairs = (np.empty(0, int), np.empty(0, int), np.empty((0, 3)))

    def __call__(self, atoms: Atoms) -> Neighbors:
        """Return the neighbours within the cutoff.

        Parameters
        ----------
        atoms : Atoms
            It may differ from that of the last call in any way.

        Raises
        ------
        InputError
            If coordinates are not finite or the cell does not span the periodic
            directions.
        """
        structure = atoms.positions, atoms.cell.array, atoms.pbc
        if not self._holds_for(*structure):
            self._build(*structure)
        src, dst, shifts = self._pairs
        positions, cell, _ = structure
        vectors = positions.take(src, 0) - positions.take(dst, 0) + shifts @ cell
        distances = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # (n_edges,)
        if self.skin == 0:
            return Neighbors(src, dst, shifts, distances)
        near = distances < self.cutoff
        return Neighbors(src[near], dst[near], shifts[near], distances[near])

    def _holds_for(
        self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> bool:
        if self.skin == 0 or not self._built_for:
            return False
        old_positions, old_cell, old_pbc = self._built_for
        if len(old_positions) != len(positions):
            return False
        if (old_cell != cell).any() or (old_pbc != pbc).any():
            return False
        moved = np.square(positions - old_positions).sum(axis=1).max()
        return bool(moved <= (self.skin / 2) ** 2)

    def _build(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        self._built_for = ()
        try:
            pairs = neighbor_list(positions, cell, pbc, self.cutoff + self.skin)
        except ValueError as error:
            raise InputError(str(error)) from error
        src, dst, shifts = pairs
        self._pairs = src, dst, shifts.astype(np.float64)
        self._built_for = positions.copy(), cell.copy(), pbc.copy()
        self.builds += 1
