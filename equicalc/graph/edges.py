"""Edges as tensors: those of molecules in empty space, and the vectors of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Data


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
    >>> from equicalc.graph import make_graph
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
