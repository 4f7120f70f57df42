"""What a layer does at its nodes, for inference: linear maps and the gate."""

from .cpp_maps import Shape
from .maps import NodeMaps

__all__ = ["NodeMaps", "Shape"]
