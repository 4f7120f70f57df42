"""ASE calculators: our potentials, others by name, and the conformance suite.

The names below load on first use, so that ASE can list its plugins without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equicalc.calculators.calculator import EquiCalculator
    from equicalc.calculators.conformance import ValidationReport, validate_calculator
    from equicalc.calculators.named import named_calculator

__all__ = [
    "EquiCalculator",
    "ValidationReport",
    "named_calculator",
    "validate_calculator",
]

_LAZY = {
    "EquiCalculator": "equicalc.calculators.calculator",
    "ValidationReport": "equicalc.calculators.conformance",
    "named_calculator": "equicalc.calculators.named",
    "validate_calculator": "equicalc.calculators.conformance",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'equicalc.calculators' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
