"""ASE calculators, property predictors, others by name, and the conformance suite.

The names below load on first use, so that ASE can list its plugins without torch.
"""

from typing import TYPE_CHECKING

from equicalc._lazy import lazy_names

if TYPE_CHECKING:
    from equicalc.calculators.calculator import EquiCalculator
    from equicalc.calculators.conformance import ValidationReport, validate_calculator
    from equicalc.calculators.named import named_calculator
    from equicalc.calculators.properties import PropertyPredictor

__all__ = [
    "EquiCalculator",
    "PropertyPredictor",
    "ValidationReport",
    "named_calculator",
    "validate_calculator",
]

__getattr__ = lazy_names(
    __name__,
    {
        "EquiCalculator": "equicalc.calculators.calculator",
        "PropertyPredictor": "equicalc.calculators.properties",
        "ValidationReport": "equicalc.calculators.conformance",
        "named_calculator": "equicalc.calculators.named",
        "validate_calculator": "equicalc.calculators.conformance",
    },
)
