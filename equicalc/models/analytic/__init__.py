"""Energies and forces of a potential on a CPU, without autograd, in compiled loops.

A step is twenty calls of C++, each of which reads and writes whole arrays:

    vectors -> Edges: lengths, harmonics, neighbours of every atom
                 |
    species -> layer -> ... -> layer -> Readout: energies, charges
                 |               |        |
    gradient <- layer <- ... <- layer <---+

`AnalyticPotential` strings them together. Layers are made of `equicalc.kernels`; what
comes before the first and after the last layer is compiled here. A potential without
repulsion between any of its atoms runs no operator of torch that takes time.
"""

from equicalc.models.analytic.engine import AnalyticPotential

__all__ = ["AnalyticPotential"]
