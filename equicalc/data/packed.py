"""Packed data sets: a folder of plain arrays, memory-mapped, made for training.

==================== ============================ ===================================
``meta.json``                                     what the set is and where it is from
``n_atoms.npy``      int32 (n,)                   atoms of each structure
``z.npy``            uint8 (N,)                   atomic numbers, end to end
``pos.npy``          float32 (N, 3)               positions, Angstrom, molecules at the
                                                  origin, atoms of crystals in the cell
``energy.npy``       float64 (n,)                 eV
``forces.npy``       float32 (N, 3)               eV/Angstrom
``stress.npy``       float32 (n, 3, 3)            eV/Angstrom^3
``dipole.npy``       float32 (n, 3)               e Angstrom
``quadrupole.npy``   float32 (n, 3, 3)            e Angstrom^2; ``polarizability``
                                                  (Angstrom^3) alike; as (n, 3, 3, 3)
                                                  ``hyperpolarizability`` (atomic units)
``charges.npy``      float32 (N,)                 e
``cell.npy``         float32 (n, 3, 3)            Angstrom, rows are lattice vectors
``pbc.npy``          bool (n, 3)                  periodic along each lattice vector
``group.npy``        int64 (n,)                   molecule: splits never cut one
``kind.npy``         uint8 (n,)                   index into ``kinds`` of the meta data
``mu.npy``, ...      float64 (n,)                 properties of QM9 by their names, see
                                                  `equicalc.data.qm9.TARGETS`; U0 is
                                                  the energy
==================== ============================ ===================================

All but the first three are optional. `equicalc.data.packing` writes such a folder.
Reading one needs numpy and torch alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equicalc.data.damage import naming
from equicalc.data.qm9 import TARGETS
from equicalc.graph import LABELS, molecule_edges, neighbor_list, new_graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["FIELDS", "FORMAT", "VERSION", "Field", "PackedDataset", "add_edges"]

FORMAT = "equicalc-packed"
VERSION = 1


class Field(NamedTuple):
    """How one array of a packed data set is stored."""

    dtype: type[np.generic]
    per_atom: bool = False
    shape: tuple[int, ...] = ()
    unit: str = ""


FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "n_atoms": Field(np.int32),
        "z": Field(np.uint8, per_atom=True),
        "pos": Field(np.float32, per_atom=True, shape=(3,), unit="Angstrom"),
        "energy": Field(np.float64, unit="eV"),
        "forces": Field(np.float32, per_atom=True, shape=(3,), unit="eV/Angstrom"),
        "stress": Field(np.float32, shape=(3, 3), unit="eV/Angstrom^3"),
        "dipole": Field(np.float32, shape=(3,), unit="e*Angstrom"),
        "quadrupole": Field(np.float32, shape=(3, 3), unit="e*Angstrom^2"),
        "polarizability": Field(np.float32, shape=(3, 3), unit="Angstrom^3"),
        "hyperpolarizability": Field(np.float32, shape=(3, 3, 3), unit="atomic units"),
        "charges": Field(np.float32, per_atom=True, unit="e"),
        "cell": Field(np.float32, shape=(3, 3), unit="Angstrom"),
        "pbc": Field(np.bool_, shape=(3,)),
        "group": Field(np.int64),
        "kind": Field(np.uint8),
    }
    | {
        name: Field(np.float64, unit=target.unit)
        for name, target in TARGETS.items()
        if name != "U0"  # the energy
    }
)
"""The arrays that a packed data set may hold."""

#: Key of the meta data of a copy: the file that it was made from.
COPY_OF = "copy_of"

_NEEDED = ("n_atoms", "z", "pos")
_MOST_BYTES = 1 << 26  # of meta.json, which may list groups


class PackedDataset(Sequence["Data"]):
    """A packed data set, or some of its structures.

    Parameters
    ----------
    path
        Folder written by `equicalc.data.write_packed`.
    rows : (n_structures,) int, optional
        Which structures of the folder, in which order; all by default.

    Attributes
    ----------
    path
        The folder.
    meta
        What ``meta.json`` says.
    fields
        Names of the arrays at hand, some of `FIELDS`.
    rows : (n_structures,) int
        Position in the folder of each structure.

    Raises
    ------
    ValueError
        If the folder is no packed data set, or is damaged or incomplete.

    Examples
    --------
    >>> import tempfile
    >>> from equicalc.data import write_packed
    >>> folder = Path(tempfile.mkdtemp()) / "set"
    >>> record = {"z": [8, 1], "pos": [[0, 0, 0], [0, 0, 1.0]], "energy": -75.7}
    >>> write_packed(folder, [record, record])
    >>> dataset = PackedDataset(folder)
    >>> len(dataset), dataset.fields
    (2, ('n_atoms', 'z', 'pos', 'energy'))
    >>> dataset.batch([0, 1], cutoff=5.0).edge_index.tolist()
    [[1, 0, 3, 2], [0, 1, 2, 3]]
    """

    def __init__(self, path: str | Path, rows: ArrayLike | None = None) -> None:
        self.path = Path(path)
        self.meta = _read_meta(self.path)
        self._arrays = _open_arrays(self.path, self.meta)
        self.fields = tuple(self._arrays)
        n_atoms = self._arrays["n_atoms"]
        self._first = np.cumsum(n_atoms, dtype=np.int64) - n_atoms  # (n,)
        everything = np.arange(len(n_atoms))
        self.rows = everything if rows is None else everything[np.asarray(rows, int)]

    @property
    def name(self) -> str:
        """What to call the set in a message: the user's file that it is a copy of."""
        return str(self.meta.get(COPY_OF, self.path))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"PackedDataset({str(self.path)!r}, {len(self)} structures)"

    def __reduce__(self) -> tuple[Any, ...]:
        # a memory map would be pickled as the whole array
        return type(self), (self.path, self.rows)

    def __getitem__(self, index: int) -> Data:  # type: ignore[override]
        """Return one structure, without edges."""
        return self.batch([index])

    def batch(self, indices: ArrayLike, cutoff: float | None = None) -> Data:
        """Collect structures into one graph, with all their labels.

        Parameters
        ----------
        indices : (n_graphs,) int
            Which structures, counted within this data set.
        cutoff : Angstrom, optional
            Join atoms nearer than this; without it there are no edges.

        Returns
        -------
        Data
            See `equicalc.graph`.

        Raises
        ------
        IndexError
            If there is no such structure.
        """
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        sizes = self._arrays["n_atoms"][rows]
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        atoms = np.arange(ptr[-1]) + np.repeat(self._first[rows] - ptr[:-1], sizes)

        tensors = {
            name: torch.from_numpy(array[atoms if FIELDS[name].per_atom else rows])
            for name, array in self._arrays.items()
            if name in ("z", "pos", "cell", "pbc") or name in LABELS
        }
        graph = new_graph(
            batch=torch.from_numpy(np.repeat(np.arange(len(rows)), sizes)),
            ptr=torch.from_numpy(ptr),
            cell=torch.zeros(len(rows), 3, 3),
            pbc=torch.zeros(len(rows), 3, dtype=torch.bool),
            edge_index=torch.zeros(2, 0, dtype=torch.int64),
            edge_shift=torch.zeros(0, 3),
        )
        graph.update(tensors | {"z": tensors["z"].long()})
        if cutoff is not None:
            add_edges(graph, cutoff)
        return graph

    def column(self, name: str) -> NDArray[Any]:
        """Return one array, for the structures of this data set, end to end.

        Parameters
        ----------
        name
            One of `fields`.

        Returns
        -------
        (n_structures, ...) or (n_atoms, ...)
            A copy.

        Raises
        ------
        ValueError
            If the set has no such array.
        """
        if name not in self._arrays:
            raise ValueError(
                f"{self.name} has no {name!r}; it has {', '.join(self.fields)}"
            )
        array = self._arrays[name]
        if not FIELDS[name].per_atom:
            return array[self.rows]
        sizes = self._arrays["n_atoms"][self.rows]
        offset = self._first[self.rows] - np.cumsum(sizes) + sizes
        return array[np.arange(sizes.sum()) + np.repeat(offset, sizes)]

    def values(self, name: str, indices: ArrayLike) -> NDArray[Any]:
        """Return one array of structures' values for some structures.

        Parameters
        ----------
        name
            One of `fields`, not one of atoms' values.
        indices : (n,) int
            Which structures, counted within this data set.
        """
        return self._arrays[name][self.rows[np.asarray(indices)]]

    def subset(self, indices: ArrayLike) -> Self:
        """Return the data set of some structures; nothing is copied.

        Parameters
        ----------
        indices : (n,) int or (n_structures,) bool
            Which structures, counted within this data set.
        """
        return type(self)(self.path, self.rows[np.asarray(indices)])

    def split(self, fractions: Mapping[str, float], seed: int) -> dict[str, Self]:
        """Split at random without cutting a group.

        Frames of one molecule are all on one side, so that an error measured on the
        other side is that of unseen molecules. Without a ``group`` array each
        structure is a group of its own. Groups that ``meta["always_train_groups"]``
        lists go to the part called ``train``.

        Parameters
        ----------
        fractions
            Name of each part and its share of the groups; at most 1 together.
        seed
            The same seed always gives the same split.

        Returns
        -------
        dict
            The parts, each with its structures in the order of this data set.

        Raises
        ------
        ValueError
            If the fractions make no sense, or leave a part without any group.
        """
        shares = np.array(list(fractions.values()), dtype=float)
        if not ((shares > 0).all() and shares.sum() <= 1 + 1e-9):
            raise ValueError(
                f"fractions {dict(fractions)}: each must be positive, and all together "
                "at most 1"
            )
        grouped = "group" in self.fields
        group = self.column("group") if grouped else np.arange(len(self))
        names, member = np.unique(group, return_inverse=True)
        ends = np.rint(np.cumsum(shares) * len(names)).astype(int)
        place = np.random.default_rng(seed).permutation(len(names))[member]
        if "train" in fractions:  # groups that others were built from, see labelling
            always = self.meta.get("always_train_groups", [])
            start = int(ends[list(fractions).index("train")]) - 1
            place[np.isin(group, always)] = start
        parts = {
            name: self.subset(np.flatnonzero((place >= start) & (place < end)))
            for name, start, end in zip(fractions, [0, *ends[:-1]], ends)
        }
        empty = [name for name, part in parts.items() if len(part) == 0]
        if empty:
            raise ValueError(
                f"{self.name} has {len(names)} groups, and a split {dict(fractions)} "
                f"leaves none for {', '.join(empty)}: give it a larger share"
            )
        return parts


def add_edges(graph: Data, cutoff: float) -> None:
    """Join the atoms of a batch that are nearer than a cutoff, in place.

    Parameters
    ----------
    graph
        Without edges, or with those of other positions.
    cutoff : Angstrom
    """
    pos, ptr = graph["pos"], graph["ptr"]
    if not graph["pbc"].any():
        graph["edge_index"] = molecule_edges(pos, ptr, cutoff)
        graph["edge_shift"] = pos.new_zeros(graph["edge_index"].shape[1], 3)
        return
    cells, pbc = graph["cell"].numpy(), graph["pbc"].numpy()
    edges, shifts = [], []
    for first, points, cell, periodic in zip(
        ptr, pos.split(ptr.diff().tolist()), cells, pbc
    ):
        src, dst, shift = neighbor_list(points.numpy(), cell, periodic, cutoff)
        edges.append(torch.from_numpy(np.stack([src, dst])) + first)
        shifts.append(torch.from_numpy(shift).to(pos.dtype))
    graph["edge_index"] = torch.cat(edges, dim=1)
    graph["edge_shift"] = torch.cat(shifts)


def _read_meta(path: Path) -> dict[str, Any]:
    """Read and check ``meta.json``."""
    file = path / "meta.json"
    if not file.is_file():
        raise ValueError(
            f"{path} is not a packed data set: it has no meta.json. Write one with "
            "equicalc.data.write_packed, or read other formats with "
            "equicalc.data.open_dataset"
        )
    with naming(file, "is damaged: make the set again"):
        if (size := file.stat().st_size) > _MOST_BYTES:
            raise ValueError(f"{size} bytes of description")
        meta = json.loads(file.read_text())
    found = (meta.get("format"), meta.get("version")) if isinstance(meta, dict) else ()
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"{file} describes format and version {found}; this version of equicalc "
            f"reads {(FORMAT, VERSION)}"
        )
    kinds = {"fields": dict | list, "n_structures": int, "n_atoms": int}
    missing = [n for n, kind in kinds.items() if not isinstance(meta.get(n), kind)]
    if missing or not set(_NEEDED) <= set(map(str, meta["fields"])) <= set(FIELDS):
        raise ValueError(
            f"{file} lacks {', '.join(missing) or 'fields that are needed'}: "
            f"a set has {', '.join(_NEEDED)}, and any of {', '.join(FIELDS)}"
        )
    return meta


def _open_arrays(path: Path, meta: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Map the arrays that the meta data list, checking that each one is whole."""
    arrays = {}
    for name in FIELDS:
        if name not in meta["fields"]:
            continue
        file = path / f"{name}.npy"
        with naming(file, "is missing or cut short: copy or make the set again"):
            mapped = np.lib.format.open_memmap(file, mode="r")
        field = FIELDS[name]
        length = meta["n_atoms"] if field.per_atom else meta["n_structures"]
        needed = (np.dtype(field.dtype), (length, *field.shape))
        if (mapped.dtype, mapped.shape) != needed:
            raise ValueError(
                f"{file} holds {mapped.dtype} {mapped.shape}, but meta.json tells of "
                f"{needed[0]} {needed[1]}; copy or make the set again"
            )
        arrays[name] = np.asarray(mapped)
    total = int(arrays["n_atoms"].sum(dtype=np.int64))
    if (arrays["n_atoms"] < 1).any():
        raise ValueError(
            f"{path / 'n_atoms.npy'} has a structure without atoms; copy or make the "
            "set again"
        )
    if total != meta["n_atoms"]:
        raise ValueError(
            f"{path / 'n_atoms.npy'} adds up to {total} atoms, but meta.json tells of "
            f"{meta['n_atoms']}; copy or make the set again"
        )
    return arrays
