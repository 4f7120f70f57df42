"""Crystals as the lattice-energy networks see them: sites, and pairs of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.models.lattice_graph import LatticeGraph

from .neighbours import pairs_around

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
    size, counts = numbers.shape[1], np.array(crystal.multiplicities)
    first = np.cumsum(counts) - counts
    start = np.repeat(size * np.arange(len(counts)), counts)  # site of each molecule
    around = []
    for row in first:
        atoms, images, others, vectors = pairs_around(
            positions, crystal.cell, row, cutoff
        )
        around.append(
            (start[row] + atoms, start.take(images) + others, images, vectors)
        )
    dst, src, images, vectors = (_joined(part) for part in zip(*around))
    sites = positions[first]  # (n_independent, size, 3)
    return LatticeGraph(
        z=torch.as_tensor(numbers[first].ravel()),
        pos=torch.as_tensor(sites.reshape(-1, 3)),
        molecule=torch.arange(len(counts)).repeat_interleave(size),
        weight=torch.as_tensor(counts / counts.sum()),
        crystal=torch.zeros(len(counts), dtype=torch.int64),
        src=torch.as_tensor(src),
        dst=torch.as_tensor(dst),
        vectors=torch.as_tensor(vectors),
        image=torch.as_tensor(images),
        rotations=torch.as_tensor(crystal.turns),
        periodic=torch.tensor([True]),
    )


def lattice_graph(crystals: Sequence[MolecularCrystal], cutoff: float) -> LatticeGraph:
    """Put several crystals into one graph."""
    return LatticeGraph.collate([crystal_graph(one, cutoff) for one in crystals])


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; a single one is not copied."""
    return np.concatenate(parts) if len(parts) > 1 else parts[0]
