"""Molecules beside each other: pairs of their atoms, put together by molecule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from equicalc.graph import neighbor_list

from .compiled_pairs import Centers, PairsOfSites, compiled_pairs

__all__ = [
    "AtomPairs",
    "Neighbour",
    "closest_contact",
    "neighbours_of",
    "pairs_around",
    "pairs_of_sites",
]

CONTACT_REACH = (4.0, 6.0)  # Angstrom; nearly always the first is enough

PairsAround = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]
]


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


def pairs_around(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    center: int,
    cutoff: float,
) -> PairsAround:
    """Find pairs of an atom of a molecule and one of the molecules around it.

    Parameters
    ----------
    positions : (n_molecules, n_atoms, 3), Angstrom
        Of a cell.
    cell : (3, 3), Angstrom
    center
        Which of the molecules.
    cutoff : Angstrom

    Returns
    -------
    atoms, molecules, others : (n_pairs,)
        Atom of the center, original of the other molecule, and atom of that.
    vectors : (n_pairs, 3), Angstrom
        From the first atom to the second.
    """
    n_molecules, size, _ = positions.shape
    around = Centers(
        positions=torch.from_numpy(np.ascontiguousarray(positions).reshape(-1, 3)),
        cells=torch.from_numpy(np.ascontiguousarray(cell)).unsqueeze(0),
        crystals=torch.tensor([[n_molecules, size, 0, 0]]),
        centers=torch.tensor([[0, int(center), 0]]),
        origins=torch.zeros(n_molecules, dtype=torch.int64),
    )
    found = pairs_of_sites(around, cutoff, torch.float64)
    atoms, others, molecules, vectors = (part.numpy() for part in found)
    return atoms, molecules, others, vectors


def closest_contact(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    radii: NDArray[np.float64],
    centers: NDArray[np.int64],
) -> float:
    """Closest contact of molecules of a crystal, in sums of van der Waals radii.

    Parameters
    ----------
    positions : (n_molecules, n_atoms, 3), Angstrom
        Of a cell.
    cell : (3, 3), Angstrom
    radii : (n_molecules, n_atoms), Angstrom
    centers : (n_independent,)
        Molecules that the others are images of.

    Returns
    -------
    float
        Infinite if no two atoms are nearer than 6 Angstrom.
    """
    closest = np.inf
    for reach in CONTACT_REACH:
        for center in centers.tolist():
            atoms, molecules, others, vectors = pairs_around(
                positions, cell, center, reach
            )
            touching = radii[center, atoms] + radii[molecules, others]
            relative = np.linalg.norm(vectors, axis=1) / touching
            closest = min(closest, relative.min(initial=np.inf))
        if closest < 0.99 * reach / (2 * radii.max()):  # no pair beyond is closer
            break
    return float(closest)


def pairs_of_sites(around: Centers, cutoff: float, dtype: torch.dtype) -> PairsOfSites:
    """Find pairs of the atoms of molecules and those around them, in many crystals.

    Parameters
    ----------
    around
        The molecules, and the cells that they are in.
    cutoff : Angstrom
    dtype
        Of the vectors; they are calculated in double precision.
    """
    compiled = compiled_pairs(around, cutoff, dtype)
    if compiled is not None:
        return compiled
    positions, cells, crystals, centers, origins = (part.numpy() for part in around)
    parts = []
    for crystal, row, site in centers.tolist():
        n, size, molecule, atom = crystals[crystal].tolist()
        molecules = positions[atom : atom + n * size].reshape(n, size, 3)
        atoms, images, others, vectors = _pairs_in_numpy(
            molecules, cells[crystal], row, cutoff
        )
        images = images + molecule
        parts.append((site + atoms, origins[images] + others, images, vectors))
    dst, src, images, vectors = (
        torch.as_tensor(np.concatenate(column)) for column in zip(*parts)
    )
    return PairsOfSites(dst, src, images, vectors.to(dtype))


def _pairs_in_numpy(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    center: int,
    cutoff: float,
) -> PairsAround:
    """Find the pairs of `pairs_around` without a compiler.

    1. Lattice vectors that may lead near the center.
    2. Images of molecules with centroids near enough.
    3. Atoms of these that are near enough to the center's centroid.
    4. Pairs with its atoms; one matrix product has all distances.
    """
    centroids = positions.mean(axis=1)
    spread = positions - centroids[:, None]
    radii = np.sqrt(_squares(spread).max(axis=1))
    apart = centroids - centroids[center]
    # 1
    inverse = np.linalg.inv(cell)
    reach = (cutoff + radii[center] + radii.max()) * np.sqrt(_squares(inverse.T))
    most = np.floor(reach + np.abs(apart @ inverse).max(axis=0)).astype(np.int64)
    steps = np.indices(2 * most + 1).reshape(3, -1).T - most
    # 2
    moved = apart[:, None] + steps @ cell  # (n_molecules, n_steps, 3)
    near = _squares(moved) < ((cutoff + radii[center] + radii) ** 2)[:, None]
    near[center] &= steps.any(axis=1)
    molecules = np.nonzero(near)[0]
    # 3
    size = positions.shape[1]
    far = (spread[molecules] + moved[near][:, None]).reshape(-1, 3)
    length = _squares(far)
    kept = np.flatnonzero(length < (cutoff + radii[center]) ** 2)
    far = far.take(kept, axis=0)
    # 4
    own = spread[center]
    left = np.column_stack([far, length[kept], np.ones(len(far))])
    right = np.column_stack([-2 * own, np.ones(size), _squares(own)])
    found = np.flatnonzero(left @ right.T < cutoff**2)
    row = found // size
    atoms, atom = found - row * size, kept.take(row)
    image = atom // size
    vectors = far.take(row, axis=0) - own.take(atoms, axis=0)  # faster than by index
    return atoms, molecules.take(image), atom - image * size, vectors


def _squares(vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Squared lengths of vectors (..., 3)."""
    return np.einsum("...i,...i->...", vectors, vectors)
