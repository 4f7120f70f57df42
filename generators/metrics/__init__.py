"""How good generated molecules are, by the measures of the literature."""

from .evaluation import evaluate_molecules
from .lookup import lookup_stability
from .validity import strictly_valid, valid_molecule

__all__ = [
    "evaluate_molecules",
    "lookup_stability",
    "strictly_valid",
    "valid_molecule",
]
