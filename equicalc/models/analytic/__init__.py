"""Energies and forces of a potential on a CPU, without autograd, in compiled loops.

A step is some twenty calls of C++:

    vectors -> EdgeLoops: lengths, harmonics, who sends to whom
                  |
    species -> layer -> ... -> layer -> Readout: energies, charges
                  |              |         |
    gradient <- layer <- ... <- layer <----+

A layer is `NodeMaps` (linear maps and gate), a convolution with radial functions from
a table, and `NodeMaps` again. `Network` strings the parts together, `Step` gives it
arrays to work on and repeats its calls, and `AnalyticPotential` stands before all of it
in the place of a `Potential`. Convolutions and harmonics are those of
`equicalc.kernels`; what only this network has is compiled here.
"""

from equicalc.models.analytic.engine import AnalyticPotential

__all__ = ["AnalyticPotential"]
