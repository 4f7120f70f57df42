"""Training sets as references: their statistics and their SMILES."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from .statistics import Statistics
from .validity import plain_smiles, valid_molecule

if TYPE_CHECKING:
    from rdkit.Chem import Mol

    from equicalc.data.packed import PackedDataset

__all__ = ["smiles_of_dataset", "statistics_of_dataset", "structures_of_dataset"]


def structures_of_dataset(
    dataset: PackedDataset, n: int | None = None, seed: int = 0
) -> Iterator[Atoms]:
    """Yield structures of a packed data set, the first so many of a random order."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    for index in order[:n]:
        graph = dataset[int(index)]
        yield Atoms(graph["z"].numpy(), graph["pos"].double().numpy())


def statistics_of_dataset(
    dataset: PackedDataset, n: int = 20_000, seed: int = 0
) -> Statistics:
    """Gather the statistics of the valid ones among some molecules.

    Parameters
    ----------
    dataset
        Molecules of H, C, N, O, F.
    n
        How many, drawn at random.
    seed
        Of the draw.
    """
    return Statistics.of(_valid(dataset, n, seed))


def smiles_of_dataset(dataset: PackedDataset) -> set[str]:
    """Return the canonical SMILES of all valid molecules, without stereo."""
    return {plain_smiles(molecule) for molecule in _valid(dataset)}


def _valid(
    dataset: PackedDataset, n: int | None = None, seed: int = 0
) -> Iterator[Mol]:
    for atoms in structures_of_dataset(dataset, n, seed):
        if (molecule := valid_molecule(atoms)) is not None:
            yield molecule
