"""Graphs of structures with their labels, and batches of graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from equicalc.graph.neighbors import neighbor_list

if TYPE_CHECKING:
    from torch_geometric.data import Data


class Label(NamedTuple):
    """Shape of a label: of one atom's or of one graph's value."""

    per_atom: bool
    shape: tuple[int, ...]


LABELS: Mapping[str, Label] = MappingProxyType(
    {
        "energy": Label(per_atom=False, shape=()),
        "forces": Label(per_atom=True, shape=(3,)),
        "stress": Label(per_atom=False, shape=(3, 3)),
        "dipole": Label(per_atom=False, shape=(3,)),
        "charges": Label(per_atom=True, shape=()),
    }
)
"""What a graph may be labelled with: eV, eV/Angstrom, eV/Angstrom^3, e Angstrom, e.

The energy is always float64, since differences of large totals matter.
"""


def make_graph(
    z: ArrayLike,
    pos: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: ArrayLike | None = None,
    *,
    cutoff: float,
    **labels: ArrayLike,
) -> Data:
    """Build the graph of one structure.

    Parameters
    ----------
    z : (n_atoms,)
        Atomic numbers.
    pos : (n_atoms, 3), Angstrom
        Its precision is the graph's; anything but float32 becomes float64.
    cell : (3, 3), Angstrom, optional
        Rows are lattice vectors.
    pbc : (3,) bool, optional
        Periodic along each lattice vector; not periodic by default.
    cutoff : Angstrom
    **labels
        Any of `LABELS`.

    Returns
    -------
    Data
        See `equicalc.graph`.

    Raises
    ------
    ValueError
        If shapes do not match, a number is not finite, a label is unknown, or
        `neighbor_list` finds the cell to be impossible.

    Examples
    --------
    >>> water = [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]
    >>> graph = make_graph([8, 1, 1], water, cutoff=5.0, energy=-76.4)
    >>> graph.edge_index.shape, graph.ptr.tolist(), graph.energy.shape
    (torch.Size([2, 6]), [0, 3], torch.Size([1]))
    """
    numbers = torch.as_tensor(np.asarray(z, dtype=np.int64).reshape(-1))
    precision = np.float32 if getattr(pos, "dtype", None) == np.float32 else np.float64
    positions = np.asarray(pos, dtype=precision).reshape(-1, 3)
    lattice = np.zeros((3, 3)) if cell is None else np.asarray(cell)
    periodic = np.zeros(3, bool) if pbc is None else np.asarray(pbc, dtype=bool)
    n_atoms = len(numbers)
    if len(positions) != n_atoms:
        raise ValueError(
            f"{n_atoms} atomic numbers but {len(positions)} positions were given"
        )
    src, dst, shifts = neighbor_list(positions, lattice, periodic, cutoff)
    graph = new_graph(
        z=numbers,
        pos=torch.tensor(positions),
        cell=torch.tensor(lattice.astype(precision)).reshape(1, 3, 3),
        pbc=torch.tensor(periodic).reshape(1, 3),
        edge_index=torch.from_numpy(np.stack([src, dst])),
        edge_shift=torch.from_numpy(shifts.astype(precision)),
        batch=torch.zeros(n_atoms, dtype=torch.int64),
        ptr=torch.tensor([0, n_atoms]),
    )
    for name, value in labels.items():
        graph[name] = _label(name, value, n_atoms, graph["pos"].dtype)
    return graph


def new_graph(**tensors: Tensor) -> Data:
    """Return tensors as one graph; they are not checked.

    The only place that imports torch_geometric, which takes seconds: what needs no
    graph starts without it.
    """
    from torch_geometric.data import Data

    return Data().update(tensors)  # in half the time of Data(**tensors)


def _label(name: str, value: ArrayLike, n_atoms: int, dtype: torch.dtype) -> Tensor:
    """Return a label of one structure as a tensor of its documented shape."""
    if name not in LABELS:
        raise ValueError(f"unknown label {name!r}; known: {', '.join(LABELS)}")
    shape = (n_atoms if LABELS[name].per_atom else 1, *LABELS[name].shape)
    array = np.asarray(value, dtype=np.float64)
    if array.size != np.prod(shape):
        raise ValueError(f"{name} has shape {array.shape}; {shape} needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return torch.tensor(
        array.reshape(shape), dtype=torch.float64 if name == "energy" else dtype
    )


def collate(graphs: Sequence[Data]) -> Data:
    """Join graphs into one batch.

    Parameters
    ----------
    graphs
        At least one; batches may be joined too. All carry the same labels.

    Returns
    -------
    Data
        The atoms of all graphs, in order, without edges between them.

    Raises
    ------
    ValueError
        If there is no graph, or only some carry a label.

    Examples
    --------
    >>> atom = make_graph([1], [[0.0, 0, 0]], cutoff=2.0)
    >>> collate([atom, atom]).ptr.tolist()
    [0, 1, 2]
    """
    if not graphs:
        raise ValueError("there is no graph to join")
    first = np.cumsum([0, *(len(graph["z"]) for graph in graphs)])
    number = np.cumsum([0, *(len(graph["ptr"]) - 1 for graph in graphs)])
    joined = new_graph(
        edge_index=torch.cat(
            [g["edge_index"] + int(a) for g, a in zip(graphs, first)], dim=1
        ),
        batch=torch.cat([g["batch"] + int(n) for g, n in zip(graphs, number)]),
        ptr=torch.cat(
            [
                graphs[0]["ptr"][:1],
                *(g["ptr"][1:] + int(a) for g, a in zip(graphs, first)),
            ]
        ),
    )
    for name in ("z", "pos", "cell", "pbc", "edge_shift", *LABELS):
        values = [graph[name] for graph in graphs if name in graph]
        if 0 < len(values) < len(graphs):
            raise ValueError(
                f"only {len(values)} of {len(graphs)} graphs carry {name!r}: label "
                "all of them or none"
            )
        if values:
            joined[name] = torch.cat(values)
    return joined
