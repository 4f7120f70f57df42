"""Generators of molecules: new ones, and completions of fragments."""

if __name__ != "equicalc.generators":
    raise ImportError(
        "this folder is the package equicalc.generators: "
        "write 'import equicalc.generators'"
    )

from .builder import Builder, load_builder
from .filtering import TooFewValidError, ValidFilter
from .quick import quick_check
from .rules import Rules
from .steps import Temperature

__all__ = [
    "Builder",
    "Rules",
    "Temperature",
    "TooFewValidError",
    "ValidFilter",
    "load_builder",
    "quick_check",
]
