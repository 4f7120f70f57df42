"""Crystals as the lattice-energy networks see them: sites, and pairs of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.models.lattice_graph import LatticeGraph

if TYPE_CHECKING:
    from .crystal import MolecularCrystal

__all__ = ["crystal_graph", "lattice_graph"]


def crystal_graph(crystal: MolecularCrystal, cutoff: float) -> LatticeGraph:
    """Describe a crystal by its independent molecules and what is around them.

    Symmetry is used: the sites are the atoms of the independent molecules, and only
    pairs with one of them are listed. An image is the rotation of its original, proper
    or not.

    Parameters
    ----------
    crystal
        Any space group, any number of independent molecules.
    cutoff : Angstrom
        Of the pairs of atoms.
    """
    positions, numbers = crystal.unit_cell
    counts = np.array(crystal.multiplicities)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    original = np.repeat(np.arange(len(counts)), counts)  # of each molecule
    around = [_around(positions, crystal.cell, center, cutoff) for center in first]
    atoms, images, others, vectors = (np.concatenate(part) for part in zip(*around))
    size = numbers.shape[1]
    center = np.arange(len(counts)).repeat([len(one[0]) for one in around])
    sites = positions[first]  # (n_independent, size, 3)
    return LatticeGraph(
        z=torch.as_tensor(numbers[first].ravel()),
        pos=torch.as_tensor(sites.reshape(-1, 3)),
        molecule=torch.arange(len(counts)).repeat_interleave(size),
        weight=torch.as_tensor(counts / counts.sum()),
        crystal=torch.zeros(len(counts), dtype=torch.int64),
        src=torch.as_tensor(original[images] * size + others),
        dst=torch.as_tensor(center * size + atoms),
        vectors=torch.as_tensor(vectors),
        image=torch.as_tensor(images),
        rotations=torch.as_tensor(_rotations(positions, sites, original)),
        periodic=torch.tensor([True]),
    )


def lattice_graph(crystals: Sequence[MolecularCrystal], cutoff: float) -> LatticeGraph:
    """Put several crystals into one graph."""
    return LatticeGraph.collate([crystal_graph(one, cutoff) for one in crystals])


def _around(
    positions: np.ndarray, cell: np.ndarray, center: int, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of an atom of a molecule and one of the molecules around it.

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

    Notes
    -----
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
    far = far[kept]
    # 4
    own = spread[center]
    left = np.column_stack([far, length[kept], np.ones(len(far))])
    right = np.column_stack([-2 * own, np.ones(size), _squares(own)])
    found = np.flatnonzero(left @ right.T < cutoff**2)
    row = found // size
    atoms, atom = found - row * size, kept[row]
    image = atom // size
    return atoms, molecules[image], atom - image * size, far[row] - own[atoms]


def _squares(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths of vectors (..., 3)."""
    return np.einsum("...i,...i->...", vectors, vectors)


def _rotations(
    images: np.ndarray, originals: np.ndarray, original: np.ndarray
) -> np.ndarray:
    """Matrices (n, 3, 3) that turn the atoms of originals, as rows, into images.

    For planar and linear molecules they do so within the plane or line, where all
    vectors of the molecule are.
    """
    a = originals - originals.mean(axis=1, keepdims=True)
    b = images - images.mean(axis=1, keepdims=True)
    return np.linalg.pinv(a, rcond=1e-4)[original] @ b
