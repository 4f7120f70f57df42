"""Generators of molecules: new ones, and completions of fragments."""

if __name__ != "equicalc.generators":
    raise ImportError(
        "this folder is the package equicalc.generators: "
        "write 'import equicalc.generators'"
    )

from .builder import Builder, load_builder
from .growing import Temperature

__all__ = ["Builder", "Temperature", "load_builder"]
