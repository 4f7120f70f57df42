"""Molecular crystals: structures, packings and lattice energies."""

if __name__ != "equicalc.crystals":
    raise ImportError(
        "this folder is the package equicalc.crystals: write 'import equicalc.crystals'"
    )

from .crystal import MolecularCrystal, Neighbour
from .errors import CrystalError

__all__ = ["CrystalError", "MolecularCrystal", "Neighbour"]
