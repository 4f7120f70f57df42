"""Equivariant convolution: node features times edge harmonics, summed at the nodes."""

from .adjacency import Adjacency
from .module import UVUConvolution
from .reference import uvu_reference

__all__ = ["Adjacency", "UVUConvolution", "uvu_reference"]
