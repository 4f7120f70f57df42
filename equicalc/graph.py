"""Structures as graphs: one documented type, its neighbour list and its batches.

A graph is a `torch_geometric.data.Data` that holds one structure or a batch of them:

=============== =================== =============================================
``z``           (n_atoms,) int64    atomic numbers
``pos``         (n_atoms, 3)        positions, Angstrom
``cell``        (n_graphs, 3, 3)    rows are lattice vectors, Angstrom; else zeros
``pbc``         (n_graphs, 3) bool  periodic along each lattice vector
``edge_index``  (2, n_edges) int64  row 0: ``src``, the neighbour that sends;
                                    row 1: ``dst``, the centre that receives
``edge_shift``  (n_edges, 3)        whole lattice vectors from ``src`` to its image
``batch``       (n_atoms,) int64    graph of each atom
``ptr``         (n_graphs + 1,)     first atom of each graph, and the end
=============== =================== =============================================

Edges run both ways, are sorted by ``dst``, and join an atom to its own images but not
to itself. A graph may carry labels, named and shaped as in `LABELS`.

This module is pure torch, but for `neighbor_list`, which runs vesin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = [
    "LABELS",
    "Label",
    "collate",
    "edge_vectors",
    "make_graph",
    "molecule_edges",
    "neighbor_list",
    "new_graph",
]


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

# Up to this many atoms in empty space, looking at every pair is fastest.
_FEW = 64
# More images than this along one direction is a mistake in the cell, not a crystal.
_MAX_IMAGES = 100


def neighbor_list(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find every pair of atoms nearer than a cutoff, through periodic boundaries.

    Exact for any mixture of boundaries, for cells smaller than the cutoff, for atoms
    outside of the cell, and far from the origin.

    Parameters
    ----------
    positions : (n_atoms, 3), Angstrom
        Need not lie inside the cell.
    cell : (3, 3), Angstrom
        Rows are lattice vectors. Those that are not periodic are not read.
    pbc : (3,) bool
        Periodic along each lattice vector.
    cutoff : Angstrom

    Returns
    -------
    src, dst : (n_edges,)
        The neighbour and the centre, sorted by ``dst``, then ``src``, then shift. Both
        directions are listed.
    shifts : (n_edges, 3)
        The vector from centre to neighbour is
        ``positions[src] + shifts @ cell - positions[dst]``.

    Raises
    ------
    ValueError
        If positions or cell are not finite, the periodic lattice vectors are
        dependent or absurdly short, or the cutoff is not positive.

    Notes
    -----
    1. Along directions without periodicity, empty slabs wider than the cutoff are
       shrunk: no pair can bridge them, and the search then costs the same for two
       molecules side by side or a metre apart.
    2. The cell is completed by a box around the atoms, orthogonal to the periodic
       lattice vectors.
    3. vesin finds the pairs.

    For a few atoms without periodicity all pairs are tried.

    Examples
    --------
    >>> src, dst, shifts = neighbor_list([[0, 0, 0]], np.eye(3), [1, 0, 0], 1.5)
    >>> shifts.tolist()
    [[-1, 0, 0], [1, 0, 0]]
    """
    from vesin import NeighborList

    positions = _checked(positions, (-1, 3), "positions")
    cell = _checked(cell, (3, 3), "cell")
    periodic = np.asarray(pbc, dtype=bool).reshape(3)
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff}; it must be a positive length")
    if len(positions) <= _FEW and not periodic.any():
        return _all_pairs(positions, cutoff)
    _check_lattice(cell[periodic], cutoff)
    free = _free_directions(cell[periodic])  # (n_free, 3)

    # 1
    along = _without_gaps(positions @ free.T, cutoff)  # (n_atoms, n_free)
    points = positions - positions @ free.T @ free + along @ free
    # 2
    extent = along.max(axis=0, initial=0.0) + 2 * cutoff  # (n_free,)
    box = cell.copy()
    box[~periodic] = extent[:, None] * free
    # 3
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    dst, src, shifts = search.compute(points, box, periodic, quantities="ijS")
    return _sorted(src.astype(np.int64), dst.astype(np.int64), shifts.astype(np.int64))


def _all_pairs(
    positions: NDArray[Any], cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Compare every distance in empty space with the cutoff; see `neighbor_list`."""
    between = positions[:, None] - positions  # (n_atoms, n_atoms, 3)
    near = np.einsum("ijk,ijk->ij", between, between) < cutoff**2
    np.fill_diagonal(near, False)
    dst, src = near.nonzero()
    return src, dst, np.zeros((len(src), 3), np.int64)


def _sorted(
    src: NDArray[np.int64], dst: NDArray[np.int64], shifts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sort pairs by dst, src and shift, all three as digits of one number."""
    reach, n_atoms = np.abs(shifts).max(initial=0), src.max(initial=0) + 1
    base = 2 * reach + 1
    digits = (shifts + reach) @ np.array([base**2, base, 1])
    order = np.argsort((dst * n_atoms + src) * base**3 + digits, kind="stable")
    return src[order], dst[order], shifts[order]


def _checked(values: ArrayLike, shape: tuple[int, int], name: str) -> NDArray[Any]:
    """Return a finite float64 array of the shape, or say what is wrong."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 and shape[0] == -1:
        array = array.reshape(0, shape[1])
    if array.ndim != 2 or any(n not in (-1, m) for n, m in zip(shape, array.shape)):
        raise ValueError(
            f"{name} has shape {array.shape}; ({shape[0]}, {shape[1]}) needed"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} is not finite in row {bad[0]} ({array[bad[0]].tolist()}), "
            f"one of {bad.size} such rows"
        )
    return array


def _check_lattice(vectors: NDArray[Any], cutoff: float) -> None:
    """Refuse periodic lattice vectors (n_periodic, 3) that span no sensible cell."""
    lengths = np.linalg.norm(vectors, axis=1)
    gram = vectors @ vectors.T
    if np.linalg.det(gram) <= 1e-12 * np.prod(lengths) ** 2:
        raise ValueError(
            f"the periodic lattice vectors {vectors.tolist()} are zero or linearly "
            "dependent: set a cell, or set pbc to False"
        )
    # distance between lattice planes: 1 / |reciprocal vector|
    heights = 1.0 / np.sqrt(np.diag(np.linalg.inv(gram)))
    if (heights * _MAX_IMAGES < cutoff).any():
        raise ValueError(
            f"the cell is only {heights.min():.3g} Angstrom high, with a cutoff of "
            f"{cutoff} Angstrom: is it given in another unit?"
        )


def _free_directions(vectors: NDArray[Any]) -> NDArray[Any]:
    """Orthonormal directions (3 - n, 3) orthogonal to n lattice vectors (n, 3)."""
    return np.linalg.qr(vectors.T, mode="complete")[0].T[len(vectors) :]


def _without_gaps(along: NDArray[Any], cutoff: float) -> NDArray[Any]:
    """Start each column (n_atoms, k) at 0 and shrink its gaps to twice the cutoff."""
    order = np.argsort(along, axis=0)
    steps = np.diff(np.take_along_axis(along, order, axis=0), axis=0, prepend=0.0)
    steps[:1] = 0.0
    result = np.empty_like(along)
    packed = np.cumsum(np.minimum(steps, 2 * cutoff), axis=0)
    np.put_along_axis(result, order, packed, axis=0)
    return result


def molecule_edges(pos: Tensor, ptr: Tensor, cutoff: float) -> Tensor:
    """Join the atoms of each molecule that are nearer than a cutoff.

    All pairs are tried, in one vectorised pass on the device of the positions: the
    right way for batches of molecules of up to a few hundred atoms.

    Parameters
    ----------
    pos : (n_atoms, 3), Angstrom
    ptr : (n_graphs + 1,)
        First atom of each molecule, and the end.
    cutoff : Angstrom

    Returns
    -------
    (2, n_edges)
        Rows ``src`` and ``dst``, sorted by ``dst``, then by ``src``.

    Examples
    --------
    >>> pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 0, 0], [1, 1, 0]])
    >>> molecule_edges(pos, torch.tensor([0, 3, 4]), cutoff=2.0).tolist()
    [[1, 0], [0, 1]]
    """
    first, size = ptr[:-1], ptr.diff()
    # every atom meets each atom of its molecule: n^2 pairs for a molecule of n
    partners = size.repeat_interleave(size)  # (n_atoms,)
    dst = torch.arange(len(pos), device=pos.device).repeat_interleave(partners)
    row_start = partners.cumsum(0) - partners  # (n_atoms,)
    offset = first.repeat_interleave(size) - row_start  # (n_atoms,)
    src = torch.arange(len(dst), device=pos.device)  # (n_pairs,)
    src = src + offset.index_select(0, dst)

    # one coordinate at a time: gathers of scalars are the fast ones
    squared = torch.zeros_like(src, dtype=pos.dtype)  # (n_pairs,)
    for x in pos.detach().unbind(dim=1):
        squared += (x.index_select(0, src) - x.index_select(0, dst)).square()
    near = ((squared < cutoff**2) & (src != dst)).nonzero().squeeze(1)
    return torch.stack([src.index_select(0, near), dst.index_select(0, near)])


def edge_vectors(graph: Data) -> Tensor:
    """Vectors from each centre to its neighbour.

    Parameters
    ----------
    graph
        One structure or a batch. Gradients reach ``pos`` and ``cell``.

    Returns
    -------
    (n_edges, 3), Angstrom

    Examples
    --------
    >>> graph = make_graph([1, 1], [[0.0, 0, 0], [0, 0, 0.7]], cutoff=2.0)
    >>> edge_vectors(graph)[0].tolist()
    [0.0, 0.0, 0.7]
    """
    src, dst = graph["edge_index"]
    pos, cell, shift = graph["pos"], graph["cell"], graph["edge_shift"]
    if len(cell) == 1:
        images = shift @ cell[0]  # (n_edges, 3)
    else:
        images = (shift.unsqueeze(-1) * cell[graph["batch"][dst]]).sum(dim=1)
    return pos.index_select(0, src) + images - pos.index_select(0, dst)


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
        See the head of this module.

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

    return Data(**tensors)


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
