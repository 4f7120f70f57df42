"""What a step does at the edges, before the first layer and after the last one."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equicalc.kernels.convolution import Adjacency, RadialTable
from equicalc.kernels.convolution.cpp_weights import Weights, weights_source
from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES
from equicalc.kernels.spherical_harmonics.cpp_kernels import run
from equicalc.kernels.spherical_harmonics.harmonics import Harmonics
from equicalc.models.analytic.tables import decay_table
from equicalc.models.potential import Potential

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["EdgeLoops", "Structure"]

SOURCE = """
// Take over a structure: first features, lengths, rows by receiver and by sender.
// `found`: how many pairs are nearer than the reach of their elements, and how many
// edges are not sorted.
extern "C" void open_step(const double* given, const long* senders,
                          const long* receivers, const long* kinds, const T* embedding,
                          const T* reach, long* species, T* features, T* vectors,
                          T* distance, long* src, long* dst, long* dst_ptr, long* order,
                          long* src_ptr, long* found, long channels, long n_species,
                          long n_nodes, long n_edges) {
  for (long i = 0; i < n_nodes; i++) {
    species[i] = kinds[i];
    std::copy_n(embedding + kinds[i] * channels, channels, features + i * channels);
  }
  std::fill_n(dst_ptr, n_nodes + 1, 0);
  std::fill_n(src_ptr, n_nodes + 1, 0);
  found[0] = found[1] = 0;
  for (long e = 0; e < n_edges; e++) {
    const long i = dst[e] = receivers[e], j = src[e] = senders[e];
    T square = 0;  // rounded as torch does it: repulsions are steep
    for (long k = 3 * e; k < 3 * e + 3; k++) {
      vectors[k] = given[k];
      square = std::fma(vectors[k], vectors[k], square);
    }
    distance[e] = std::sqrt(square);
    found[0] += reach && distance[e] < reach[kinds[i] * n_species + kinds[j]];
    found[1] += e && i < dst[e - 1];
    dst_ptr[i + 1]++;
    src_ptr[j + 1]++;
  }
  for (long i = 0; i < n_nodes; i++) {
    dst_ptr[i + 1] += dst_ptr[i];
    src_ptr[i + 1] += src_ptr[i];
  }
  for (long e = 0; e < n_edges; e++) order[src_ptr[src[e]]++] = e;
  std::copy_backward(src_ptr, src_ptr + n_nodes, src_ptr + n_nodes + 1);
  src_ptr[0] = 0;  // where a node's edges ended, the next one's begin
}

extern "C" void add(const T* more, T* total, long n) {
  for (long i = 0; i < n; i++) total[i] += more[i];
}

// Derivative by the vectors, of what it is along the harmonics and the distance.
extern "C" void close_step(const T* vectors, const T* distance, const T* by_harmonics,
                           const T* by_distance, double* gradient, long n_edges) {
  for (long e = 0; e < n_edges; e++)
    for (long k = 3 * e; k < 3 * e + 3; k++)
      gradient[k] = by_harmonics[k] + vectors[k] * (by_distance[e] / distance[e]);
}

// Charges that neighbours exchange, and their dipole, see `Potential.electrostatics`.
extern "C" void exchange(const T* potential, const T* moments, const T* vectors,
                         const T* distance, const T* grid, const T* table,
                         const long* dst_ptr, const long* src, const long* batch,
                         T* charges, T* dipole, long n_nodes) {
  for (long i = 0; i < n_nodes; i++) {
    T* total = dipole + 3 * batch[i];
    charges[i] = 0;
    for (int k = 0; k < 3; k++) total[k] += moments[3 * i + k];
    for (long e = dst_ptr[i]; e < dst_ptr[i + 1]; e++) {
      T decay;
      interpolate(1, &e, distance, grid, table, &decay, nullptr);
      const T given = decay * (potential[src[e]] - potential[i]);
      charges[i] += given;
      for (int k = 0; k < 3; k++)  // each pair occurs twice
        total[k] -= T(0.5) * given * vectors[3 * e + k];
    }
  }
}
"""


@dataclass(frozen=True)
class Structure:
    """Atoms and edges as the layers read them; there may be room for more edges.

    Attributes
    ----------
    species : Tensor
        (n_atoms,) indices of the elements.
    features : Tensor
        (n_atoms, 1, channels) before the first layer.
    vectors, distance : Tensor
        (n_edges, 3) and (n_edges,), Angstrom, in the model's precision.
    harmonics : Tensor
        (n_edges, sum 2l+1).
    adjacency : Adjacency
        Who sends to whom.
    found : Tensor
        (2,) how many pairs of atoms are near enough to repel each other; how many edges
        are not sorted.
    """

    species: Tensor
    features: Tensor
    vectors: Tensor
    distance: Tensor
    harmonics: Tensor
    adjacency: Adjacency
    found: Tensor


@dataclass(frozen=True)
class EdgeLoops:
    """Compiled loops over the edges.

    Attributes
    ----------
    compiled : ctypes.CDLL
        The loops.
    embedding : Tensor
        (n_species, channels), first features of the elements.
    harmonics : Harmonics
        Which harmonics.
    decay : RadialTable
        How far charges are exchanged: the first radial function.
    reach : Tensor or None
        (n_species, n_species), Angstrom: where the repulsion of two elements begins.
    """

    compiled: ctypes.CDLL
    embedding: Tensor
    harmonics: Harmonics
    decay: RadialTable
    reach: Tensor | None

    @classmethod
    def build(cls, model: Potential) -> EdgeLoops | None:
        """Compile; None where that is impossible."""
        embedding = model.embedding.detach().contiguous()
        if embedding.dtype not in CTYPES:
            return None
        ctype = CTYPES[embedding.dtype]
        beginning = weights_source(Weights(tabulated=True), 1, 1, ctype)
        compiled = load_library(beginning + SOURCE)
        if compiled is None:
            return None
        harmonics = Harmonics(model.config.ls, True, "component")
        decay = decay_table(model.basis, embedding.dtype)
        reach = None
        if model.repulsion is not None:
            reach = model.repulsion.reach.to(embedding.dtype).contiguous()
        return cls(compiled, embedding, harmonics, decay, reach)

    def room(self, n_atoms: int, n_edges: int) -> Structure:
        """Make room for a structure."""
        numbers = self.embedding.new_zeros
        indices = functools.partial(numbers, dtype=torch.int64)
        return Structure(
            species=indices(n_atoms),
            features=numbers(n_atoms, 1, self.embedding.shape[1]),
            vectors=numbers(n_edges, 3),
            distance=numbers(n_edges),
            harmonics=numbers(n_edges, self.harmonics.dim),
            adjacency=Adjacency(
                src=indices(n_edges),
                dst=indices(n_edges),
                dst_ptr=indices(n_atoms + 1),
                src_order=indices(n_edges),
                src_ptr=indices(n_atoms + 1),
            ),
            found=indices(2),
        )

    def open(
        self,
        vectors: Tensor,
        src: Tensor,
        dst: Tensor,
        species: Tensor,
        to: Structure,
    ) -> bool:
        """Take over a structure of edges (n_edges, 3), Angstrom, sorted by receiver.

        Returns
        -------
        bool
            Whether any two atoms are near enough to repel each other.
        """
        given = vectors.double(), src, dst, species
        inputs = [t.contiguous() for t in given]
        adj = to.adjacency
        outputs = to.species, to.features, to.vectors, to.distance, *adj.tensors()
        tables = self.embedding, self.reach
        sizes = self.embedding.shape[1], len(self.embedding), len(species), len(vectors)
        invoke(self.compiled, "open_step", *inputs, *tables, *outputs, to.found, *sizes)
        touching, unsorted = to.found.tolist()
        if unsorted:
            Adjacency.from_edges(src, dst, len(species))  # says so
        return touching > 0

    def harmonics_of(self, structure: Structure) -> None:
        """Fill in the harmonics."""
        run(self.harmonics, "forward", [structure.vectors], [structure.harmonics])

    def by_vectors(self, structure: Structure, by_harmonics: Tensor) -> Tensor:
        """Turn a derivative by the harmonics into one by the vectors."""
        pulled = torch.empty_like(structure.vectors)
        run(self.harmonics, "backward", [structure.vectors, by_harmonics], [pulled])
        return pulled

    def add(self, more: Tensor, total: Tensor) -> None:
        """Add to a tensor, as a call that can be recorded."""
        invoke(self.compiled, "add", more, total, total.numel())

    def close(
        self,
        structure: Structure,
        by_vectors: Tensor,
        by_distance: Tensor,
        n_edges: int,
    ) -> Tensor:
        """Return the whole derivative by the vectors, (n_edges, 3) float64."""
        gradient = by_vectors.new_empty(n_edges, 3, dtype=torch.float64)
        inputs = structure.vectors, structure.distance, by_vectors, by_distance
        invoke(self.compiled, "close_step", *inputs, gradient, n_edges)
        return gradient

    def exchange(
        self, structure: Structure, potential: Tensor, moments: Tensor, graph: Data
    ) -> dict[str, Tensor]:
        """Return ``charges`` and ``dipole``, see `Potential.electrostatics`."""
        charges = torch.empty_like(potential)
        dipole = moments.new_zeros(graph["ptr"].shape[0] - 1, 3)
        table, adj = self.decay, structure.adjacency
        inputs = potential, moments, structure.vectors, structure.distance
        inputs += table.grid, table.coefficients, adj.dst_ptr, adj.src
        outputs = graph["batch"], charges, dipole
        invoke(self.compiled, "exchange", *inputs, *outputs, potential.shape[0])
        return {"charges": charges, "dipole": dipole}
