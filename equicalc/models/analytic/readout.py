"""What a step reads from the features of the last layer."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from equicalc.kernels.cpp import invoke, load_library
from equicalc.kernels.cpp_vectors import CTYPES, vector_source
from equicalc.models.potential import Potential

__all__ = ["Answers", "Readout"]

SOURCE = """
constexpr int C = {channels}, ROWS = {rows} * C, BLOCK = 8;

static inline T dot(const T* a, const T* b) {{
  V sum = {{}};
  for (int u = 0; u < C; u += W) sum += at(a + u) * at(b + u);
  return total(sum);
}}

// weights: C x C and bias of the hidden layer, the row after it, the C x C as the way
// back reads it, and the rows of charges and moments
extern "C" void readout(const T* features, const long* species, const long* dst_ptr,
                        const T* weights, const double* alone, const double* references,
                        double* energies, T* gradient, T* potential, T* moments,
                        long n_nodes, long n_threads) {{
  const T *bias = weights + C * C, *last = bias + C, *back = last + C;
  const T *charge = back + C * C, *vector = charge + C;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
  for (long first = 0; first < n_nodes; first += BLOCK) {{
    const int n = std::min<long>(BLOCK, n_nodes - first);
    const T* h = features + first * ROWS;
    T *g = gradient + first * ROWS, hidden[BLOCK * C];
    for (int i = 0; i < n; i++) std::memcpy(hidden + i * C, bias, C * sizeof(T));
    multiply<1, C, C>(n, h, ROWS, weights, hidden, C, true);
    for (int i = 0; i < n; i++) {{
      const long node = first + i, s = species[node];
      double energy = 0;
      for (int k = i * C; k < i * C + C; k++) {{  // SiLU
        const T x = hidden[k], open = 1 / (1 + std::exp(-x)), w = last[k - i * C];
        energy += w * x * open;
        hidden[k] = w * open * (1 + x * (1 - open));
      }}
      if (alone) energy -= alone[s];
      if (references) {{  // an atom alone has its reference to the last bit
        if (dst_ptr[node] == dst_ptr[node + 1]) energy = 0;
        energy += references[s];
      }}
      energies[node] = energy;
      if (!potential) continue;
      potential[node] = dot(h + i * ROWS, charge);
      for (int k = 0; k < 3; k++)
        moments[3 * node + k] = dot(h + i * ROWS + (k + 1) * C, vector);
    }}
    std::memset(g, 0, n * ROWS * sizeof(T));
    multiply<1, C, C>(n, hidden, C, back, g, ROWS, false);
  }}
}}
"""


class Answers(NamedTuple):
    """What the features of the last layer say.

    Attributes
    ----------
    energies : Tensor
        (n_atoms,) float64, eV.
    gradient : Tensor
        Of the summed energy with respect to the features, of their shape.
    potential, moments : Tensor or None
        (n_atoms,) and (n_atoms, 3), from which charges and dipoles are made.
    """

    energies: Tensor
    gradient: Tensor
    potential: Tensor | None
    moments: Tensor | None


@dataclass(frozen=True)
class Readout:
    """Energies and their derivative, compiled.

    Attributes
    ----------
    compiled : ctypes.CDLL
        The loop.
    weights : Tensor
        All matrices, see the source.
    dipole : bool
        Whether there are charges and moments.
    alone, references : Tensor or None
        (n_species,) float64, eV: what the network says of the atom of an element that
        is alone, and what its energy is. Without them, energies are as the network
        says.
    """

    compiled: ctypes.CDLL
    weights: Tensor
    dipole: bool
    alone: Tensor | None = None
    references: Tensor | None = None

    @classmethod
    def build(cls, model: Potential) -> Readout | None:
        """Compile; None where that is impossible."""
        config, dtype = model.config, model.embedding.dtype
        if dtype not in CTYPES:
            return None
        rows = 4 if config.dipole else 1
        source = SOURCE.format(channels=config.channels, rows=rows)
        beginning = vector_source(config.channels, CTYPES[dtype])
        compiled = load_library(beginning + source)
        if compiled is None:
            return None
        first, _, last = cast("Iterable[nn.Linear]", model.energy_head)
        scaled = config.energy_scale * last.weight
        weights = [first.weight.t(), first.bias, scaled, first.weight]
        if config.dipole:
            weights += [model.charge_head.weight, model.vector_head.weight]
        packed = torch.cat([w.detach().flatten() for w in weights])
        return cls(compiled, packed, config.dipole)

    def __call__(self, h: Tensor, species: Tensor, dst_ptr: Tensor) -> Answers:
        """Read features (n_atoms, rows, channels)."""
        n = len(h)
        energies = h.new_empty(n, dtype=torch.float64)
        gradient = torch.empty_like(h)
        potential, moments = None, None
        if self.dipole:
            potential, moments = h.new_empty(n), h.new_empty(n, 3)
        inputs = h, species, dst_ptr, self.weights, self.alone, self.references
        answers = Answers(energies, gradient, potential, moments)
        threads = torch.get_num_threads()
        invoke(self.compiled, "readout", *inputs, *answers, n, threads)
        return answers
