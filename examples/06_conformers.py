"""Conformers of a molecule, relaxed together and ranked by energy.

The populations are those of a Boltzmann distribution over the minima at 298 K.
"""

import sys

import numpy as np
from ase import units
from ase.io import write

from equicalc import EquiCalculator
from equicalc.data.smiles import conformers
from equicalc.design import relax_together

n = 4 if "--quick" in sys.argv else 30
start = conformers("NCCO", n, seed=0)
relaxed = relax_together(start, EquiCalculator(), fmax=0.02, steps=300)
relaxed = sorted((one for one in relaxed if one.converged), key=lambda one: one.energy)

# the same minimum has the same energy and the same distances between heavy atoms
minima = []
for one in relaxed:
    heavy = one.atoms[one.atoms.numbers > 1].get_all_distances()
    if not any(
        one.energy - energy < 2e-3 and np.abs(heavy - known).max() < 0.05
        for energy, known, _ in minima
    ):
        minima.append((one.energy, heavy, one.atoms))

energies = np.array([energy for energy, _, _ in minima])
weights = np.exp(-(energies - energies[0]) / (298 * units.kB))
print(f"{len(start)} conformers, {len(minima)} minima")
for energy, weight in zip(energies - energies[0], weights / weights.sum()):
    print(f"{energy * 1000:7.1f} meV  {100 * weight:5.1f} %")
write("conformers.extxyz", [atoms for _, _, atoms in minima])
