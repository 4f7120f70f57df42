"""How good generated molecules are, by the measures of the literature."""

from .completion import valid_completion_rate
from .datasets import smiles_of_dataset, statistics_of_dataset, structures_of_dataset
from .evaluation import evaluate_molecules
from .lookup import lookup_molecule, lookup_stability
from .open_babel import has_openbabel, openbabel_smiles
from .poses import has_posebusters, pose_checks
from .statistics import Statistics, compare, qm9_statistics
from .validity import strictly_valid, valid_molecule

__all__ = [
    "Statistics",
    "compare",
    "evaluate_molecules",
    "has_openbabel",
    "has_posebusters",
    "lookup_molecule",
    "lookup_stability",
    "openbabel_smiles",
    "pose_checks",
    "qm9_statistics",
    "smiles_of_dataset",
    "statistics_of_dataset",
    "strictly_valid",
    "structures_of_dataset",
    "valid_completion_rate",
    "valid_molecule",
]
