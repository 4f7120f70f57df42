"""The conformance suite: what a good ASE calculator does, checked on any calculator."""

from equicalc.calculators.conformance.report import (
    Check,
    ConformanceError,
    ValidationReport,
)
from equicalc.calculators.conformance.suite import CHECKS, validate_calculator
from equicalc.calculators.conformance.tolerances import TOLERANCES, Tolerances

__all__ = [
    "CHECKS",
    "TOLERANCES",
    "Check",
    "ConformanceError",
    "Tolerances",
    "ValidationReport",
    "validate_calculator",
]
