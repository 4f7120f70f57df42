"""One structure in arrays of a fixed size, and a step that reads nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from equicalc.kernels.convolution import Adjacency
from equicalc.models.potential import Potential

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["Inputs", "Results", "Room", "take_step"]

#: Room is for so many times the atoms and edges that need it, and for so many more:
#: in motion, pairs of atoms come and go.
SPARE, MORE = 1.25, 32

Results = dict[str, Tensor]


class Inputs(NamedTuple):
    """What a step reads, see `Potential.outputs` and `Adjacency`."""

    vectors: Tensor
    species: Tensor
    batch: Tensor
    ptr: Tensor
    src: Tensor
    dst: Tensor
    dst_ptr: Tensor
    src_order: Tensor
    src_ptr: Tensor

    @classmethod
    def of(cls, model: Potential, graph: Data, vectors: Tensor) -> Inputs:
        """Look elements up, check edges and sort them: here a GPU is waited for.

        Raises
        ------
        ValueError
            For an unknown element, and edges that are not sorted by receiver.
        """
        species = model.species(graph["z"])
        src, dst = graph["edge_index"]
        adj = Adjacency.from_edges(src, dst, len(species) + len(model.elements))
        short = vectors.detach().to(model.embedding.dtype)
        return cls(short, species, graph["batch"], graph["ptr"], *adj.tensors())


def take_step(model: Potential, given: Inputs) -> Results:
    """Return what `Potential.outputs` does, and ``gradient`` by the vectors.

    Energies are above those of the isolated atoms. Nothing depends on a value, and a
    GPU is not waited for.
    """
    adj = Adjacency(*given[4:])
    ends = torch.stack((adj.src, adj.dst))
    graph = {"edge_index": ends, "batch": given.batch, "ptr": given.ptr}
    references = ends.new_zeros(len(model.elements), dtype=torch.float64)
    with torch.enable_grad():
        vectors = given.vectors.detach().requires_grad_()
        out = model.outputs(graph, vectors, given.species, adj, references)
        [out["gradient"]] = torch.autograd.grad(out["energies"].sum(), vectors)
    return {name: value.detach() for name, value in out.items()}


class Room:
    """Arrays for one structure, with room for more atoms and edges than it has.

    What is left over is padding, on which no result depends. The last atom is always
    padding. Edges that are padding lead from it to itself, are longer than the cutoff
    and stand in no row of the adjacency. Atoms that are padding belong to a second
    structure.

    Parameters
    ----------
    model : Potential
        Tells device, precision, cutoff and number of elements.
    n_atoms, n_edges : int
        Size of the arrays.

    Attributes
    ----------
    inputs : Inputs
        The arrays, always the same ones; nothing but padding at first.
    """

    def __init__(self, model: Potential, n_atoms: int, n_edges: int) -> None:
        self.n_atoms, self.n_edges = n_atoms, n_edges
        self._long = 2 * model.cutoff
        n_rows = n_atoms + len(model.elements) + 1
        indices = partial(model.embedding.new_zeros, dtype=torch.int64)
        self.inputs = Inputs(
            vectors=model.embedding.new_zeros(n_edges, 3),
            species=indices(n_atoms),
            batch=indices(n_atoms),
            ptr=indices(3),
            src=indices(n_edges),
            dst=indices(n_edges),
            dst_ptr=indices(n_rows),
            src_order=indices(n_edges),
            src_ptr=indices(n_rows),
        )
        self.fill(Inputs(*(array[:0] for array in self.inputs)))

    @classmethod
    def around(cls, given: Inputs, model: Potential, before: Room | None) -> Room:
        """Make more room than a structure needs, and than there was before."""
        least = (0, 0) if before is None else (before.n_atoms, before.n_edges)
        n_atoms = max(int(SPARE * len(given.species)) + MORE, least[0])
        n_edges = max(int(SPARE * len(given.vectors)) + MORE, least[1])
        return cls(model, n_atoms, n_edges)

    def fits(self, given: Inputs) -> bool:
        """Whether a structure, and an atom that is padding, fit in."""
        return len(given.species) < self.n_atoms and len(given.vectors) <= self.n_edges

    def fill(self, given: Inputs) -> None:
        """Copy a structure, and write padding after it."""
        last, end = self.n_atoms - 1, len(given.vectors)
        padding = (self._long, 0, 1, self.n_atoms, last, last, end, 0, end)
        for array, values, rest in zip(self.inputs, given, padding, strict=True):
            array[: len(values)].copy_(values)
            array[len(values) :].fill_(rest)

    def cut(self, results: Results, given: Inputs) -> Results:
        """Return the results of the structure, without those of the padding."""
        sizes = {"gradient": len(given.vectors), "dipole": 1}
        n_atoms = len(given.species)
        return {k: value[: sizes.get(k, n_atoms)] for k, value in results.items()}
