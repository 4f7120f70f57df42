"""Molecules with any properties: packed sets, and arrays as people publish them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from equicalc.data.arrays import array_names, load_arrays, read_names
from equicalc.data.damage import naming
from equicalc.data.packed import PackedDataset
from equicalc.graph import new_graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["PropertyTable", "read_properties"]


@dataclass(frozen=True)
class PropertyTable:
    """Molecules, end to end, and numbers that belong to them.

    Attributes
    ----------
    z : (n_atoms,)
        Atomic numbers.
    pos : (n_atoms, 3), Angstrom
    n_atoms : (n_molecules,)
        Atoms of each.
    values : (n_molecules, ...)
        The properties, in the unit of the file.
    """

    z: NDArray[np.int64]
    pos: NDArray[np.float64]
    n_atoms: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.n_atoms)

    def counts(self, elements: Sequence[int]) -> NDArray[np.float64]:
        """Atoms of every element in every molecule, (n_molecules, n_elements)."""
        molecule = np.repeat(np.arange(len(self)), self.n_atoms)
        counts = np.zeros((len(self), len(elements)))
        for column, number in enumerate(elements):
            np.add.at(counts[:, column], molecule[self.z == number], 1)
        return counts

    def subset(self, rows: NDArray[np.int64]) -> PropertyTable:
        """Return some of the molecules, in the order of ascending `rows`."""
        chosen = np.zeros(len(self), bool)
        chosen[rows] = True
        atoms = np.repeat(chosen, self.n_atoms)
        return PropertyTable(
            self.z[atoms], self.pos[atoms], self.n_atoms[chosen], self.values[chosen]
        )

    def graph(self, start: int, end: int) -> Data:
        """Return molecules `start` to `end` as a graph without edges."""
        ends = np.concatenate([[0], np.cumsum(self.n_atoms)])
        atoms = slice(ends[start], ends[end])
        sizes = torch.from_numpy(self.n_atoms[start:end])
        return new_graph(
            z=torch.from_numpy(self.z[atoms]),
            pos=torch.from_numpy(self.pos[atoms]),
            batch=torch.arange(len(sizes)).repeat_interleave(sizes),
            ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        )


def read_properties(path: str | Path, names: Sequence[str]) -> PropertyTable:
    """Read molecules and some of their properties.

    Parameters
    ----------
    path
        A packed data set, or an ``.npz`` with ``z`` and ``pos``: laid end to end
        beside ``n_atoms``, or padded with atomic numbers 0 to (n, n_max).
    names
        Arrays of the set or file, or columns of its ``props``, named in
        ``prop_names``. One array may have any shape (n, ...); several make one
        column each.

    Raises
    ------
    ValueError
        If a name is not there, or arrays do not fit together.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "set.npz"
    >>> np.savez(file, z=[[1, 1], [2, 0]], pos=np.zeros((2, 2, 3)), gap=[9.0, 20.0])
    >>> table = read_properties(file, ["gap"])
    >>> table.n_atoms.tolist(), table.values.tolist()
    ([2, 1], [[9.0], [20.0]])
    """
    path = Path(path)
    if not names:
        raise ValueError(f"no property of {path} is asked for; name some")
    with naming(path, "holds no molecules with properties"):
        packed = (path / "meta.json").is_file()
        arrays = (_packed_arrays if packed else _npz_arrays)(path, names)
        return _table(path, arrays, names)


def _table(
    path: Path, arrays: dict[str, NDArray[Any]], names: Sequence[str]
) -> PropertyTable:
    """Lay molecules end to end."""
    z, pos = arrays["z"], arrays["pos"]
    if z.ndim == 2:
        real = z > 0
        n_atoms, z, pos = real.sum(1), z[real], pos[real]
    elif "n_atoms" in arrays:
        n_atoms = arrays["n_atoms"]
    else:
        raise ValueError(f"{path}: z is flat, so n_atoms is needed beside it")
    columns = [np.asarray(arrays[name], dtype=np.float64) for name in names]
    whole = len(columns) == 1 and columns[0].ndim > 1
    values = columns[0] if whole else np.stack(columns, axis=1)
    n_atoms = n_atoms.astype(np.int64)
    if len(values) != len(n_atoms) or not len(z) == len(pos) == n_atoms.sum():
        raise ValueError(
            f"{path} has {len(n_atoms)} molecules with {n_atoms.sum()} atoms, but "
            f"{len(z)} atomic numbers, {len(pos)} positions and {len(values)} values"
        )
    return PropertyTable(z.astype(np.int64), pos.astype(np.float64), n_atoms, values)


def _packed_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    dataset = PackedDataset(path)
    return {name: dataset.column(name) for name in ("z", "pos", "n_atoms", *names)}


def _npz_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Load the molecules and the properties, each under its name."""
    found = array_names(path)
    columns: list[str] = []
    if {"props", "prop_names"} <= found:
        columns = read_names(path, "prop_names")
    unknown = [name for name in names if name not in {*found, *columns}]
    if unknown:
        known = sorted({*found, *columns} - {"z", "pos", "props", "prop_names"})
        raise ValueError(f"{path} has no {unknown[0]!r}; it has {', '.join(known)}")
    listed = [name for name in names if name in columns]
    needed = {"z", "pos", *names, *(["props"] if listed else [])} - set(listed)
    arrays = load_arrays(path, needed | (found & {"n_atoms"}))
    props = arrays.pop("props", np.zeros((0, 0)))
    return arrays | {name: props[:, columns.index(name)] for name in listed}
