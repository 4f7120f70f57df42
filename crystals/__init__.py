"""Molecular crystals: structures, packings and lattice energies."""

if __name__ != "equicalc.crystals":
    raise ImportError(
        "this folder is the package equicalc.crystals: write 'import equicalc.crystals'"
    )

from .crystal import MolecularCrystal
from .errors import CrystalError
from .labels import LabelledCrystal, label_crystals
from .lattice import LatticeEnergy, lattice_energy, two_body_energy
from .methods import Method, assign_charges, named_method
from .neighbours import Neighbour
from .packing import random_crystals
from .pairwise import PairEnergy, pair_energy
from .potentials import ExpSix, LennardJones, PairPotential, PaperSoft
from .predictor import LatticeEnergyPredictor

__all__ = [
    "CrystalError",
    "ExpSix",
    "LabelledCrystal",
    "LatticeEnergy",
    "LatticeEnergyPredictor",
    "LennardJones",
    "Method",
    "MolecularCrystal",
    "Neighbour",
    "PairEnergy",
    "PairPotential",
    "PaperSoft",
    "assign_charges",
    "label_crystals",
    "lattice_energy",
    "named_method",
    "pair_energy",
    "random_crystals",
    "two_body_energy",
]
