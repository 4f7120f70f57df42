"""Equivariant potentials, kernels and ASE calculators for molecules and crystals.

Importing this package is instant: the names below load on first use, so that
``import equicalc`` (and ``equicalc --help``) pays for neither torch nor ASE.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from equicalc._version import __version__

if TYPE_CHECKING:
    from equicalc.calculators import EquiCalculator, validate_calculator
    from equicalc.embedding import Embedder

__all__ = ["Embedder", "EquiCalculator", "__version__", "validate_calculator"]

_LAZY = {
    "Embedder": "equicalc.embedding",
    "EquiCalculator": "equicalc.calculators",
    "validate_calculator": "equicalc.calculators",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'equicalc' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_LAZY})
