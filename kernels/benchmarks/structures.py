"""Structures to compute: random boxes in pure torch, clusters of ethanol with ASE."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch_geometric.data import Data

from equicalc.graph import collate

if TYPE_CHECKING:
    from ase import Atoms

SPACING = 2.25  # Angstrom; a cubic lattice with about 40 neighbours within 5 Angstrom
CHUNK = 256  # rows of the distance matrix at a time
MOLECULE_VOLUME = 97.0  # Angstrom^3 per molecule of liquid ethanol


def box(n_atoms: int, elements: Sequence[int], cutoff: float, seed: int = 0) -> Data:
    """Atoms of random elements on a shaken cubic lattice, as an `equicalc.graph`.

    Periodic if they fill a cube of more than twice the cutoff, else a cluster.
    """
    generator = torch.Generator().manual_seed(seed)
    side = round(n_atoms ** (1 / 3))
    side += side**3 < n_atoms
    sites = torch.tensor(list(itertools.product(range(side), repeat=3)))[:n_atoms]
    pos = SPACING * sites + 0.2 * torch.randn(n_atoms, 3, generator=generator)
    periodic = side**3 == n_atoms and side * SPACING > 2 * cutoff
    length = side * SPACING
    edges, shifts = [], []
    for first in range(0, n_atoms, CHUNK):
        between = pos - pos[first : first + CHUNK, None]  # (chunk, n_atoms, 3)
        shift = -(between / length).round() * float(periodic)
        near = (between + shift * length).norm(dim=2) < cutoff
        dst, src = near.nonzero(as_tuple=True)
        other = src != dst + first
        edges.append(torch.stack([src, dst + first])[:, other])
        shifts.append(shift[dst, src][other])
    choice = torch.randint(len(elements), (n_atoms,), generator=generator)
    return Data(
        z=torch.tensor(elements)[choice],
        pos=pos,
        cell=length * torch.eye(3).unsqueeze(0) * float(periodic),
        pbc=torch.full((1, 3), periodic),
        edge_index=torch.cat(edges, 1),
        edge_shift=torch.cat(shifts),
        batch=torch.zeros(n_atoms, dtype=torch.int64),
        ptr=torch.tensor([0, n_atoms]),
    )


def batch_of_boxes(n_graphs: int, n_atoms: int, elements: Sequence[int]) -> Data:
    """Small clusters for a training step."""
    return collate([box(n_atoms, elements, 5.0, seed) for seed in range(n_graphs)])


def ethanol_cluster(n_molecules: int) -> Atoms:
    """Molecules at the density of the liquid, slightly shaken, in a cube."""
    from ase import Atoms
    from ase.build import molecule

    one = molecule("CH3CH2OH")
    extent = np.ptp(one.positions, axis=0)
    spacing = extent + _gap(extent, MOLECULE_VOLUME)
    side = int(np.ceil(n_molecules ** (1 / 3) - 1e-9))
    sites = sorted(itertools.product(range(side), repeat=3), key=max)[:n_molecules]
    positions = one.positions + spacing * np.array(sites)[:, None]
    cluster = Atoms(np.tile(one.numbers, n_molecules), positions.reshape(-1, 3))
    cluster.rattle(0.03, seed=0)
    return cluster


def _gap(extent: np.ndarray, volume: float) -> float:
    """Distance between molecules of an extent that gives each the volume."""
    roots = np.roots(np.poly(-extent) - [0, 0, 0, volume])
    return float(roots[np.isreal(roots)].real.max())
