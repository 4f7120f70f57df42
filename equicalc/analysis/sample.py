"""Some structures of a data set, with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from equicalc.data.qm9 import TARGETS

if TYPE_CHECKING:
    from ase import Atoms

    from equicalc.data import PackedDataset

#: Results of a calculator that a packed data set may hold.
RESULTS = ("energy", "forces", "dipole", "charges")


def unpacked(dataset: PackedDataset) -> Iterator[Atoms]:
    """Yield the structures of a packed data set as ASE has them.

    Labels are results of their calculators, properties of QM9 are in ``info``.

    Examples
    --------
    >>> import tempfile
    >>> from equicalc.data import PackedDataset, write_packed
    >>> folder = tempfile.mkdtemp() + "/set"
    >>> write_packed(folder, [{"z": [1], "pos": [[0, 0, 0]], "energy": -13.6}])
    >>> [float(a.get_potential_energy()) for a in unpacked(PackedDataset(folder))]
    [-13.6]
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    properties = [name for name in dataset.fields if name in TARGETS]
    for k, graph in enumerate(dataset):
        periodic = bool(graph["pbc"].any())
        atoms = Atoms(
            graph["z"].numpy(),
            positions=graph["pos"].double().numpy(),
            cell=graph["cell"][0].numpy() if periodic else None,
            pbc=graph["pbc"][0].numpy(),
            info={name: float(dataset.values(name, k)) for name in properties},
        )
        results = {
            name: graph[name].double().numpy() for name in RESULTS if name in graph
        }
        for name in ("energy", "dipole"):
            if name in results:
                results[name] = results[name][0]
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        yield atoms


def chosen(n: int, limit: int | None, seed: int = 0) -> np.ndarray:
    """Return at most `limit` of n indices, drawn at random, ascending.

    Examples
    --------
    >>> len(chosen(100, limit=7)), chosen(3, limit=7).tolist()
    (7, [0, 1, 2])
    """
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:limit])
