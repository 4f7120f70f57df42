"""Molecular crystals.

Nothing is here yet: the folder holds the place of crystal construction, lattice
energies and structure prediction on top of the calculators.
"""

if __name__ != "equicalc.crystals":
    raise ImportError(
        "this folder is the package equicalc.crystals: write 'import equicalc.crystals'"
    )
