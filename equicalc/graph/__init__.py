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

All of it is pure torch, but for `neighbor_list`, which runs vesin.
"""

from equicalc.graph.build import LABELS, Label, collate, make_graph, new_graph
from equicalc.graph.edges import edge_vectors, molecule_edges
from equicalc.graph.neighbors import neighbor_list

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
