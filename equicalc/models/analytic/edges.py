"""What a step does at the edges, before the first layer and after the last one."""

from __future__ import annotations

import ctypes
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

__all__ = ["EdgeLoops", "Edges"]

SOURCE = """
// Lengths, and rows by receiver and by sender. Returned in `found`: how many pairs are
// nearer than the reach of their elements, and how many edges are not sorted.
extern "C" void open(const double* vectors, const long* src, const long* dst,
                     const long* species, const T* reach, T* rounded, T* distance,
                     long* dst_ptr, long* src_ptr, long* order, long* found,
                     long n_species, long n_nodes, long n_edges) {
  std::memset(dst_ptr, 0, (n_nodes + 1) * sizeof(long));
  std::memset(src_ptr, 0, (n_nodes + 1) * sizeof(long));
  found[0] = found[1] = 0;
  for (long e = 0; e < n_edges; e++) {
    T square = 0;  // rounded as torch does it: repulsions are steep
    for (long k = 3 * e; k < 3 * e + 3; k++) {
      rounded[k] = vectors[k];
      square = std::fma(rounded[k], rounded[k], square);
    }
    distance[e] = std::sqrt(square);
    found[0] +=
        reach && distance[e] < reach[species[dst[e]] * n_species + species[src[e]]];
    found[1] += e && dst[e] < dst[e - 1];
    dst_ptr[dst[e] + 1]++;
    src_ptr[src[e] + 1]++;
  }
  for (long i = 0; i < n_nodes; i++) {
    dst_ptr[i + 1] += dst_ptr[i];
    src_ptr[i + 1] += src_ptr[i];
  }
  for (long e = 0; e < n_edges; e++) order[src_ptr[src[e]]++] = e;
  std::memmove(src_ptr + 1, src_ptr, n_nodes * sizeof(long));  // ends are next starts
  src_ptr[0] = 0;
}

// Derivative by the vectors, of what it is along the harmonics and the distance.
extern "C" void close(const T* rounded, const T* distance, const T* by_harmonics,
                      const T* by_distance, double* gradient, long n_edges) {
  for (long e = 0; e < n_edges; e++)
    for (long k = 3 * e; k < 3 * e + 3; k++)
      gradient[k] = by_harmonics[k] + rounded[k] * (by_distance[e] / distance[e]);
}

// Charges that neighbours exchange, and their dipole, see `Potential.electrostatics`.
extern "C" void exchange(const T* potential, const T* moments, const T* rounded,
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
        total[k] -= T(0.5) * given * rounded[3 * e + k];
    }
  }
}
"""


@dataclass(frozen=True)
class Edges:
    """What the layers read of the edges.

    Attributes
    ----------
    vectors : Tensor
        (n_edges, 3), Angstrom, in the model's precision.
    distance : Tensor
        (n_edges,), Angstrom.
    harmonics : Tensor
        (n_edges, sum 2l+1).
    adjacency : Adjacency
        Who sends to whom.
    touching : bool
        Whether any two atoms are near enough to repel each other.
    """

    vectors: Tensor
    distance: Tensor
    harmonics: Tensor
    adjacency: Adjacency
    touching: bool


@dataclass(frozen=True)
class EdgeLoops:
    """Compiled loops over the edges.

    Attributes
    ----------
    compiled : ctypes.CDLL
        The loops.
    harmonics : Harmonics
        Which harmonics.
    decay : RadialTable
        How far charges are exchanged: the first radial function.
    reach : Tensor or None
        (n_species, n_species), Angstrom: where the repulsion of two elements begins.
    """

    compiled: ctypes.CDLL
    harmonics: Harmonics
    decay: RadialTable
    reach: Tensor | None

    @classmethod
    def build(cls, model: Potential) -> EdgeLoops | None:
        """Compile; None where that is impossible."""
        dtype = model.embedding.dtype
        if dtype not in CTYPES:
            return None
        beginning = weights_source(Weights(tabulated=True), 1, 1, CTYPES[dtype])
        compiled = load_library(beginning + SOURCE)
        if compiled is None:
            return None
        decay = decay_table(model.basis, dtype)
        harmonics = Harmonics(model.config.ls, True, "component")
        reach = None if model.repulsion is None else model.repulsion.reach
        return cls(compiled, harmonics, decay, reach)

    def open(self, vectors: Tensor, src: Tensor, dst: Tensor, species: Tensor) -> Edges:
        """Prepare edges (n_edges, 3), Angstrom, that are sorted by receiver."""
        n_nodes, n_edges = len(species), len(vectors)
        src, dst = src.contiguous(), dst.contiguous()
        rounded = self.decay.grid.new_empty(n_edges, 3)
        distance = rounded.new_empty(n_edges)
        dst_ptr, src_ptr = dst.new_empty(n_nodes + 1), dst.new_empty(n_nodes + 1)
        order, found = dst.new_empty(n_edges), dst.new_empty(2)
        inputs = vectors.double().contiguous(), src, dst, species, self.reach
        outputs = rounded, distance, dst_ptr, src_ptr, order, found
        n_species = 0 if self.reach is None else len(self.reach)
        invoke(self.compiled, "open", *inputs, *outputs, n_species, n_nodes, n_edges)
        touching, unsorted = found.tolist()
        if unsorted:
            Adjacency.from_edges(src, dst, n_nodes)  # says so
        harmonics = rounded.new_empty(n_edges, self.harmonics.dim)
        run(self.harmonics, "forward", [rounded], [harmonics])
        adjacency = Adjacency(src, dst, dst_ptr, order, src_ptr)
        return Edges(rounded, distance, harmonics, adjacency, touching > 0)

    def close(self, edges: Edges, by_harmonics: Tensor, by_distance: Tensor) -> Tensor:
        """Return the derivative by the vectors, (n_edges, 3) float64."""
        vectors = edges.vectors
        gradient = torch.empty_like(vectors, dtype=torch.float64)
        pulled = torch.empty_like(vectors)
        run(self.harmonics, "backward", [vectors, by_harmonics], [pulled])
        arrays = vectors, edges.distance, pulled, by_distance, gradient
        invoke(self.compiled, "close", *arrays, len(vectors))
        return gradient

    def exchange(
        self, edges: Edges, potential: Tensor, moments: Tensor, graph: Data
    ) -> dict[str, Tensor]:
        """Return ``charges`` and ``dipole``, see `Potential.electrostatics`."""
        charges = torch.empty_like(potential)
        dipole = moments.new_zeros(len(graph["ptr"]) - 1, 3)
        table, adjacency = self.decay, edges.adjacency
        inputs = potential, moments, edges.vectors, edges.distance
        inputs += table.grid, table.coefficients, adjacency.dst_ptr, adjacency.src
        outputs = graph["batch"], charges, dipole
        invoke(self.compiled, "exchange", *inputs, *outputs, len(potential))
        return {"charges": charges, "dipole": dipole}
