"""Crystals as the lattice-energy networks see them: sites, and pairs of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from equicalc.models.lattice_graph import LatticeGraph

from .compiled_pairs import Centers
from .neighbours import pairs_of_sites
from .rows import starts

if TYPE_CHECKING:
    from .crystal import MolecularCrystal

__all__ = ["crystal_graph", "lattice_graph"]


def crystal_graph(crystal: MolecularCrystal, cutoff: float) -> LatticeGraph:
    """Describe a crystal in double precision, see `lattice_graph`."""
    return lattice_graph([crystal], cutoff)


def lattice_graph(
    crystals: Sequence[MolecularCrystal],
    cutoff: float,
    dtype: torch.dtype = torch.float64,
) -> LatticeGraph:
    """Describe crystals by their independent molecules and what is around them.

    Symmetry is used: the sites are the atoms of the independent molecules, and only
    pairs with one of them are listed. An image is the rotation of its original, proper
    or not.

    1. All molecules of all cells, one after the other: the images of each independent
       one are neighbours there, itself the first.
    2. Sites, the atoms of the independent molecules.
    3. Pairs around these.

    Parameters
    ----------
    crystals
        Any space groups, any numbers of independent molecules.
    cutoff : Angstrom
        Of the pairs of atoms.
    dtype
        Of the real numbers.

    Raises
    ------
    ValueError
        If there is no crystal.
    """
    if not crystals:
        raise ValueError("no crystals given; a batch needs at least one")
    cells = [one.unit_cell for one in crystals]
    # 1
    n_molecules, size = np.array([numbers.shape for _, numbers in cells]).T
    positions = np.concatenate([positions.reshape(-1, 3) for positions, _ in cells])
    first_molecule = starts(n_molecules)
    first_atom = starts(n_molecules * size)
    counts = np.concatenate([np.array(one.multiplicities) for one in crystals])
    owner = np.repeat(
        np.arange(len(crystals)), [len(one.molecules) for one in crystals]
    )
    # 2
    first = starts(counts)  # (n_independent,), rows of molecules
    in_cell = first - first_molecule[owner]
    first_site = starts(size[owner])
    start = first_atom[owner] + in_cell * size[owner]
    molecule = np.repeat(np.arange(len(counts)), size[owner])  # (n_sites,)
    atoms = np.arange(len(molecule)) + (start - first_site)[molecule]
    numbers = np.concatenate([numbers.ravel() for _, numbers in cells])
    # 3
    counted = [n_molecules, size, first_molecule, first_atom]
    around = Centers(
        positions=torch.from_numpy(positions),
        cells=torch.from_numpy(np.stack([one.cell for one in crystals])),
        crystals=torch.from_numpy(np.stack(counted, axis=1)),
        centers=torch.from_numpy(np.stack([owner, in_cell, first_site], axis=1)),
        origins=torch.from_numpy(np.repeat(first_site, counts)),
    )
    pairs = pairs_of_sites(around, cutoff, dtype)
    rotations = np.concatenate([one.turns for one in crystals])
    return LatticeGraph(
        z=torch.from_numpy(numbers[atoms]),
        pos=torch.from_numpy(positions[atoms]).to(dtype),
        molecule=torch.from_numpy(molecule),
        weight=torch.from_numpy(counts / n_molecules[owner]).to(dtype),
        crystal=torch.from_numpy(owner),
        src=pairs.src,
        dst=pairs.dst,
        vectors=pairs.vectors,
        image=pairs.image,
        rotations=torch.from_numpy(rotations).to(dtype),
        periodic=torch.ones(len(crystals), dtype=torch.bool),
    )
