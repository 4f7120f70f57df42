"""Equivariant convolution: node features times edge harmonics, summed at the nodes."""

from .adjacency import Adjacency
from .module import UVUConvolution
from .reference import uvu_reference
from .table import RadialTable
from .tabulated import TabulatedConvolution
from .uvw import UVWConvolution

__all__ = [
    "Adjacency",
    "RadialTable",
    "TabulatedConvolution",
    "UVUConvolution",
    "UVWConvolution",
    "uvu_reference",
]
