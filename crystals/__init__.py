"""Molecular crystals: structures, packings and lattice energies."""

if __name__ != "equicalc.crystals":
    raise ImportError(
        "this folder is the package equicalc.crystals: write 'import equicalc.crystals'"
    )

from .crystal import MolecularCrystal, Neighbour
from .errors import CrystalError
from .packing import random_crystals
from .pairwise import PairEnergy, pair_energy
from .potentials import ExpSix, LennardJones, PairPotential, PaperSoft

__all__ = [
    "CrystalError",
    "ExpSix",
    "LennardJones",
    "MolecularCrystal",
    "Neighbour",
    "PairEnergy",
    "PairPotential",
    "PaperSoft",
    "pair_energy",
    "random_crystals",
]
