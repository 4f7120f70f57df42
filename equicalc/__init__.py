"""Equivariant potentials, kernels and ASE calculators for molecules and crystals.

Importing this package is instant: the names below load on first use, so that
``import equicalc`` (and ``equicalc --help``) pays for neither torch nor ASE.
"""

from typing import TYPE_CHECKING

from equicalc._lazy import lazy_names
from equicalc._version import __version__

if TYPE_CHECKING:
    from equicalc.calculators import (
        EquiCalculator,
        PropertyPredictor,
        validate_calculator,
    )
    from equicalc.embedding import Embedder

__all__ = [
    "Embedder",
    "EquiCalculator",
    "PropertyPredictor",
    "__version__",
    "validate_calculator",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Embedder": "equicalc.embedding",
        "EquiCalculator": "equicalc.calculators",
        "PropertyPredictor": "equicalc.calculators",
        "validate_calculator": "equicalc.calculators",
    },
)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
