"""The models that ship with the package, by name."""

from equicalc.pretrained.registry import Registry, available, weights_path

__all__ = ["Registry", "available", "weights_path"]
